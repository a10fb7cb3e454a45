//! OTLP: metrics and traces are sent to a collector, as the Broker says, and followed while it changes.
//!
//! The messages are those of the OpenTelemetry project (`opentelemetry-proto`); what is measured needs no SDK between. A collector
//! that is away costs nothing but what waits for it, which is bounded; one line in the log says so, and one that it is back.

mod cache;
mod convert;
mod exporter;
mod spans;

use std::{convert::Infallible, sync::Arc, time::Duration};

use catena_resources::broker::{Diagnostics, OtlpProtocol};
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use self::{
    cache::Cache,
    exporter::{Error, Exporter},
};
use crate::{Registry, traces::sampler::Tracing};

/// How often metrics are sent where only an address is given.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long spans gather that are too few for a piece.
const SPANS_GATHER: Duration = Duration::from_millis(500);
/// How long after a failure spans are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Who we are, for the collector.
#[derive(Debug, Clone)]
pub struct Identity {
    pub role: &'static str,
    pub version: &'static str,
    pub instance: Arc<str>,
    /// When the process started, in nanoseconds since 1970.
    pub started: u64,
}

impl Identity {
    /// This process, on this machine.
    pub fn of(role: &'static str, version: &'static str) -> Identity {
        Identity {
            role,
            version,
            instance: crate::process::hostname().into(),
            started: crate::traces::now(),
        }
    }
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub endpoint: String,
    pub protocol: OtlpProtocol,
    pub headers: Vec<(String, String)>,
    pub interval: Duration,
}

impl Target {
    /// The collector that the Broker names, if any.
    pub fn of(wanted: &Diagnostics) -> Option<Target> {
        if let Some(said) = &wanted.opentelemetry {
            return Some(Target {
                endpoint: said.endpoint.clone(),
                protocol: said.protocol,
                headers: said.headers.clone().into_iter().collect(),
                interval: said.interval.0.max(Duration::from_secs(1)),
            });
        }
        let address = wanted.metrics.opentelemetry_collector_address.as_ref()?;
        let has_scheme = address.contains("://");
        Some(Target {
            endpoint: match has_scheme {
                true => address.clone(),
                false => format!("http://{address}"),
            },
            protocol: OtlpProtocol::Grpc,
            headers: Vec::new(),
            interval: INTERVAL,
        })
    }
}

/// Sends what `registry` says to the collector that `wanted` names, at its intervals, for ever.
pub async fn push_metrics(
    registry: Registry,
    identity: Identity,
    mut wanted: watch::Receiver<Diagnostics>,
) -> Infallible {
    loop {
        let target = Target::of(&wanted.borrow_and_update());
        let push = async {
            let Some(target) = target.clone() else {
                return std::future::pending::<Infallible>().await;
            };
            let mut outage = Outage::new("metrics", &target);
            let mut exporter = Exporter::new(target.clone());
            loop {
                let request = convert::metrics(&registry.collect(), &identity);
                outage.tell(exporter.metrics(request).await);
                tokio::time::sleep(target.interval).await;
            }
        };
        changed_or(&mut wanted, &target, push).await;
    }
}

/// Sends spans to the collector that `wanted` names, and lets them be made while there is one, for ever.
pub async fn push_spans(
    tracing: Tracing,
    identity: Identity,
    mut wanted: watch::Receiver<Diagnostics>,
) -> Infallible {
    loop {
        let (target, room) = {
            let wanted = wanted.borrow_and_update();
            let traces = &wanted.traces;
            let target = Target::of(&wanted).filter(|_| traces.mode.is_on());
            tracing.set_ratio(traces.sample_ratio.millionths());
            let room = target
                .as_ref()
                .map_or(0, |_| traces.span_channel_capacity as usize);
            (
                target,
                (room, usize::from(traces.cache_size_megabytes) << 20),
            )
        };
        tracing.spans.set_room(room.0);
        let push = async {
            let Some(target) = target.clone() else {
                tracing.spans.take();
                return std::future::pending::<Infallible>().await;
            };
            let mut outage = Outage::new("traces", &target);
            let mut exporter = Exporter::new(target);
            let mut cache = Cache::of_bytes(room.1);
            loop {
                if cache.is_empty() {
                    cache.add(tracing.spans.next(SPANS_GATHER).await);
                } else {
                    tokio::time::sleep(RETRY).await;
                    cache.add(tracing.spans.take());
                }
                outage.tell(cache.send(&mut exporter, &identity).await);
            }
        };
        changed_or(&mut wanted, &target, push).await;
    }
}

/// Goes on with `push` until the Broker says something else of collectors or traces.
async fn changed_or(
    wanted: &mut watch::Receiver<Diagnostics>,
    target: &Option<Target>,
    push: impl Future<Output = Infallible>,
) {
    let traces = wanted.borrow().traces;
    let is_other = |now: &Diagnostics| Target::of(now) != *target || now.traces != traces;
    tokio::select! {
        never = push => match never {},
        is_told = async { wanted.wait_for(is_other).await.is_ok() } => {
            if !is_told {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether the collector takes what it is sent: one line when it no longer does, and one when it does again.
struct Outage {
    what: &'static str,
    endpoint: String,
    since: Option<Instant>,
    is_known: bool,
}

impl Outage {
    fn new(what: &'static str, target: &Target) -> Outage {
        Outage {
            what,
            endpoint: target.endpoint.clone(),
            since: None,
            is_known: false,
        }
    }

    fn tell(&mut self, sent: Result<(), Error>) {
        let (what, endpoint) = (self.what, &self.endpoint);
        match (sent, self.since) {
            (Ok(()), Some(since)) => {
                info!(
                    what,
                    endpoint,
                    seconds = since.elapsed().as_secs(),
                    "the collector is there again"
                );
                self.since = None;
            }
            (Ok(()), None) if !self.is_known => {
                info!(what, endpoint, "the collector takes what it is sent")
            }
            (Ok(()), None) => {}
            (Err(error), None) => {
                warn!(what, endpoint, %error, "the collector does not take what it is sent; it is tried again");
                self.since = Some(Instant::now());
            }
            (Err(_), Some(_)) => {}
        }
        self.is_known = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_is_the_one_that_the_broker_names() {
        let mut wanted = Diagnostics::default();
        assert_eq!(Target::of(&wanted), None);
        wanted.metrics.opentelemetry_collector_address = Some("collector:4317".to_owned());
        let target = Target::of(&wanted).unwrap();
        assert_eq!(
            (&*target.endpoint, target.interval),
            ("http://collector:4317", INTERVAL)
        );
    }
}
