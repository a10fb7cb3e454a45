//! `--internal-tls` and what goes with it: how a process speaks to the others of its cluster.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use catena_control_plane::Traffic;
use catena_membership::{ControlPlane, Member, member};
use catena_pki::{
    Authority, Automatic, Identity, Internal, Keeping, OwnSigner, Role, Security, Served, Terms,
    Trust, member_files,
};
use catena_resources::Broker;
use catena_runtime::shutdown::Signals;
use clap::{Args, ValueEnum};
use tokio::sync::watch;
use tracing::{info, warn};

/// How services of a cluster speak with each other.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traffic between services (docs/internal-traffic.md)")]
pub struct InternalTls {
    /// Whether it is encrypted, with certificates on both sides; all processes of a cluster alike
    #[arg(
        long,
        value_name = "ON|OFF",
        env = "CATENA_INTERNAL_TLS",
        default_value = "on"
    )]
    internal_tls: Switch,

    /// PEM file of this process's certificate, with catena://CLUSTER/ROLE/NAME among its names; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_TLS_CERT",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// PEM file of its key
    #[arg(long, value_name = "FILE", env = "CATENA_TLS_KEY", requires = "tls_ca")]
    tls_key: Option<PathBuf>,

    /// PEM file of the CAs that the others' certificates come from
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_TLS_CA",
        requires = "tls_cert"
    )]
    tls_ca: Option<PathBuf>,
}

/// How a process gets its first certificate from the control plane.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traffic between services (docs/internal-traffic.md)")]
pub struct Join {
    /// What `catena ca token` prints: gets this process its first certificate
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CATENA_JOIN_TOKEN",
        hide_env_values = true,
        conflicts_with_all = ["join_token_file", "tls_cert"]
    )]
    join_token: Option<String>,

    /// A file with that
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_JOIN_TOKEN_FILE",
        conflicts_with = "tls_cert"
    )]
    join_token_file: Option<PathBuf>,

    /// Where the certificate and its key are kept, and by a backend what it holds, if the Broker asks for persistence; made
    /// if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "CATENA_DATA_DIR",
        default_value = "/var/lib/catena"
    )]
    data_dir: PathBuf,
}

/// What a gateway or a backend needs to be one of the cluster.
#[derive(Debug, Clone, Args)]
pub struct Membership {
    #[command(flatten)]
    tls: InternalTls,

    #[command(flatten)]
    join: Join,
}

/// Who a process is to the others, and its way to the control plane.
pub struct Entered {
    pub security: Security,
    pub control_plane: ControlPlane,
    /// Its certificate is renewed as long as this is there.
    pub keeping: Option<Keeping>,
}

impl Membership {
    /// What a process keeps is there.
    pub fn data_dir(&self) -> &Path {
        &self.join.data_dir
    }

