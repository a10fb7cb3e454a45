//! Every limit of a connection, with its unit. What the Broker may change stands in [`crate::Settings`].

use crate::output::HIGH_WATER_BYTES;

/// Bytes of a packet of a client that is not known yet, CONNECT or AUTH: five texts of 64 KiB, and properties.
pub const UNKNOWN_PACKET_BYTES_MAX: u32 = 1024 * 1024;

/// Milliseconds from CONNECT to CONNACK `[F-15]`.
pub const CONNACK_MS: u64 = 10_000;

/// Milliseconds between two looks at a shard whose time is not known yet.
pub const SHARD_TIME_MS: u64 = 100;

/// Milliseconds that a connection which gave up waits for the answer to its Connect, to undo it `[F-15]`. An op that
/// became a no-op meanwhile is never answered.
pub const ABANDONED_MS: u64 = 300_000;

/// Milliseconds that the answers to a connection's last ops are waited for `[F-12]` `[F-14]`.
pub const LEAVE_MS: u64 = 5_000;

/// Milliseconds that a connection which was taken over waits until the shards have committed its Detach `[F-12]`.
pub const DETACH_MS: u64 = 1_000;

/// Milliseconds that a shard has to answer Subscribe `[F-33]`.
pub const SUBSCRIBE_MS: u64 = 5_000;

/// Milliseconds that publishes wait behind a SUBSCRIBE or UNSUBSCRIBE `[F-32]`.
pub const BARRIER_MS: u64 = 5_000;

/// Milliseconds that a client of 3.1.1 is held before it is closed, when a publish is refused `[F-63]`.
pub const HOLD_MS: u64 = 10_000;

/// Milliseconds that a shared delivery may wait to be written `[F-71]`.
pub const SHARED_WAIT_MS: u64 = 100;

/// Milliseconds after which credit is given back although little has gathered `[F-50]`: what is held back can keep a
/// large message waiting at the shard for as long.
pub const CREDIT_MS: u64 = 500;

/// Deliveries that left before their credit is given back `[F-50]`.
pub const CREDIT_MESSAGES: u32 = 32;

/// Parked publishes of a client that is told no Receive Maximum (3.1 and 3.1.1) `[F-62]`.
pub const PARKED_V3_MAX: usize = 64;

/// Bytes of parked publishes; the one that passes it is still taken `[F-62]`.
pub const PARKED_BYTES_MAX: usize = 1024 * 1024;

/// Publishes above QoS 0 that a client of 3.1 or 3.1.1 may have unanswered before reading stops.
pub const UNANSWERED_V3_MAX: usize = 1024;

/// SUBSCRIBE and UNSUBSCRIBE packets that wait for their turn before reading stops.
pub const REQUESTS_MAX: usize = 16;

/// PUBRELs that wait for the answers to Attach before reading stops `[F-42]`.
pub const WAITING_RELEASES_MAX: usize = 1024;

/// Filters that are kept of one session while there is a policy; those beyond it are asked of the shards when the policy
/// changes `[F-90]`.
pub const HELD_FILTERS_MAX: usize = 10_000;

/// Filters of a resumed session that are no longer granted, and are watched for `[F-90]`. With more the client is closed: they
/// are unsubscribed by then.
pub const REVOKED_FILTERS_MAX: usize = 1_000;

/// Subscribes that timed out and whose answers are still remembered, to take them back `[F-33]`. Beyond it the oldest
/// is forgotten.
pub const LATE_MAX: usize = 64;

/// Bytes that wait to be written at which reading stops: deliveries stop at [`HIGH_WATER_BYTES`], so only answers to a
/// client that does not read its socket come this far.
pub const OUTPUT_READ_STOP_BYTES: usize = 2 * HIGH_WATER_BYTES;

/// Deliveries above QoS 0 unacknowledged by the client, whatever Receive Maximum it announced: with at most a quarter of
/// all packet ids taken, the next free one is near.
pub const UNACKNOWLEDGED_MAX: u16 = 16_384;

/// What a shard may send beyond the client's Receive Maximum to a persistent reader `[F-52]`.
pub const PREFETCH_MESSAGES: u32 = 16;

/// Messages that all shards together may have on their way to an ephemeral reader.
pub const WINDOW_MESSAGES: u32 = 1024;

/// The least part of [`WINDOW_MESSAGES`] that one shard gets.
pub const WINDOW_MESSAGES_MIN: u32 = 64;

/// Bytes that all shards together may have on their way to a reader, unless the memory profile allows less.
pub const WINDOW_BYTES: u32 = 1024 * 1024;

/// The least part of [`WINDOW_BYTES`] that one shard gets.
pub const WINDOW_BYTES_MIN: u32 = 64 * 1024;

/// Deliveries that wait in the connection for one shard, above which it is not keeping to its window: more are dropped
/// and counted where they are untracked.
pub const WAITING_MAX: usize = UNACKNOWLEDGED_MAX as usize + WINDOW_MESSAGES as usize;

/// Acknowledgements that travel as one op `[F-55]`.
pub const ACKS_PER_OP_MAX: usize = 256;

/// Topic aliases that we give to one client, whatever it allows.
pub const ALIASES_OUT_MAX: u16 = 256;

/// Bytes of a topic that gets an alias.
pub const ALIAS_TOPIC_BYTES_MAX: usize = 1024;

/// Entries of a queue or map that may stay allocated while it is empty.
pub const KEPT_CAPACITY: usize = 64;

const _: () = assert!(CREDIT_MESSAGES < WINDOW_MESSAGES_MIN);
const _: () = assert!(OUTPUT_READ_STOP_BYTES > HIGH_WATER_BYTES);
const _: () = assert!(UNACKNOWLEDGED_MAX <= u16::MAX / 4 + 1);
