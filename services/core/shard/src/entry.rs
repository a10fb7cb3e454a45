//! Entries: what the log holds, one after the other.

use catena_slots::{ShardId, SlotTable};
use serde::{Deserialize, Serialize};

use crate::{
    command::Command,
    id::{Origin, Time},
    op::Op,
    unkept::Durable,
};

/// One input with its place in the log and its time.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Stamped by the head; never lower than that of the entry before `[F-80]`.
    pub at: Time,
    pub input: Input<'a>,
}

/// What can stand in the log.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A numbered op of an origin, with how far it has taken our effects.
    Op {
        origin: Origin,
        number: u64,
        acked_through: u64,
        op: &'a Op,
    },
    /// An origin begins at `first`: its first unacknowledged number, other than 1 for a new generation `[C-2]`.
    LinkOpen { origin: Origin, first: u64 },
    /// `acked_through` alone `[C-44]`.
    Acked { origin: Origin, through: u64 },
    /// The gateways that live; links of others are dropped and their ops ignored `[C-43]` `[F-24]`.
    Gateways { version: u64, live: &'a [u64] },
    /// A peer shard has committed our ops through this number `[C-42]`.
    PeerAck {
        shard: ShardId,
        generation: u32,
        through: u64,
    },
    /// What an administrator asks for; of no origin and without a number `[F-26]`.
    Command(&'a Command),
    /// Settings; a lower version than the latest is ignored `[C-50]`.
    Configure(&'a Settings),
    /// Lets timers fire and deferred work go on `[F-60]`.
    Tick,
}

/// What `apply` reads of the Broker resource and of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub version: u64,
    pub slots: SlotTable,
    /// Stripes of packet ids that this shard may give `[F-51]`; ascending, never empty.
    pub stripes: Vec<u8>,
    /// The incoming publish buffer of the memory profile, in bytes `[F-63]`.
    pub buffer_bytes: u64,
    /// Bytes of parts of long queues that may leave memory; 0: none do `[F-65]`.
    pub spill_bytes_max: u64,
    /// Upper bound and default of a message's expiry, in seconds.
    pub message_expiry_max: Option<u32>,
    /// Queued messages per subscriber; `None`: no limit but memory `[F-65]`.
    pub queue_length_max: Option<u64>,
    /// Whether the oldest is dropped beyond that length; else the length binds nothing.
    pub queue_drop_oldest: bool,
    /// Retained messages `[F-66]`.
    pub retained_messages_max: Option<u64>,
    /// Bytes of retained messages `[F-66]`.
    pub retained_bytes_max: u64,
    /// Subscriptions of a session on this shard.
    pub subscriptions_max: u32,
    pub shared_strategy: SharedStrategy,
    /// What of the messages outlives a start from disk `[C-59]`.
    pub durable: Durable,
    /// How often each shard has started empty, by shard. One that rises has lost what it held `[F-25]`.
    pub generations: Vec<u32>,
}

/// The incoming publish buffer of the profile Medium, in bytes.
pub const BUFFER_BYTES_DEFAULT: u64 = 576 * 1024 * 1024;

/// Subscriptions that a session may have on a shard unless the Broker says otherwise.
pub const SUBSCRIPTIONS_MAX_DEFAULT: u32 = 100_000;

impl Settings {
    /// The defaults for `shard` of a cluster placed by `slots`, whose shards are all in generation 1.
    pub fn new(shard: ShardId, slots: SlotTable) -> Settings {
        let shards = slots.shard_count();
        Settings {
            version: 1,
            stripes: stripes_of(shard, shards),
            generations: vec![1; shards],
            slots,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            spill_bytes_max: 0,
            message_expiry_max: None,
            queue_length_max: None,
            queue_drop_oldest: false,
            retained_messages_max: None,
            retained_bytes_max: BUFFER_BYTES_DEFAULT / 4,
            subscriptions_max: SUBSCRIPTIONS_MAX_DEFAULT,
            shared_strategy: SharedStrategy::RoundRobin,
            durable: Durable::default(),
        }
    }
}

/// The stripes of packet ids that `shard` of `shards` may give: every `shards`-th `[F-51]`.
fn stripes_of(shard: ShardId, shards: usize) -> Vec<u8> {
    (shard.index()..256)
        .step_by(shards.max(1))
        .map(|stripe| stripe as u8)
        .collect()
}

/// How a shared subscription chooses its member `[F-70]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharedStrategy {
    /// Filters without wildcards by turn, with wildcards by hash of the topic.
    RoundRobin,
    /// The member with the fewest unacknowledged messages.
    LeastInflight,
    /// By hash of the topic.
    TopicHash,
}
