//! The fields of what there is most of.

use std::sync::Arc;

use catena_chain::{Epoch, Generation, Payload};
use catena_link::Batch;
use catena_replicated::{Entry, Envelope};
use catena_shard::{
    Effect, Message, Op, Origin, Who,
    effect::{Deliver, Published, Target},
    op::{Ack, Credit, Publish, Release},
};

use super::sink::{Fields, Sink};
use crate::wire::{Wire, halves};

impl Fields for Who {
    fn tell(&self, to: &mut impl Sink) {
        let (high, low) = halves(self.client.0);
        to.fixed64(1, high);
        to.fixed64(2, low);
        to.varint(3, self.session.home.0);
        to.varint(4, self.session.generation);
        to.varint(5, self.session.counter);
        to.varint(6, self.epoch);
    }
}

impl Fields for Message {
    fn tell(&self, to: &mut impl Sink) {
        let (high, low) = halves(self.publisher.0);
        to.bytes(1, self.topic.as_bytes());
        to.bytes(2, &self.payload);
        to.bytes(3, &self.properties);
        to.varint(4, self.qos.to_proto() as u32);
        to.varint(5, self.retain);
        if let Some(expiry) = self.expiry {
            to.some(6, expiry.into());
        }
        to.fixed64(7, high);
        to.fixed64(8, low);
        to.varint(9, self.counter);
    }
}

impl Fields for Publish {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &*self.message);
        to.nested(2, &self.who);
        to.varint(3, self.conn.0);
        to.varint(4, self.token);
        to.varint(5, self.packet_id);
        to.varint(6, self.dup);
        to.varint(7, self.high_priority);
    }
}

impl Fields for Ack {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &self.who);
        to.packed(2, self.items.iter().map(|item| item.packet_id.into()));
        to.packed(3, self.items.iter().map(|item| item.kind.to_proto() as u64));
    }
}

impl Fields for Credit {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &self.who);
        to.varint(2, self.messages);
        to.varint(3, self.bytes);
    }
}

impl Fields for Release {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &self.who);
        to.varint(2, self.conn.0);
        to.varint(3, self.packet_id);
    }
}

impl Fields for Op {
    fn tell(&self, to: &mut impl Sink) {
        match self {
            Op::Publish(publish) => to.nested(1, publish),
            Op::Ack(ack) => to.nested(2, ack),
            Op::Credit(credit) => to.nested(3, credit),
            Op::Release(release) => to.nested(4, release),
            _ => to.whole(&self.to_proto()),
        }
    }
}

impl Fields for Batch<Op> {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.first);
        for op in &self.ops {
            to.nested(2, op);
        }
    }
}

impl Fields for Target {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.conn.0);
        to.varint(2, self.qos.to_proto() as u32);
        to.varint(3, self.packet_id);
        to.varint(4, self.retain);
        to.varint(5, self.dup);
        to.varint(6, self.counted);
        to.varint(7, self.shared);
        if let Some(ids) = &self.subscription_ids {
            to.packed(8, ids.iter().map(|id| u64::from(*id)));
        }
    }
}

impl Fields for Deliver {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &*self.message);
        if self.expires_at != catena_shard::Time::NEVER {
            to.some(2, self.expires_at.0);
        }
        for target in &self.targets {
            to.nested(3, target);
        }
    }
}

impl Fields for Published {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.conn.0);
        to.varint(2, self.token);
        to.varint(3, self.reason.as_u8());
    }
}

impl Fields for Effect {
    fn tell(&self, to: &mut impl Sink) {
        match self {
            Effect::Deliver(deliver) => to.nested(1, deliver),
            Effect::Published(published) => to.nested(2, published),
            _ => to.whole(&self.to_proto()),
        }
    }
}

/// `FromOrigin` where it is one of these.
#[derive(Debug)]
pub(in crate::wire) enum FromOriginFields<'a> {
    Ops {
        generation: Generation,
        acked_through: u64,
        batch: &'a Batch<Op>,
    },
    Direct {
        generation: Generation,
        publishes: &'a [Publish],
    },
}

