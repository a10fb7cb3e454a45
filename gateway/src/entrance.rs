//! What all connections of one port share.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use catena_authentication::Authenticator;
use catena_policy::Policy;
use catena_resources::listener::{Compatibility, Protocol, ProxyProtocol};
use catena_runtime::shutdown::{self, Shutdown, Trigger};
use rustls::ServerConfig;

use crate::{openings::Openings, room::Room, stream::Origins};

/// An open port, as its connections see it. It is another one once the port was closed and opened anew.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The name of the BrokerListener.
    pub listener: String,
    pub protocol: Protocol,
    pub proxy: ProxyProtocol,
    /// Open connections of the port.
    pub room: Arc<Room>,
    /// Those of them that are not yet so far that MQTT can begin.
    pub openings: Arc<Openings>,
    /// New connections in a second; 0: as many as come.
    rate_max: AtomicU32,
    rules: RwLock<Arc<Rules>>,
    close: Trigger,
    closing: Shutdown,
}

/// What may change while the port is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// New connections shake hands by it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Asked who a client is; `None`: everybody is anonymous.
    pub authentication: Option<Arc<Authenticator>>,
    pub policy: Option<Arc<Policy>>,
    pub compatibility: Compatibility,
    pub origins: Origins,
}

impl Entrance {
    pub fn new(
        listener: String,
        protocol: Protocol,
        proxy: ProxyProtocol,
        rules: Rules,
    ) -> Entrance {
        let (close, closing) = shutdown::shutdown();
        Entrance {
            listener,
            protocol,
            proxy,
            room: Room::new(usize::MAX),
            openings: Openings::new(),
            rate_max: AtomicU32::new(0),
            rules: RwLock::new(Arc::new(rules)),
            close,
            closing,
        }
    }

    /// What holds for who comes now.
    pub fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    pub fn set_rules(&self, rules: Rules) {
        let rules = Arc::new(rules);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    pub fn rate_max(&self) -> Option<u32> {
        Some(self.rate_max.load(Relaxed)).filter(|max| *max > 0)
    }

    /// Bounds open connections, and new ones in a second.
    pub fn set_limits(&self, connections: Option<u32>, rate: Option<u32>) {
        let connections = connections.and_then(|max| usize::try_from(max).ok());
        self.room.set_max(connections.unwrap_or(usize::MAX));
        self.rate_max.store(rate.unwrap_or(0), Relaxed);
    }

    /// Whether MQTT begins at once, as it does where there is nothing but TCP.
    pub fn is_plain(&self, rules: &Rules) -> bool {
        self.proxy == ProxyProtocol::Disabled
            && self.protocol == Protocol::Mqtt
            && rules.tls.is_none()
    }

    /// The port is closed: who is not so far yet that MQTT can begin is closed, and nobody new is taken.
    pub fn close(&self) {
        self.close.begin();
    }

    /// Whether the port is closed.
    pub fn is_closed(&self) -> bool {
        self.closing.has_begun()
    }

    /// Begins when the port is closed.
    pub fn closing(&self) -> Shutdown {
        self.closing.clone()
    }
}
