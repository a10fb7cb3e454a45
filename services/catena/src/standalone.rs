//! `catena standalone`: control plane, backend and gateway in one process, with channels where messages flow.
//!
//! Reads like a table of contents: settings, telemetry, ports, threads, drain.

mod directory;
mod first_listener;
mod given;
mod members;
mod settings;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use catena_authentication::Means;
use catena_backend::{Backend, Shards};
use catena_control_plane::ControlPlane;
use catena_gateway::{
    Config, Gateway,
    limits::ACCUSATIONS,
    listener::Port,
    ports::Listeners,
    worker::{Ended, Worker},
};
use catena_runtime::{
    panics,
    shutdown::{self, Shutdown, Signals},
    telemetry::{self, Logs},
    threads::{self, Thread},
};
use catena_secrets::Secrets;
use catena_transport::Local;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_local,
};
use tracing::{info, warn};

pub use self::settings::Arguments;
use self::{members::Members, settings::Settings};
use crate::{
    diagnostics::{
        self, Diagnostics, Reach,
        authentication::Authenticators,
        backend::{Replicas, watch_readiness},
        gateway::{OfGateway, OfPorts},
    },
    gateway::ports,
    issuing::ByOwnCa,
    self_check::{Of, SelfCheck},
};

/// Runs a broker until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(arguments)?;
    let logs = telemetry::start(settings.log.as_deref(), settings.log_format)?;
    panics::abort_on_panic();
    if let Some(path) = &settings.data_dir {
        directory::make(path)?;
    }
    let ports = ports::take(&settings.listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_until_stopped(settings, logs, ports))
}

