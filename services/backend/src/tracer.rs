//! Traces of messages, as a replica sees them: from the moment that it has one until it has handed on what came of it.

use std::sync::Arc;

use catena_chain::Payload;
use catena_replicated::{Entry, FromOrigin, Replica};
use catena_shard::{Op, trace::Context};
use catena_slots::ShardId;
use catena_telemetry::traces::{
    self, Attributes, Kind, Place, Span,
    sampler::{Sampler, Tracing},
};

use crate::pulse::role_name;

/// Messages of one turn that are told of.
const TRACED_MAX: usize = 256;

/// The traces of one replica.
pub(crate) struct Tracer {
    shard: ShardId,
    sampler: Sampler,
    /// Of this turn, and when they came.
    begun: Vec<(Context, u64)>,
    /// What is said of them: memory that is used again.
    said: Attributes,
}

impl Tracer {
    pub fn new(shard: ShardId, tracing: Tracing) -> Tracer {
        Tracer {
            shard,
            sampler: Sampler::new(tracing),
            begun: Vec::new(),
            said: Attributes::default(),
        }
    }

    /// An origin says something.
    pub fn said(&mut self, message: &FromOrigin) {
        if !self.sampler.spans().are_wanted() {
            return;
        }
        match message {
            FromOrigin::Ops { batch, .. } => self.begin(&batch.ops),
            FromOrigin::Direct { publishes, .. } => {
                for publish in publishes.iter() {
                    self.add(publish.message.trace());
                }
            }
            FromOrigin::Open { .. } | FromOrigin::Acked { .. } => {}
        }
    }

    /// Entries have come from the predecessor.
    pub fn appended(&mut self, entries: &[Arc<Entry>]) {
        if !self.sampler.spans().are_wanted() {
            return;
        }
        for entry in entries {
            if let Payload::Ops { batch, .. } = &entry.payload {
                self.begin(&batch.ops);
            }
        }
    }

    fn begin(&mut self, ops: &[Op]) {
        for op in ops {
            if let Op::Publish(publish) = op {
                self.add(publish.message.trace());
            }
        }
    }

    #[inline]
    fn add(&mut self, context: Option<Context>) {
        if let Some(context) = context
            && self.begun.len() < TRACED_MAX
        {
            self.begun.push((context, traces::now()));
        }
    }

    /// The turn is over: what came of its inputs is handed on.
    #[inline]
    pub fn turned(&mut self, replica: &Replica) {
        if !self.begun.is_empty() {
            self.tell(replica);
        }
    }

    #[cold]
    fn tell(&mut self, replica: &Replica) {
        let (role, end) = (role_name(replica.role()), traces::now());
        let name = match role {
            "head" => "catena.head",
            "tail" => "catena.tail",
            "alone" => "catena.head_and_tail",
            "middle" => "catena.middle",
            _ => "catena.learner",
        };
        let status = replica.status();
        let epoch = replica.configuration().map_or(0, |known| known.epoch.0);
        let index = status.map_or(0, |status| status.end.index);
        let said = self.said.clear();
        said.number("catena.shard", self.shard.0.into())
            .text("catena.role", role)
            .number("catena.epoch", epoch)
            .number("catena.log.index", index);
        for (context, start) in self.begun.drain(..) {
            let span = self.sampler.span();
            let span = Span {
                place: Place {
                    trace: context.trace,
                    span,
                    parent: context.span,
                },
                name,
                kind: Kind::Internal,
                start,
                end,
                error: None,
            };
            self.sampler.spans().add(&span, said);
        }
    }
}
