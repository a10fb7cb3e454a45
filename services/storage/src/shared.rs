//! What all states of a volume share: the disk, keys, bounds and figures.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    disk::Disk,
    error::{Failure, FailureKind},
    key::{Key, Keys},
    switches::{Rule, Switches},
};

/// A segment is no larger than this part of what all states may have.
const SEGMENTS_MIN: u64 = 64;

const POISONED: &str = "nothing panics while it holds the keys";

/// How a volume is used.
#[derive(Debug, Clone)]
pub struct Options {
    pub keys: Keys,
    /// Bytes that all states may have together; `None`: as many as the disk has room for.
    pub bytes_max: Option<u64>,
    /// Bytes after which a new segment of a log is begun.
    pub segment_bytes: u64,
    pub switches: Switches,
}

impl Options {
    /// Segments of 64 MiB, as much as there is room for.
    pub fn new(keys: Keys) -> Options {
        Options {
            keys,
            bytes_max: None,
            segment_bytes: 64 * 1024 * 1024,
            switches: Switches::default(),
        }
    }
}

/// Upper bounds of the ranges in which syncs are counted by how long they took, in microseconds; the last range has none.
pub const SYNC_MICROS: [u64; 8] = [
    250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000,
];

/// Counts since the volume was opened, and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Of files and of directories.
    pub syncs: u64,
    /// Syncs of logs, by how long they took: see [`SYNC_MICROS`].
    pub sync_counts: [u64; SYNC_MICROS.len() + 1],
    /// How long they took together.
    pub sync_time: Duration,
    pub entries: u64,
    pub bytes_written: u64,
    pub bytes_used: u64,
    /// `persistence.maxSize`, or 0.
    pub bytes_max: u64,
    /// How long it took to read back what was opened last.
    pub recovery: Duration,
}

/// How long syncs take.
#[derive(Debug, Default)]
pub(crate) struct SyncTimes {
    counts: [AtomicU64; SYNC_MICROS.len() + 1],
    micros: AtomicU64,
}

impl SyncTimes {
    pub fn add(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let range = SYNC_MICROS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(range) {
            count.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    segment_bytes: u64,
    pub switches: Switches,
    /// 0: as many as the disk has room for.
    bytes_max: AtomicU64,
    keys: RwLock<Keys>,
    pub used: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_times: SyncTimes,
    pub entries: AtomicU64,
    pub written: AtomicU64,
    pub recovery_micros: AtomicU64,
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path, options: Options) -> Shared {
        Shared {
            disk,
            root: root.to_owned(),
            segment_bytes: options.segment_bytes,
            switches: options.switches,
            bytes_max: AtomicU64::new(options.bytes_max.unwrap_or(0)),
            keys: RwLock::new(options.keys),
            used: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_times: SyncTimes::default(),
            entries: AtomicU64::new(0),
            written: AtomicU64::new(0),
            recovery_micros: AtomicU64::new(0),
        }
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys.read().expect(POISONED).clone()
    }

    pub(crate) fn key(&self) -> Key {
        self.keys.read().expect(POISONED).current.clone()
    }

    /// From now on `key` is used; the ones before stay readable. Whether it is another one.
    pub(crate) fn rotate(&self, key: Key) -> bool {
        let mut keys = self.keys.write().expect(POISONED);
        let is_other = keys.current.id() != key.id();
        if is_other {
            let before = std::mem::replace(&mut keys.current, key);
            keys.older.push(before);
        }
        is_other
    }

    /// Bytes after which a new segment of a log is begun: where there is little room, less, since a segment goes as a whole.
    pub(crate) fn segment_bytes(&self) -> u64 {
        match self.bytes_max.load(Relaxed) {
            0 => self.segment_bytes,
            max => self.segment_bytes.min(max / SEGMENTS_MIN),
        }
    }

    /// From now on all states may have so many bytes together.
    pub(crate) fn set_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Relaxed);
    }

    /// Takes room for what is about to be written. Meta takes none, so that it can always be written.
    pub(crate) fn claim(&self, bytes: u64, path: &Path) -> Result<(), Failure> {
        let used = self.used.fetch_add(bytes, Relaxed) + bytes;
        let max = self.bytes_max.load(Relaxed);
        if max != 0 && used > max {
            self.release(bytes);
            return Err(Failure {
                kind: FailureKind::Limit,
                action: "write",
                path: path.to_owned(),
                reason: format!("persistence.maxSize, {max} bytes, is reached: raise it"),
            });
        }
        self.written.fetch_add(bytes, Relaxed);
        Ok(())
    }

    pub(crate) fn release(&self, bytes: u64) {
        // Never below zero, whatever was removed by others.
        let lower = |used: u64| Some(used.saturating_sub(bytes));
        self.used.fetch_update(Relaxed, Relaxed, lower).unwrap_or(0);
    }

    pub(crate) fn sync_names(&self, directory: &Path) -> Result<(), Failure> {
        if self.switches.keep(Rule::SyncNames) {
            self.syncs.fetch_add(1, Relaxed);
            let synced = self.disk.sync_directory(directory);
            return synced.map_err(|error| Failure::sync(directory, &error));
        }
        Ok(())
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            syncs: self.syncs.load(Relaxed),
            sync_counts: self
                .sync_times
                .counts
                .each_ref()
                .map(|count| count.load(Relaxed)),
            sync_time: Duration::from_micros(self.sync_times.micros.load(Relaxed)),
            entries: self.entries.load(Relaxed),
            bytes_written: self.written.load(Relaxed),
            bytes_used: self.used.load(Relaxed),
            bytes_max: self.bytes_max.load(Relaxed),
            recovery: Duration::from_micros(self.recovery_micros.load(Relaxed)),
        }
    }
}
