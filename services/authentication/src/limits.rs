//! What is bounded here.

use std::time::Duration;

/// The longest that a server is waited for, from asking it to the last byte of its answer.
pub const CALL_TIME: Duration = Duration::from_secs(5);

/// The most connections to one server.
pub const CONNECTIONS_MAX: usize = 16;

/// The most calls that wait for a connection to one server.
pub const WAITING_MAX: usize = 512;

/// A connection that nobody used for so long is closed when the next call comes.
pub const IDLE_TIME: Duration = Duration::from_secs(30);

/// How long a connection is waited for to be of use again.
pub(crate) const READY_TIME: Duration = Duration::from_millis(100);

/// The largest answer of a server.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;
