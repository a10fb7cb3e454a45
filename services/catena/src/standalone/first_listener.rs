//! The listener that a standalone broker makes when there is none: so that it can be tried out at once, by programs of this
//! machine alone.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use catena_control_plane::{Catalogue, Change};
use catena_gateway::listener;
use catena_membership::Cluster;
use catena_resources::{
    BROKER_NAME, BrokerListener, Kind, Resource, Spec,
    listener::{Compatibility, Port, Protocol, ProxyProtocol, ServiceType},
};
use tokio::sync::watch;
use tracing::warn;

use crate::gateway::ports;

/// The name of the listener.
const NAME: &str = "default";
const PORT: u16 = 1883;

/// Makes the listener if there is none, and waits until it is told; gives its port, which is ours from here on.
///
/// # Errors
/// When another program has the port, and what the store says.
pub async fn make(
    catalogue: &Catalogue,
    mut cluster: watch::Receiver<Arc<Cluster>>,
) -> anyhow::Result<Vec<listener::Port>> {
    let known = catalogue.known().await.context("the listeners")?;
    if known.resources.listeners().next().is_some() {
        return Ok(Vec::new());
    }
    let address = Ipv4Addr::LOCALHOST;
    let taken = ports::take(&[SocketAddr::from((address, PORT))])?;
    let port = Port {
        port: PORT,
        address: Some(address.into()),
        node_port: None,
        protocol: Protocol::Mqtt,
        authentication_ref: None,
        authorization_ref: None,
        tls: None,
        proxy_protocol: ProxyProtocol::Disabled,
        compatibility: Compatibility::None,
        allowed_origins: None,
        max_connections: None,
        max_connect_rate: None,
    };
    let listener = BrokerListener {
        broker_ref: BROKER_NAME.to_owned(),
        service_type: ServiceType::ClusterIp,
        service_name: None,
        ports: vec![port],
    };
    let change = Change {
        put: vec![Resource::new(
            NAME,
            Spec::BrokerListener(Box::new(listener)),
        )],
        unless_any: Some(Kind::BrokerListener),
        ..Change::default()
    };
    catalogue
        .change(&change)
        .await
        .context("the first listener")?;
    warn!(
        "there was no BrokerListener: `default` was made, for {address}:{PORT} without TLS and authentication; apply one of \
         your own for other machines"
    );
    // It ends only with the client of the control plane, which outlives this.
    let is_told = |cluster: &Arc<Cluster>| cluster.resources.listeners().next().is_some();
    cluster.wait_for(is_told).await?;
    Ok(taken)
}
