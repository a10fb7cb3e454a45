//! `catena standalone`: gateway and shards in one process, with channels between them.
//!
//! Reads like a table of contents: settings, telemetry, ports, threads, drain.

mod settings;
mod shards;

use std::{
    io::{self, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use catena_backend::{Backend, Shards};
use catena_gateway::{Config, Gateway, limits::ACCUSATIONS, listener::Port, worker::Worker};
use catena_membership::GatewayIncarnation;
use catena_runtime::{
    panics,
    shutdown::{self, Shutdown, Signals},
    telemetry,
    threads::{self, Thread},
};
use catena_slots::SlotTable;
use catena_transport::Local;
use tokio::{sync::mpsc, task::spawn_local};
use tracing::{info, warn};

pub use self::settings::Arguments;
use self::settings::Settings;
use crate::gateway::ports;

/// Runs a broker until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(arguments)?;
    telemetry::start(&settings.log, settings.log_format)?;
    panics::abort_on_panic();
    if let Some(directory) = &settings.data_dir {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the data directory {}", directory.display()))?;
    }
    let ports = ports::take(&settings.listen)?;
    let addresses: Vec<SocketAddr> = ports.iter().map(Port::address).collect();
    let listeners = ports
        .into_iter()
        .map(|port| port.open().map_err(ports::explain));
    let listeners = listeners.collect::<anyhow::Result<_>>()?;
    let (trigger, shutdown) = shutdown::shutdown();
    let slots = SlotTable::even(settings.shards, 0)?;
    let incarnation = incarnation();
    let told = shards::cluster(&settings, slots.clone(), incarnation);
    // All is in one process: there is nobody to accuse, and nobody to listen.
    let (accusations, _) = mpsc::channel(ACCUSATIONS);
    let config = Config {
        incarnation,
        workers: settings.workers,
        slots,
        cluster: told.cluster.subscribe(),
        heard: told.heard.subscribe(),
        accusations,
        connections_max: ports::connections_max(),
    };
    announce(&settings, &addresses)?;
    let (gateway, workers) = Gateway::new(&config, listeners, &shutdown);
    let count = NonZeroUsize::new(workers.len()).context("there are no workers")?;
    let (local, shards) = shards::start(&told, count);

    // Ends the threads, once no worker needs a shard any more.
    let (stop, stopped) = shutdown::shutdown();
    let (done, mut all_done) = mpsc::channel(usize::from(settings.workers));
    let threads = start(workers, shards, &local, &stopped, &done)?;
    drop(done);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let summaries = tokio::spawn(ports::summarise(gateway.clone()));
        let signal = signals.next().await;
        info!(
            signal,
            "stopping: clients are told to leave; send the signal again to stop at once"
        );
        trigger.begin();
        tokio::select! {
            // It ends with `None` when the last worker is done.
            _ = all_done.recv() => {}
            signal = signals.next() => {
                warn!(signal, "stopped at once");
                std::process::exit(1);
            }
        }
        summaries.abort();
        anyhow::Ok(())
    })?;
    stop.begin();
    threads.into_iter().for_each(Thread::join);
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// One thread per worker, with the shards of the same number beside it.
fn start(
    workers: Vec<Worker>,
    shards: Vec<Shards>,
    local: &Local<Backend>,
    stopped: &Shutdown,
    done: &mpsc::Sender<()>,
) -> anyhow::Result<Vec<Thread>> {
    let mut started = Vec::new();
    for (index, (worker, shards)) in workers.into_iter().zip(shards).enumerate() {
        let (local, mut stopped, done) = (local.clone(), stopped.clone(), done.clone());
        let main = move || async move {
            spawn_local(shards.run(local.clone(), local.clone()));
            worker.run(local).await;
            // Other workers may still need the shards of this thread.
            drop(done);
            stopped.begun().await;
        };
        started.push(threads::start(&format!("worker-{index}"), main)?);
    }
    Ok(started)
}

/// Names this life of the gateway; later lives have higher numbers.
fn incarnation() -> GatewayIncarnation {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    GatewayIncarnation(passed.map_or(1, |passed| passed.as_micros() as u64))
}

fn announce(settings: &Settings, addresses: &[SocketAddr]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "catena {}", env!("CARGO_PKG_VERSION"))?;
    ports::announce(&mut out, addresses)?;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (workers, shards) = (usize::from(settings.workers), settings.shards);
    writeln!(
        out,
        "{workers} worker{}, {shards} shard{}",
        plural(workers),
        plural(shards)
    )?;
    writeln!(
        out,
        "everything is in memory for now, and gone when the broker stops"
    )?;
    if let Some(address) = addresses.first() {
        let port = address.port();
        let port = if port == 1883 {
            String::new()
        } else {
            format!(" -p {port}")
        };
        writeln!(out, "try it: catena sub{port} -t 'demo/#'")?;
    }
    out.flush()?;
    ports::warn_of_open_ones(addresses);
    Ok(())
}
