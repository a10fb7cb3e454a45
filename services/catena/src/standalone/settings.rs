//! Settings: flags, then the environment, then the file, then defaults.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
};

use anyhow::bail;
use catena_authentication::Kubernetes;
use catena_control_plane::access::Access;
use catena_resources::MemoryProfile;
use catena_runtime::{config, telemetry::Format};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::{
    directory,
    given::{Clients, Given},
};
use crate::{
    admin::AdminPort,
    buffer,
    diagnostics::{Address, DiagnosticsOptions},
    first::Manifests,
    kubernetes::KubernetesApi,
};

/// The most shards of one partition, and one process serves one.
const SHARDS_MAX: usize = 16;
const WORKERS_MAX: u16 = 256;

/// The keys of the file, with the tables around them.
const KEYS: &[&str] = &[
    "listen",
    "shards",
    "workers",
    "data_dir",
    "in_memory",
    "buffer_dir",
    "secrets_dir",
    "kubernetes_api",
    "kubernetes_token_file",
    "kubernetes_ca",
    "admin",
    "admin_tls_cert",
    "admin_tls_key",
    "admin_client_ca",
    "admin_tokens",
    "resources",
    "log",
    "log_format",
    "memory_profile",
    "metrics_address",
    "clients.max_session_expiry_seconds",
    "clients.max_message_expiry_seconds",
    "clients.max_packet_size_bytes",
    "clients.max_receive_maximum",
    "clients.max_keep_alive_seconds",
    "clients.subscriber_queue_limit.length",
    "clients.subscriber_queue_limit.strategy",
];

/// Run a broker in one process
///
/// Everything has a default: `catena` alone listens on 127.0.0.1:1883, for programs on this machine.
/// A flag overrides its environment variable, which overrides the key of the same name in the file of
/// --config.
///
/// The file is TOML. Its keys are the flags, with underscores, and a table for what clients may do:
///
///   listen = ["127.0.0.1:1883"]
///   memory_profile = "medium"
///   [clients]
///   max_session_expiry_seconds = 3600
///   max_packet_size_bytes = 1048576
///   [clients.subscriber_queue_limit]
///   length = 10000
///   strategy = "DropOldest"
#[derive(Debug, Default, Args)]
#[command(verbatim_doc_comment)]
#[group(skip)]
pub struct Arguments {
    /// A port of this process, besides those of BrokerListener resources; may be given several times
    ///
    /// It is MQTT without TLS, authentication and authorization: 0.0.0.0:1883 lets everybody in who reaches this
    /// machine. Port 0 lets the system choose. Without this and without any BrokerListener, one for 127.0.0.1:1883 is made.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CATENA_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,

    /// Into how many parts sessions, topics and queues are split, from 1 to 16; fixed for the life of a data directory
    /// [default: one per core]
    #[arg(long, value_name = "N", env = "CATENA_SHARDS")]
    shards: Option<usize>,

    /// Threads that serve clients and run shards [default: one per core]
    #[arg(long, value_name = "N", env = "CATENA_WORKERS")]
    workers: Option<u16>,

    /// Where sessions, messages and resources are kept; made if it is not there
    /// [default: /var/lib/catena for root, else ~/.local/share/catena]
    #[arg(long, value_name = "DIR", env = "CATENA_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Keep everything in memory, whatever --data-dir says: it is gone when the broker stops
    #[arg(long, env = "CATENA_IN_MEMORY")]
    in_memory: bool,

    /// Where long queues go when memory is short and the Broker has a disk-backed message buffer; its own, and emptied at each
    /// start [default: buffer in the data directory, else a temporary directory]
    #[arg(long, value_name = "DIR", env = "CATENA_BUFFER_DIR")]
    buffer_dir: Option<PathBuf>,

    /// A directory of manifests that are applied at the start; see `catena explain`
    #[arg(long, value_name = "DIR", env = "CATENA_RESOURCES")]
    resources: Option<PathBuf>,

    /// Where secrets are: the certificate of a port is in DIR/NAME/tls.crt and DIR/NAME/tls.key
    #[arg(long, value_name = "DIR", env = "CATENA_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,

    /// How much memory the broker may use for messages, and its largest packet [default: medium]
    #[arg(
        long,
        value_name = "PROFILE",
        env = "CATENA_MEMORY_PROFILE",
        ignore_case = true
    )]
    memory_profile: Option<Profile>,

    /// What is logged: error, warn, info, debug, trace, or by part, as in info,gateway=debug
    /// [default: what the Broker says]
    #[arg(long, value_name = "FILTER", env = "CATENA_LOG")]
    log: Option<String>,

    /// How it is logged, on standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT", env = "CATENA_LOG_FORMAT")]
    log_format: Option<Format>,

    /// A TOML file with the same settings, and more
    #[arg(long, value_name = "FILE", env = "CATENA_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    kubernetes: KubernetesApi,

    #[command(flatten)]
    admin: AdminPort,

    #[command(flatten)]
    diagnostics: DiagnosticsOptions,
}

