//! The ports that resources ask for.

use std::{collections::BTreeMap, net::IpAddr};

use catena_resources::{
    Resources,
    listener::{Port, Protocol, ProxyProtocol},
};

/// A port, and the listener that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub listener: String,
    pub port: Port,
}

/// What cannot change while a port is open: it is closed, with its connections, and opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub address: Option<IpAddr>,
    pub protocol: Protocol,
    pub proxy: ProxyProtocol,
    pub has_tls: bool,
}

impl Wanted {
    pub fn fixed(&self) -> Fixed {
        let port = &self.port;
        Fixed {
            address: port.address,
            protocol: port.protocol,
            proxy: port.proxy_protocol,
            has_tls: port.tls.is_some(),
        }
    }

    /// The secret of a certificate that somebody else keeps.
    pub fn secret(&self) -> Option<&str> {
        let tls = self.port.tls.as_ref()?;
        tls.manual.as_ref().map(|manual| manual.secret_ref.as_str())
    }
}

/// All ports, by their number, which no two listeners share.
pub(crate) fn wanted(resources: &Resources) -> BTreeMap<u16, Wanted> {
    let mut wanted = BTreeMap::new();
    for (listener, spec) in resources.listeners() {
        for port in &spec.ports {
            let port = Wanted {
                listener: listener.to_owned(),
                port: port.clone(),
            };
            // What was checked when it was applied; of two the first would be it, on all gateways alike.
            wanted.entry(port.port.port).or_insert(port);
        }
    }
    wanted
}
