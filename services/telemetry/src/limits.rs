//! What is bounded here, and where.

use std::time::Duration;

/// Series of one metric; more are left out and counted (`catena_telemetry_series_dropped_total`).
pub const SERIES_MAX: usize = 2_000;

/// Connections to the port of metrics at a time; more are closed at once.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a connection to that port may take for a request, and may stay.
pub const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// How long after a port could not be opened it is tried again.
pub const PORT_RETRY: Duration = Duration::from_secs(10);

/// How long a collector may take to answer.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a label's value; the rest is cut off.
pub const LABEL_CHARS_MAX: usize = 128;
