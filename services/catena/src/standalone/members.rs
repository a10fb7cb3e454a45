//! The members of a cluster of one process: a control plane, a backend and a gateway, which register as any other would.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use catena_backend::{Backend, Options, Pulse, Shards, Spill, Storage, ToKeep};
use catena_chain::Incarnation;
use catena_control_plane::{self as server, Catalogue, store::Embedded};
use catena_membership::{
    Cluster, ControlPlane, GatewayIncarnation, GatewayRegistration, GatewayVoice, NodeRegistration,
    process_token,
};
use catena_resources::{Broker, Place};
use catena_secrets::Secrets;
use catena_telemetry::traces::sampler::Tracing;
use catena_transport::{Directory, Local};
use tokio::sync::watch;
use tracing::{info, warn};

use super::settings::Settings;
use crate::{
    buffer,
    storage::{self, Followed},
};

/// The names of the one backend and of the one gateway, and of their cluster.
const NAME: &str = "standalone";
/// What the control plane keeps, in the data directory.
const FILE: &str = "control-plane.redb";

/// All that a standalone broker is besides its gateway's workers.
pub struct Members {
    pub control_plane: server::ControlPlane,
    /// Watches for as long as it is held.
    _client: ControlPlane,
    pub cluster: watch::Receiver<Arc<Cluster>>,
    pub shards: Vec<Shards>,
    pub local: Local<Backend>,
    pub gateway: GatewayIncarnation,
    pub voice: GatewayVoice,
    pub node: Incarnation,
    pub pulse: Pulse,
    pub to_keep: watch::Receiver<ToKeep>,
    pub spill: Spill,
}

impl Members {
    /// Starts the control plane, and registers. Must be called inside the runtime that then lives on.
    ///
    /// # Errors
    /// A data directory that cannot be used or is of another number of shards, a port that is taken.
    pub async fn start(settings: &Settings, tracing: Tracing) -> anyhow::Result<Members> {
        let local = Local::default();
        let control_plane = control_plane(settings, &local).await?;
        let client = ControlPlane::new(vec![control_plane.endpoint()])?;
        let mut cluster = client.watch();
        // The layout is made from the Broker, which says how things are kept: before there is one, nobody knows.
        let is_laid_out = |cluster: &Arc<Cluster>| cluster.layout.is_some();
        let told = cluster.wait_for(is_laid_out).await?.clone();
        let spill = buffer::open(&settings.buffer_dir)?;
        spill.set_max(told.spill_bytes());
        let to_keep = open_storage(settings, cluster.clone(), &spill).await?;
        let storage = to_keep.borrow().storage.clone();
        let registration = NodeRegistration {
            name: NAME.to_owned(),
            zone: None,
            // Only this process reaches it.
            addresses: Vec::new(),
            process: process_token(),
            kept: storage.as_ref().map(Storage::kept).unwrap_or_default(),
        };
        let me = client.register_node(registration).await;
        let registration = GatewayRegistration {
            name: NAME.to_owned(),
            process: process_token(),
        };
        let gateway = client.register_gateway(registration).await;
        let voice = client.gateway_voice(NAME.to_owned(), gateway);
        if let (Some(asked), Some(layout)) = (settings.shards, &told.layout) {
            let shards = layout.slots.shard_count();
            if shards != asked {
                bail!(
                    "the data directory was made for {shards} shards, and {asked} are asked for: their number is fixed; \
                     use another --data-dir, or --shards {shards}"
                );
            }
        }
        let pulse = Pulse::default();
        client.carry_passports(NAME, NAME.to_owned(), tracing.passports.clone());
        pulse.trace(tracing);
        let keeps = (pulse.clone(), spill.clone(), to_keep.clone());
        let (backend, shards) = backend(settings, &client, me, cluster.clone(), keeps)?;
        local.add(me, backend);
        Ok(Members {
            control_plane,
            _client: client,
            cluster,
            shards,
            local,
            gateway,
            voice,
            node: me,
            pulse,
            to_keep,
            spill,
        })
    }
}