/// How much memory messages may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Profile {
    /// 16 MiB of messages per shard, packets up to 4 MiB
    #[serde(alias = "tiny")]
    Tiny,
    /// 64 MiB of messages per shard, packets up to 16 MiB
    #[serde(alias = "low")]
    Low,
    /// 576 MiB of messages per shard, packets up to 64 MiB
    #[serde(alias = "medium")]
    Medium,
    /// 2 GiB of messages per shard, packets up to 256 MiB
    #[serde(alias = "high")]
    High,
}

impl Profile {
    /// As the Broker says it.
    pub fn resource(self) -> MemoryProfile {
        match self {
            Profile::Tiny => MemoryProfile::Tiny,
            Profile::Low => MemoryProfile::Low,
            Profile::Medium => MemoryProfile::Medium,
            Profile::High => MemoryProfile::High,
        }
    }
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Vec<SocketAddr>,
    shards: Option<usize>,
    workers: Option<u16>,
    data_dir: Option<PathBuf>,
    in_memory: bool,
    buffer_dir: Option<PathBuf>,
    resources: Option<PathBuf>,
    secrets_dir: Option<PathBuf>,
    kubernetes_api: Option<String>,
    kubernetes_token_file: Option<PathBuf>,
    kubernetes_ca: Option<PathBuf>,
    admin: Option<SocketAddr>,
    admin_tls_cert: Option<PathBuf>,
    admin_tls_key: Option<PathBuf>,
    admin_client_ca: Option<PathBuf>,
    admin_tokens: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<Format>,
    memory_profile: Option<Profile>,
    metrics_address: Option<Address>,
    clients: Clients,
}

/// What the broker runs with.
#[derive(Debug)]
pub struct Settings {
    /// Empty: the ports of resources alone, and of the first of them if there is none.
    pub listen: Vec<SocketAddr>,
    /// `None`: as many as there were, or else the default.
    pub shards: Option<usize>,
    pub shards_default: usize,
    pub workers: u16,
    /// `None`: everything is in memory.
    pub data_dir: Option<PathBuf>,
    pub buffer_dir: PathBuf,
    pub manifests: Manifests,
    pub admin: Access,
    pub secrets_dir: Option<PathBuf>,
    pub kubernetes: Option<Kubernetes>,
    pub is_admin_given: bool,
    pub log: Option<String>,
    pub log_format: Format,
    pub diagnostics: DiagnosticsOptions,
    pub given: Given,
}