    /// Gives a process its identity, however long it waits for the control plane when it has to join; `None` when it is told to
    /// stop before.
    ///
    /// # Errors
    /// What to do when there is no certificate; an address that is none.
    pub async fn enter(
        &self,
        role: Role,
        name: &str,
        control_plane: &[String],
        signals: &mut Signals,
    ) -> anyhow::Result<Option<Entered>> {
        let (security, keeping) = tokio::select! {
            identified = self.tls.member(role, name, control_plane, &self.join) => identified?,
            signal = signals.next() => {
                info!(signal, "stopped before it had a certificate");
                return Ok(None);
            }
        };
        Ok(Some(Entered {
            control_plane: ControlPlane::secured(control_plane.to_vec(), security.clone())?,
            security,
            keeping,
        }))
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl InternalTls {
    /// Whether traffic is encrypted.
    pub fn is_on(&self) -> bool {
        self.internal_tls == Switch::On
    }

    fn files(&self, role: Role) -> anyhow::Result<Option<(Internal, Keeping)>> {
        let (Some(cert), Some(key), Some(ca)) = (&self.tls_cert, &self.tls_key, &self.tls_ca)
        else {
            return Ok(None);
        };
        let made = member_files(cert.clone(), key.clone(), ca.clone());
        let (internal, keeping) = made.map_err(anyhow::Error::msg)?;
        if internal.me().role != role {
            bail!(
                "{} is for {}: this is a {role}",
                cert.display(),
                internal.me()
            );
        }
        info!(me = %internal.me(), "speaks TLS with the other services");
        Ok(Some((internal, keeping)))
    }

    /// For a gateway or a backend. Waits for the control plane when the process has to join.
    ///
    /// # Errors
    /// What to do when there is no certificate.
    async fn member(
        &self,
        role: Role,
        name: &str,
        control_plane: &[String],
        join: &Join,
    ) -> anyhow::Result<(Security, Option<Keeping>)> {
        if !self.is_on() {
            warn_of_plain_text();
            return Ok((Security::Plain, None));
        }
        if let Some((internal, keeping)) = self.files(role)? {
            if internal.me().name != name {
                bail!(
                    "--name is {name}, and the certificate is for {}: they must be the same",
                    internal.me().name
                );
            }
            return Ok((Security::Mutual(internal), Some(keeping)));
        }
        let token = match (&join.join_token, &join.join_token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => {
                // Once it has joined, a process needs it no more.
                std::fs::read_to_string(file)
                    .map_err(
                        |error| warn!(file = %file.display(), %error, "there is no join token"),
                    )
                    .ok()
            }
            (None, None) => None,
        };
        let wants = Member {
            role,
            name: name.to_owned(),
            control_plane: control_plane.to_vec(),
            data_dir: join.data_dir.clone(),
            token,
        };
        let (internal, keeping) = member(wants).await?;
        info!(me = %internal.me(), "speaks TLS with the other services");
        Ok((Security::Mutual(internal), Some(keeping)))
    }

    /// For a replica of the control plane that is called `name`: from files, or with the CA in `secrets`. `broker` is what
    /// certificates go by until the store was read.
    ///
    /// # Errors
    /// What to do when there is neither.
    pub async fn control_plane(
        &self,
        cluster: &str,
        name: &str,
        secrets: Option<&PathBuf>,
        broker: &Broker,
    ) -> anyhow::Result<Own> {
        if !self.is_on() {
            warn_of_plain_text();
            return Ok(Own {
                traffic: Traffic::plain(),
                _keeping: None,
                renewing: None,
            });
        }
        let authority = match secrets {
            Some(secrets) => match Authority::open(secrets) {
                Ok(authority) => Some(Arc::new(authority)),
                Err(error) if self.tls_cert.is_none() => return Err(error.into()),
                Err(_) => None,
            },
            None => None,
        };
        let traffic = |internal: &Internal, authority| Traffic {
            security: Security::Mutual(internal.clone()),
            authority,
            in_process: false,
        };
        if let Some((internal, keeping)) = self.files(Role::ControlPlane)? {
            return Ok(Own {
                traffic: traffic(&internal, authority),
                _keeping: Some(keeping),
                renewing: None,
            });
        }
        let authority = authority.context(
            "internal traffic is encrypted, and this process has no certificate: make a CA with `catena ca create \
             --secrets-dir DIR` and name that directory with --secrets-dir, or give certificates with --tls-cert, \
             --tls-key and --tls-ca, or speak plain text with --internal-tls off",
        )?;
        // Addresses have brackets and colons, which are welcome in a name.
        let me = Identity::new(cluster, Role::ControlPlane, name)?;
        let trust = Trust::new(&authority.ca().trust_pem())?;
        let served = Served::new();
        let terms = Terms::of_members(broker);
        let (lasts, duration) = watch::channel(terms.duration);
        let signer = OwnSigner::new(authority.clone(), me.subject(), duration).showing_ca();
        let automatic = Arc::new(Automatic::showing(
            served.clone(),
            "internal traffic",
            None,
            terms.wishes,
            signer,
            |_, _| {},
        ));
        automatic.ready().await;
        let internal = Internal::new(me, served, trust.clone())?;
        info!(me = %internal.me(), "speaks TLS with the other services");
        let (renewed, source) = (automatic.clone(), authority.clone());
        let following = tokio::spawn(async move {
            let mut changed = source.changed();
            while changed.changed().await.is_ok() {
                if let Err(problem) = trust.set(&source.ca().trust_pem()) {
                    warn!(%problem, "the CA cannot be trusted");
                }
                renewed.renew();
            }
        });
        Ok(Own {
            traffic: traffic(&internal, Some(authority)),
            _keeping: Some(Keeping::automatic(automatic.clone(), [following])),
            renewing: Some((automatic, lasts)),
        })
    }
}

fn warn_of_plain_text() {
    warn!(
        "internal traffic is plain text, and anybody who reaches the ports of this cluster's services may do anything: \
         --internal-tls on encrypts it"
    );
}

/// What a replica of the control plane has.
pub struct Own {
    pub traffic: Traffic,
    _keeping: Option<Keeping>,
    renewing: Option<(Arc<Automatic>, watch::Sender<std::time::Duration>)>,
}

impl Own {
    /// Lets its own certificate go by the Broker, for as long as this is polled.
    pub async fn follow(
        &self,
        mut told: watch::Receiver<Arc<catena_membership::Cluster>>,
    ) -> std::convert::Infallible {
        if let Some((automatic, lasts)) = &self.renewing {
            while told.changed().await.is_ok() {
                let terms = Terms::of_members(&told.borrow_and_update().broker);
                lasts.send_replace(terms.duration);
                automatic.wish(terms.wishes);
            }
        }
        std::future::pending().await
    }
}