impl Fields for FromOriginFields<'_> {
    fn tell(&self, to: &mut impl Sink) {
        match *self {
            FromOriginFields::Ops {
                generation,
                acked_through,
                batch,
            } => to.nested(
                2,
                &Ops {
                    generation,
                    acked_through,
                    batch,
                },
            ),
            FromOriginFields::Direct {
                generation,
                publishes,
            } => to.nested(
                4,
                &Direct {
                    generation,
                    publishes,
                },
            ),
        }
    }
}

struct Ops<'a> {
    generation: Generation,
    acked_through: u64,
    batch: &'a Batch<Op>,
}

impl Fields for Ops<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.generation.0);
        to.varint(2, self.acked_through);
        to.nested(3, self.batch);
    }
}

struct Direct<'a> {
    generation: Generation,
    publishes: &'a [Publish],
}

impl Fields for Direct<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.generation.0);
        for publish in self.publishes {
            to.nested(2, publish);
        }
    }
}

/// `ToOrigin` where it is Effects.
#[derive(Debug)]
pub(in crate::wire) struct ToOriginFields<'a> {
    pub(in crate::wire) generation: Generation,
    pub(in crate::wire) epoch: Epoch,
    pub(in crate::wire) first: u64,
    pub(in crate::wire) effects: &'a [Effect],
    pub(in crate::wire) committed: u64,
    pub(in crate::wire) direct: &'a [Effect],
    pub(in crate::wire) direct_through: u64,
    pub(in crate::wire) now: u64,
}

impl Fields for ToOriginFields<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.nested(1, &Effects(self));
    }
}

struct Effects<'a>(&'a ToOriginFields<'a>);

impl Fields for Effects<'_> {
    fn tell(&self, to: &mut impl Sink) {
        let fields = self.0;
        to.varint(1, fields.generation.0);
        to.varint(2, fields.epoch.0);
        to.varint(3, fields.first);
        for effect in fields.effects {
            to.nested(4, effect);
        }
        to.varint(5, fields.committed);
        for effect in fields.direct {
            to.nested(6, effect);
        }
        to.varint(7, fields.direct_through);
        to.varint(8, fields.now);
    }
}

/// An envelope where it is Append.
#[derive(Debug)]
pub(in crate::wire) struct Appended<'a> {
    pub(in crate::wire) envelope: &'a Envelope,
    pub(in crate::wire) nonce: u64,
    pub(in crate::wire) entries: &'a [Arc<Entry>],
    pub(in crate::wire) last: u64,
    pub(in crate::wire) not_durable_from: u64,
}

impl Fields for Appended<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.envelope.shard.0);
        to.varint(2, self.envelope.epoch.0);
        to.varint(3, self.envelope.generation.0);
        to.varint(4, self.envelope.from.id.0);
        to.varint(5, self.envelope.from.incarnation.0);
        to.varint(6, self.envelope.to.0);
        to.nested(7, &Append(self));
    }
}

struct Append<'a>(&'a Appended<'a>);

impl Fields for Append<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.varint(1, self.0.nonce);
        for entry in self.0.entries {
            to.nested(2, entry);
        }
        to.varint(3, self.0.last);
        to.varint(4, self.0.not_durable_from);
    }
}

impl Fields for Arc<Entry> {
    fn tell(&self, to: &mut impl Sink) {
        let Payload::Ops {
            origin,
            acked_through,
            batch,
        } = &self.payload
        else {
            return to.whole(&self.to_proto());
        };
        to.varint(1, self.index);
        to.varint(2, self.epoch.0);
        to.varint(3, self.at.0);
        to.nested(
            4,
            &EntryOps {
                origin,
                acked_through: *acked_through,
                batch,
            },
        );
    }
}

struct EntryOps<'a> {
    origin: &'a Origin,
    acked_through: u64,
    batch: &'a Batch<Op>,
}

impl Fields for EntryOps<'_> {
    fn tell(&self, to: &mut impl Sink) {
        to.generated(1, &self.origin.to_proto());
        to.varint(2, self.acked_through);
        to.nested(3, self.batch);
    }
}
