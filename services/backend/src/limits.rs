//! Every limit of a backend, with its unit.

/// Connections and streams that wait to be handed to the shards of one thread. When full: refused, to be asked again.
pub const ARRIVALS: usize = 1_024;

/// What is told to one shard and waits for its turn. When full: the thread's other shards wait to be told.
pub const NEWS: usize = 64;

/// Questions of administrators to one shard that wait for their turn. Beyond it they are refused, to be asked again.
pub const QUESTIONS: usize = 256;

/// Questions that are answered in one turn: each takes up to some tenths of a millisecond.
pub const TURN_QUESTIONS: usize = 2;

/// Messages from one connection of an origin that wait. When full: the origin waits.
pub const FROM_ORIGIN_MESSAGES: usize = 64;

/// Messages to one connection of an origin that wait. When full: effects stay in the outbox.
pub const TO_ORIGIN_MESSAGES: usize = 16;

/// Answers to one connection of an origin that wait for room. Beyond it the connection is closed.
pub const REPLIES: usize = 64;

/// Connections of origins to one shard. Beyond it they are refused.
pub const ORIGINS_MAX: usize = 4_096;

/// Ticks that a connection which is to be closed has to take its last answers.
pub const CLOSING_TICKS: u32 = 40;

/// Envelopes of one stream to us that wait. When full: the neighbour's queue grows.
pub const STREAM_ENVELOPES: usize = 64;

/// Streams to one shard. Beyond it they are refused.
pub const STREAMS_MAX: usize = 64;

/// Envelopes to one neighbour that wait. Beyond it the stream is dropped, and Hello tells what is missing `[C-20]`.
/// Entries are shared with the log, which keeps them anyway.
pub const NEIGHBOUR_ENVELOPES: usize = 4_096;

/// Messages to another shard that wait on one connection: more than a chain has on its way. Beyond it the connection is
/// dropped.
pub const PEER_MESSAGES: usize = 8_192;

/// Ops and direct publishes after which a host lets others on its thread run.
pub const TURN_OPS: usize = 4_096;

/// Messages of one connection or stream after which the others of the shard have their turn.
pub const SOURCE_MESSAGES: usize = 32;

/// Ticks in a failure time-out.
pub const TICKS_PER_TIMEOUT: u32 = 12;

/// Milliseconds before a neighbour is dialled a second time, the first being at once; doubled each time.
pub const REDIAL_MS: u64 = 50;

/// The most milliseconds before a neighbour is dialled again.
pub const REDIAL_MS_MAX: u64 = 2_000;

/// Milliseconds until a lost connection to another shard is asked for again.
pub const PEER_RETRY_MS: u64 = 60;

const _: () = assert!(TICKS_PER_TIMEOUT >= 10 && REDIAL_MS < REDIAL_MS_MAX);
