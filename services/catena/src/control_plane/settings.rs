//! Settings: flags, then the environment, then defaults.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use anyhow::{Context, bail};
use catena_control_plane::access::Access;
use catena_control_plane::store::{
    ClusterName, Config,
    config::{self, Credentials, Tls},
};
use catena_resources::{BackendChain, Broker, Place, Seconds};
use catena_runtime::telemetry::Format;
use clap::{Args, ValueEnum};

use crate::{
    admin::AdminPort, diagnostics::DiagnosticsOptions, first::Manifests, internal_tls::InternalTls,
};

/// Threads that serve: the work is little, and one of them may wait for a disk.
const THREADS: usize = 2;
const FILE: &str = "control-plane.redb";

/// Run a replica of a cluster's control plane: it decides which node holds what
///
/// With etcd, any number of replicas share the work: one leads, and another takes over when it
/// dies. Start at least two. With the embedded store there is one, and its file must be kept: it
/// knows which node has the newest data.
///
///   catena control-plane --etcd http://etcd-0:2379,http://etcd-1:2379 --advertise control-plane-0:9701
///   catena control-plane --store embedded --data-dir /var/lib/catena
///
/// Gateways, backends and other replicas reach its port, and show certificates of the cluster
/// there: see `catena ca`. Administrators come to a port of their own, --admin, which knows them.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[group(skip)]
pub struct Arguments {
    /// Where to listen for gateways, backends and other replicas. Port 0: the system chooses
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CATENA_LISTEN",
        default_value = "127.0.0.1:9701"
    )]
    listen: String,

    /// Where the other replicas reach this one [default: the address that it listens on]
    #[arg(long, value_name = "HOST:PORT", env = "CATENA_ADVERTISE")]
    advertise: Option<String>,

    /// The cluster's name; several clusters may share an etcd
    #[arg(
        long,
        value_name = "NAME",
        env = "CATENA_CLUSTER",
        default_value = "catena"
    )]
    cluster: String,

    /// Where decisions are kept: etcd, or embedded, a file of this process alone
    #[arg(
        long,
        value_name = "STORE",
        env = "CATENA_STORE",
        default_value = "etcd"
    )]
    store: Kind,

    /// Addresses of etcd's members
    #[arg(
        long,
        value_name = "URL",
        env = "CATENA_ETCD",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    etcd: Vec<String>,

    #[command(flatten)]
    etcd_security: EtcdSecurity,

    /// Where the embedded store has its file; made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "CATENA_DATA_DIR",
        default_value = "/var/lib/catena"
    )]
    data_dir: PathBuf,

    #[command(flatten)]
    admin: AdminPort,

    /// A directory of manifests that are applied at the start; a Broker among them goes before the options below
    #[arg(long, value_name = "DIR", env = "CATENA_RESOURCES")]
    resources: Option<PathBuf>,

    #[command(flatten)]
    internal_tls: InternalTls,

    /// The directory of secrets; with catena-ca in it, the cluster's own CA, this replica signs certificates for all
    #[arg(long, value_name = "DIR", env = "CATENA_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,

    #[command(flatten)]
    first: First,

    /// What is logged: error, warn, info, debug, trace, or by part, as in info,control-plane=debug [default: what the Broker says]
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

/// TLS and credentials.
#[derive(Debug, Args)]
#[command(next_help_heading = "How etcd knows us, and we it")]
struct EtcdSecurity {
    /// PEM file of who signed etcd's certificates; the addresses then begin with https://
    #[arg(long, value_name = "FILE", env = "CATENA_ETCD_CA")]
    etcd_ca: Option<PathBuf>,

    /// PEM file of our certificate, if etcd asks for one
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_ETCD_CERTIFICATE",
        requires = "etcd_ca"
    )]
    etcd_certificate: Option<PathBuf>,

    /// PEM file of its key
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_ETCD_KEY",
        requires = "etcd_ca"
    )]
    etcd_key: Option<PathBuf>,

    /// The name in etcd's certificates, if it is not that of the addresses
    #[arg(
        long,
        value_name = "NAME",
        env = "CATENA_ETCD_SERVER_NAME",
        requires = "etcd_ca"
    )]
    etcd_server_name: Option<String>,

    /// Our user name
    #[arg(
        long,
        value_name = "NAME",
        env = "CATENA_ETCD_USER",
        requires = "etcd_password_file"
    )]
    etcd_user: Option<String>,

    /// File with its password
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_ETCD_PASSWORD_FILE",
        requires = "etcd_user"
    )]
    etcd_password_file: Option<PathBuf>,
}

/// What a new cluster begins with.
#[derive(Debug, Args)]
#[command(next_help_heading = "What a new cluster begins with; later its Broker counts")]
struct First {
    /// Groups of shards that live on the same nodes; fixed for ever
    #[arg(long, value_name = "N", env = "CATENA_PARTITIONS", default_value_t = 1)]
    partitions: u16,

    /// Shards of each partition; fixed for ever
    #[arg(long, value_name = "N", env = "CATENA_WORKERS", default_value_t = 2)]
    workers: u16,

    /// Replicas of each shard
    #[arg(long, value_name = "N", env = "CATENA_REDUNDANCY", default_value_t = 2)]
    redundancy: u16,

    /// When a silent process counts as lost, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        env = "CATENA_FAILURE_TIMEOUT_MS",
        default_value_t = 3_000
    )]
    failure_timeout_ms: u64,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// etcd, for any number of replicas
    Etcd,
    /// A file, for one replica
    Embedded,
}

