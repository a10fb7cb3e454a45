//! What serves clients, whether shards are in the same process or not: ports, sockets, what is counted.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use catena_gateway::{
    Gateway,
    counters::Counts,
    limits::{CONNECTIONS_MAX, FILES_KEPT_BACK, SUMMARY_SECONDS},
    listener::{BindError, Listener, Port},
    ports::PortStatus,
};
use catena_resources::listener::Protocol;
use catena_runtime::open_files;
use tokio::sync::watch;
use tracing::warn;

/// Takes the ports for us. Nobody can connect to them yet.
///
/// # Errors
/// The first that cannot be had, and what can be done about it.
pub fn take(addresses: &[SocketAddr]) -> anyhow::Result<Vec<Port>> {
    let take = |address: &SocketAddr| Port::take(*address).map_err(explain);
    addresses.iter().map(take).collect()
}

/// Opens ports that were taken.
///
/// # Errors
/// As [`take`].
pub fn open(ports: Vec<Port>) -> anyhow::Result<Vec<Listener>> {
    let open = |port: Port| port.open().map_err(explain);
    ports.into_iter().map(open).collect()
}

/// Says what can be done about a port that cannot be opened.
pub fn explain(error: BindError) -> anyhow::Error {
    let port = error.address.port();
    let hint = match error.source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses port {port}, perhaps another broker: stop it, or choose another port, as in \
             --listen 127.0.0.1:{}",
            port.checked_add(1).unwrap_or(1883),
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the right to bind them: choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "this machine does not have the address {}",
                error.address.ip()
            )
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}: {}\n{hint}", error.source)
}

/// As many sockets as the system gives, less a few files for ourselves.
pub fn connections_max() -> usize {
    let limit = open_files::raise().unwrap_or_else(|error| {
        warn!(%error, "the limit of open files cannot be raised");
        open_files::limit()
    });
    limit.map_or(CONNECTIONS_MAX, |files| {
        usize::try_from(files.saturating_sub(FILES_KEPT_BACK).max(1)).unwrap_or(CONNECTIONS_MAX)
    })
}

/// Follows how it stands with the ports of a life: the control plane is told, and those that are open are announced on
/// standard output. Ends with the life.
pub async fn follow(mut ports: Ports, voice: impl Fn(Vec<catena_membership::PortStatus>)) {
    let mut announced = Vec::new();
    while ports.changed().await.is_ok() {
        let Some(now) = ports.borrow_and_update().clone() else {
            continue;
        };
        voice(now.iter().map(status).collect());
        if now.is_empty() {
            warn!(
                "no client can connect: there is no port; apply a BrokerListener, or name one by --listen"
            );
        }
        let open: Vec<&PortStatus> = now.iter().filter(|port| port.is_open).collect();
        let news = open
            .iter()
            .filter(|port| !announced.contains(&port.address));
        for port in news {
            // Whoever closed our output does not want to hear.
            let _ = writeln!(io::stdout(), "{}", announcement(port));
            warn_if_open_to_all(port);
        }
        announced = open.iter().map(|port| port.address).collect();
    }
}

/// How it stands with the ports of a gateway, as its life tells it.
pub type Ports = watch::Receiver<Option<Arc<[PortStatus]>>>;

fn status(port: &PortStatus) -> catena_membership::PortStatus {
    catena_membership::PortStatus {
        listener: port.listener.clone(),
        port: port.address.port(),
        is_open: port.is_open,
        problem: port.problem.clone(),
    }
}

/// Where clients are served, and what they are to speak.
fn announcement(port: &PortStatus) -> String {
    let reach = if port.address.ip().is_loopback() {
        "this machine only"
    } else {
        "every machine that reaches it"
    };
    let over = match (port.protocol, port.has_tls) {
        (Protocol::Mqtt, false) => "",
        (Protocol::Mqtt, true) => " over TLS",
        (Protocol::WebSockets, false) => " over WebSockets",
        (Protocol::WebSockets, true) => " over WebSockets over TLS",
    };
    let address = port.address;
    format!("listening on {address} (MQTT 3.1, 3.1.1, 5{over}; {reach})")
}

fn warn_if_open_to_all(port: &PortStatus) {
    if !port.has_authentication && !port.address.ip().is_loopback() {
        let address = port.address;
        warn!(%address, "whoever reaches this port may connect: it asks nobody who he is (authenticationRef)");
    }
}

/// Logs at intervals what was counted, for ever.
pub async fn summarise(gateway: Gateway) {
    let mut before = Counts::default();
    loop {
        tokio::time::sleep(Duration::from_secs(SUMMARY_SECONDS)).await;
        let counts = gateway.counts();
        counts.since(&before).log(SUMMARY_SECONDS);
        before = counts;
    }
}
