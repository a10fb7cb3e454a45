//! Who of several control planes leads: the one that holds a key under a lease.
//!
//! Leadership by time alone is never enough: every write of a leader also compares its key `[C-15]`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Change, Compare, Error, Event, Key, LeaseId, Outcome, Prefix, Revision, Store, Transaction,
    Watch, Write,
};

/// A lease is renewed so many times in its time to live.
const RENEWALS: u32 = 3;
/// How long after a failed renewal the next one is tried.
const RETRY: Duration = Duration::from_millis(100);

/// One candidate's view of an election.
#[derive(Debug, Clone)]
pub struct Election {
    store: Arc<dyn Store>,
    key: Key,
    place: Prefix,
    candidate: String,
    ttl: Duration,
}

/// The leader of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub candidate: String,
    /// When it was elected. Leaders of one election have rising ones.
    pub elected: Revision,
}

/// What the winner holds. Dropped without [`resign`](Leadership::resign), it ends with its lease.
#[derive(Debug)]
pub struct Leadership {
    store: Arc<dyn Store>,
    compare: Compare,
    lease: LeaseId,
    ttl: Duration,
    /// Before this the lease cannot have expired.
    safe_until: Instant,
    renew_at: Instant,
}

impl Election {
    /// An election at `place`, such as `leader`. `candidate` is what others are told, such as an address; a leader that is
    /// silent for `ttl` is replaced.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `place` is too long.
    pub fn new(
        store: Arc<dyn Store>,
        place: &Key,
        candidate: String,
        ttl: Duration,
    ) -> Result<Election, Error> {
        let key = Key::new(format!("{place}/holder"));
        Ok(Election {
            store,
            key: key.map_err(|invalid| Error::Invalid(invalid.to_string()))?,
            place: Prefix::below(place),
            candidate,
            ttl,
        })
    }

    /// Waits until there is no other leader, and becomes it. Cancel-safe: at worst a lease is left to expire.
    ///
    /// # Errors
    /// What the store says. When it hid a success the next campaign waits until that lease expires.
    pub async fn campaign(&self) -> Result<Leadership, Error> {
        loop {
            if let Some(won) = self.stand().await? {
                return Ok(won);
            }
            let mut leaders = self.watch().await?;
            while leaders.next().await?.is_some() {}
        }
    }

    /// Tries once.
    async fn stand(&self) -> Result<Option<Leadership>, Error> {
        if self.store.get(&self.key).await?.is_some() {
            return Ok(None);
        }
        let asked = Instant::now();
        let lease = self.store.grant(self.ttl).await?;
        let claim = Transaction {
            compare: vec![Compare::absent(self.key.clone())],
            writes: vec![Write::Put {
                key: self.key.clone(),
                value: self.candidate.clone().into(),
                lease: Some(lease),
            }],
        };
        match self.store.commit(claim).await? {
            Outcome::Committed(revision) => Ok(Some(Leadership {
                store: self.store.clone(),
                compare: Compare {
                    key: self.key.clone(),
                    is: super::Expected::At(revision),
                },
                lease,
                ttl: self.ttl,
                safe_until: asked + self.ttl,
                renew_at: asked + self.ttl / RENEWALS,
            })),
            Outcome::Conflict => {
                self.store.revoke(lease).await?;
                Ok(None)
            }
        }
    }

    /// Follows who leads.
    ///
    /// # Errors
    /// What the store says.
    pub async fn watch(&self) -> Result<Leaders, Error> {
        Ok(Leaders {
            watch: self.store.watch(&self.place, None).await?,
            key: self.key.clone(),
        })
    }
}

/// Who leads, as it changes.
#[derive(Debug)]
pub struct Leaders {
    watch: Watch,
    key: Key,
}

impl Leaders {
    /// Who leads now, at first; then who leads after each change. `None`: nobody. Cancel-safe.
    ///
    /// # Errors
    /// What the store says.
    pub async fn next(&mut self) -> Result<Option<Leader>, Error> {
        loop {
            let last = match self.watch.next().await? {
                Event::Snapshot(listing) => {
                    let mut entries = listing.entries.into_iter();
                    Some(entries.find(|entry| entry.key == self.key))
                }
                Event::Changes(changes) => {
                    let mut ours = changes
                        .into_iter()
                        .filter(|change| *change.key() == self.key);
                    ours.next_back().map(|change| match change {
                        Change::Put(entry) => Some(entry),
                        Change::Deleted { .. } => None,
                    })
                }
            };
            if let Some(holder) = last {
                return Ok(holder.map(|entry| Leader {
                    candidate: String::from_utf8_lossy(&entry.value).into_owned(),
                    elected: entry.revision,
                }));
            }
        }
    }
}

impl Leadership {
    /// What each of the leader's transactions compares `[C-15]`.
    pub fn compare(&self) -> Compare {
        self.compare.clone()
    }

    /// Keeps the lease until it is lost, and then says why. While the store is away it goes on trying, as long as the lease
    /// cannot have expired. To be polled beside the leader's work; cancel-safe.
    pub async fn hold(&mut self) -> Error {
        loop {
            tokio::time::sleep_until(self.renew_at.min(self.safe_until)).await;
            let asked = Instant::now();
            if asked >= self.safe_until {
                return Error::LeaseGone;
            }
            let renewing = self.store.keep_alive(self.lease);
            match tokio::time::timeout_at(self.safe_until, renewing).await {
                Ok(Ok(())) => {
                    self.safe_until = asked + self.ttl;
                    self.renew_at = asked + self.ttl / RENEWALS;
                }
                Ok(Err(error)) if error.is_retryable() => self.renew_at = Instant::now() + RETRY,
                Ok(Err(error)) => return error,
                Err(_) => return Error::LeaseGone,
            }
        }
    }

    /// Steps back, so that another need not wait for the lease to expire.
    ///
    /// # Errors
    /// What the store says; the lease then expires by itself.
    pub async fn resign(self) -> Result<(), Error> {
        self.store.revoke(self.lease).await
    }
}
