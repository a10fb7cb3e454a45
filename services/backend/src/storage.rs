//! What the replicas of a process keep on disk: its data directory, and the thread that writes there.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use catena_chain::{Kept, NotKept};
use catena_replicated::Replicated;
use catena_shard::LEVEL;
use catena_slots::ShardId;
use catena_storage::{
    Figures, Found, OpenError, State, Status, Unusable, Volume, Writer, disk::Real,
};
pub use catena_storage::{Key, KeyId, Keys, SYNC_MICROS};
use catena_transport::wire::decode_entry;
use tracing::{error, info, warn};

use crate::spill::Spill;

/// How a process keeps what its replicas hold.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// The data directory; made if it is not there.
    pub directory: PathBuf,
    pub keys: Keys,
    /// Bytes that all may have together; `None`: as many as the disk has room for.
    pub bytes_max: Option<u64>,
    /// Where parts of long queues go while a state is read back, as they do later.
    pub spill: Spill,
    /// Whether there are other replicas to take from what is damaged here. Without them a damaged state keeps the process
    /// from starting: it would begin empty.
    pub has_neighbours: bool,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot read the data directory {}", directory.display())]
    Read {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another start may use it: with its key, a newer version, or a disk that works.
    #[error("what is kept of shard {shard} cannot be used now")]
    Unusable {
        shard: ShardId,
        #[source]
        source: Unusable,
    },
    #[error(
        "what is kept of shard {shard} is damaged: {reason}. Bring back a backup of {}; or take that directory away, and the \
         shard begins empty",
        directory.display()
    )]
    Damaged {
        shard: ShardId,
        directory: PathBuf,
        reason: String,
    },
    /// Another version has written it.
    #[error(
        "what is kept of shard {shard} is of level {written}, and this version reads level {LEVEL}: start the version that \
         wrote it; or, in a cluster, take the data directory of one node after the other away, and it gets all from the others"
    )]
    Level { shard: ShardId, written: u32 },
    #[error("there is no thread for the disk")]
    Thread(#[source] io::Error),
}

/// Whether anything is to be kept, and where: it may change while everything runs.
#[derive(Debug, Clone, Default)]
pub struct ToKeep {
    /// Once it is open. What it has of shards counts at a start, whether anything is to be kept from then on or not.
    pub storage: Option<Storage>,
    pub is_wanted: bool,
}

/// The data directory of a process. Clones are of the same.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    volume: Volume,
    writer: Writer,
    found: Mutex<BTreeMap<ShardId, Recovered>>,
    /// How long it took to read back what was there; `None`: nothing was.
    recovery: Option<Duration>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storage")
    }
}

/// The state of one shard as it was found.
pub(crate) struct Recovered {
    pub kept: Kept<Replicated>,
    pub state: State,
}

/// How often to look whether the disk of long queues has come on.
const LOOK: Duration = Duration::from_millis(2);

/// With `persistence.sync: Interval` everything is synced so often: a power cut takes what was acknowledged within it.
pub const INTERVAL: Duration = Duration::from_millis(200);