fn backend(
    settings: &Settings,
    client: &ControlPlane,
    me: Incarnation,
    cluster: watch::Receiver<Arc<Cluster>>,
    (pulse, spill, to_keep): (Pulse, Spill, watch::Receiver<ToKeep>),
) -> anyhow::Result<(Backend, Vec<Shards>)> {
    let heart = pulse.clone();
    let voice = Arc::new(client.node_voice(NAME.to_owned(), me, move || heart.said()));
    Ok(Backend::new(Options {
        me,
        threads: usize::from(settings.workers)
            .try_into()
            .context("workers")?,
        cluster,
        heard: voice.is_heard(),
        voice,
        spill,
        pulse,
        to_keep,
    }))
}

/// With a data directory, what shards hold is kept there, whatever the Broker says.
async fn open_storage(
    settings: &Settings,
    cluster: watch::Receiver<Arc<Cluster>>,
    spill: &Spill,
) -> anyhow::Result<watch::Receiver<ToKeep>> {
    let Some(data_dir) = &settings.data_dir else {
        return Ok(watch::channel(ToKeep::default()).1);
    };
    let place = storage::Place {
        data_dir: data_dir.clone(),
        secrets: Secrets::open(settings.secrets_dir.clone()),
        spill: spill.clone(),
        has_neighbours: false,
    };
    let told = cluster.borrow().clone();
    let storage = Some(place.open(told.broker.persistence.as_ref()).await?);
    let to_keep = watch::Sender::new(ToKeep {
        storage,
        is_wanted: true,
    });
    let receiver = to_keep.subscribe();
    let followed = Followed {
        place,
        cluster,
        to_keep,
    };
    tokio::spawn(followed.follow());
    Ok(receiver)
}

async fn control_plane(
    settings: &Settings,
    local: &Local<Backend>,
) -> anyhow::Result<server::ControlPlane> {
    let store = match &settings.data_dir {
        Some(directory) => open(directory).await?,
        None => Embedded::in_memory().await?,
    };
    let store = Arc::new(store);
    let first = broker(settings);
    let options = |admin| server::Options {
        cluster: NAME.to_owned(),
        // Only this process comes there.
        listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        admin,
        advertise: None,
        broker: first.clone(),
        place: Place::Standalone,
        traffic: server::Traffic::in_process(),
    };
    let start = |store, admin| {
        // Its shards are in this process.
        let (directory, way) = (Directory::default(), Arc::new(local.clone()));
        server::ControlPlane::start_beside(store, options(admin), directory, way)
    };
    let started = match start(store.clone(), settings.admin.clone()).await {
        Err(server::StartError::Listen { address, source }) if !settings.is_admin_given => {
            let mut chosen = settings.admin.clone();
            chosen.listen.set_port(0);
            let started = start(store, chosen).await?;
            info!(
                %address, %source, instead = started.admin_endpoint(),
                "the port of the admin API is taken: another is used; choose one by --admin"
            );
            Ok(started)
        }
        started => started.map_err(explain),
    }?;
    set_up(started.catalogue(), settings, &first).await?;
    Ok(started)
}

/// Sees to it that there is a Broker, and that it says what the settings say.
async fn set_up(catalogue: &Catalogue, settings: &Settings, first: &Broker) -> anyhow::Result<()> {
    settings.manifests.apply(catalogue, first).await?;
    let given = &settings.given;
    if given.is_nothing() {
        return Ok(());
    }
    let changed = catalogue.change_broker(|broker| given.put_into(broker));
    if changed.await.context("the Broker")? {
        info!("the Broker was changed to what options, environment and file say");
    }
    Ok(())
}

async fn open(directory: &Path) -> anyhow::Result<Embedded> {
    let file = directory.join(FILE);
    let opened = Embedded::open(&file).await;
    opened.with_context(|| {
        format!(
            "cannot use {}: is another broker running on this data directory?",
            file.display()
        )
    })
}

fn explain(error: impl Display) -> anyhow::Error {
    warn!(%error, "the control plane does not start");
    anyhow::anyhow!("{error}")
}

/// The first Broker.
fn broker(settings: &Settings) -> Broker {
    let mut broker = match settings.manifests.broker() {
        Some(broker) if !settings.manifests.leaves_out_workers() => return broker.clone(),
        Some(broker) => broker.clone(),
        None => {
            let mut broker = Broker::default();
            settings.given.put_into(&mut broker);
            broker
        }
    };
    let chain = &mut broker.cardinality.backend_chain;
    chain.workers = settings.shards.unwrap_or(settings.shards_default) as u16;
    broker
}
