//! Every limit of a gateway, with its unit. Those of one connection's protocol stand in `catena_connection::bounds`.

use catena_connection::output::HIGH_WATER_BYTES;

/// Bytes of the buffer that all connections of a worker read into.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// Room below which the rest of that buffer is left, and a new one taken, in bytes.
pub const READ_ROOM_BYTES: usize = 8 * 1024;

/// Packets of this size and more are gathered in a buffer of their own, in bytes.
pub const LARGE_PACKET_BYTES: usize = READ_CHUNK_BYTES / 2;

/// Bytes that one connection may read before others have their turn.
pub const TURN_BYTES: usize = 256 * 1024;

/// Packets that one connection may bring before others have their turn.
pub const TURN_PACKETS: usize = 1_000;

/// Pieces of one vectored write.
pub const WRITE_PIECES: usize = 64;

/// Write buffers that a worker keeps for the next connection that needs one.
pub const SPARE_BUFFERS: usize = 64;

/// A write buffer that grew beyond this is not kept, in bytes.
pub const SPARE_BUFFER_BYTES: usize = 256 * 1024;

/// Milliseconds from the accept to the end of CONNECT.
pub const CONNECT_MS: u64 = 10_000;

/// Bytes of a PROXY header: addresses, and what a load balancer adds to them.
pub const PROXY_HEADER_BYTES: usize = 2048;

/// Bytes of the HTTP request for a WebSocket.
pub const UPGRADE_BYTES: usize = 8 * 1024;

/// Bytes of a WebSocket frame from a client: the largest packet of MQTT. Nothing is gathered for it.
pub const FRAME_BYTES: u64 = 268_435_460;

/// Bytes of the payload of a WebSocket frame of ours: one of them is what a client gathers before it looks at it.
pub const FRAME_OUT_BYTES: usize = 64 * 1024;

/// Connections of one port that are not yet through PROXY header, TLS handshake and request for a WebSocket. More are
/// closed at once and counted: each holds memory, and a slow client may take [`CONNECT_MS`] for it.
pub const OPENINGS_MAX: usize = 2_048;

/// Of them, those that anybody may have, whoever has the others.
pub const OPENINGS_FREE: usize = 1_024;

/// Openings of one address, or of one network of IPv6 (/64), once there are more than [`OPENINGS_FREE`] of all: one machine then
/// has so many and no more. A load balancer that says who connects may have all of them.
pub const OPENINGS_PER_ADDRESS_MAX: u16 = 64;

/// Counters of addresses: those that share one share its bound.
pub const OPENING_ADDRESSES: usize = 4_096;

/// Authentications of one worker that wait for an answer. Beyond it clients are told that the server is busy.
pub const AUTHENTICATIONS_MAX: usize = 4_096;

/// Certificates of a client that are looked at.
pub const CERTIFICATES_MAX: usize = 10;

/// Milliseconds after which a port that cannot be opened, or whose certificate cannot be loaded, is tried again.
pub const PORT_RETRY_MS: u64 = 1_000;

/// Clients whose proofs are looked at again before others have their turn: a certificate takes some tenths of a millisecond.
pub const PROVED_AT_ONCE: usize = 16;

/// Clients that are told of a change of their port before others have their turn.
pub const TOLD_AT_ONCE: usize = 256;

/// Milliseconds for which a client may take nothing although something is to be written; then it is closed.
pub const WRITE_STALL_MS: u64 = 60_000;

/// The same while memory is short.
pub const WRITE_STALL_SHORT_MS: u64 = 5_000;

/// Bytes that wait for a client to read, from which QoS 0 messages for it are dropped while memory is short.
pub const OUTPUT_SHORT_BYTES: usize = 64 * 1024;

/// Milliseconds that one client has for its large packet while memory is short and others wait for theirs.
pub const GATHER_MS: u64 = 10_000;

/// What of the profile's figure for a gateway is for what its connections hold, in percent; the rest is for links, and for
/// what connections are made of.
pub const MEMORY_PERCENT: u64 = 40;

/// Of that: below this memory is not short any more.
pub const MEMORY_RELIEVED_PERCENT: usize = 75;

/// Milliseconds for which a socket is kept after the last byte was written, so that the client reads it: closing with
/// unread bytes in hand would take it from the client's hands.
pub const LINGER_MS: u64 = 1_000;

/// Bytes that are thrown away in that time.
pub const LINGER_BYTES: usize = 1024 * 1024;

