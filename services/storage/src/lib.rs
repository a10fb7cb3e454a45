//! What a replica keeps on disk, so that a shard comes back from the loss of all processes and of power with every
//! acknowledged entry `[C-59]` to `[C-64]`.
//!
//! A [`Volume`] is the data directory of a node. It has a [`State`] for each shard: who the replica is ([`Meta`]), its newest
//! snapshot, and the log after it. A [`Writer`] is the thread that appends to the states of a node and syncs once for all
//! that gathered; a replica's host talks to it by a [`Journal`]. The format is in `docs/storage-format.md`.
//!
//! Start reading at [`State`], then `scan`, which tells a torn end from damage.

pub mod disk;
mod error;
mod frame;
mod key;
mod meta;
mod scan;
mod seal;
mod shared;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod snapshot;
mod state;
mod switches;
#[cfg(test)]
mod tests;
mod volume;
mod writer;

pub use error::{Failure, FailureKind, Reason, Unusable};
pub use frame::Record;
pub use key::{InvalidKey, Key, KeyId, Keys};
pub use meta::{Meta, Status, Sync};
pub use shared::{Figures, Options, SYNC_MICROS};
pub use snapshot::{Finished, SnapshotReader, SnapshotWriter};
pub use state::{Entries, Identity, State};
pub use switches::{Rule, Switches};
pub use volume::{Aside, Found, OpenError, Volume, keys_in_use};
pub use writer::{Change, Event, Journal, WAITING_BYTES_MAX, Writer};
