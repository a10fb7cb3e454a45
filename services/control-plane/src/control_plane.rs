//! A replica of the control plane: its tasks, their beginning and their end.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use catena_membership::Cluster;
use catena_resources::{BROKER_NAME, Broker, Invalid, Place, Resource, Spec};
use catena_transport::{Directory, GrpcInspect, Inspect};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    access::{Access, AccessError, Guard},
    follow::{Follower, Following},
    keys,
    leader::{Input, Leader},
    passports::Desk,
    registry::Registry,
    resources::Catalogue,
    routes::Routes,
    serve::{self, NoReflection},
    server::{Context, admin::Service as Status, inspect::Shards},
    store::{Election, Error, Leadership, Store, Transaction, Write},
    traffic::Traffic,
};

/// Inputs that wait for the leader's loop.
const INPUTS_MAX: usize = 1_024;
/// How long after an error of the store it is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How long streams may take to end at the end.
const GRACE: Duration = Duration::from_secs(2);
/// How a replica is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name, as it is shown.
    pub cluster: String,
    /// Where gateways, backends and other replicas come. Port 0: the system chooses.
    pub listen: SocketAddr,
    /// Where administrators come.
    pub admin: Access,
    /// `host:port` at which other replicas reach this one; the address that it listens on when it is left out.
    pub advertise: Option<String>,
    /// Written when the store has no Broker: later the store's counts. Its failure time-out is also that of the election's
    /// lease, in whole seconds.
    pub broker: Broker,
    /// What may be applied depends on it.
    pub place: Place,
    /// How it speaks with others of the cluster.
    pub traffic: Traffic,
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the first Broker: {0}")]
    Broker(#[from] Invalid),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0:?} is no address to be reached at")]
    Advertise(String),
    #[error(transparent)]
    Store(#[from] Error),
    #[error("the admin port: {0}")]
    Access(#[from] AccessError),
    #[error(transparent)]
    Reflection(#[from] NoReflection),
}

/// A running replica. Dropped without [`shutdown`](ControlPlane::shutdown), it ends at once and leaves its leases to expire.
pub struct ControlPlane {
    address: SocketAddr,
    is_tls: bool,
    admin: SocketAddr,
    is_admin_tls: bool,
    advertise: String,
    following: Following,
    routes: Routes,
    catalogue: Catalogue,
    status: Status,
    ending: watch::Sender<bool>,
    tasks: JoinSet<()>,
    campaign: JoinSet<()>,
}

impl ControlPlane {
    /// Starts a replica on the present tokio runtime. It serves at once; it leads once the election is won, and knows the
    /// cluster once the store was reached.
    ///
    /// # Errors
    /// [`StartError`] for what is wrong with the options, and a port that cannot be opened.
    pub async fn start(
        store: Arc<dyn Store>,
        options: Options,
    ) -> Result<ControlPlane, StartError> {
        let directory = Directory::default();
        let timeout = options.broker.failure_timeout();
        let security = options.traffic.security.clone();
        let within = catena_transport::Options::within(timeout).secured(security);
        let way = GrpcInspect::new(directory.clone(), within);
        ControlPlane::start_beside(store, options, directory, Arc::new(way)).await
    }

    /// The same, beside shards that are reached in another way than over gRPC: `way` finds addresses, if it needs any, in
    /// `directory`.
    ///
    /// # Errors
    /// As for [`ControlPlane::start`].
    pub async fn start_beside(
        store: Arc<dyn Store>,
        options: Options,
        directory: Directory,
        way: Arc<dyn Inspect>,
    ) -> Result<ControlPlane, StartError> {
        options.broker.validate()?;
        let guard = Guard::new(options.admin.clone())?;
        let (listener, address) = bind(options.listen).await?;
        let (admin_listener, admin) = bind(options.admin.listen).await?;
        let advertise = options.advertise.unwrap_or_else(|| address.to_string());
        let replica = keys::replica(&advertise);
        let replica = replica.map_err(|_| StartError::Advertise(advertise.clone()))?;
        let ttl = options.broker.failure_timeout();
        let election = Election::new(store.clone(), &keys::leader(), advertise.clone(), ttl)?;

        let is_tls = options.traffic.security.is_tls();
        let (ending, ends) = watch::channel(false);
        let (ours, we_lead) = watch::channel(None);
        let (named, who_leads) = watch::channel(None);
        let (follower, following) = Follower::new(store.clone());
        let security = options.traffic.security.clone();
        let routes = Routes::new(we_lead, who_leads, &advertise, security);
        let registry = Registry {
            store: store.clone(),
        };
        let catalogue = Catalogue {
            store: store.clone(),
            place: options.place,
        };
        let context = Context {
            cluster: options.cluster,
            registry,
            catalogue: catalogue.clone(),
            following: following.clone(),
            routes: routes.clone(),
            traffic: options.traffic,
            desk: Desk::default(),
            ending: ends.clone(),
        };
        let status = Status(context.clone());
        let shards = Shards::new(following.clone(), directory, way);
        let mut tasks = JoinSet::new();
        let mut campaign = JoinSet::new();
        tasks.spawn(follower.run());
        tasks.spawn(follow_leaders(election.clone(), named));
        tasks.spawn(be_present(store.clone(), replica, ttl));
        campaign.spawn(
            Candidate {
                store,
                election,
                catalogue: catalogue.clone(),
                broker: options.broker,
                following: following.clone(),
                ours,
                ending: ends.clone(),
            }
            .run(),
        );
        campaign.spawn(serve::members(listener, context.clone(), ends.clone()).await?);
        campaign.spawn(serve::administrators(admin_listener, guard, context, shards, ends).await?);
        Ok(ControlPlane {
            address,
            is_tls,
            admin,
            is_admin_tls: options.admin.tls.is_some(),
            advertise,
            following,
            routes,
            catalogue,
            status,
            ending,
            tasks,
            campaign,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients on this machine may name as the control plane.
    pub fn endpoint(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", from_here(self.address))
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What administrators on this machine may name as the admin API.
    pub fn admin_endpoint(&self) -> String {
        let scheme = if self.is_admin_tls { "https" } else { "http" };
        format!("{scheme}://{}", from_here(self.admin))
    }

    /// Where other replicas reach it.
    pub fn advertise(&self) -> &str {
        &self.advertise
    }

    /// What reads and changes resources, without a way over the network.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The cluster at a glance, as `catena status` shows it. Without a leader less is known.
    pub async fn status(&self) -> Option<catena_proto::admin::v1::Status> {
        self.status.status(false).await.ok()
    }

    /// What gateways and backends are told; version 0 until the store was reached.
    pub fn told(&self) -> watch::Receiver<Arc<Cluster>> {
        self.following.told.clone()
    }

    /// Whether the store was in reach within the last failure time-out.
    pub fn has_store_contact(&self) -> bool {
        *self.following.contact.borrow()
    }

    /// Whether it leads now.
    pub fn is_leader(&self) -> bool {
        self.routes.ours.borrow().is_some()
    }

    /// Waits until it knows the cluster from its store. Cancel-safe.
    pub async fn reached(&self) {
        let mut told = self.following.told.clone();
        // The sender lives in a task that this keeps.
        let _ = told.wait_for(|told| told.version > 0).await;
    }

    /// Ends: steps back from leading, ends all streams, and closes the port.
    pub async fn shutdown(mut self) {
        self.ending.send_replace(true);
        let ended = async { while self.campaign.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            warn!("not everything ended in time");
        }
        self.campaign.shutdown().await;
        self.tasks.shutdown().await;
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("address", &self.address)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listening = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let bound = listener.local_addr().map_err(listening)?;
    Ok((listener, bound))
}

fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Keeps track of who leads.
async fn follow_leaders(election: Election, named: watch::Sender<Option<String>>) {
    loop {
        if let Ok(mut leaders) = election.watch().await {
            while let Ok(leader) = leaders.next().await {
                named.send_replace(leader.map(|leader| leader.candidate));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Keeps this replica among those that are shown.
async fn be_present(store: Arc<dyn Store>, key: crate::store::Key, ttl: Duration) {
    loop {
        if let Ok(lease) = store.grant(ttl).await {
            let write = Write::Put {
                key: key.clone(),
                value: "{}".into(),
                lease: Some(lease),
            };
            let present = Transaction {
                compare: vec![],
                writes: vec![write],
            };
            let mut present = store.commit(present).await.map(|_| ());
            while !matches!(present, Err(Error::LeaseGone)) {
                tokio::time::sleep(ttl / 3).await;
                present = store.keep_alive(lease).await;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Stands for leader, leads, and stands again.
struct Candidate {
    store: Arc<dyn Store>,
    election: Election,
    catalogue: Catalogue,
    broker: Broker,
    following: Following,
    ours: watch::Sender<Option<mpsc::Sender<Input>>>,
    ending: watch::Receiver<bool>,
}

impl Candidate {
    async fn run(self) {
        let mut away = false;
        let mut ending = self.ending.clone();
        loop {
            let won = tokio::select! {
                won = self.election.campaign() => won,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            match won {
                Ok(leadership) => {
                    away = false;
                    if self.lead(leadership).await {
                        return;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!(%error, "cannot stand for leader: trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = ending.wait_for(|ending| *ending) => return,
            }
        }
    }

    /// Leads until the leadership is lost: false, or the replica ends: true.
    async fn lead(&self, mut leadership: Leadership) -> bool {
        info!("this replica leads");
        let (inputs, incoming) = mpsc::channel(INPUTS_MAX);
        let compare = leadership.compare();
        let work = async {
            let first = Spec::Broker(Box::new(self.broker.clone()));
            let first = Resource::new(BROKER_NAME, first);
            while let Err(error) = self.catalogue.found(first.clone()).await {
                warn!(%error, "the first Broker cannot be written: trying again");
                tokio::time::sleep(RETRY).await;
            }
            let views = self.following.view.clone();
            let leader = Leader::new(self.store.clone(), compare, views, incoming, inputs.clone());
            self.ours.send_replace(Some(inputs));
            leader.run().await;
        };
        let mut ending = self.ending.clone();
        let ends = tokio::select! {
            lost = leadership.hold() => {
                warn!(%lost, "this replica does not lead any more");
                false
            }
            () = work => false,
            _ = ending.wait_for(|ending| *ending) => true,
        };
        self.ours.send_replace(None);
        if ends && let Err(error) = leadership.resign().await {
            warn!(%error, "the leadership is left to expire");
        }
        ends
    }
}
