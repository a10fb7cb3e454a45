//! Every limit of a host, with its unit.

/// Messages from all links that wait for one shard. When full: links wait.
pub const INBOX_MESSAGES: usize = 1024;

/// Messages to one link that wait to be taken. When full: effects stay in the outbox, direct deliveries wait up to
/// [`DIRECT_WAITING_BYTES`].
pub const REPLIES_MESSAGES: usize = 16;

/// Ops and direct publishes after which a host lets others on its thread run.
pub const TURN_OPS: usize = 4096;

/// Effects of one message to a link.
pub const BATCH_EFFECTS: usize = 1024;

/// Bytes of one message to a link; one effect always fits.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Bytes of direct deliveries that wait for one link. Beyond it they are dropped and counted `[F-59]`.
pub const DIRECT_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Milliseconds between two Ticks for timers `[F-60]`.
pub const TICK_MS: u64 = 100;

/// Ops to another shard that are on their way and not yet committed.
pub const PEER_OPS: u64 = 4096;

/// Milliseconds before another host is asked again, the first time; doubled each time.
pub const PEER_RETRY_MS: u64 = 50;

/// The most milliseconds before another host is asked again.
pub const PEER_RETRY_MS_MAX: u64 = 2_000;

const _: () = assert!(PEER_RETRY_MS < PEER_RETRY_MS_MAX);
