//! `catena standalone`: gateway and shards in one process, with channels between them.
//!
//! Reads like a table of contents: settings, telemetry, ports, threads, drain.

mod links;
mod settings;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use catena_backend::{Host, Port};
use catena_gateway::{
    Config, Gateway,
    counters::Counts,
    limits::{CONNECTIONS_MAX, FILES_KEPT_BACK, SUMMARY_SECONDS},
    listener::{BindError, Listener},
    worker::Worker,
};
use catena_runtime::{
    open_files, panics,
    shutdown::{self, Shutdown, Signals},
    telemetry,
    threads::{self, Thread},
};
use catena_shard::Settings as ShardSettings;
use catena_slots::{ShardId, SlotTable};
use tokio::task::spawn_local;
use tracing::{info, warn};

pub use self::settings::Arguments;
use self::{links::Local, settings::Settings};

/// How often every shard of a process has started empty: they live and die with it.
const GENERATION: u32 = 1;

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
    let listeners = bind(&settings)?;
    let (trigger, shutdown) = shutdown::shutdown();
    let slots = SlotTable::even(settings.shards, 0)?;
    let config = Config {
        incarnation: incarnation(),
        workers: settings.workers,
        slots: slots.clone(),
        clients: Arc::new(settings.clients.clone()),
        connections_max: connections_max(),
    };
    announce(&settings, &listeners)?;
    let (gateway, workers) = Gateway::new(&config, listeners, &shutdown);
    let (hosts, ports) = hosts(&settings, &slots, config.incarnation);

    // Ends the threads, once no worker needs a shard any more.
    let (stop, stopped) = shutdown::shutdown();
    let (done, mut all_done) = tokio::sync::mpsc::channel(usize::from(settings.workers));
    let threads = start(workers, hosts, &ports, &stopped, &done)?;
    drop(done);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let summaries = tokio::spawn(summarise(gateway.clone()));
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

/// One thread per worker; shard i lives on thread i modulo their number.
fn start(
    workers: Vec<Worker>,
    hosts: Vec<(ShardId, Host)>,
    ports: &[(ShardId, Port)],
    stopped: &Shutdown,
    done: &tokio::sync::mpsc::Sender<()>,
) -> anyhow::Result<Vec<Thread>> {
    let mut placed: Vec<Vec<(ShardId, Host)>> = workers.iter().map(|_| Vec::new()).collect();
    let threads = placed.len();
    for (shard, host) in hosts {
        placed[shard.index() % threads].push((shard, host));
    }
    let mut started = Vec::new();
    for (index, (worker, hosts)) in workers.into_iter().zip(placed).enumerate() {
        let ports = ports.to_vec();
        let mut stopped = stopped.clone();
        let done = done.clone();
        let main = move || async move {
            for (shard, host) in hosts {
                let others = ports
                    .iter()
                    .filter(|(other, _)| *other != shard)
                    .cloned()
                    .collect();
                spawn_local(host.run(others));
            }
            worker.run(Local::new(&ports)).await;
            // Other workers may still need the shards of this thread.
            drop(done);
            stopped.begun().await;
        };
        started.push(threads::start(&format!("worker-{index}"), main)?);
    }
    Ok(started)
}

type Hosts = (Vec<(ShardId, Host)>, Vec<(ShardId, Port)>);

fn hosts(settings: &Settings, slots: &SlotTable, incarnation: u64) -> Hosts {
    slots
        .shards()
        .map(|shard| {
            let (mut host, port) = Host::new(shard, GENERATION);
            host.configure(&ShardSettings {
                buffer_bytes: settings.profile.buffer_bytes(),
                retained_bytes_max: settings.profile.buffer_bytes() / 4,
                message_expiry_max: settings.message_expiry_max,
                queue_length_max: settings.queue_length_max,
                queue_drop_oldest: settings.queue_drop_oldest,
                ..ShardSettings::new(shard, slots.clone())
            });
            host.set_gateways(1, &[incarnation]);
            ((shard, host), (shard, port))
        })
        .unzip()
}

fn bind(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    settings
        .listen
        .iter()
        .map(|address| Listener::bind(*address).map_err(explain))
        .collect()
}

/// Says what can be done about a port that cannot be opened.
fn explain(error: BindError) -> anyhow::Error {
    let port = error.address.port();
    let hint = match error.source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses port {port}, perhaps another broker: stop it, or choose another port, as in \
             --listen 127.0.0.1:{}",
            port.checked_add(1).unwrap_or(1883),
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the right to bind them: choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "this machine does not have the address {}",
                error.address.ip()
            )
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}: {}\n{hint}", error.source)
}

/// Names this life of the gateway; later lives have higher numbers.
fn incarnation() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |passed| passed.as_micros() as u64)
}

/// As many sockets as the system gives, less a few files for ourselves.
fn connections_max() -> usize {
    let limit = open_files::raise().unwrap_or_else(|error| {
        warn!(%error, "the limit of open files cannot be raised");
        open_files::limit()
    });
    limit.map_or(CONNECTIONS_MAX, |files| {
        usize::try_from(files.saturating_sub(FILES_KEPT_BACK).max(1)).unwrap_or(CONNECTIONS_MAX)
    })
}

fn announce(settings: &Settings, listeners: &[Listener]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "catena {}", env!("CARGO_PKG_VERSION"))?;
    for listener in listeners {
        let address = listener.address();
        let reach = if address.ip().is_loopback() {
            "this machine only"
        } else {
            "every machine that reaches it"
        };
        writeln!(out, "listening on {address} (MQTT 3.1, 3.1.1, 5; {reach})")?;
    }
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
    if let Some(listener) = listeners.first() {
        let port = listener.address().port();
        let port = if port == 1883 {
            String::new()
        } else {
            format!(" -p {port}")
        };
        writeln!(out, "try it: catena sub{port} -t 'demo/#'")?;
    }
    out.flush()?;
    for listener in listeners
        .iter()
        .filter(|listener| !listener.address().ip().is_loopback())
    {
        warn!(address = %listener.address(), "whoever reaches this port may connect: there is no authentication yet");
    }
    Ok(())
}

/// Logs at intervals what was counted.
async fn summarise(gateway: Gateway) {
    let mut before = Counts::default();
    loop {
        tokio::time::sleep(Duration::from_secs(SUMMARY_SECONDS)).await;
        let counts = gateway.counts();
        counts.since(&before).log(SUMMARY_SECONDS);
        before = counts;
    }
}
