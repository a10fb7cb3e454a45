//! What an operator sees of the process, assembled: who is asked for metrics, where they are served, what ready means.
//!
//! The rooms count; what their counts are called stands in the files beside this one, and in `catena_telemetry::names`.

pub mod authentication;
pub mod backend;
pub mod control_plane;
pub mod gateway;
pub mod options;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use catena_membership::Cluster;
use catena_resources::broker::Diagnostics as Wanted;
use catena_runtime::telemetry::Logs;
use catena_secrets::Secrets;
use catena_telemetry::{
    Health, Registry,
    otlp::{self, Identity},
    process::Process,
    serve::{self, Served},
    traces::sampler::Tracing,
};
use tokio::sync::watch;
use tracing::warn;

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
    secrets: Secrets,
) {
    tokio::spawn(async move {
        let (mut changed, mut problem) = (secrets.changed(), None);
        loop {
            let now = {
                let cluster = cluster.borrow_and_update();
                (cluster.version > 0).then(|| cluster.broker.diagnostics.clone())
            };
            if let Some(mut now) = now {
                logs.follow(&now.logs.level);
                changed.mark_unchanged();
                let wrong = with_secret(&mut now, &secrets).err();
                if let Some(wrong) = wrong.as_ref().filter(|_| wrong != problem) {
                    warn!(reason = wrong, "nothing is sent to the collector");
                }
                problem = wrong;
                tell.send_if_modified(|before| {
                    let is_new = *before != now;
                    *before = now;
                    is_new
                });
            }
            let is_told = tokio::select! {
                told = cluster.changed() => told.is_ok(),
                Ok(()) = changed.changed() => true,
            };
            if !is_told {
                return tell.closed().await;
            }
        }
    });
}

/// Puts headers that are in a secret to the others. Without it nothing is sent: the collector would take us for somebody else.
fn with_secret(wanted: &mut Wanted, secrets: &Secrets) -> Result<(), String> {
    let Some(collector) = &mut wanted.opentelemetry else {
        return Ok(());
    };
    let Some(name) = collector.headers_secret_ref.take() else {
        return Ok(());
    };
    let values = secrets.all(&name);
    let mut more = BTreeMap::new();
    for (key, value) in &values {
        let text = value.as_text().map(|text| text.trim_end_matches('\n'));
        match text.filter(|text| !text.chars().any(char::is_control)) {
            Some(text) => more.insert(key.clone(), text.to_owned()),
            None => {
                wanted.opentelemetry = None;
                wanted.metrics.opentelemetry_collector_address = None;
                return Err(format!("{name}/{key} is no header"));
            }
        };
    }
    if more.is_empty() {
        wanted.opentelemetry = None;
        wanted.metrics.opentelemetry_collector_address = None;
        return Err(format!("there is no secret {name:?}, or it is empty"));
    }
    let is_said = |key: &String| more.keys().any(|name| name.eq_ignore_ascii_case(key));
    collector.headers.retain(|key, _| !is_said(key));
    collector.headers.extend(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A collector that asks for a token would get nothing, or the token would have to stand in a manifest.
    #[test]
    fn headers_of_a_secret_count_and_without_it_nothing_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(Some(directory.path().to_owned()));
        let wanted = || {
            let text = serde_json::json!({"opentelemetry": {
                "endpoint": "http://c:4317", "headers": {"X-Key": "old", "x-other": "stays"}, "headersSecretRef": "collector",
            }});
            serde_json::from_value::<Wanted>(text).unwrap()
        };
        let mut now = wanted();
        assert!(with_secret(&mut now, &secrets).is_err());
        assert_eq!(now.opentelemetry, None);
        secrets.put("collector", "x-key", b"new\n").unwrap();
        secrets.look();
        let mut now = wanted();
        with_secret(&mut now, &secrets).unwrap();
        let headers = now.opentelemetry.unwrap().headers;
        let expected = [("x-key", "new"), ("x-other", "stays")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, BTreeMap::from(expected));
    }
}
