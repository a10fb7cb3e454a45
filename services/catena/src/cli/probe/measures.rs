//! What the probe has found so far, under its names.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use catena_telemetry::{Samples, names, names::OfProbe};

use super::round::{Outcome, Route, Step};

/// Times of each step that are remembered.
const REMEMBERED: usize = 1_000;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Measures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    routes: BTreeMap<(String, u16), OfRoute>,
    /// In milliseconds, the newest last.
    times: BTreeMap<Step, VecDeque<f64>>,
    rounds: u64,
    sent: u64,
    received: u64,
}

/// The last round of a route.
#[derive(Debug, Default)]
struct OfRoute {
    times: BTreeMap<Step, f64>,
    failed: Option<Step>,
}

impl Measures {
    /// A round on a route is over.
    pub fn add(&self, route: &Route, outcome: &Outcome) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rounds += 1;
        let failed = outcome.failure.as_ref().map(|(step, _)| *step);
        let has = |step| outcome.steps.iter().any(|(done, _)| *done == step);
        if has(Step::Subscribe) {
            inner.sent += 1;
        }
        if has(Step::PayloadCheck) {
            inner.received += 1;
        }
        let ms = |took: &Duration| took.as_secs_f64() * 1e3;
        let times: BTreeMap<Step, f64> = outcome
            .steps
            .iter()
            .map(|(step, took)| (*step, ms(took)))
            .collect();
        for (step, ms) in &times {
            let known = inner.times.entry(*step).or_default();
            if known.len() >= REMEMBERED {
                known.pop_front();
            }
            known.push_back(*ms);
        }
        let key = (route.gateway.clone(), route.shard);
        inner.routes.insert(key, OfRoute { times, failed });
    }

    /// As if nothing had ever been found.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// All of it.
    pub fn collect(&self, samples: &mut Samples) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((gateway, shard), of) in &inner.routes {
            let route = [gateway.as_str(), &*shard.to_string()];
            samples.add(&names::PROBE_UP, route, of.failed.is_none());
            for (step, metrics) in STEPS {
                let time = of.times.get(&step);
                if let Some(correctness) = metrics.correctness {
                    samples.add(correctness, route, time.is_some());
                }
                if let (Some(latency), Some(time)) = (metrics.route, time) {
                    samples.add(latency, route, *time);
                }
            }
        }
        for (step, metrics) in STEPS {
            let Some(times) = inner.times.get(&step).filter(|times| !times.is_empty()) else {
                continue;
            };
            let (last, mean, sigma) = summary(times);
            samples.add(metrics.last, [], last);
            samples.add(metrics.mean, [], mean);
            samples.add(metrics.sigma, [], sigma);
        }
        samples.add(&names::PROBE_ROUNDS, [], inner.rounds);
        samples.add(&names::PROBE_SENT, [], inner.sent);
        samples.add(&names::PROBE_RECEIVED, [], inner.received);
        samples.add(&names::PROBE_LOST, [], inner.sent - inner.received);
    }
}

const STEPS: [(Step, OfProbe); 6] = [
    (Step::Connect, names::OF_CONNECT),
    (Step::Ping, names::OF_PING),
    (Step::Subscribe, names::OF_SUBSCRIBE),
    (Step::Publish, names::OF_PUBLISH),
    (Step::PayloadCheck, names::OF_PAYLOAD_CHECK),
    (Step::Unsubscribe, names::OF_UNSUBSCRIBE),
];

/// What 99 of 100 do not exceed, the mean, and the standard deviation.
fn summary(times: &VecDeque<f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = times.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let at = ((count * 0.99).ceil() as usize).clamp(1, sorted.len()) - 1;
    let mean = sorted.iter().sum::<f64>() / count;
    let variance = sorted.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
    (sorted[at], mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A number on a dashboard that is called p99 and is the mean hides what it is there for.
    #[test]
    fn the_summary_is_what_it_is_called() {
        let times: VecDeque<f64> = (1..=200).map(f64::from).collect();
        let (p99, mean, sigma) = summary(&times);
        assert_eq!((p99, mean), (198.0, 100.5));
        assert!((sigma - 57.73).abs() < 0.01, "{sigma}");
        assert_eq!(summary(&VecDeque::from([7.0])), (7.0, 7.0, 0.0));
    }
}
