//! Settings: flags, then the environment, then defaults.

use std::{net::SocketAddr, path::PathBuf, thread};

use anyhow::bail;
use catena_authentication::Kubernetes;
use catena_runtime::telemetry::Format;
use clap::Args;

use crate::{diagnostics::DiagnosticsOptions, internal_tls::Membership, kubernetes::KubernetesApi};

const WORKERS_MAX: u16 = 256;

/// Run a gateway of a cluster: clients connect to it
///
/// It registers with the control plane, which tells it where sessions and topics live, and which ports BrokerListeners ask
/// for; it opens them once it knows that.
/// It keeps nothing that it could not lose: run as many as clients need. Every flag has an environment variable.
///
/// What clients may ask for is the Broker's to say, for all gateways alike.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// What this gateway is called; outlives its processes
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

    /// A port of this gateway alone, besides those of BrokerListener resources; may be given several times
    ///
    /// It is MQTT without TLS, authentication and authorization, for trying things out: 0.0.0.0:1883 lets everybody in who
    /// reaches this machine. Port 0 lets the system choose.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CATENA_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,

    /// Where secrets are: the certificate of a port is in DIR/NAME/tls.crt and DIR/NAME/tls.key
    #[arg(long, value_name = "DIR", env = "CATENA_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,

    /// Threads that serve clients [default: one per core]
    #[arg(long, value_name = "N", env = "CATENA_WORKERS")]
    workers: Option<u16>,

    #[command(flatten)]
    membership: Membership,

    /// What is logged: error, warn, info, debug, trace, or by part, as in info,gateway=debug [default: what the Broker says]
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
    kubernetes: KubernetesApi,

    #[command(flatten)]
    diagnostics: DiagnosticsOptions,
}

/// What a gateway runs by.
#[derive(Debug)]
pub struct Settings {
    pub name: String,
    pub control_plane: Vec<String>,
    pub listen: Vec<SocketAddr>,
    pub secrets_dir: Option<PathBuf>,
    pub kubernetes: Option<Kubernetes>,
    pub workers: u16,
    pub membership: Membership,
    pub log: Option<String>,
    pub log_format: Format,
    pub diagnostics: DiagnosticsOptions,
}

impl Settings {
    /// Fills in defaults.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn read(arguments: Arguments) -> anyhow::Result<Settings> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = arguments
            .workers
            .unwrap_or(cores.min(usize::from(WORKERS_MAX)) as u16);
        if !(1..=WORKERS_MAX).contains(&workers) {
            bail!("workers is {workers}: it must be from 1 to {WORKERS_MAX}");
        }
        Ok(Settings {
            name: arguments.name,
            control_plane: arguments.control_plane,
            listen: arguments.listen,
            secrets_dir: arguments.secrets_dir,
            kubernetes: arguments.kubernetes.find()?,
            workers,
            membership: arguments.membership,
            log: arguments.log,
            log_format: arguments.log_format,
            diagnostics: arguments.diagnostics,
        })
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
        let given = "gateway --name n --control-plane http://a:1,http://b:2";
        let words = format!("{given} {line}");
        Settings::read(Line::try_parse_from(words.split_whitespace())?.arguments)
    }

    #[test]
    fn a_gateway_has_no_port_but_those_of_resources_unless_it_is_told() {
        let settings = read("").unwrap();
        assert!(settings.listen.is_empty() && settings.secrets_dir.is_none());
        assert_eq!(settings.control_plane.len(), 2);
        let settings = read("--listen 127.0.0.1:1,[::1]:2 --workers 3 --secrets-dir s").unwrap();
        assert_eq!((settings.listen.len(), settings.workers), (2, 3));
        assert_eq!(settings.secrets_dir, Some("s".into()));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let said = |line| format!("{:#}", read(line).unwrap_err());
        assert!(said("--workers 0").contains("from 1 to 256"));
        assert!(said("--listen nonsense").contains("--listen"));
    }
}
