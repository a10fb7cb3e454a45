//! `catena backend`: replicas of shards, one thread after the other, reached over gRPC.
//!
//! Reads like a table of contents: settings, telemetry, registration, threads, and how it ends.

mod settings;

use std::{
    io::{self, Write},
    net::TcpListener,
    num::NonZeroUsize,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use catena_backend::{Backend, Options, Pulse, Shards, Spill, Storage, ToKeep};
use catena_chain::Incarnation;
use catena_membership::{Cluster, ControlPlane, NodeRegistration, process_token};
use catena_pki::Role;
use catena_runtime::{
    open_files, panics,
    shutdown::{self, Shutdown, Signals},
    telemetry::{self, Logs},
    threads::{self, Thread},
};
use catena_secrets::Secrets;
use catena_transport::{Directory, GrpcDial, GrpcReach, serve};
use tokio::sync::watch;
use tracing::{error, info, warn};

pub use self::settings::Arguments;
use self::settings::Settings;
use crate::{
    buffer,
    diagnostics::{
        self, Diagnostics, Reach,
        backend::{Replicas, watch_readiness},
    },
    internal_tls::Entered,
    relay::relay,
    storage::{Followed, Place},
};

/// How long the process waits to be in no chain when it is told to end.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// Runs a backend until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(arguments)?;
    let logs = telemetry::start(settings.log.as_deref(), settings.log_format)?;
    panics::abort_on_panic();
    if let Err(error) = open_files::raise() {
        warn!(%error, "the limit of open files cannot be raised");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_until_stopped(settings, logs))
}

