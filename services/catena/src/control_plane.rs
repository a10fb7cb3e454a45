//! `catena control-plane`: a replica of the control plane.

mod settings;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use catena_control_plane::{
    ControlPlane, Options,
    store::{Config, Embedded, Etcd, Store},
};
use catena_runtime::{
    panics,
    shutdown::Signals,
    telemetry::{self, Logs},
};
use catena_secrets::Secrets;
use tracing::{info, warn};

pub use self::settings::Arguments;
use self::settings::Settings;
use crate::diagnostics::{self, Diagnostics, Reach};

/// Runs a replica until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(arguments)?;
    let logs = telemetry::start(settings.log.as_deref(), settings.log_format)?;
    panics::abort_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .thread_name("control-plane")
        .enable_all()
        .build()?;
    runtime.block_on(run_until_stopped(settings, logs))
}

async fn run_until_stopped(settings: Settings, logs: Logs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (tell, wanted) = diagnostics::wanted();
    let reach = Reach::Everybody;
    let Diagnostics {
        registry, health, ..
    } = Diagnostics::start("control-plane", &settings.diagnostics, reach, wanted).await?;
    health.misses("store", "not reached yet");
    let store = open(&settings.store).await?;
    let name = settings.name();
    let own = settings
        .internal_tls
        .control_plane(
            &settings.cluster,
            &name,
            settings.secrets_dir.as_ref(),
            &settings.broker,
        )
        .await?;
    let options = Options {
        cluster: settings.cluster.clone(),
        listen: settings.listen,
        admin: settings.admin.clone(),
        advertise: settings.advertise.clone(),
        broker: settings.broker.clone(),
        place: settings.place,
        traffic: own.traffic.clone(),
    };
    let control_plane = ControlPlane::start(store, options).await?;
    let secrets = Secrets::open(settings.secrets_dir.clone());
    diagnostics::follow(control_plane.told(), tell, logs, secrets);
    if !settings.manifests.is_empty() {
        let applied = tokio::select! {
            applied = settings.manifests.apply(control_plane.catalogue(), &settings.broker) => Some(applied),
            signal = signals.next() => {
                info!(signal, "stopped before it had started");
                None
            }
        };
        if !matches!(applied, Some(Ok(()))) {
            control_plane.shutdown().await;
            applied.transpose()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    announce(&settings, &control_plane)?;
    let signal = tokio::select! {
        signal = signals.next() => signal,
        never = diagnostics::control_plane::watch(&control_plane, registry, health) => match never {},
        never = own.follow(control_plane.told()) => match never {},
    };
    info!(signal, "stopping; send the signal again to stop at once");
    tokio::select! {
        () = control_plane.shutdown() => {}
        signal = signals.next() => {
            warn!(signal, "stopped at once");
            std::process::exit(1);
        }
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn open(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match config {
        Config::Etcd(etcd) => {
            let store = Etcd::open(etcd).await.context("cannot use etcd")?;
            Arc::new(store)
        }
        Config::Embedded(embedded) => {
            let file = embedded.file.display();
            let store = Embedded::open(&embedded.file).await;
            Arc::new(store.with_context(|| format!("cannot use {file}"))?)
        }
    })
}

fn announce(settings: &Settings, control_plane: &ControlPlane) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "listening on {} (control plane of cluster {}; others reach it at {})",
        control_plane.address(),
        settings.cluster,
        control_plane.advertise(),
    )?;
    match &settings.store {
        Config::Etcd(etcd) => {
            writeln!(
                out,
                "keeping its decisions in etcd at {}",
                etcd.endpoints.join(", ")
            )?;
        }
        Config::Embedded(embedded) => {
            writeln!(out, "keeping its decisions in {}", embedded.file.display())?;
        }
    }
    writeln!(
        out,
        "admin API on {endpoint}; try it: catena status --admin {endpoint}",
        endpoint = control_plane.admin_endpoint()
    )?;
    out.flush()
}
