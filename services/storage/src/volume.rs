//! A node's data directory: a directory for each shard, and in it one for each state, of which the newest counts.
//!
//! ```text
//!   lock   key   7/1/...   7/2/meta  7/2/log-...  7/2/snapshot-...   8/1/...
//!                  aside     the state of shard 7
//! ```
//!
//! A new state is made beside the old one and takes the next number with one rename: from then on the old one is aside
//! `[C-3]` `[C-61]`. One that is to be forgotten loses its number with one rename `[C-66]`.

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use catena_chain::Position;
use catena_slots::ShardId;

use crate::{
    disk::Disk,
    error::{Failure, Reason, Unusable},
    key::{Key, KeyId},
    meta::{self, Meta, Status, Sync},
    seal,
    shared::{Figures, Options, Shared},
    state::{Identity, State},
};

/// States kept aside for one shard; the oldest goes when there are more.
const ASIDES_MAX: usize = 4;
const NEW: &str = "new";
/// What is to be removed, and counts no more.
const GONE: &str = "gone";

/// A node's data directory; clones are of the same.
#[derive(Debug, Clone)]
pub struct Volume {
    shared: Arc<Shared>,
    _lock: Arc<dyn Any + Send + std::marker::Sync>,
}

/// What is on disk of a shard.
#[derive(Debug)]
pub enum Found {
    Nothing,
    State(Box<State>),
    Unusable(Unusable),
}

