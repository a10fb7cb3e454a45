//! Traces of messages, as a worker sees them: in from a client, and out to clients.
//!
//! A message that is traced carries its context behind its properties (`catena_shard::trace`), through the shard and back.
//! The span of a publish is over when its op is committed, or at once when there is none to wait for.

use std::collections::VecDeque;

use catena_mqtt::{packet::Publish, property};
use catena_shard::{
    ConnId,
    trace::{self, Context},
};
use catena_slots::ShardId;
use catena_telemetry::traces::{
    self, Attributes, Kind, Place, Span,
    sampler::{Sampler, Tracing},
    w3c,
};

use crate::limits::TRACES_OPEN_MAX;

/// How many spans' memory is kept to be used again.
const SPARE_MAX: usize = 64;

/// The traces of a worker.
#[derive(Debug)]
pub(crate) struct Tracer {
    sampler: Sampler,
    /// Of the packet that is being handled.
    current: Option<Begun>,
    /// Of publishes whose ops are not committed yet, by shard and in the order of their ops.
    open: Vec<VecDeque<(u64, Begun)>>,
    /// How many those are.
    opened: usize,
    /// Memory of spans that are over, to be used again.
    spare: Vec<Attributes>,
}

/// A span that is not over, and what is said of it.
#[derive(Debug)]
struct Begun {
    span: Span,
    said: Attributes,
}

impl Tracer {
    pub fn new(tracing: Tracing) -> Tracer {
        Tracer {
            sampler: Sampler::new(tracing),
            current: None,
            open: Vec::new(),
            opened: 0,
            spare: Vec::new(),
        }
    }

    /// A client publishes: decides whether that is traced, and lets the message say so.
    #[inline]
    pub fn received(&mut self, publish: &mut Publish, client_id: &str) {
        let properties = &publish.properties;
        let parent = || {
            if properties.is_empty() {
                return None;
            }
            property::find_user_property(properties, w3c::TRACEPARENT).and_then(w3c::parse)
        };
        match self.sampler.decide(parent) {
            Some(of) => self.begin(publish, of, client_id),
            // What a client sends is no context of ours.
            None if trace::is_marked(properties) => {
                publish.properties = trace::mark(properties, None);
            }
            None => {}
        }
    }

    #[cold]
    fn begin(&mut self, publish: &mut Publish, of: (u128, u64), client_id: &str) {
        let (trace, parent) = of;
        let span = self.sampler.span();
        publish.properties = trace::mark(&publish.properties, Some(Context { trace, span }));
        let mut said = self.spare.pop().unwrap_or_default();
        said.clear()
            .text("messaging.system", "mqtt")
            .text("messaging.destination.name", &publish.topic)
            .text("messaging.client.id", client_id)
            .number("messaging.message.body.size", publish.payload.len() as u64)
            .number("mqtt.qos", publish.qos as u64);
        let span = Span {
            place: Place {
                trace,
                span,
                parent,
            },
            name: "catena.publish",
            kind: Kind::Consumer,
            start: traces::now(),
            end: 0,
            error: None,
        };
        self.current = Some(Begun { span, said });
    }

    /// The publish became op `number` of `shard`.
    #[inline]
    pub fn pushed(&mut self, shard: ShardId, number: u64) {
        if let Some(mut begun) = self.current.take() {
            begun
                .said
                .number("catena.shard", shard.0.into())
                .number("catena.op", number);
            if self.opened >= TRACES_OPEN_MAX {
                return self.end(begun);
            }
            if self.open.len() <= shard.index() {
                self.open.resize_with(shard.index() + 1, VecDeque::new);
            }
            self.open[shard.index()].push_back((number, begun));
            self.opened += 1;
        }
    }

    /// The packet was handled. What became no op - it went past the log, waits for room, or was refused - is over.
    #[inline]
    pub fn handled(&mut self) {
        if let Some(begun) = self.current.take() {
            self.end(begun);
        }
    }

    /// The policy did not allow it, or there was no room.
    #[inline]
    pub fn refused(&mut self, why: &'static str) {
        if let Some(begun) = &mut self.current {
            begun.span.error = Some(why);
        }
    }

    /// Ops of `shard` are committed.
    #[inline]
    pub fn committed(&mut self, shard: ShardId, through: u64) {
        if self.opened > 0 {
            self.end_through(shard, through);
        }
    }

    fn end_through(&mut self, shard: ShardId, through: u64) {
        while let Some(open) = self.open.get_mut(shard.index())
            && open.front().is_some_and(|(number, _)| *number <= through)
            && let Some((_, begun)) = open.pop_front()
        {
            self.opened -= 1;
            self.end(begun);
        }
    }

    /// The message was written to a client.
    #[cold]
    pub fn delivered(&mut self, context: Context, conn: ConnId, payload: usize) {
        let now = traces::now();
        let span = self.sampler.span();
        let mut said = self.spare.pop().unwrap_or_default();
        said.clear()
            .text("messaging.system", "mqtt")
            .number("catena.connection", conn.0)
            .number("messaging.message.body.size", payload as u64);
        let span = Span {
            place: Place {
                trace: context.trace,
                span,
                parent: context.span,
            },
            name: "catena.deliver",
            kind: Kind::Producer,
            start: now,
            end: now,
            error: None,
        };
        self.add(span, said);
    }

    fn end(&mut self, Begun { mut span, said }: Begun) {
        span.end = traces::now();
        self.add(span, said);
    }

    fn add(&mut self, span: Span, said: Attributes) {
        self.sampler.spans().add(&span, &said);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn publish(traceparent: Option<&str>) -> Publish {
        let mut publish = Publish::new("t", "x");
        if let Some(parent) = traceparent {
            let properties = property::Builder::new().user(w3c::TRACEPARENT, parent);
            publish.properties = properties.build().unwrap();
        }
        publish
    }

    // A trace that begins anew in the broker is two halves that nobody puts together.
    #[test]
    fn a_publisher_s_trace_goes_on_and_its_properties_stay_as_they_were() {
        let tracing = Tracing::default();
        tracing.spans.set_room(10);
        let mut tracer = Tracer::new(tracing.clone());
        let mut publish = publish(Some(PARENT));
        let sent = publish.properties.clone();
        tracer.received(&mut publish, "c");
        assert_eq!(trace::without(&publish.properties), &sent[..]);
        let context = trace::of(&publish.properties).unwrap();
        tracer.pushed(ShardId(1), 5);
        tracer.handled();
        tracer.committed(ShardId(0), 9);
        tracer.committed(ShardId(1), 4);
        assert!(tracing.spans.take().is_empty(), "it is not committed");
        tracer.committed(ShardId(1), 5);
        tracer.delivered(context, ConnId(1), 1);
        let taken = tracing.spans.take();
        let places: Vec<Place> = taken.iter().flat_map(|piece| piece.places()).collect();
        assert_eq!(places.len(), 2);
        assert_eq!(places[0].parent, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(places[1].parent, places[0].span);
        assert!(places.iter().all(|place| place.trace == context.trace));
    }

    // Anybody could make spans in a trace of his choice, or have his properties cut.
    #[test]
    fn a_context_that_a_client_made_up_is_none() {
        let tracing = Tracing::default();
        let mut tracer = Tracer::new(tracing.clone());
        let context = Some(Context { trace: 1, span: 2 });
        let mut forged = publish(None);
        forged.properties = trace::mark(&Bytes::from_static(b"x"), context);
        let sent = forged.properties.clone();
        tracer.received(&mut forged, "c");
        assert_eq!(trace::of(&forged.properties), None);
        assert_eq!(trace::without(&forged.properties), &sent[..]);
    }
}
