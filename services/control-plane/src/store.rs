//! Where the cluster's decisions are kept: one trait, with etcd and a file on disk behind it.
//!
//! Every write is a transaction that compares before it writes; nothing reads and then puts. Revisions count the store's
//! transactions: that of an entry's last write is its `resourceVersion`. Both implementations pass `tests/store.rs`.

pub mod config;
mod election;
mod embedded;
mod error;
mod etcd;
mod key;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use config::Config;
pub use election::{Election, Leader, Leaders, Leadership};
pub use embedded::Embedded;
pub use error::Error;
pub use etcd::Etcd;
pub use key::{ClusterName, InvalidClusterName, InvalidKey, Key, Prefix};

/// Counts the store's transactions. Those of one store only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

/// A promise to come back within a time. What was put under it goes when the promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// A key and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Bytes,
    /// Of the write that created it: a key that is deleted and put again has another.
    pub created: Revision,
    /// Of the last write.
    pub revision: Revision,
    pub lease: Option<LeaseId>,
}

/// All entries under a prefix, by key, as they were at one revision of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

/// Writes that happen all or not at all, and only while every comparison holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    pub compare: Vec<Compare>,
    pub writes: Vec<Write>,
}

/// What must be true of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: Key,
    pub is: Expected,
}

/// What a key is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is not there.
    Absent,
    /// Its last write was this one.
    At(Revision),
}

/// A change to one key. A transaction names each key once at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put {
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
    },
    /// Of a key that is not there: nothing happens.
    Delete(Key),
}

/// What came of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Written, durably.
    Committed(Revision),
    /// A comparison did not hold, and nothing was written. The caller reads again and decides anew.
    Conflict,
}

/// News of the entries under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All there is: it replaces whatever was known. It comes first, and again when changes were missed.
    Snapshot(Listing),
    /// What happened since, in order; never empty.
    Changes(Vec<Change>),
}

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted { key: Key, revision: Revision },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted { key, .. } => key,
        }
    }

    /// The transaction that changed it.
    pub fn revision(&self) -> Revision {
        match self {
            Change::Put(entry) => entry.revision,
            Change::Deleted { revision, .. } => *revision,
        }
    }
}

impl Event {
    /// To go on from here, watch again from this revision.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Snapshot(listing) => listing.revision,
            Event::Changes(changes) => changes.last().map(Change::revision).unwrap_or_default(),
        }
    }
}

impl Compare {
    /// The key is not there.
    pub fn absent(key: Key) -> Compare {
        let is = Expected::Absent;
        Compare { key, is }
    }

    /// The key is as it was read.
    pub fn unchanged(entry: &Entry) -> Compare {
        Compare {
            key: entry.key.clone(),
            is: Expected::At(entry.revision),
        }
    }
}

/// A store. All reads see every transaction that was committed before they began.
///
/// An error of [`commit`](Store::commit) may hide a success: a retry is safe, because it then finds its comparison
/// broken. [`Error::is_retryable`] says whether it can help.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The entry of `key`, if it is there.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error>;

    /// All entries under `prefix`.
    async fn list(&self, prefix: &Prefix) -> Result<Listing, Error>;

    /// Compares, then writes.
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error>;

    /// Follows the entries under `prefix`: from a snapshot on, or from right after the revision `after` when the store
    /// still remembers what came then.
    async fn watch(&self, prefix: &Prefix, after: Option<Revision>) -> Result<Watch, Error>;

    /// A new lease. It lasts `ttl`, in whole seconds and at least one, from its grant and from each time it is kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Renews the lease. [`Error::LeaseGone`] when it is too late.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error>;

    /// Ends the lease, and deletes what was put under it. One that is gone already is no error.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;
}

/// A subscription to changes. After an error it is over: watch again from the last revision.
pub struct Watch(Box<dyn Source>);

/// Where a watch gets its news.
#[async_trait]
trait Source: Send {
    /// Waits for the next event. Cancel-safe: an event that was not returned comes next.
    async fn next(&mut self) -> Result<Event, Error>;
}

impl Watch {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// When the store cannot be reached any more, or loses its own majority.
    pub async fn next(&mut self) -> Result<Event, Error> {
        self.0.next().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// The comparisons, and the writes, of one transaction: etcd's own default.
pub const OPERATIONS_MAX: usize = 128;

impl Transaction {
    /// What both stores refuse alike.
    fn check(&self) -> Result<(), Error> {
        if self.compare.len() > OPERATIONS_MAX || self.writes.len() > OPERATIONS_MAX {
            let problem = format!("a transaction of more than {OPERATIONS_MAX} operations");
            return Err(Error::Invalid(problem));
        }
        let mut keys: Vec<&Key> = self.writes.iter().map(Write::key).collect();
        keys.sort();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Invalid(format!(
                "a transaction writes {} twice",
                pair[0]
            ))),
            None => Ok(()),
        }
    }
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Write::Put { key, .. } | Write::Delete(key) => key,
        }
    }
}

/// The time to live that a store keeps: whole seconds, at least one.
fn ttl_seconds(ttl: Duration) -> u64 {
    ttl.as_millis().div_ceil(1_000).max(1) as u64
}