async fn run_until_stopped(
    settings: Settings,
    logs: Logs,
    ports: Vec<Port>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (tell, wanted) = diagnostics::wanted();
    let reach = Reach::Machine;
    let Diagnostics {
        registry,
        health,
        tracing,
    } = Diagnostics::start("standalone", &settings.diagnostics, reach, wanted).await?;
    health.misses("ports", "they are not open yet");
    let members = tokio::select! {
        members = Members::start(&settings, tracing.clone()) => members?,
        signal = signals.next() => {
            info!(signal, "stopped before it had started");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let secrets = Secrets::open(settings.secrets_dir.clone());
    diagnostics::follow(members.cluster.clone(), tell, logs, secrets);
    registry.add(Replicas {
        pulse: members.pulse.clone(),
        cluster: members.cluster.clone(),
        to_keep: members.to_keep.clone(),
        spill: members.spill.clone(),
    });
    let (me, pulse) = (members.node, members.pulse.clone());
    watch_readiness(health.clone(), me, pulse, members.cluster.clone());
    let mut taken = Vec::new();
    if ports.is_empty() {
        let catalogue = members.control_plane.catalogue();
        taken = first_listener::make(catalogue, members.cluster.clone()).await?;
    }
    let first = ports.iter().chain(&taken).next().map(Port::address);
    let listeners = Listeners {
        own: ports::open(ports)?,
        taken: ports::open(taken)?,
    };
    let (told, mut ports) = watch::channel(None);
    let (trigger, shutdown) = shutdown::shutdown();
    let layout = members.cluster.borrow().layout.clone();
    let slots = layout.context("the cluster has no layout")?.slots;
    let shard_count = slots.shard_count();
    // The one backend ends with this process: there is nobody to accuse.
    let (accusations, _) = mpsc::channel(ACCUSATIONS);
    let secrets = Secrets::open(settings.secrets_dir.clone());
    let config = Config {
        tracing: tracing.clone(),
        incarnation: members.gateway,
        workers: settings.workers,
        slots,
        cluster: members.cluster.clone(),
        heard: members.voice.is_heard(),
        accusations,
        issues: Some(Arc::new(ByOwnCa::in_directory(settings.ca_directory()))),
        means: Arc::new(Means::new(secrets.clone(), settings.kubernetes.clone())),
        secrets,
        ports: told,
        connections_max: ports::connections_max(),
    };
    let (gateway, workers) = Gateway::new(&config, listeners, &shutdown);
    let of = Of {
        gateway: gateway.clone(),
        name: "standalone".to_owned(),
        instance: members.gateway.0,
        slots: config.slots.clone(),
    };
    let found = members.voice.self_check();
    let self_check = SelfCheck::start(of, members.cluster.clone(), found, &registry);
    registry.add(OfGateway(gateway.clone()));
    registry.add(OfPorts(ports.clone()));
    registry.add(Authenticators(config.means.clone()));

    // Ends the threads, once no worker needs a shard any more.
    let (stop, stopped) = shutdown::shutdown();
    let (end, mut ended) = mpsc::channel(usize::from(settings.workers));
    let threads = start(workers, members.shards, &members.local, &stopped, &end)?;
    drop(end);
    drop(config);

    writeln!(io::stdout(), "catena {}", env!("CARGO_PKG_VERSION"))?;
    // Clients are served from here on.
    let _ = ports.wait_for(Option::is_some).await;
    ports.mark_changed();
    health.has("ports");
    let voice = members.voice;
    let following = ports::follow(ports, move |told| voice.tell_ports(told));
    let following = tokio::spawn(following);
    // It says where clients are served before the rest is said.
    tokio::task::yield_now().await;
    announce(&settings, first, shard_count, &members.control_plane)?;

    let summaries = tokio::spawn(ports::summarise(gateway.clone()));
    tokio::select! {
        signal = signals.next() => info!(
            signal,
            "stopping: clients are told to leave; send the signal again to stop at once"
        ),
        // By itself a worker ends only when the registration is over.
        _ = ended.recv() => anyhow::bail!("the gateway's registration is over: start the broker again"),
        never = diagnostics::control_plane::watch(&members.control_plane, registry, health.clone()) => match never {},
    }
    health.misses("ports", "they are closed, or about to be");
    trigger.begin();
    tokio::select! {
        () = async { while ended.recv().await.is_some() {} } => {}
        signal = signals.next() => {
            warn!(signal, "stopped at once");
            std::process::exit(1);
        }
    }
    drop(self_check);
    summaries.abort();
    following.abort();
    stop.begin();
    threads.into_iter().for_each(Thread::join);
    members.control_plane.shutdown().await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// One thread per worker, with the shards of the same number beside it.
fn start(
    workers: Vec<Worker>,
    shards: Vec<Shards>,
    local: &Local<Backend>,
    stopped: &Shutdown,
    end: &mpsc::Sender<Ended>,
) -> anyhow::Result<Vec<Thread>> {
    let mut started = Vec::new();
    for (index, (worker, shards)) in workers.into_iter().zip(shards).enumerate() {
        let (local, mut stopped, end) = (local.clone(), stopped.clone(), end.clone());
        let main = move || async move {
            spawn_local(shards.run(local.clone(), local.clone()));
            let ended = worker.run(local).await;
            // Nobody may listen any more. Other workers may still need the shards of this thread.
            let _ = end.send(ended).await;
            drop(end);
            stopped.begun().await;
        };
        started.push(threads::start(&format!("worker-{index}"), main)?);
    }
    Ok(started)
}

fn announce(
    settings: &Settings,
    first: Option<SocketAddr>,
    shards: usize,
    control_plane: &ControlPlane,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let workers = usize::from(settings.workers);
    writeln!(
        out,
        "{workers} worker{}, {shards} shard{}",
        plural(workers),
        plural(shards)
    )?;
    let admin = control_plane.admin_endpoint();
    writeln!(out, "admin API on {admin}")?;
    match &settings.data_dir {
        Some(directory) => writeln!(
            out,
            "sessions, messages and resources are kept in {}",
            directory.display()
        )?,
        None => writeln!(
            out,
            "everything is in memory, and gone when the broker stops"
        )?,
    }
    if let Some(address) = first {
        let port = address.port();
        let port = if port == 1883 {
            String::new()
        } else {
            format!(" -p {port}")
        };
        writeln!(out, "try it: catena sub{port} -t 'demo/#'")?;
    }
    out.flush()
}
