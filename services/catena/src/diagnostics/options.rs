//! Options of every process: where it says how it is.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use clap::Args;
use serde::Deserialize;

/// Where the process says how it is.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[command(next_help_heading = "Metrics and health")]
#[serde(default, deny_unknown_fields)]
pub struct DiagnosticsOptions {
    /// Where /metrics, /healthz and /readyz are served: an address, a port of this machine alone, or off
    ///
    /// Without it: the port that the Broker says (diagnostics.metrics.prometheusPort, 9600). Processes that share a host
    /// need a port each.
    #[arg(
        long,
        value_name = "ADDR:PORT|PORT|off",
        env = "CATENA_METRICS_ADDRESS"
    )]
    pub metrics_address: Option<Address>,
}

impl DiagnosticsOptions {
    /// What is not said here, as `other` says it.
    pub fn or(self, other: DiagnosticsOptions) -> DiagnosticsOptions {
        DiagnosticsOptions {
            metrics_address: self.metrics_address.or(other.metrics_address),
        }
    }
}

/// Where something is served, if anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    Off,
    At(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Address::Off);
        }
        if let Ok(port) = text.parse::<u16>() {
            let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
            return Ok(Address::At(SocketAddr::new(host, port)));
        }
        let address = text.parse().map(Address::At);
        address
            .map_err(|_| "use an address with a port, as 0.0.0.0:9600; a port; or off".to_owned())
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_three() {
        assert_eq!("off".parse(), Ok(Address::Off));
        let at = |text: &str| Ok(Address::At(text.parse().unwrap()));
        assert_eq!("9601".parse(), at("127.0.0.1:9601"));
        assert_eq!("[::]:1".parse(), at("[::]:1"));
        assert!("host:1".parse::<Address>().is_err());
    }
}
