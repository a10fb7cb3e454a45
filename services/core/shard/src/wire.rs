//! What travels over a link between an origin and a shard, whatever carries it.
//!
//! An origin opens a connection, says [`ToShard::Open`], and is answered [`FromShard::Opened`]; from there on ops
//! go up and effects come down until the connection breaks, and then the same again.

use std::sync::Arc;

use catena_link::Batch;

use crate::{
    effect::Effect,
    id::{Origin, Time},
    op::{Op, Publish},
};

/// From an origin to a shard.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// The first message of a connection.
    Open {
        origin: Origin,
        /// The origin's first op that is not known to be committed.
        first_uncommitted: u64,
        /// The last effect that the origin has taken; the shard sends what is after it.
        effects_through: u64,
    },
    /// Ops, in order.
    Ops {
        /// The generation that `Opened` told; a mismatch is dropped.
        generation: u32,
        /// The last effect taken.
        acked_through: u64,
        batch: Arc<Batch<Op>>,
    },
    /// `acked_through` alone `[C-44]`.
    Acked { generation: u32, through: u64 },
    /// QoS 0 publishes outside the log `[F-41]`; the shard counts them per connection of the link.
    Direct {
        generation: u32,
        publishes: Vec<Publish>,
    },
}

/// From a shard to an origin.
#[derive(Debug, Clone)]
pub enum FromShard {
    /// Answers `Open`.
    Opened {
        generation: u32,
        /// The origin goes on with the op after this one.
        applied_through: u64,
        /// Ops through this one are committed.
        committed: u64,
        /// Shard time now.
        now: Time,
    },
    /// Effects and progress, in order.
    Effects {
        generation: u32,
        /// Number of the first of `effects`; when there are none, the number that the next will have.
        first: u64,
        effects: Vec<Effect>,
        /// Ops of the origin through this one are committed.
        committed: u64,
        /// Deliveries of the direct lane; not numbered, not repeated.
        direct: Vec<Effect>,
        /// How many publishes of the direct lane this connection has brought in all.
        direct_through: u64,
        /// Shard time when this was sent.
        now: Time,
    },
}