/// A state that was kept aside `[C-3]`.
#[derive(Debug)]
pub struct Aside {
    pub number: u64,
    pub meta: Meta,
    pub bytes: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses the data directory {}", .0.display())]
    InUse(PathBuf),
    #[error("cannot use the data directory {}", path.display())]
    Disk {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Volume {
    /// Opens a directory, or makes it in one that is there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(disk: Arc<dyn Disk>, root: &Path, options: Options) -> Result<Volume, OpenError> {
        let failed = |source| OpenError::Disk {
            path: root.to_owned(),
            source,
        };
        disk.make_directory(root).map_err(failed)?;
        if let Some(parent) = root.parent() {
            disk.sync_directory(parent).map_err(failed)?;
        }
        let lock = match disk.lock(&root.join("lock")) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(OpenError::InUse(root.to_owned()));
            }
            other => other.map_err(failed)?,
        };
        let shared = Shared::new(disk, root, options);
        let used = bytes_below(&*shared.disk, root).map_err(failed)?;
        shared.used.store(used, Relaxed);
        Ok(Volume {
            shared: Arc::new(shared),
            _lock: lock.into(),
        })
    }

    /// The shards of which anything is on disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn shards(&self) -> io::Result<Vec<ShardId>> {
        let listed = self.shared.disk.list(&self.shared.root)?;
        let names = listed.iter().filter(|listed| listed.is_directory);
        Ok(names
            .filter_map(|listed| listed.name.parse().ok())
            .map(ShardId)
            .collect())
    }

    /// Reads back and checks the state of a shard. Takes time by its size.
    ///
    /// # Errors
    /// The disk does not let us look. What is found broken is [`Found::Unusable`].
    pub fn find(&self, shard: ShardId) -> io::Result<Found> {
        let begun = Instant::now();
        let directory = self.directory(shard);
        let numbers = self.numbers(shard)?;
        if numbers.is_empty() {
            return Ok(Found::Nothing);
        }
        self.shared.disk.sync_directory(&directory)?;
        let Some(state) = self.newest(&directory, numbers)? else {
            return Ok(Found::Nothing);
        };
        let found = State::open(self.shared.clone(), shard, state);
        let micros = begun.elapsed().as_micros() as u64;
        self.shared.recovery_micros.store(micros, Relaxed);
        Ok(match found {
            Ok(state) => Found::State(Box::new(state)),
            Err(unusable) => Found::Unusable(unusable),
        })
    }

    /// The state that counts: the newest. One that was never complete has replaced nothing: it goes, and what it moved aside
    /// counts again. A founder may have been about to go on from that `[C-63]`; whether it is good, its replica id tells.
    fn newest(&self, directory: &Path, mut numbers: Vec<u64>) -> io::Result<Option<PathBuf>> {
        while let Some(newest) = numbers.pop() {
            let path = directory.join(newest.to_string());
            let meta = Meta::read(&*self.shared.disk, &path);
            // Without its meta it was about to be removed.
            let is_whole = match &meta {
                Ok(meta) => meta.status == Status::Complete,
                Err(reason) => !matches!(reason, Reason::Missing),
            };
            if numbers.is_empty() || is_whole {
                return Ok(Some(path));
            }
            self.remove_state(&path)?;
        }
        Ok(None)
    }

    /// Begins a new state whose log goes on after `base`; the one before, if it is complete, is kept aside. Durable when
    /// this returns: no other [`State`] of this shard may be in use.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(
        &self,
        shard: ShardId,
        identity: Identity,
        base: Position,
        sync: Sync,
    ) -> Result<State, Failure> {
        let directory = self.directory(shard);
        let begun = self.make(shard, &directory, identity, base, sync);
        let (path, meta) = begun.map_err(|error| Failure::io("begin", &directory, &error))?;
        Ok(State::begun(self.shared.clone(), shard, path, meta))
    }

    fn make(
        &self,
        shard: ShardId,
        directory: &Path,
        identity: Identity,
        base: Position,
        sync: Sync,
    ) -> io::Result<(PathBuf, Meta)> {
        let disk = &*self.shared.disk;
        disk.make_directory(directory)?;
        disk.sync_directory(&self.shared.root)?;
        let mut numbers = self.numbers(shard)?;
        let number = numbers.last().copied().unwrap_or(0) + 1;
        let new = directory.join(NEW);
        self.remove_state(&new)?;
        self.remove_state(&directory.join(GONE))?;
        disk.make_directory(&new)?;
        let meta = Meta {
            generation: identity.generation,
            replica: identity.replica,
            status: Status::Joining,
            feature_level: identity.feature_level,
            sync,
            may_lack: false,
            has_failed: false,
            is_closed: false,
            base,
            durable: base.index,
            first_segment: 1,
            last_segment: 0,
            snapshot: (0, Position::default()),
            boot: disk.boot().unwrap_or_default(),
        };
        meta.write(disk, &new, self.shared.switches)?;
        let path = directory.join(number.to_string());
        disk.rename(&new, &path)?;
        self.shared.syncs.fetch_add(1, Relaxed);
        if self.shared.switches.keep(crate::switches::Rule::SyncNames) {
            disk.sync_directory(directory)?;
        }
        // What was never complete helps nobody; of the others the newest are kept.
        let is_whole = |number: &u64| {
            let meta = Meta::read(disk, &directory.join(number.to_string()));
            !matches!(&meta, Ok(meta) if meta.status == Status::Joining)
                && !matches!(&meta, Err(Reason::Missing))
        };
        let mut kept = 0;
        while let Some(aside) = numbers.pop() {
            if kept < ASIDES_MAX && is_whole(&aside) {
                kept += 1;
            } else {
                self.remove_state(&directory.join(aside.to_string()))?;
            }
        }
        Ok((path, meta))
    }

    /// The states of a shard that are kept aside.
    ///
    /// # Errors
    /// What the disk says.
    pub fn asides(&self, shard: ShardId) -> io::Result<Vec<Aside>> {
        let directory = self.directory(shard);
        let mut numbers = self.numbers(shard)?;
        numbers.pop();
        let mut asides = Vec::new();
        for number in numbers {
            let path = directory.join(number.to_string());
            let bytes = bytes_below(&*self.shared.disk, &path)?;
            if let Ok(meta) = Meta::read(&*self.shared.disk, &path) {
                asides.push(Aside {
                    number,
                    meta,
                    bytes,
                });
            }
        }
        Ok(asides)
    }

    /// Removes what is kept aside of a shard: its chain is at full strength.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove_asides(&self, shard: ShardId) -> io::Result<()> {
        let directory = self.directory(shard);
        let mut numbers = self.numbers(shard)?;
        numbers.pop();
        for number in numbers {
            self.remove_state(&directory.join(number.to_string()))?;
        }
        Ok(())
    }

    /// Nothing that is on disk of a shard counts any more, once this has returned: durably. No [`State`] of it may be in use. When
    /// it ends on the way, the state that counts is there as it was, or gone: none that was kept aside takes its place `[C-66]`.
    ///
    /// # Errors
    /// What the disk says: then it may count or not.
    pub fn forget(&self, shard: ShardId) -> Result<(), Failure> {
        let directory = self.directory(shard);
        let failed = |error: io::Error| Failure::io("forget what is in", &directory, &error);
        let gone = directory.join(GONE);
        let Some(newest) = self.numbers(shard).map_err(failed)?.pop() else {
            // What a crash left of forgetting, or of beginning.
            let disk = &*self.shared.disk;
            let new = self.remove_state(&directory.join(NEW));
            let left = new.and_then(|()| self.remove_state(&gone));
            return match left.and_then(|()| disk.remove_directory(&directory)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        };
        self.remove_asides(shard).map_err(failed)?;
        self.remove_state(&gone).map_err(failed)?;
        self.shared.sync_names(&directory)?;
        let disk = &*self.shared.disk;
        let newest = directory.join(newest.to_string());
        disk.rename(&newest, &gone).map_err(failed)?;
        self.shared.sync_names(&directory)?;
        // What is left counts for nothing, and goes with the next state if it does not now.
        let removed = self.remove_state(&gone);
        if let Err(error) = removed.and_then(|()| disk.remove_directory(&directory)) {
            tracing::warn!(%shard, %error, "what was kept of a shard counts no more, and cannot be removed now");
        }
        Ok(())
    }

    /// From now on new segments and snapshots are encrypted with `key`; what is there stays readable. Whether it is another
    /// key than before.
    pub fn rotate(&self, key: Key) -> bool {
        self.shared.rotate(key)
    }

    /// From now on all states may have so many bytes together; what is there stays.
    pub fn set_max(&self, bytes: u64) {
        self.shared.set_max(bytes);
    }

    /// Whether `state` has anything that needs an older key: a snapshot and the cut after it change that.
    pub fn needs_older_key(&self, state: &State) -> bool {
        state.needs_other_key(self.shared.key().id())
    }

    /// Counts and fill.
    pub fn figures(&self) -> Figures {
        self.shared.figures()
    }

    /// Bytes that the file system has left.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free(&self) -> io::Result<u64> {
        self.shared.disk.free(&self.shared.root)
    }

    fn directory(&self, shard: ShardId) -> PathBuf {
        self.shared.root.join(shard.0.to_string())
    }

    /// The numbers of a shard's states, in order.
    fn numbers(&self, shard: ShardId) -> io::Result<Vec<u64>> {
        let listed = match self.shared.disk.list(&self.directory(shard)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = listed.iter().filter(|listed| listed.is_directory);
        let mut numbers: Vec<u64> = names
            .filter_map(|listed| listed.name.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes a state's directory, its meta first: without it what is left is nothing.
    fn remove_state(&self, path: &Path) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let listed = match disk.list(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (first, rest): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|listed| listed.name == meta::NAME);
        for listed in first.into_iter().chain(rest) {
            disk.remove(&path.join(&listed.name))?;
            self.shared.release(listed.bytes);
        }
        disk.remove_directory(path)
    }
}

/// The keys that the files in a data directory need, each with how many do; also of what is kept aside. It may be in use: a file that
/// goes meanwhile is passed over.
///
/// # Errors
/// What the disk says; `InvalidData` for a file whose header is broken.
pub fn keys_in_use(disk: &dyn Disk, root: &Path) -> io::Result<BTreeMap<KeyId, usize>> {
    let mut keys = BTreeMap::new();
    for listed in disk.list(root)? {
        let path = root.join(&listed.name);
        if listed.is_directory {
            let below = match keys_in_use(disk, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for (key, files) in below {
                *keys.entry(key).or_default() += files;
            }
        } else if listed.name.starts_with("log-") || listed.name.starts_with("snapshot-") {
            match seal::key_of(disk, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => *keys.entry(other?).or_default() += 1,
            }
        }
    }
    Ok(keys)
}

/// Bytes of all files below `path`.
fn bytes_below(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for listed in disk.list(path)? {
        bytes += if listed.is_directory {
            bytes_below(disk, &path.join(&listed.name))?
        } else {
            listed.bytes
        };
    }
    Ok(bytes)
}
