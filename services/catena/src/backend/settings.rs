//! Settings: flags, then the environment, then defaults.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs},
    path::PathBuf,
    thread,
};

use anyhow::{Context, bail};
use catena_runtime::telemetry::Format;
use clap::Args;

use crate::{diagnostics::DiagnosticsOptions, internal_tls::Membership};

const THREADS_MAX: u16 = 256;

/// Run a backend of a cluster: it holds replicas of shards
///
/// It registers with the control plane, which decides what it holds, and ends by itself when another process takes its
/// name. Every flag has an environment variable.
///
/// Gateways and other backends reach its ports, and show certificates of the cluster there. It gets its own with a join
/// token, or from files.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// What this node is called; outlives its processes
    #[arg(long, value_name = "NAME", env = "CATENA_NAME")]
    name: String,

    /// Where replicas of the control plane are
    #[arg(
        long,
        value_name = "URL",
        env = "CATENA_CONTROL_PLANE",
        value_delimiter = ',',
        required = true
    )]
    control_plane: Vec<String>,

    /// Where the first thread listens; the others take the ports after it. Port 0: the system chooses each
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CATENA_LISTEN",
        default_value = "127.0.0.1:9720"
    )]
    listen: String,

    /// Where others reach this node [default: the host that it listens on]
    #[arg(long, value_name = "HOST", env = "CATENA_ADVERTISE")]
    advertise: Option<String>,

    /// Nodes of one zone may fail together: replicas of a shard are put into different ones
    #[arg(long, value_name = "ZONE", env = "CATENA_ZONE")]
    zone: Option<String>,

    /// Where secrets are: the key of persistence.encryption.keySecretRef is in DIR/NAME/key
    #[arg(long, value_name = "DIR", env = "CATENA_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,

    /// Where long queues go when memory is short and the Broker has a disk-backed message buffer; its own, and emptied at each
    /// start
    #[arg(
        long,
        value_name = "DIR",
        env = "CATENA_BUFFER_DIR",
        default_value = "/var/lib/catena/buffer"
    )]
    buffer_dir: PathBuf,

    /// Threads that run shards [default: one per core]
    #[arg(long, value_name = "N", env = "CATENA_THREADS")]
    threads: Option<u16>,

    #[command(flatten)]
    membership: Membership,

    /// What is logged: error, warn, info, debug, trace, or by part, as in info,backend=debug [default: what the Broker says]
    #[arg(long, value_name = "FILTER", env = "CATENA_LOG")]
    log: Option<String>,

    /// How it is logged, on standard error: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        env = "CATENA_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: Format,

    #[command(flatten)]
    diagnostics: DiagnosticsOptions,
}

/// What a backend runs by.
#[derive(Debug)]
pub struct Settings {
    pub name: String,
    pub control_plane: Vec<String>,
    pub zone: Option<String>,
    pub secrets_dir: Option<PathBuf>,
    /// One per thread.
    pub listeners: Vec<TcpListener>,
    /// Where others reach each of them.
    pub addresses: Vec<String>,
    pub membership: Membership,
    pub buffer_dir: PathBuf,
    pub log: Option<String>,
    pub log_format: Format,
    pub diagnostics: DiagnosticsOptions,
}

impl Settings {
    /// Fills in defaults, and opens the ports.
    ///
    /// # Errors
    /// A value out of its range, a port that cannot be opened.
    pub fn read(arguments: Arguments) -> anyhow::Result<Settings> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = arguments
            .threads
            .unwrap_or(cores.min(usize::from(THREADS_MAX)) as u16);
        if !(1..=THREADS_MAX).contains(&threads) {
            bail!("threads is {threads}: it must be from 1 to {THREADS_MAX}");
        }
        let first = resolve(&arguments.listen)?;
        let host = match arguments.advertise {
            Some(host) => host,
            None if first.ip().is_unspecified() => bail!(
                "{} is every address of this machine, and no address for others: say where they reach it, as in \
                 --advertise {}",
                arguments.listen,
                arguments.name,
            ),
            None => first.ip().to_string(),
        };
        let listeners = (0..threads)
            .map(|thread| bind(first, thread))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let address = |listener: &TcpListener| {
            let port = listener.local_addr()?.port();
            anyhow::Ok(reached_at(&host, port))
        };
        Ok(Settings {
            name: arguments.name,
            control_plane: arguments.control_plane,
            zone: arguments.zone,
            secrets_dir: arguments.secrets_dir,
            addresses: listeners.iter().map(address).collect::<Result<_, _>>()?,
            listeners,
            membership: arguments.membership,
            buffer_dir: arguments.buffer_dir,
            log: arguments.log,
            log_format: arguments.log_format,
            diagnostics: arguments.diagnostics,
        })
    }
}

fn resolve(listen: &str) -> anyhow::Result<SocketAddr> {
    let mut found = listen
        .to_socket_addrs()
        .with_context(|| format!("{listen:?} is no HOST:PORT to listen on"))?;
    found
        .next()
        .with_context(|| format!("{listen:?} has no address"))
}

fn bind(first: SocketAddr, thread: u16) -> anyhow::Result<TcpListener> {
    let mut address = first;
    if first.port() != 0 {
        let port = first.port().checked_add(thread);
        address.set_port(port.context("there are not as many ports as threads")?);
    }
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn reached_at(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn read(line: &str) -> anyhow::Result<Settings> {
        let given = "backend --name n --control-plane http://a:1,http://b:2";
        let words = format!("{given} {line}");
        Settings::read(Line::try_parse_from(words.split_whitespace())?.arguments)
    }

    // An address that nobody can reach would take the node's replicas out of use.
    #[test]
    fn each_thread_has_an_address_that_others_reach() {
        let settings = read("--listen 127.0.0.1:0 --threads 2").unwrap();
        assert_eq!(
            (settings.listeners.len(), settings.control_plane.len()),
            (2, 2)
        );
        for (listener, address) in settings.listeners.iter().zip(&settings.addresses) {
            assert_eq!(&listener.local_addr().unwrap().to_string(), address);
        }
        let settings = read("--listen 0.0.0.0:0 --threads 1 --advertise node-1").unwrap();
        assert!(settings.addresses[0].starts_with("node-1:"));
        assert_eq!(reached_at("::1", 7), "[::1]:7");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let said = |line| format!("{:#}", read(line).unwrap_err());
        assert!(said("--listen 0.0.0.0:0").contains("--advertise n"));
        assert!(said("--threads 0").contains("from 1 to 256"));
        assert!(said("--listen nonsense").contains("HOST:PORT"));
        assert!(said("--listen 127.0.0.1:65535 --threads 2").contains("ports"));
    }
}
