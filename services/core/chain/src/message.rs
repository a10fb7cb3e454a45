//! What travels: between the replicas of a chain, and between an origin and a shard. Wire formats are made at the edge.

use std::sync::Arc;

use catena_link::Batch;
use catena_slots::ShardId;

use crate::{
    configuration::{Configuration, Epoch, Generation, Member, ReplicaId},
    entry::{Entry, Index, Stamp},
    log::Position,
    machine::Machine,
    snapshot::Piece,
};

/// A message between two replicas of one shard `[C-1]`.
#[derive(Debug)]
pub struct Envelope<M: Machine> {
    pub shard: ShardId,
    pub epoch: Epoch,
    pub generation: Generation,
    /// A process that is no replica writes 0 as its id.
    pub from: Member,
    pub to: ReplicaId,
    pub message: Message<M>,
}

/// See [`Envelope`].
#[derive(Debug)]
pub enum Message<M: Machine> {
    /// To the predecessor: begins a stream of entries, named by `nonce` `[C-20]`.
    Hello {
        /// The sender's, for a receiver that has an older one `[C-11]`.
        configuration: Configuration,
        nonce: u64,
        /// Where the sender's log ends; `None` when it has no state.
        end: Option<Position>,
        commit: Index,
        peers: Vec<PeerProgress>,
        /// As in [`Message::Ack`].
        durable: Option<Index>,
    },
    /// To the successor: the next entries of its stream, in order. Without entries it says that one lives.
    Append {
        nonce: u64,
        entries: Vec<Arc<Entry<M>>>,
        /// The last entry that was sent on this stream.
        last: Index,
        /// How far the log is durable on the sender and on everyone above; `None`: nobody is to wait for that `[C-62]`.
        durable: Option<Index>,
    },
    /// To the predecessor: cumulative.
    Ack {
        nonce: u64,
        /// The last entry that was applied.
        last: Index,
        /// How far a learner's log is durable; `None`: it keeps none `[C-62]`.
        durable: Option<Index>,
        commit: Index,
        peers: Vec<PeerProgress>,
    },
    /// To the successor: its state is no prefix of ours.
    Mismatch { nonce: u64 },
    /// To the learner: a piece of the state at one index.
    SnapshotPart {
        nonce: u64,
        header: SnapshotHeader,
        piece: Piece,
    },
    /// To the tail: the bytes before `through` were read.
    SnapshotTaken { nonce: u64, through: usize },
    /// Answers a message of an older epoch, and goes to a successor that has not said Hello `[C-11]`.
    Newer { configuration: Configuration },
}

/// What a snapshot is of `[C-30]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub end: Position,
    pub at: Stamp,
}

/// How far another shard has committed our ops `[C-42]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    pub shard: ShardId,
    pub generation: Generation,
    pub through: u64,
}

/// Names a connection of an origin, uniquely in the life of the process that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ConnectionId(pub u64);

/// What a connection is for: ops go to the head, effects come from the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    Ops,
    Effects,
}

/// From an origin to a shard.
#[derive(Debug)]
pub enum FromOrigin<M: Machine> {
    /// The first message of a connection.
    Open {
        origin: M::Origin,
        lane: Lane,
        /// The replica that is meant, and the configuration by which it was found.
        replica: ReplicaId,
        epoch: Epoch,
        generation: Generation,
        /// The first op that is not known to be committed.
        first_uncommitted: u64,
        /// The last effect taken.
        effects_through: u64,
    },
    /// Ops, in order.
    Ops {
        generation: Generation,
        acked_through: u64,
        batch: Arc<Batch<M::Op>>,
    },
    /// `acked_through` alone `[C-44]`.
    Acked {
        generation: Generation,
        through: u64,
    },
    /// On the lane of effects: what passes by the log. The shard counts it per connection `[F-41]`.
    Direct {
        generation: Generation,
        publishes: Vec<M::Direct>,
    },
}

/// From a shard to an origin.
#[derive(Debug)]
pub enum ToOrigin<M: Machine> {
    /// Answers Open on the lane of ops: go on after `applied_through`. It releases nothing `[C-40]`.
    OpsOpened {
        generation: Generation,
        applied_through: u64,
        now: Stamp,
    },
    /// Ops are missing before those that arrived.
    Gap { applied_through: u64 },
    /// Answers Open on the lane of effects, and every message after it: effects and progress, in order.
    Effects {
        generation: Generation,
        epoch: Epoch,
        /// Number of the first of `effects`; when there are none, of the next.
        first: u64,
        effects: Vec<M::Effect>,
        /// Ops through this one are committed.
        committed: u64,
        /// Deliveries of what passed by the log, behind the effects; not numbered, not repeated.
        direct: Vec<M::Effect>,
        /// How much of what passes by the log this connection has brought in all.
        direct_through: u64,
        now: Stamp,
    },
    /// Ask again, perhaps elsewhere; the connection is closed. Carries a newer configuration if there is one `[C-11]`.
    NotYet {
        configuration: Option<Configuration>,
    },
    /// A newer configuration, for an origin that may have heard of none `[C-11]`.
    Newer { configuration: Configuration },
    /// The origin is over; it never comes back under this name `[C-43]`.
    Refused,
}

/// What the control plane is told; repeated until a higher epoch comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub shard: ShardId,
    pub epoch: Epoch,
    pub generation: Generation,
    /// Who reports.
    pub from: ReplicaId,
    pub news: News,
}

/// See [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The learner may be promoted, in this epoch alone `[C-32]`.
    LearnerSynced { learner: ReplicaId },
    /// A neighbour is silent or does not go on `[C-24]`.
    Suspect { neighbour: ReplicaId },
    /// The reporter is named, but has no state and will get none: of the chain, or a learner that had its snapshot
    /// `[C-1]` `[C-30]`.
    Stateless,
    /// The reporter's digest differs from the head's at a checkpoint `[C-52]`.
    Diverged { index: Index },
    /// The reporter's disk is full or failed: it has the state, and can make nothing more durable `[C-64]`.
    DiskFailed,
}

/// Something that must not happen did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Our log is no prefix of our predecessor's; the state was dropped `[C-20]`.
    Mismatch { end: Position },
    /// Our effects are not the head's `[C-52]`.
    Diverged { index: Index },
    /// A snapshot that cannot be read, or is not what its checksum says.
    BadSnapshot { index: Index },
}
