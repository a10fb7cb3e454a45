//! Who is behind an address, as far as it tells: what counts by address counts by this.

use std::net::{IpAddr, Ipv6Addr};

/// The address itself; of IPv6 the /64 that it is in, because a machine has all addresses of one. An IPv4 address that is
/// written as one of IPv6 is the IPv4 address.
pub fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(bits).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One machine would pass for as many as it has addresses, or all of a provider's customers for one.
    #[test]
    fn a_machine_is_one_whatever_address_it_takes() {
        let of = |address: &str| of(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8::1"), "2001:db8::");
        assert_eq!(of("2001:db8::ffff:ffff:ffff:ffff"), "2001:db8::");
        assert_eq!(of("2001:db8:0:1::1"), "2001:db8:0:1::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
