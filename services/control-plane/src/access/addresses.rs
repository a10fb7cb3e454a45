//! How many connections each address has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use catena_runtime::network;

/// Connections at once of one address; of IPv6 of one network, because a machine has all addresses of a /64.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 32;

/// The addresses of those who are connected: no more than there are connections.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Addresses>,
    network: IpAddr,
}

impl Addresses {
    /// A place, unless the address has as many as it may.
    pub fn enter(self: &Arc<Addresses>, address: IpAddr) -> Option<Place> {
        let network = network::of(address);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(network).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        let of = self.clone();
        Some(Place { of, network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counted.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One machine would take the places of all others, with IPv6 by an address of its own for each connection.
    #[test]
    fn an_address_has_its_places_and_no_more() {
        let addresses = Arc::new(Addresses::default());
        let enter = |address: &str| addresses.enter(address.parse().unwrap());
        let (one, again) = ("2001:db8::1", "2001:db8::2");
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| enter(one).unwrap())
            .collect();
        assert!(enter(one).is_none() && enter(again).is_none());
        let other = (enter("2001:db8:0:1::1"), enter("192.0.2.1"));
        assert!(other.0.is_some() && other.1.is_some());
        places.pop();
        assert!(enter(again).is_some());
        drop((places, other));
        assert!(addresses.0.lock().unwrap().is_empty());

        let mapped: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| enter("::ffff:192.0.2.1").unwrap())
            .collect();
        assert!(enter("192.0.2.1").is_none());
        drop(mapped);
    }
}