impl Storage {
    /// Opens the data directory and reads back what is there: takes time by its size.
    ///
    /// # Errors
    /// [`StorageError`]
    pub fn open(options: StorageOptions) -> Result<Storage, StorageError> {
        let begun = Instant::now();
        let disk = Arc::new(Real);
        let volume = Volume::open(
            disk,
            &options.directory,
            catena_storage::Options {
                bytes_max: options.bytes_max,
                ..catena_storage::Options::new(options.keys.clone())
            },
        )?;
        let read = |source| StorageError::Read {
            directory: options.directory.clone(),
            source,
        };
        let shards = volume.shards().map_err(read)?;
        let found = Mutex::new(BTreeMap::new());
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads.min(shards.len()) {
                scope.spawn(|| {
                    while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match recover(&volume, *shard, &options) {
                            Ok(Some(recovered)) => {
                                lock(&found).insert(*shard, recovered);
                            }
                            Ok(None) => {}
                            Err(error) => *lock(&failed) = Some(error),
                        }
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let is_any = !lock(&found).is_empty();
        Ok(Storage {
            inner: Arc::new(Inner {
                volume,
                recovery: is_any.then(|| begun.elapsed()),
                writer: Writer::start(INTERVAL).map_err(StorageError::Thread)?,
                found,
            }),
        })
    }

    /// What was found, for the registration `[C-63]`.
    pub fn kept(&self) -> Vec<catena_topology::topology::Kept> {
        let found = lock(&self.inner.found);
        let kept = found.iter().map(|(shard, recovered)| {
            let meta = recovered.state.meta();
            catena_topology::topology::Kept {
                shard: *shard,
                generation: meta.generation,
                replica: meta.replica,
                may_lack: meta.may_lack,
            }
        });
        kept.collect()
    }

    /// Counts since the start, and how full it is.
    pub fn figures(&self) -> Figures {
        self.inner.volume.figures()
    }

    /// How long it took at the start to read back what was there; `None`: nothing was.
    pub fn recovery(&self) -> Option<Duration> {
        self.inner.recovery
    }

    /// Bytes that the file system has left.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free(&self) -> io::Result<u64> {
        self.inner.volume.free()
    }

    /// Bytes that may still be written: as many as the file system has left, within what all shards may have together. None when the disk
    /// does not say.
    pub fn room(&self) -> u64 {
        let figures = self.figures();
        let allowed = match figures.bytes_max {
            0 => u64::MAX,
            max => max.saturating_sub(figures.bytes_used),
        };
        self.free().map_or(0, |free| free.min(allowed))
    }

    /// Encrypts what is written from now on with `key`; what is there stays readable, and is written anew soon. Whether it is
    /// another key than before.
    pub fn rotate(&self, key: Key) -> bool {
        self.inner.volume.rotate(key)
    }

    /// All shards may have so many bytes together from now on.
    pub fn set_max(&self, bytes: u64) {
        self.inner.volume.set_max(bytes);
    }

    /// The shards that it has something of which no replica has taken over.
    pub(crate) fn found(&self) -> Vec<ShardId> {
        lock(&self.inner.found).keys().copied().collect()
    }

    pub(crate) fn take(&self, shard: ShardId) -> Option<Recovered> {
        lock(&self.inner.found).remove(&shard)
    }

    pub(crate) fn volume(&self) -> &Volume {
        &self.inner.volume
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads back one shard; `None` when there is nothing that counts.
fn recover(
    volume: &Volume,
    shard: ShardId,
    options: &StorageOptions,
) -> Result<Option<Recovered>, StorageError> {
    let begun = Instant::now();
    let read = |source| StorageError::Read {
        directory: options.directory.clone(),
        source,
    };
    let damaged = |reason: String| {
        let directory = options.directory.join(shard.0.to_string());
        if options.has_neighbours {
            error!(
                %shard, reason, directory = %directory.display(),
                "what is kept of a shard is damaged, and not used: the replica is to join anew and get all from another"
            );
            return Ok(None);
        }
        Err(StorageError::Damaged {
            shard,
            directory,
            reason,
        })
    };
    let state = match volume.find(shard).map_err(read)? {
        Found::Nothing => {
            // Of a state that was being forgotten, files may be left.
            if let Err(failure) = volume.forget(shard) {
                warn!(%shard, %failure, "what is left of a shard cannot be removed now");
            }
            return Ok(None);
        }
        Found::Unusable(source) if source.reason.may_pass() => {
            return Err(StorageError::Unusable { shard, source });
        }
        Found::Unusable(unusable) => return damaged(unusable.to_string()),
        Found::State(state) => *state,
    };
    let meta = state.meta();
    if meta.status != Status::Complete {
        info!(%shard, "what is kept of a shard is of a replica that was joining: it is to join anew");
        drop(state);
        // It never counted, and nothing is kept aside of it.
        if let Err(failure) = volume.forget(shard) {
            warn!(%shard, %failure, "it cannot be removed now");
        }
        return Ok(None);
    }
    if meta.feature_level != LEVEL {
        return Err(StorageError::Level {
            shard,
            written: meta.feature_level,
        });
    }
    if meta.may_lack {
        warn!(
            %shard,
            "the machine went down while persistence.sync was Interval: what was acknowledged last may be missing, and sessions with \
             a part on another shard or with QoS 2 end"
        );
    }
    let kept = match replay(&state, shard, &options.spill) {
        Ok(kept) => kept,
        Err(reason) => return damaged(reason),
    };
    info!(
        %shard, generation = kept.generation().0, replica = kept.replica().0, last = kept.end().index,
        ms = begun.elapsed().as_millis() as u64, "read a shard from disk"
    );
    Ok(Some(Recovered { kept, state }))
}

/// The state at the end of its log. What it holds on disk besides goes there at once: memory has no room for it.
fn replay(state: &State, shard: ShardId, spill: &Spill) -> Result<Kept<Replicated>, String> {
    let broken = |unusable: Unusable| unusable.to_string();
    let differs = |problem: NotKept| problem.to_string();
    let (generation, replica) = (state.meta().generation, state.meta().replica);
    let put_away = |machine: &Replicated| put_away(machine, spill);
    let mut kept = match state.read_snapshot().map_err(broken)? {
        None => Kept::empty(shard, generation, replica),
        Some(mut reader) => {
            let (end, mut failed) = (reader.position(), None);
            let mut pieces = || match reader.read() {
                Ok(piece) => piece,
                Err(unusable) => {
                    failed = Some(unusable);
                    None
                }
            };
            let kept = Kept::read((generation, replica), end, &mut pieces, &mut { put_away });
            if let Some(unusable) = failed {
                return Err(broken(unusable));
            }
            kept.map_err(differs)?
        }
    };
    let mut entries = state.entries();
    while let Some(records) = entries.read().map_err(broken)? {
        for record in records {
            let index = record.position.index;
            let entry = decode_entry(&record.bytes)
                .map_err(|malformed| format!("entry {index}: {malformed}"))?;
            let digest = record.position.digest;
            kept.replay(&entry, digest).map_err(differs)?;
        }
        put_away(kept.machine());
    }
    Ok(kept)
}

/// Hands over parts of long queues, and waits while too many of them wait for their disk: a state is read faster than written.
pub(crate) fn put_away(machine: &Replicated, spill: &Spill) {
    for segment in machine.shard().take_segments() {
        spill.put_away(segment);
    }
    // Where there is no room they stay in memory, as they do later.
    while !spill.status().is_full && spill.is_pressed(false) {
        thread::sleep(LOOK);
    }
}

/// The keys that the files in a data directory need, each with how many do; the process that uses it may go on meanwhile.
///
/// # Errors
/// What the disk says; that a file's header is broken.
pub fn keys_in_use(directory: &Path) -> io::Result<BTreeMap<KeyId, usize>> {
    catena_storage::keys_in_use(&Real, directory)
}

/// The key in a directory, made (mode 0600) if there is none.
///
/// # Errors
/// What the disk says; that it is no key.
pub fn generated_key(directory: &Path) -> io::Result<Key> {
    Key::generated(&Real, directory)
}

/// The key in a directory, if there is one.
///
/// # Errors
/// What the disk says; that it is no key.
pub fn existing_key(directory: &Path) -> io::Result<Option<Key>> {
    Key::existing(&Real, directory)
}
