//! Settings: flags, then the environment, then defaults.

use std::{net::SocketAddr, thread};

use anyhow::bail;
use catena_runtime::telemetry::Format;
use clap::Args;

const WORKERS_MAX: u16 = 256;

/// Run a gateway of a cluster: clients connect to it
///
/// It registers with the control plane, which tells it where sessions and topics live, and listens once it knows that.
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

    /// Where to listen for MQTT; may be given several times
    ///
    /// Port 0 lets the system choose. 0.0.0.0:1883 lets everybody in who reaches this machine: there is no
    /// authentication yet.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CATENA_LISTEN",
        value_delimiter = ',',
        default_value = "127.0.0.1:1883"
    )]
    listen: Vec<SocketAddr>,

    /// Threads that serve clients [default: one per core]
    #[arg(long, value_name = "N", env = "CATENA_WORKERS")]
    workers: Option<u16>,

    /// What is logged: error, warn, info, debug, trace, or by part, as in info,catena_gateway=debug
    #[arg(
        long,
        value_name = "FILTER",
        env = "CATENA_LOG",
        default_value = "info"
    )]
    log: String,

    /// How it is logged, on standard error: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        env = "CATENA_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: Format,
}

/// What a gateway runs by.
#[derive(Debug)]
pub struct Settings {
    pub name: String,
    pub control_plane: Vec<String>,
    pub listen: Vec<SocketAddr>,
    pub workers: u16,
    pub log: String,
    pub log_format: Format,
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
            workers,
            log: arguments.log,
            log_format: arguments.log_format,
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
    fn a_gateway_listens_for_this_machine_unless_it_is_told_where() {
        let settings = read("").unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:1883".parse().unwrap()]);
        assert_eq!(settings.control_plane.len(), 2);
        let settings = read("--listen 127.0.0.1:1,[::1]:2 --workers 3").unwrap();
        assert_eq!((settings.listen.len(), settings.workers), (2, 3));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let said = |line| format!("{:#}", read(line).unwrap_err());
        assert!(said("--workers 0").contains("from 1 to 256"));
        assert!(said("--listen nonsense").contains("--listen"));
    }
}