/// Milliseconds to which timers of connections are rounded up.
pub const TIMER_STEP_MS: u64 = 16;

/// Accepted sockets that wait for a worker. When full: accepting waits.
pub const ARRIVALS: usize = 1024;

/// Connections that the system queues before they are accepted.
pub const BACKLOG: i32 = 4096;

/// Milliseconds without accepting after the system had no file or memory for a socket.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Files that are not for connections: logs, links, listeners, data.
pub const FILES_KEPT_BACK: u64 = 256;

/// Connections where the system names no limit of open files.
pub const CONNECTIONS_MAX: usize = 1_000_000;

/// Publishes of one link that are not yet committed `[F-61]`.
pub const LINK_PUBLISHES: usize = 8_192;

/// Bytes of them, or an eighth of the profile's buffer if that is less; one publish always fits.
pub const LINK_PUBLISH_BYTES: usize = 16 * 1024 * 1024;

/// QoS 0 publishes of one link that the shard has not yet handled.
pub const DIRECT_PUBLISHES: u64 = 8_192;

/// Bytes of QoS 0 publishes that wait to be sent, or an eighth of the profile's buffer; one always fits.
pub const DIRECT_BYTES: usize = 16 * 1024 * 1024;

/// Milliseconds after which an idle link acknowledges what it took.
pub const ACK_IDLE_MS: u64 = 50;

/// Messages taken from a lane of a link before others on the thread have their turn.
pub const LINK_TURN_MESSAGES: usize = 32;

/// Milliseconds that a connection to a shard has, from its dial to the answer to Open.
pub const OPEN_MS: u64 = 2_000;

/// Accusations of backends that wait for the control plane. Beyond it they are dropped: whoever is not reached is
/// accused again.
pub const ACCUSATIONS: usize = 64;

/// Looks at the links in one failure time-out, for clients that need a shard which is out of reach `[C-45]`.
pub const CUT_LOOKS: u32 = 4;

/// Milliseconds that clients have to take their last word when the gateway's incarnation is over `[C-43]`.
pub const ABANDON_MS: u64 = 1_000;

/// Milliseconds that clients have to leave when the gateway drains.
pub const DRAIN_MS: u64 = 10_000;

/// Lines of a worker about what policies did not allow, in [`DENIALS_LOGGED_MS`], and as many about clients that were refused.
/// The rest is counted.
pub const DENIALS_LOGGED_MAX: u32 = 10;

/// Bytes of a topic, filter, client id or username in such a line.
pub const DENIALS_LOGGED_BYTES: usize = 256;

/// Milliseconds for which [`DENIALS_LOGGED_MAX`] counts.
pub const DENIALS_LOGGED_MS: u64 = 10_000;

/// Publishes of one worker that are traced and not yet committed; the spans of more end at once.
pub const TRACES_OPEN_MAX: usize = 1_024;

/// Milliseconds for which a client of MQTT 3.1.1 is told that the server is not available, after it was closed for want of memory
/// for what it publishes; twice as long each further time `[F-63]`.
pub const BACKOFF_FIRST_MS: u64 = 1_000;

/// The longest of these times.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Milliseconds after such a time until the client begins with [`BACKOFF_FIRST_MS`] again: more than it is held.
pub const BACKOFF_FORGOTTEN_MS: u64 = 60_000;

/// Clients of a gateway that are kept away like that. More come back at once.
pub const BACKOFFS_MAX: usize = 16_384;

/// Categories that clients of one worker may name in CONNECT, for metrics.
pub const CATEGORIES_MAX: usize = 1_000;

/// Bytes of the name of such a category.
pub const CATEGORY_BYTES: usize = 64;

/// Seconds between two summaries of what was counted.
pub const SUMMARY_SECONDS: u64 = 60;

const _: () = assert!(READ_ROOM_BYTES < READ_CHUNK_BYTES);
const _: () = assert!(OPENINGS_FREE < OPENINGS_MAX && OPENINGS_MAX <= u16::MAX as usize);
const _: () = assert!(LARGE_PACKET_BYTES <= READ_CHUNK_BYTES - READ_ROOM_BYTES);
const _: () = assert!(SPARE_BUFFER_BYTES <= HIGH_WATER_BYTES);

/// Messages that are followed, of a worker: publishes that are not committed yet, and deliveries that are not acknowledged yet.
pub(crate) const PASSPORTS_OPEN_MAX: usize = 4_096;

/// Bytes on their way to or from the gateway's own client.
pub(crate) const OWN_BYTES: usize = 16 * 1024;
