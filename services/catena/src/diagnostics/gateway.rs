//! What a gateway counts, under its names.

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use catena_gateway::{
    Gateway,
    counters::Counters,
    gauges::{GAP_BOUNDS_MS, LinkSeen},
    traffic::{Traffic, VERSIONS},
};
use catena_telemetry::{Samples, Source, names, samples::Histogram};

use crate::gateway::ports::Ports;

/// A life of a gateway.
pub struct OfGateway(pub Gateway);

impl Source for OfGateway {
    fn collect(&self, samples: &mut Samples) {
        samples.add(&names::CONNECTIONS, [], self.0.connections());
        for counters in self.0.counters() {
            counters.traffic.each(|category, traffic| {
                collect_traffic(category, traffic, samples);
            });
            collect_counters(counters, samples);
            collect_links(counters, samples);
        }
    }
}

/// The ports of a life of a gateway.
pub struct OfPorts(pub Ports);

impl Source for OfPorts {
    fn collect(&self, samples: &mut Samples) {
        let ports = self.0.borrow().clone();
        let mut told = BTreeSet::new();
        for port in ports.iter().flat_map(|ports| ports.iter()) {
            let until = port
                .certificate_until
                .and_then(|until| until.duration_since(UNIX_EPOCH).ok());
            // Ports of one listener may show different ones: the first of them stands for it.
            if let Some(until) = until.filter(|_| told.insert(port.listener.clone())) {
                samples.add(
                    &names::CERTIFICATE_EXPIRY,
                    [&*port.listener],
                    until.as_secs_f64(),
                );
            }
        }
    }
}

fn collect_traffic(category: &str, traffic: &Traffic, samples: &mut Samples) {
    for (metric, counter) in [
        (&names::AIO_PUBLISHES_RECEIVED, &traffic.publishes_received),
        (&names::AIO_PUBLISHES_SENT, &traffic.publishes_sent),
        (&names::AIO_PAYLOAD_RECEIVED, &traffic.payload_received),
        (&names::AIO_PAYLOAD_SENT, &traffic.payload_sent),
        (&names::AIO_AUTHENTICATION_SUCCESSES, &traffic.authenticated),
        (&names::AIO_AUTHENTICATION_FAILURES, &traffic.undecided),
        (&names::AIO_AUTHENTICATION_DENY, &traffic.not_authenticated),
        (&names::AIO_AUTHORIZATION_ALLOW, &traffic.allowed),
        (&names::AIO_AUTHORIZATION_DENY, &traffic.denied),
    ] {
        samples.add(metric, [category], counter.get());
    }
    for (direction, counter) in [
        ("incoming", &traffic.dropped_incoming),
        ("outgoing", &traffic.dropped_outgoing),
    ] {
        samples.add(
            &names::AIO_QOS0_DROPPED,
            [category, direction],
            counter.get(),
        );
    }
    for (version, connected) in VERSIONS.iter().zip(traffic.connected()) {
        samples.add(&names::AIO_CONNECTED_SESSIONS, [version], connected);
    }
}

fn collect_counters(counters: &Counters, samples: &mut Samples) {
    samples.add(&names::ACCEPTED, [], counters.accepted.get());
    samples.add(&names::CONNECTED, [], counters.connected.get());
    samples.add(&names::LINKS_BROKEN, [], counters.links_broken.get());
    let refused = counters.publishes_refused.get();
    samples.add(&names::AIO_BACKPRESSURE_REJECTED, [], refused);
    for (reason, count) in counters.refused_by.each() {
        samples.add(&names::REFUSED, [&*format!("{reason:?}")], count);
    }
    for (reason, count) in counters.ended_by.each() {
        // In DISCONNECT this is its name.
        let name = match format!("{reason:?}") {
            name if name == "Success" => "NormalDisconnection".to_owned(),
            name => name,
        };
        samples.add(&names::DISCONNECTED, [&*name], count);
    }
    for (reason, counter) in [
        ("over_limit", &counters.over_limit),
        ("over_rate", &counters.over_rate),
        ("over_openings", &counters.over_openings),
        ("opening_failed", &counters.openings_failed),
        ("connect_timeout", &counters.connect_timeouts),
        ("authentications_full", &counters.authentications_full),
        ("accept_error", &counters.accept_errors),
        ("stalled", &counters.stalled),
        ("over_memory", &counters.over_memory),
        ("held_and_closed", &counters.held_and_closed),
        ("kept_away", &counters.kept_away),
        ("expired", &counters.expired),
    ] {
        samples.add(&names::TURNED_AWAY, [reason], counter.get());
    }
    for (action, counter) in [
        ("connect", &counters.connects_denied),
        ("publish", &counters.publishes_denied),
        ("subscribe", &counters.subscribes_denied),
    ] {
        samples.add(&names::DENIED, [action], counter.get());
    }
    for (reason, counter) in [
        ("no_room_incoming", &counters.dropped_incoming),
        ("no_room_outgoing", &counters.dropped_outgoing),
        ("expired_or_too_large", &counters.discarded),
        ("publish_refused", &counters.publishes_refused),
    ] {
        samples.add(&names::DROPPED, [reason], counter.get());
    }
    samples.add(&names::SLOWED, [], counters.slowed.get());
    samples.add(&names::MEMORY_SHORT, [], counters.memory_short.get());
}

fn collect_links(counters: &Counters, samples: &mut Samples) {
    for (shard, seen) in counters.links.each() {
        let shard = shard.0.to_string();
        let LinkSeen {
            is_whole,
            pushed,
            committed,
            effects,
        } = seen;
        samples.add(&names::LINKS_WHOLE, [&*shard], is_whole);
        samples.add(&names::LINK_OPS, [&*shard], pushed);
        samples.add(&names::LINK_EFFECTS, [&*shard], effects);
        let uncommitted = pushed.saturating_sub(committed);
        samples.add(&names::LINK_UNCOMMITTED, [&*shard], uncommitted);
    }
    let (counts, sum_ms) = counters.gaps.read();
    let gaps = Histogram {
        bounds: GAP_BOUNDS_MS.iter().map(|ms| *ms as f64 / 1e3).collect(),
        counts,
        sum: sum_ms as f64 / 1e3,
    };
    samples.add(&names::FAILOVER_GAP, [], gaps);
}
