//! What the embedded store knows beside its file: the latest changes, and the leases.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::{Change, Error, Key, LeaseId, Prefix, Revision};

/// Changes that are remembered for watches. Who falls further behind gets a snapshot.
const HISTORY_CHANGES_MAX: usize = 4_096;
/// Bytes of values in them.
const HISTORY_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub struct Memory {
    revision: Revision,
    history: VecDeque<Change>,
    history_bytes: usize,
    /// What changed up to here is not remembered.
    forgotten: Revision,
    leases: BTreeMap<LeaseId, Lease>,
    lease_last: LeaseId,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    expires: Instant,
    keys: BTreeSet<Key>,
}

impl Memory {
    /// Remembers nothing up to `revision`.
    pub fn new(revision: Revision) -> Memory {
        Memory {
            revision,
            history: VecDeque::new(),
            history_bytes: 0,
            forgotten: revision,
            leases: BTreeMap::new(),
            lease_last: LeaseId(0),
        }
    }

    /// Takes note of what a transaction changed.
    pub fn remember(&mut self, revision: Revision, changes: Vec<Change>) {
        self.revision = revision;
        for change in changes {
            let key = change.key().clone();
            for lease in self.leases.values_mut() {
                lease.keys.remove(&key);
            }
            let lease = match &change {
                Change::Put(entry) => entry.lease,
                Change::Deleted { .. } => None,
            };
            if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
                lease.keys.insert(key);
            }
            self.history_bytes += value_bytes(&change);
            self.history.push_back(change);
        }
        while self.history.len() > HISTORY_CHANGES_MAX || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= value_bytes(&oldest);
            self.forgotten = oldest.revision();
        }
    }

    /// What changed under `prefix` after the revision `after`, unless some of it is forgotten, or `after` is of another
    /// store.
    pub fn changes(&self, prefix: &Prefix, after: Revision) -> Option<Vec<Change>> {
        // A transaction of which a part is forgotten is forgotten whole.
        if after < self.forgotten || after > self.revision {
            return None;
        }
        let newer = self.history.iter().rev();
        let mut changes: Vec<Change> = newer
            .take_while(|change| change.revision() > after)
            .filter(|change| prefix.has(change.key()))
            .cloned()
            .collect();
        changes.reverse();
        Some(changes)
    }

    pub fn grant(&mut self, now: Instant, ttl: Duration) -> LeaseId {
        self.lease_last.0 += 1;
        let lease = Lease {
            ttl,
            expires: now + ttl,
            keys: BTreeSet::new(),
        };
        self.leases.insert(self.lease_last, lease);
        self.lease_last
    }

    pub fn keep_alive(&mut self, now: Instant, lease: LeaseId) -> Result<(), Error> {
        self.check_lease(now, lease)?;
        let lease = self.leases.get_mut(&lease).ok_or(Error::LeaseGone)?;
        lease.expires = now + lease.ttl;
        Ok(())
    }

    /// A lease that has expired and is not ended yet has ended all the same.
    pub fn check_lease(&self, now: Instant, lease: LeaseId) -> Result<(), Error> {
        match self.leases.get(&lease) {
            Some(lease) if lease.expires > now => Ok(()),
            _ => Err(Error::LeaseGone),
        }
    }

    pub fn has_expired(&self, now: Instant, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease) && self.check_lease(now, lease).is_err()
    }

    /// What is under the lease.
    pub fn keys_of(&self, lease: LeaseId) -> Vec<Key> {
        let keys = self.leases.get(&lease).map(|lease| &lease.keys);
        keys.into_iter().flatten().cloned().collect()
    }

    pub fn forget_lease(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
    }

    /// The lease that expires next, and when.
    pub fn next_expiry(&self) -> Option<(Instant, LeaseId)> {
        let expiries = self.leases.iter().map(|(id, lease)| (lease.expires, *id));
        expiries.min()
    }
}

fn value_bytes(change: &Change) -> usize {
    match change {
        Change::Put(entry) => entry.value.len(),
        Change::Deleted { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    fn put(key: &str, revision: u64, bytes: usize) -> Change {
        Change::Put(Entry {
            key: Key::new(key).unwrap(),
            value: vec![0; bytes].into(),
            created: Revision(revision),
            revision: Revision(revision),
            lease: None,
        })
    }

    // A watch that went on after a gap would miss a change for ever.
    #[test]
    fn what_is_forgotten_is_not_answered_in_part() {
        let mut memory = Memory::new(Revision(7));
        let all = Prefix::ALL;
        assert_eq!(memory.changes(&all, Revision(6)), None);
        assert_eq!(memory.changes(&all, Revision(8)), None);
        assert_eq!(memory.changes(&all, Revision(7)), Some(vec![]));
        // The first change of revision 8 is forgotten, the second is not: so 8 is not remembered whole.
        memory.remember(
            Revision(8),
            vec![put("a", 8, 1), put("b", 8, HISTORY_BYTES_MAX)],
        );
        assert_eq!(memory.changes(&all, Revision(7)), None);
        let after = memory.changes(&all, Revision(8));
        assert_eq!(after, Some(vec![]));
        for revision in 9..9 + HISTORY_CHANGES_MAX as u64 {
            memory.remember(Revision(revision), vec![put("a", revision, 0)]);
        }
        assert!(memory.history.len() <= HISTORY_CHANGES_MAX);
        let changes = memory.changes(&all, Revision(8)).unwrap();
        assert_eq!(changes.len(), HISTORY_CHANGES_MAX);
    }
}
