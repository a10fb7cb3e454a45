//! Entries: what the log holds, one after the other.

use std::sync::Arc;

use catena_link::Batch;
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

use crate::{
    configuration::{Epoch, Generation},
    machine::Machine,
};

/// Place of an entry in the log, from 1 in each generation.
pub type Index = u64;

/// Milliseconds of shard time, given by the head `[F-80]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Stamp(pub u64);

/// A payload with its place, its time and the epoch in which a head took it.
#[derive(Debug)]
pub struct Entry<M: Machine> {
    pub index: Index,
    /// Of the head that took it: lower than that of later messages which carry it `[C-21]`.
    pub epoch: Epoch,
    pub at: Stamp,
    pub payload: Payload<M>,
}

/// What can stand in the log.
#[derive(Debug)]
pub enum Payload<M: Machine> {
    /// A batch of numbered ops, with how far their origin has taken our effects. Ops at its front may have been applied
    /// before: the machine skips them.
    Ops {
        origin: M::Origin,
        acked_through: u64,
        batch: Arc<Batch<M::Op>>,
    },
    /// An origin begins at `first`: other than 1 when an earlier generation took the ones before `[C-2]`.
    LinkOpen { origin: M::Origin, first: u64 },
    /// `acked_through` alone `[C-44]`.
    Acked { origin: M::Origin, through: u64 },
    /// The gateways that live `[C-43]`.
    Gateways { version: u64, live: Arc<[u64]> },
    /// Another shard has committed our ops through this number `[C-42]`.
    PeerAck {
        shard: ShardId,
        generation: Generation,
        through: u64,
    },
    /// What an administrator asks for: of no origin, and without a number.
    Command(M::Command),
    /// Settings `[C-50]`.
    Configure(M::Settings),
    /// Lets timers fire and deferred work go on.
    Tick,
    /// The running digest of the head before this entry; no machine sees it `[C-52]`.
    Checkpoint { digest: u64 },
}

impl<M: Machine> Entry<M> {
    /// Bytes that it takes, roughly.
    pub fn weight(&self) -> usize {
        64 + match &self.payload {
            Payload::Ops { batch, .. } => batch.ops.iter().map(M::weight).sum(),
            _ => 0,
        }
    }
}