impl Settings {
    /// Reads the file, if one is named, and fills in defaults.
    ///
    /// # Errors
    /// A file that cannot be read, a key that means nothing, a value out of its range.
    pub fn read(arguments: Arguments) -> anyhow::Result<Settings> {
        let file = match &arguments.config {
            Some(path) => read_file(path)?,
            None => File::default(),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shards = arguments.shards.or(file.shards);
        check("shards", shards.unwrap_or(1), 1, SHARDS_MAX)?;
        let admin = arguments.admin.or(AdminPort {
            admin: file.admin,
            admin_tls_cert: file.admin_tls_cert,
            admin_tls_key: file.admin_tls_key,
            admin_client_ca: file.admin_client_ca,
            admin_tokens: file.admin_tokens,
        });
        let kubernetes = arguments.kubernetes.or(KubernetesApi {
            kubernetes_api: file.kubernetes_api,
            kubernetes_token_file: file.kubernetes_token_file,
            kubernetes_ca: file.kubernetes_ca,
        });
        let resources = arguments.resources.or(file.resources);
        let workers = arguments.workers.or(file.workers);
        let workers = workers.unwrap_or(cores.min(usize::from(WORKERS_MAX)) as u16);
        check("workers", workers, 1, WORKERS_MAX)?;
        let listen = if arguments.listen.is_empty() {
            file.listen
        } else {
            arguments.listen
        };
        let profile = arguments.memory_profile.or(file.memory_profile);
        let given = Given {
            memory_profile: profile.map(Profile::resource),
            clients: file.clients,
        };
        given.check()?;
        let in_memory = arguments.in_memory || file.in_memory;
        let data_dir = directory::choose(arguments.data_dir.or(file.data_dir), in_memory)?;
        let buffer_dir = arguments.buffer_dir.or(file.buffer_dir);
        Ok(Settings {
            listen,
            shards,
            shards_default: cores.min(SHARDS_MAX),
            workers,
            buffer_dir: buffer_dir.unwrap_or_else(|| buffer::beside(data_dir.as_deref())),
            data_dir,
            secrets_dir: arguments.secrets_dir.or(file.secrets_dir),
            kubernetes: kubernetes.find()?,
            manifests: Manifests::read(resources.as_deref())?,
            is_admin_given: admin.admin.is_some(),
            admin: admin.access()?,
            log: arguments.log.or(file.log),
            log_format: arguments.log_format.or(file.log_format).unwrap_or_default(),
            diagnostics: arguments.diagnostics.or(DiagnosticsOptions {
                metrics_address: file.metrics_address,
            }),
            given,
        })
    }
}

impl Settings {
    /// Where the CA of our own is, or is to be made.
    pub fn ca_directory(&self) -> Option<PathBuf> {
        self.secrets_dir.clone().or_else(|| self.data_dir.clone())
    }
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    Ok(config::read(path, KEYS)?)
}

fn check<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> anyhow::Result<()> {
    if value < min || value > max {
        bail!("{name} is {value}: it must be from {min} to {max}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use catena_resources::{Broker, QueueStrategy};

    use super::*;

    fn read(text: &str) -> anyhow::Result<Settings> {
        let path =
            std::env::temp_dir().join(format!("catena-{}-{:p}.toml", std::process::id(), text));
        std::fs::write(&path, text).unwrap();
        let settings = Settings::read(Arguments {
            config: Some(path.clone()),
            ..Arguments::default()
        });
        std::fs::remove_file(path).unwrap();
        settings
    }

    // A key that is listed but not read would be accepted and ignored.
    #[test]
    fn every_key_is_read() {
        let settings = read(
            "listen = ['127.0.0.1:1', '[::1]:2']\nshards = 3\nworkers = 4\ndata_dir = '/tmp/x'\n\
             secrets_dir = '/tmp/y'\nkubernetes_api = 'https://k'\nkubernetes_token_file = '/tmp/t'\nkubernetes_ca = '/tmp/c'\nadmin = '127.0.0.1:3'\nlog = 'debug'\n\
             log_format = 'json'\nmemory_profile = 'tiny'\nmetrics_address = '9601'\n[clients]\nmax_session_expiry_seconds = 5\n\
             max_message_expiry_seconds = 6\nmax_packet_size_bytes = 7\nmax_receive_maximum = 8\n\
             max_keep_alive_seconds = 9\n[clients.subscriber_queue_limit]\nlength = 10\nstrategy = 'DropOldest'\n",
        )
        .unwrap();
        assert_eq!(
            (settings.listen.len(), settings.shards, settings.workers),
            (2, Some(3), 4)
        );
        assert_eq!(
            (settings.admin.listen.port(), settings.is_admin_given),
            (3, true)
        );
        assert_eq!(settings.log.as_deref(), Some("debug"));
        assert_eq!(
            (settings.log_format, settings.data_dir),
            (Format::Json, Some("/tmp/x".into()))
        );
        assert_eq!(settings.secrets_dir, Some("/tmp/y".into()));
        let address = settings.diagnostics.metrics_address;
        assert_eq!(address, Some("9601".parse().unwrap()));
        let kubernetes = settings.kubernetes.unwrap();
        assert_eq!(kubernetes.endpoint, "https://k");
        assert_eq!(
            (kubernetes.token, kubernetes.authorities),
            ("/tmp/t".into(), "/tmp/c".into())
        );
        let mut broker = Broker::default();
        settings.given.put_into(&mut broker);
        assert_eq!(broker.memory_profile, MemoryProfile::Tiny);
        let clients = &broker.advanced.clients;
        assert_eq!(
            (
                clients.max_session_expiry_seconds,
                clients.max_message_expiry_seconds
            ),
            (5, Some(6))
        );
        assert_eq!(
            (clients.max_packet_size_bytes, clients.max_receive_maximum),
            (Some(7), 8)
        );
        assert_eq!(clients.max_keep_alive_seconds, 9);
        let queue = &clients.subscriber_queue_limit;
        assert_eq!(
            (queue.length, queue.strategy),
            (Some(10), QueueStrategy::DropOldest)
        );
    }

    #[test]
    fn a_broker_in_memory_has_no_directory() {
        assert_eq!(read("in_memory = true").unwrap().data_dir, None);
        assert!(read("").unwrap().data_dir.is_some());
    }

    #[test]
    fn keys_that_mean_nothing_and_values_out_of_range_are_refused() {
        let said = |text| format!("{:#}", read(text).unwrap_err());
        assert!(said("lisen = []").contains("`lisen`: did you mean `listen`?"));
        assert!(said("shards = 0").contains("shards is 0: it must be from 1 to 16"));
        assert!(
            said("[clients]\nmax_packet_size_bytes = 300000000").contains("maxPacketSizeBytes")
        );
        assert!(said("workers = 'two'").contains("line 1"));
    }
}