/// What a replica runs by.
#[derive(Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub admin: Access,
    pub manifests: Manifests,
    pub advertise: Option<String>,
    pub cluster: String,
    pub store: Config,
    pub broker: Broker,
    pub place: Place,
    pub internal_tls: InternalTls,
    pub secrets_dir: Option<PathBuf>,
    pub threads: usize,
    pub log: Option<String>,
    pub log_format: Format,
    pub diagnostics: DiagnosticsOptions,
}

impl Settings {
    /// Fills in defaults.
    ///
    /// # Errors
    /// A value out of its range, or one that does not go with another.
    pub fn read(arguments: Arguments) -> anyhow::Result<Settings> {
        let name = ClusterName::new(&arguments.cluster)?;
        let listen = resolve(&arguments.listen)?;
        if arguments.advertise.is_none()
            && listen.ip().is_unspecified()
            && arguments.store == Kind::Etcd
        {
            bail!(
                "{listen} is every address of this machine, and no address for others: say where the other replicas \
                 reach this one, as in --advertise control-plane-0:{}",
                listen.port(),
            );
        }
        let store = match arguments.store {
            Kind::Etcd => Config::Etcd(etcd(arguments.etcd, name, arguments.etcd_security)?),
            Kind::Embedded => Config::Embedded(config::Embedded {
                file: arguments.data_dir.join(FILE),
            }),
        };
        let first = arguments.first;
        let mut broker = Broker::default();
        broker.cardinality.backend_chain = BackendChain {
            partitions: first.partitions,
            redundancy_factor: first.redundancy,
            workers: first.workers,
        };
        broker.advanced.failure_timeout_seconds = Seconds::from_millis(first.failure_timeout_ms);
        if !arguments.internal_tls.is_on() {
            broker.advanced.encrypt_internal_traffic = catena_resources::Switch::Disabled;
        }
        broker.validate()?;
        let manifests = Manifests::read(arguments.resources.as_deref())?;
        if let Some(given) = manifests.broker() {
            broker = given.clone();
        }
        Ok(Settings {
            listen,
            admin: arguments.admin.access()?,
            manifests,
            advertise: arguments.advertise,
            cluster: arguments.cluster,
            store,
            broker,
            place: place(),
            internal_tls: arguments.internal_tls,
            secrets_dir: arguments.secrets_dir,
            threads: THREADS,
            log: arguments.log,
            log_format: arguments.log_format,
            diagnostics: arguments.diagnostics,
        })
    }
}

impl Settings {
    /// What this replica is called in its certificate: where others reach it.
    pub fn name(&self) -> String {
        let name = self.advertise.clone();
        name.unwrap_or_else(|| self.listen.to_string())
    }
}

fn etcd(
    endpoints: Vec<String>,
    cluster: ClusterName,
    security: EtcdSecurity,
) -> anyhow::Result<config::Etcd> {
    let mut etcd = config::Etcd::new(endpoints, cluster);
    etcd.tls = security.etcd_ca.map(|ca_file| Tls {
        ca_file,
        certificate_file: security.etcd_certificate,
        key_file: security.etcd_key,
        server_name: security.etcd_server_name,
    });
    etcd.credentials =
        security
            .etcd_user
            .zip(security.etcd_password_file)
            .map(|(user, password_file)| Credentials {
                user,
                password_file,
            });
    etcd.check()?;
    Ok(etcd)
}

/// Kubernetes tells all its processes where they run.
fn place() -> Place {
    match std::env::var_os("KUBERNETES_SERVICE_HOST") {
        Some(_) => Place::Kubernetes,
        None => Place::Elsewhere,
    }
}

fn resolve(listen: &str) -> anyhow::Result<SocketAddr> {
    let mut found = listen
        .to_socket_addrs()
        .with_context(|| format!("{listen:?} is no ADDR:PORT to listen on"))?;
    found
        .next()
        .with_context(|| format!("{listen:?} has no address"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn read(words: &str) -> anyhow::Result<Settings> {
        let words = std::iter::once("x").chain(words.split_whitespace());
        Settings::read(Command::try_parse_from(words)?.arguments)
    }

    // What is wrong is to be known before the port is open, not when the first node registers.
    #[test]
    fn wrong_values_are_named() {
        let said = |words| format!("{:#}", read(words).unwrap_err());
        assert!(said("--workers 17").contains("cardinality.backendChain.workers"));
        assert!(said("--failure-timeout-ms 5").contains("failureTimeoutSeconds"));
        assert!(said("--cluster A").contains("lower-case"));
        assert!(said("--listen 0.0.0.0:9701").contains("--advertise"));
        assert!(said("--etcd-ca ca.pem").contains("https://"));
        assert!(said("--etcd-user me").contains("etcd-password-file"));
    }

    #[test]
    fn a_cluster_needs_nothing_but_its_etcd() {
        let settings = read("--etcd http://a:2379,http://b:2379 --redundancy 3").unwrap();
        let Config::Etcd(etcd) = &settings.store else {
            panic!("etcd is the default");
        };
        assert_eq!(etcd.endpoints.len(), 2);
        let chain = settings.broker.cardinality.backend_chain;
        assert_eq!(
            (chain.partitions, chain.workers, chain.redundancy_factor),
            (1, 2, 3)
        );
        let settings = read("--store embedded --data-dir /tmp/x --listen 0.0.0.0:0").unwrap();
        assert!(matches!(settings.store, Config::Embedded(_)));
    }
}
