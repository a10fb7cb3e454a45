//! What is bounded here.

use std::time::Duration;

/// How often the directory is looked at.
pub const POLL: Duration = Duration::from_secs(2);

/// The largest file: what Kubernetes allows for a whole secret.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most files of all secrets.
pub const FILES_MAX: usize = 100_000;

/// The most bytes of all secrets.
pub const BYTES_MAX: u64 = 256 << 20;

/// How often one look reads again what changed while it was read.
pub(crate) const ROUNDS_MAX: usize = 3;

const _: () = assert!(FILE_BYTES_MAX <= BYTES_MAX);