async fn run_until_stopped(settings: Settings, logs: Logs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (tell, wanted) = diagnostics::wanted();
    let diagnostics =
        Diagnostics::start("backend", &settings.diagnostics, Reach::Everybody, wanted).await?;
    let health = diagnostics.health;
    health.misses("registration", "the control plane has not answered yet");
    let (name, endpoints) = (&settings.name, &settings.control_plane);
    let entered = (settings.membership)
        .enter(Role::Backend, name, endpoints, &mut signals)
        .await?;
    let Some(Entered {
        security,
        control_plane,
        keeping: _keeping,
    }) = entered
    else {
        return Ok(ExitCode::SUCCESS);
    };
    let spill = buffer::open(&settings.buffer_dir)?;
    let (to_keep, me) = tokio::select! {
        begun = begin(&control_plane, &settings, &spill) => begun?,
        signal = signals.next() => {
            info!(signal, "stopped before it was registered");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let pulse = Pulse::default();
    pulse.trace(diagnostics.tracing.clone());
    let passports = diagnostics.tracing.passports.clone();
    control_plane.carry_passports("backend", settings.name.clone(), passports);
    let heart = pulse.clone();
    let voice = control_plane.node_voice(settings.name.clone(), me, move || heart.said());
    let voice = Arc::new(voice);
    let mut replaced = voice.is_replaced();

    let directory = Directory::default();
    let cluster = relay(control_plane.watch(), directory.clone());
    health.has("registration");
    let secrets = Secrets::open(settings.secrets_dir.clone());
    diagnostics::follow(cluster.clone(), tell, logs, secrets);
    diagnostics.registry.add(Replicas {
        pulse: pulse.clone(),
        cluster: cluster.clone(),
        to_keep: to_keep.clone(),
        spill: spill.clone(),
    });
    watch_readiness(health.clone(), me, pulse.clone(), cluster.clone());
    let (backend, shards) = Backend::new(Options {
        me,
        threads: NonZeroUsize::new(settings.listeners.len()).context("there are no threads")?,
        cluster: cluster.clone(),
        heard: voice.is_heard(),
        voice,
        spill,
        pulse: pulse.clone(),
        to_keep,
    });
    announce(&settings)?;
    let (stop, stopped) = shutdown::shutdown();
    let options = catena_transport::Options::within(cluster.borrow().broker.failure_timeout())
        .secured(security);
    let mut started = Vec::new();
    for (index, (listener, shards)) in settings.listeners.into_iter().zip(shards).enumerate() {
        let ways = Ways {
            listener,
            backend: backend.clone(),
            directory: directory.clone(),
            options: options.clone(),
        };
        started.push(start(index, shards, ways, stopped.clone())?);
    }

    tokio::select! {
        _ = replaced.wait_for(|replaced| *replaced) => {
            // It must not play its role for a moment longer [C-1].
            error!(
                name = settings.name, incarnation = me.0,
                "this process is over: a newer one has its name, or it was declared gone; its replicas end with it",
            );
            std::process::exit(1);
        }
        signal = signals.next() => {
            info!(signal, "leaving: other nodes take over; send the signal again to stop at once");
        }
    }
    pulse.leave();
    health.misses("stopping", "other nodes take over");
    tokio::select! {
        () = left(me, cluster) => {}
        _ = replaced.wait_for(|replaced| *replaced) => info!("this process has been replaced"),
        signal = signals.next() => {
            warn!(signal, "stopped at once");
            std::process::exit(1);
        }
    }
    stop.begin();
    started.into_iter().for_each(Thread::join);
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Waits for the first news of the cluster, opens the data directory and registers; comes back with what is to be kept, which follows
/// the Broker.
async fn begin(
    control_plane: &ControlPlane,
    settings: &Settings,
    spill: &Spill,
) -> anyhow::Result<(watch::Receiver<ToKeep>, Incarnation)> {
    // What is found on the disk is told at the registration; how it is kept, the Broker says. While a cluster begins there is none:
    // the layout is made from it, and comes after.
    let mut watch = control_plane.watch();
    let is_laid_out = |cluster: &Arc<Cluster>| cluster.layout.is_some();
    let cluster = watch.wait_for(is_laid_out).await?.clone();
    spill.set_max(cluster.spill_bytes());
    let place = Place {
        data_dir: settings.membership.data_dir().to_owned(),
        secrets: Secrets::open(settings.secrets_dir.clone()),
        spill: spill.clone(),
        has_neighbours: true,
    };
    let to_keep = open_storage(&cluster, &place).await?;
    let registration = NodeRegistration {
        name: settings.name.clone(),
        zone: settings.zone.clone(),
        addresses: settings.addresses.clone(),
        process: process_token(),
        kept: (to_keep.storage.as_ref())
            .map(Storage::kept)
            .unwrap_or_default(),
    };
    let me = control_plane.register_node(registration).await;
    let to_keep = watch::Sender::new(to_keep);
    let told = to_keep.subscribe();
    let followed = Followed {
        place,
        cluster: watch,
        to_keep,
    };
    tokio::spawn(followed.follow());
    Ok((told, me))
}

/// What was kept before counts, whatever the Broker says now: the empty start of a shard has to be proved by what is on the disk `[C-14]`.
async fn open_storage(cluster: &Cluster, place: &Place) -> anyhow::Result<ToKeep> {
    let persistence = cluster.broker.persistence.as_ref();
    let is_wanted = persistence.is_some();
    let storage = match (is_wanted, place.is_used()) {
        (true, _) => Some(place.open(persistence).await?),
        (false, true) => Some(place.open(None).await.context(
            "the Broker says nothing of persistence any more, and what was kept before is to be read for the last time: apply its \
             persistence as it was, or take the data directory away if the other nodes have everything",
        )?),
        (false, false) => None,
    };
    Ok(ToKeep { storage, is_wanted })
}

/// How a thread is reached, and reaches others.
struct Ways {
    listener: TcpListener,
    backend: Backend,
    directory: Directory,
    options: catena_transport::Options,
}

fn start(
    index: usize,
    shards: Shards,
    ways: Ways,
    mut stopped: Shutdown,
) -> anyhow::Result<Thread> {
    let main = move || async move {
        let listener = match tokio::net::TcpListener::from_std(ways.listener) {
            Ok(listener) => listener,
            Err(error) => {
                error!(%error, "a port cannot be served");
                std::process::exit(1);
            }
        };
        let dial = GrpcDial::new(ways.directory.clone(), ways.options.clone());
        let reach = GrpcReach::new(ways.directory, ways.options.clone());
        tokio::select! {
            () = shards.run(dial, reach) => {}
            () = serve(listener, ways.backend, ways.options, stopped.begun()) => {}
        }
    };
    Ok(threads::start(&format!("shards-{index}"), main)?)
}

/// Waits until no chain needs this process any more, or for so long that it ends nevertheless.
async fn left(me: Incarnation, mut cluster: watch::Receiver<Arc<Cluster>>) {
    let needed = |cluster: &Cluster| {
        let chains = cluster.chains.values();
        chains
            .filter(|chain| chain.role_of(me).is_some())
            .map(|chain| chain.shard.to_string())
            .collect::<Vec<_>>()
    };
    let is_free = cluster.wait_for(|cluster| needed(cluster).is_empty());
    // Bound to a name, the guard of the watch would be held beyond this statement.
    let is_left = tokio::time::timeout(LEAVE_MAX, is_free).await.is_ok();
    if !is_left {
        let shards = needed(&cluster.borrow()).join(",");
        warn!(
            shards,
            "ends although chains name it: nobody has taken over in time"
        );
    }
}

fn announce(settings: &Settings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (thread, listener) in settings.listeners.iter().enumerate() {
        let address = listener.local_addr()?;
        let reached = &settings.addresses[thread];
        writeln!(
            out,
            "listening on {address} (links and chains, thread {thread}; others reach it at {reached})"
        )?;
    }
    out.flush()
}
