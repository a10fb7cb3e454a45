//! Connections between processes: gRPC over HTTP/2, one connection per thread and address, which all streams of the thread
//! share. They are TLS when the process has a certificate, and then who is at the other end decides what it may do.

mod answers;
mod client;
mod codec;
mod connections;
mod inspect;
mod server;

use std::time::Duration;

use catena_pki::Security;

pub use client::{GrpcDial, GrpcReach, GrpcStream, GrpcTransport};
pub use inspect::GrpcInspect;
pub use server::serve;

/// The longest message, in bytes: a batch of a link's whole window and the largest packet fit in it twice.
pub const MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of a stream that may be on their way to a receiver that does not take them.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The same for all streams of a connection, the most that HTTP/2 knows: the streams' own windows bind first, or shards that
/// are stuck would hold up all others, and with them what they wait for.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// The longest frame that is taken, in bytes: one call to the system each.
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// Bytes of a stream that wait in a process to be written.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// Streams of one connection: two for each origin that shares it and each shard behind it.
const STREAMS_MAX: u32 = 1 << 20;

/// Messages of a stream that wait to be turned into bytes.
const QUEUE_MAX: usize = 16;

/// How connections are made and watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// After how long a silent peer is asked whether it is there.
    pub keep_alive_interval: Duration,
    /// How long it may take to answer that; then the connection is over.
    pub keep_alive_timeout: Duration,
    /// How both sides speak.
    pub security: Security,
}

impl Options {
    /// So that a host which has gone silent is noticed in about `failure_timeout`.
    pub fn within(failure_timeout: Duration) -> Options {
        Options {
            connect_timeout: failure_timeout * 2 / 3,
            keep_alive_interval: failure_timeout / 3,
            keep_alive_timeout: failure_timeout * 2 / 3,
            security: Security::Plain,
        }
    }

    /// Speaks like this, instead of in plain text.
    pub fn secured(self, security: Security) -> Options {
        Options { security, ..self }
    }
}

impl Default for Options {
    /// For a failure time-out of 3 s.
    fn default() -> Options {
        Options::within(Duration::from_secs(3))
    }
}
