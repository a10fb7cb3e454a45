//! What an operator sees of the process, assembled: who is asked for metrics, where they are served, what ready means.
//!
//! The rooms count; what their counts are called stands in the files beside this one, and in `catena_telemetry::names`.

pub mod authentication;
pub mod backend;
pub mod control_plane;
pub mod gateway;
pub mod options;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use catena_membership::Cluster;
use catena_resources::broker::Diagnostics as Wanted;
use catena_runtime::telemetry::Logs;
use catena_telemetry::{
    Health, Registry,
    otlp::{self, Identity},
    process::Process,
    serve::{self, Served},
    traces::sampler::Tracing,
};
use tokio::sync::watch;

pub use self::options::{Address, DiagnosticsOptions};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is seen of the process. Cheap to clone.
#[derive(Clone)]
pub struct Diagnostics {
    pub registry: Registry,
    pub health: Health,
    pub tracing: Tracing,
}

/// Where it is served when only the Broker says at which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To programs on this machine.
    Machine,
    /// To whoever reaches it: probes of containers do not come from within.
    Everybody,
}

impl Diagnostics {
    /// Begins to serve, on the present runtime, for as long as that runs. The port is that of `options`, or else that which
    /// the Broker says; until the Broker is known, that of a Broker that says nothing.
    ///
    /// # Errors
    /// A port of `options` that cannot be opened.
    pub async fn start(
        role: &'static str,
        options: &DiagnosticsOptions,
        reach: Reach,
        wanted: watch::Receiver<Wanted>,
    ) -> anyhow::Result<Diagnostics> {
        let (registry, health) = (Registry::default(), Health::default());
        registry.add(Process::new(role, VERSION));
        let tracing = Tracing::default();
        registry.add(tracing.spans.clone());
        let identity = Identity::of(role, VERSION);
        let metrics = otlp::push_metrics(registry.clone(), identity.clone(), wanted.clone());
        tokio::spawn(metrics);
        tokio::spawn(otlp::push_spans(tracing.clone(), identity, wanted.clone()));
        let served = Served::new(registry.clone(), health.clone());
        match options.metrics_address {
            Some(Address::Off) => {}
            Some(Address::At(address)) => {
                let listener = serve::bind(address).await.with_context(|| {
                    format!("metrics cannot be served on {address}: choose another --metrics-address, or off")
                })?;
                tokio::spawn(served.run(listener));
            }
            None => {
                let host = match reach {
                    Reach::Machine => Ipv4Addr::LOCALHOST,
                    Reach::Everybody => Ipv4Addr::UNSPECIFIED,
                };
                tokio::spawn(serve::follow(served, addresses(host.into(), wanted)));
            }
        }
        Ok(Diagnostics {
            registry,
            health,
            tracing,
        })
    }
}

/// Where metrics are to be served as the Broker says it.
fn addresses(
    host: IpAddr,
    mut wanted: watch::Receiver<Wanted>,
) -> watch::Receiver<Option<SocketAddr>> {
    let address = move |wanted: &Wanted| match wanted.metrics.prometheus_port {
        0 => None,
        port => Some(SocketAddr::new(host, port)),
    };
    let (tell, told) = watch::channel(address(&wanted.borrow_and_update()));
    tokio::spawn(async move {
        while wanted.changed().await.is_ok() {
            let now = address(&wanted.borrow_and_update());
            tell.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
        // What was said last stays good.
        tell.closed().await;
    });
    told
}

/// What the Broker says of diagnostics, before it is known and after: as it is without a word, until somebody is told.
pub fn wanted() -> (watch::Sender<Wanted>, watch::Receiver<Wanted>) {
    watch::channel(Wanted::default())
}

/// Follows the Broker, for as long as the present runtime runs.
pub fn follow(
    mut cluster: watch::Receiver<Arc<Cluster>>,
    tell: watch::Sender<Wanted>,
    mut logs: Logs,
) {
    tokio::spawn(async move {
        loop {
            let now = {
                let cluster = cluster.borrow_and_update();
                (cluster.version > 0).then(|| cluster.broker.diagnostics.clone())
            };
            if let Some(now) = now {
                logs.follow(&now.logs.level);
                tell.send_if_modified(|before| {
                    let is_new = *before != now;
                    *before = now;
                    is_new
                });
            }
            if cluster.changed().await.is_err() {
                return tell.closed().await;
            }
        }
    });
}
