//! What serves clients, whether shards are in the same process or not: ports, sockets, what is counted.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use catena_gateway::{
    Gateway,
    counters::Counts,
    limits::{CONNECTIONS_MAX, FILES_KEPT_BACK, SUMMARY_SECONDS},
    listener::{BindError, Port},
};
use catena_runtime::open_files;
use tracing::warn;

/// Takes the ports for us. Nobody can connect to them yet.
///
/// # Errors
/// The first that cannot be had, and what can be done about it.
pub fn take(addresses: &[SocketAddr]) -> anyhow::Result<Vec<Port>> {
    let take = |address: &SocketAddr| Port::take(*address).map_err(explain);
    addresses.iter().map(take).collect()
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

/// Says where clients are served.
///
/// # Errors
/// When standard output is gone.
pub fn announce(out: &mut impl Write, addresses: &[SocketAddr]) -> io::Result<()> {
    for address in addresses {
        let reach = if address.ip().is_loopback() {
            "this machine only"
        } else {
            "every machine that reaches it"
        };
        writeln!(out, "listening on {address} (MQTT 3.1, 3.1.1, 5; {reach})")?;
    }
    Ok(())
}

/// Warns of ports that let everybody in.
pub fn warn_of_open_ones(addresses: &[SocketAddr]) {
    for address in addresses
        .iter()
        .filter(|address| !address.ip().is_loopback())
    {
        warn!(%address, "whoever reaches this port may connect: there is no authentication yet");
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
