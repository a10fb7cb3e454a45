//! A file on this machine's disk as the store: for one control plane, in one process.
//!
//! Entries are durable before anyone is told `[C-60]`. Leases are not: whoever held one has ended with the process, so that
//! what was put under leases is deleted when the file is opened.

mod disk;
mod memory;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::{
    Entry, Error, Event, Key, LeaseId, Listing, Outcome, Prefix, Revision, Source, Store,
    Transaction, Watch, Write, ttl_seconds,
};
use disk::Disk;
use memory::Memory;

const POISONED: &str = "a thread that broke the store must take the process with it";

/// An open file.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    expiring: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    /// Held while a transaction is written, in threads that may wait for the disk: so they are one after another.
    writing: Mutex<()>,
    /// Held for moments only.
    memory: Mutex<Memory>,
    newest: watch::Sender<Revision>,
    lease_changed: Notify,
}

impl Embedded {
    /// Opens the file, or makes it. Must be called within a tokio runtime, which then ends leases in time.
    ///
    /// # Errors
    /// [`Error::Disk`] when another process has it, or it cannot be read; [`Error::Corrupt`] when it is not ours.
    pub async fn open(file: &Path) -> Result<Embedded, Error> {
        let file = file.to_owned();
        Embedded::begin(blocking(move || Disk::open(&file)).await?)
    }

    /// A store that ends with the process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// None that is expected.
    pub async fn in_memory() -> Result<Embedded, Error> {
        Embedded::begin(blocking(Disk::in_memory).await?)
    }

    fn begin((disk, revision): (Disk, Revision)) -> Result<Embedded, Error> {
        let shared = Arc::new(Shared {
            disk,
            writing: Mutex::new(()),
            memory: Mutex::new(Memory::new(revision)),
            newest: watch::Sender::new(revision),
            lease_changed: Notify::new(),
        });
        let expiring = tokio::spawn(expire(shared.clone()));
        Ok(Embedded { shared, expiring })
    }

    /// Lets go of the file, so that it can be opened again, once no watch is left either. Dropping the store does so too, but
    /// a moment later.
    pub async fn close(mut self) {
        self.expiring.abort();
        // That it was aborted is what it answers.
        let _ = (&mut self.expiring).await;
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        blocking(move || work(&shared)).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.expiring.abort();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let key = key.clone();
        self.blocking(move |shared| shared.disk.get(&key)).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<Listing, Error> {
        let prefix = prefix.clone();
        self.blocking(move |shared| shared.disk.list(&prefix)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        transaction.check()?;
        self.blocking(move |shared| shared.commit(&transaction))
            .await
    }

    async fn watch(&self, prefix: &Prefix, after: Option<Revision>) -> Result<Watch, Error> {
        Ok(Watch(Box::new(Following {
            shared: self.shared.clone(),
            newest: self.shared.newest.subscribe(),
            prefix: prefix.clone(),
            after,
        })))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let ttl = Duration::from_secs(ttl_seconds(ttl));
        let lease = self.blocking(move |shared| Ok(shared.memory().grant(Instant::now(), ttl)));
        let lease = lease.await?;
        self.shared.lease_changed.notify_one();
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.blocking(move |shared| shared.memory().keep_alive(Instant::now(), lease))
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.blocking(move |shared| shared.end(lease)).await
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect(POISONED)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, Error> {
        let _writing = self.writing.lock().expect(POISONED);
        for write in &transaction.writes {
            if let Write::Put {
                lease: Some(lease), ..
            } = write
            {
                self.memory().check_lease(Instant::now(), *lease)?;
            }
        }
        self.write(transaction)
    }

    /// Ends the lease, and deletes what was put under it.
    fn end(&self, lease: LeaseId) -> Result<(), Error> {
        let _writing = self.writing.lock().expect(POISONED);
        self.delete(lease)
    }

    /// Between being found expired and being ended a lease may have been kept alive.
    fn end_expired(&self, lease: LeaseId) -> Result<(), Error> {
        let _writing = self.writing.lock().expect(POISONED);
        let has_expired = self.memory().has_expired(Instant::now(), lease);
        if has_expired {
            self.delete(lease)
        } else {
            Ok(())
        }
    }

    /// With `writing` held.
    fn delete(&self, lease: LeaseId) -> Result<(), Error> {
        let keys = self.memory().keys_of(lease);
        let deletion = Transaction {
            compare: vec![],
            writes: keys.into_iter().map(Write::Delete).collect(),
        };
        // Without comparisons there is no conflict.
        let _ = self.write(&deletion)?;
        self.memory().forget_lease(lease);
        Ok(())
    }

    /// With `writing` held.
    fn write(&self, transaction: &Transaction) -> Result<Outcome, Error> {
        let Some((revision, changes)) = self.disk.commit(transaction)? else {
            return Ok(Outcome::Conflict);
        };
        self.memory().remember(revision, changes);
        self.newest.send_if_modified(|newest| {
            let is_news = *newest != revision;
            *newest = revision;
            is_news
        });
        Ok(Outcome::Committed(revision))
    }
}

/// Ends leases when they expire. One that the disk fails to delete is tried again.
async fn expire(shared: Arc<Shared>) {
    const RETRY: Duration = Duration::from_secs(1);
    loop {
        let next = shared.memory().next_expiry();
        let changed = shared.lease_changed.notified();
        match next {
            None => changed.await,
            Some((at, _)) if at > Instant::now() => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = changed => {}
                }
            }
            Some((_, lease)) => {
                let ending = shared.clone();
                if let Err(error) = blocking(move || ending.end_expired(lease)).await {
                    tracing::error!(%error, lease = lease.0, "a lease cannot be ended");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

struct Following {
    shared: Arc<Shared>,
    newest: watch::Receiver<Revision>,
    prefix: Prefix,
    /// All up to here was returned. `None`: a snapshot is due.
    after: Option<Revision>,
}

#[async_trait]
impl Source for Following {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let newest = *self.newest.borrow_and_update();
            let changes = match self.after {
                Some(after) => self.shared.memory().changes(&self.prefix, after),
                None => None,
            };
            let Some(changes) = changes else {
                let (shared, prefix) = (self.shared.clone(), self.prefix.clone());
                let listing = blocking(move || shared.disk.list(&prefix)).await?;
                self.after = Some(listing.revision);
                return Ok(Event::Snapshot(listing));
            };
            if !changes.is_empty() {
                let event = Event::Changes(changes);
                self.after = Some(event.revision());
                return Ok(event);
            }
            // What is not under the prefix need not be remembered for this watch.
            self.after = self.after.max(Some(newest));
            if self.newest.changed().await.is_err() {
                return Err(Error::Away("the store was closed".to_owned()));
            }
        }
    }
}

/// Does what may wait for the disk where waiting holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Away("the process is ending".to_owned())),
        },
    }
}
