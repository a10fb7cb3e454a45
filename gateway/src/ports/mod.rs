//! The ports of a gateway: those that resources ask for, followed while it runs, and those of its command line.
//!
//! Start reading at [`Keeper`]. What is wanted is in `wanted`, what TLS shows in `certificate` and `tls`.

mod certificate;
mod keeper;
mod made;
mod rate;
pub(crate) mod tls;
mod wanted;

pub use certificate::{IssuedPort, Issues};
pub(crate) use keeper::Keeper;
pub(crate) use rate::Rate;

use std::{net::SocketAddr, time::SystemTime};

use catena_resources::listener::Protocol;

use crate::listener::Listener;

/// Ports that were opened before the gateway began.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Of this gateway alone, for its whole life: MQTT without TLS and authentication.
    pub own: Vec<Listener>,
    /// Each for a port that resources ask for, or will: it is closed if none does when the gateway begins.
    pub taken: Vec<Listener>,
}

/// The listener that ports of a command line are told to be of.
pub const OWN: &str = "--listen";

/// How it stands with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// The BrokerListener's name, or [`OWN`].
    pub listener: String,
    /// Where it is open, or was to be.
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub has_tls: bool,
    pub is_open: bool,
    /// Whether clients say who they are.
    pub has_authentication: bool,
    /// Until when the certificate that is shown is good.
    pub certificate_until: Option<SystemTime>,
    /// What is wrong, for people; also with an open port, such as a certificate that has expired.
    pub problem: Option<String>,
}
