//! `catena probe`: a client that watches the broker from without, as clients see it.
//!
//! Start reading at [`round`], which is what happens on one route: through one gateway, to one shard. What comes of it is
//! measured in [`measures`].

pub(crate) mod measures;
pub(crate) mod round;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use catena_proto::admin::v1 as proto;
use catena_slots::{ShardId, SlotTable};
use catena_telemetry::{
    Health, Registry,
    process::Process,
    serve::{self, Served},
};
use clap::Args;

use self::{
    measures::Measures,
    round::{Door, Outcome, Route},
};
use super::{
    control_plane::{Place, answer},
    tls::Tls,
    way::Way,
};
use crate::diagnostics::{Address, DiagnosticsOptions};

/// Topics of the probe; a `#` does not match them `[F-37]`.
const TOPICS: &str = "azedge/dmqtt/selftest";

/// Watch a broker as its clients see it
///
/// On each route - through each gateway to each shard - it connects, pings, subscribes, publishes, gets its message back, compares it, and
/// unsubscribes, under azedge/dmqtt/selftest/. What it finds is to be had as metrics (--metrics-address), and its /readyz says
/// whether the last round went well. With --once it ends after one round, with 0 if all went well and 1 if not.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// A gateway: a host with a port, or mqtt://, mqtts://, ws:// or wss://HOST[:PORT]; may be given several times
    #[arg(
        long,
        value_name = "URL",
        env = "CATENA_PROBE_GATEWAYS",
        value_delimiter = ',',
        default_value = "127.0.0.1:1883"
    )]
    gateway: Vec<String>,

    /// How many shards there are [default: the admin API is asked]
    #[arg(long, value_name = "N", env = "CATENA_PROBE_SHARDS")]
    shards: Option<usize>,

    /// User name
    #[arg(short, long)]
    username: Option<String>,

    /// Password; better given in the environment, where `ps` does not show it
    #[arg(short = 'P', long, env = "CATENA_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// Seconds from one round to the next
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    interval: u64,

    /// Seconds that a route may take
    #[arg(long, value_name = "SECONDS", default_value = "15")]
    timeout: u64,

    /// One round, and what came of it on standard output
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    tls: Tls,

    #[command(flatten)]
    diagnostics: DiagnosticsOptions,

    #[command(flatten)]
    place: Place,
}

/// Probes until it is stopped, or once.
///
/// # Errors
/// Options that make no sense, a control plane that does not say how many shards there are, a port that is taken.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(probe(arguments))
}

async fn probe(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let routes = routes(&arguments).await?;
    let measures = Arc::new(Measures::default());
    let health = Health::default();
    health.misses("probe", "the first round is not over");
    if let Some(Address::At(address)) = arguments.diagnostics.metrics_address {
        let registry = Registry::default();
        registry.add(Process::new("probe", env!("CARGO_PKG_VERSION")));
        let source = measures.clone();
        registry.add(move |samples: &mut catena_telemetry::Samples| source.collect(samples));
        let listener = serve::bind(address).await;
        let listener =
            listener.with_context(|| format!("metrics cannot be served on {address}"))?;
        tokio::spawn(Served::new(registry, health.clone()).run(listener));
    }
    let within = Duration::from_secs(arguments.timeout.max(1));
    loop {
        let mut failed = Vec::new();
        for route in &routes {
            let outcome = round::run(route, within, true).await;
            measures.add(route, &outcome);
            if arguments.once {
                println!("{}", line(route, &outcome));
            }
            if let Some((step, why)) = outcome.failure {
                failed.push(format!(
                    "{} to shard {}: {step}: {why}",
                    route.gateway, route.shard
                ));
            }
        }
        if arguments.once {
            return Ok(match failed.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            });
        }
        match failed.is_empty() {
            true => health.has("probe"),
            false => {
                eprintln!("{}", failed.join("\n"));
                health.misses("probe", failed.join("; "));
            }
        }
        tokio::time::sleep(Duration::from_secs(arguments.interval.max(1))).await;
    }
}

fn line(route: &Route, outcome: &Outcome) -> String {
    let steps = outcome.steps.iter().map(|(step, took)| {
        let ms = took.as_secs_f64() * 1e3;
        format!("{} {ms:.1} ms", step.name())
    });
    let mut said: Vec<String> = steps.collect();
    if let Some((step, why)) = &outcome.failure {
        said.push(format!("{step} failed: {why}"));
    }
    format!(
        "{} to shard {}: {}",
        route.gateway,
        route.shard,
        said.join(", ")
    )
}

async fn routes(arguments: &Arguments) -> anyhow::Result<Vec<Route>> {
    let shards = match arguments.shards {
        Some(shards) => shards,
        None => ask(&arguments.place).await.context(
            "the admin API does not say how many shards there are: name it by --admin, or say --shards",
        )?,
    };
    let slots = SlotTable::even(shards, 0).context("--shards")?;
    let instance = u64::from(std::process::id());
    let mut routes = Vec::new();
    for gateway in &arguments.gateway {
        let (host, port) = match gateway.rsplit_once(':') {
            Some((host, port)) if !gateway.contains("://") => {
                let port = port
                    .parse()
                    .with_context(|| format!("{gateway}: no port"))?;
                (host, Some(port))
            }
            _ => (gateway.as_str(), None),
        };
        let way = Way::read(host, port, &arguments.tls)?;
        for shard in slots.shards() {
            routes.push(Route {
                gateway: gateway.clone(),
                door: Door::Network(way.clone()),
                shard: shard.0,
                topic: topic(&slots, shard, instance),
                username: arguments.username.clone(),
                password: arguments.password.clone(),
            });
        }
    }
    if routes.is_empty() {
        bail!("there is no gateway to probe: --gateway HOST:PORT");
    }
    Ok(routes)
}

/// A topic of a shard, for one of many probes.
pub(crate) fn topic(slots: &SlotTable, shard: ShardId, instance: u64) -> String {
    let mut topics = (0..).map(|n: u32| format!("{TOPICS}/{instance}/{n}"));
    let topic = topics.find(|topic| slots.topic(topic) == shard);
    // Each shard has a part of all topics.
    topic.unwrap_or_default()
}

/// How many shards the cluster has.
async fn ask(place: &Place) -> anyhow::Result<usize> {
    let mut client = place.connect().await?;
    let response = answer(client.get_status(proto::GetStatusRequest {})).await?;
    let layout = response.status.unwrap_or_default().layout;
    let layout = layout.context("the cluster has no shards yet")?;
    Ok(layout.partitions as usize * layout.workers as usize)
}
