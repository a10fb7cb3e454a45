//! One shard's state on the disk of a node: meta, a snapshot, and the log after it.
//!
//! ```text
//!   snapshot at 100     log: segment 3 (91..140) | segment 4 (141..180) | segment 5 (181..  )
//!                                                                          written, synced on request
//! ```
//!
//! The order in which things become durable is what makes it whole after any crash:
//!
//! - a segment is synced before the next is made, and a segment is durable before meta names it;
//! - entries are durable when [`State::sync`] has returned, in the segment that meta names last;
//! - a snapshot is durable before meta names it, and what it replaces is removed after.

mod recover;

use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use catena_chain::{Generation, Position, ReplicaId};
use catena_slots::ShardId;

pub use self::recover::Entries;
use crate::{
    disk::File,
    error::{Failure, FailureKind, Unusable},
    frame::{CONTENT_BYTES_MAX, CONTENT_BYTES_TARGET, Draft, Record},
    key::KeyId,
    meta::{Meta, Status, Sync},
    scan::FRAMES_AT,
    seal::{self, Kind, Sealer},
    shared::Shared,
    snapshot::{self, Finished, SnapshotReader, SnapshotWriter},
    switches::Rule,
};

/// For whom a state is good `[C-3]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub generation: Generation,
    pub replica: ReplicaId,
    pub feature_level: u32,
}

/// One shard's state on disk. After a [`Failure`] every call returns it again.
#[derive(Debug)]
pub struct State {
    shared: Arc<Shared>,
    shard: ShardId,
    directory: PathBuf,
    meta: Meta,
    /// Segments that are whole, oldest first.
    closed: VecDeque<Closed>,
    open: Option<Open>,
    /// The last entry that was written.
    end: Position,
    /// Durable through.
    synced: u64,
    next_snapshot: Arc<AtomicU64>,
    snapshot: Option<(KeyId, u64)>,
    /// The keys of all of it, for whoever decides when it is written anew.
    keys: Arc<Mutex<BTreeSet<KeyId>>>,
    draft: Draft,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Closed {
    number: u64,
    base: Position,
    last: u64,
    bytes: u64,
    key: KeyId,
}

/// The segment that is written to: by this life of the process alone.
#[derive(Debug)]
struct Open {
    number: u64,
    base: Position,
    file: Box<dyn File>,
    sealer: Sealer,
    key: KeyId,
    offset: u64,
    sequence: u64,
    /// Frames below are durable.
    synced: u64,
    /// The last frame is there only to say so.
    is_marked: bool,
}

pub(crate) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("log-{number:016x}"))
}

impl State {
    /// A new state in a directory whose meta was just written.
    pub(crate) fn begun(
        shared: Arc<Shared>,
        shard: ShardId,
        directory: PathBuf,
        meta: Meta,
    ) -> State {
        State {
            shared,
            shard,
            directory,
            end: meta.base,
            synced: meta.base.index,
            meta,
            closed: VecDeque::new(),
            open: None,
            next_snapshot: Arc::new(AtomicU64::new(1)),
            snapshot: None,
            keys: Arc::default(),
            draft: Draft::default(),
            failure: None,
        }
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Who it belongs to, and how far it is whole.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The last entry that was written.
    pub fn end(&self) -> Position {
        self.end
    }

    /// All entries up to this index are durable.
    pub fn durable(&self) -> u64 {
        self.synced
    }

    /// What the snapshot that counts is the state at.
    pub fn snapshot(&self) -> Option<Position> {
        self.snapshot.map(|_| self.meta.snapshot.1)
    }

    /// Bytes of the log, by which one decides when it is time for a snapshot.
    pub fn log_bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.offset);
        open + self.closed.iter().map(|closed| closed.bytes).sum::<u64>()
    }

    /// Bytes of the snapshot that counts.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot.map_or(0, |(_, bytes)| bytes)
    }

    /// Reads the snapshot that counts.
    ///
    /// # Errors
    /// It is not there, or was damaged since it was checked.
    pub fn read_snapshot(&self) -> Result<Option<SnapshotReader>, Unusable> {
        if self.snapshot.is_none() {
            return Ok(None);
        }
        let number = self.meta.snapshot.0;
        let (reader, _) = SnapshotReader::open(&self.shared, &self.directory, number)?;
        Ok(Some(reader))
    }

    /// What makes snapshots of this state, in other threads too.
    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots {
            shared: self.shared.clone(),
            directory: self.directory.clone(),
            shard: self.shard,
            next: self.next_snapshot.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Begins a snapshot of the state at `position`.
    ///
    /// # Errors
    /// The disk, or the bound of the volume.
    pub fn write_snapshot(&self, position: Position) -> Result<SnapshotWriter, Failure> {
        self.snapshots().begin(position)
    }

    /// Writes entries behind the last. They are durable after [`State::sync`].
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), Failure> {
        self.guarded(|state| {
            state.draft.clear();
            let mut first = state.end;
            let mut last = state.end;
            for record in records {
                let length = record.bytes.len();
                if record.position.index != last.index + 1 || length > CONTENT_BYTES_MAX - 64 {
                    return Err(state.misused("an entry does not follow, or is too large"));
                }
                if !state.draft.is_empty()
                    && state.draft.content_bytes() + length > CONTENT_BYTES_TARGET
                {
                    state.write_frame(first, last)?;
                    first = last;
                    state.draft.clear();
                }
                state.draft.push(record);
                last = record.position;
            }
            if !state.draft.is_empty() {
                state.write_frame(first, last)?;
            }
            state
                .shared
                .entries
                .fetch_add(records.len() as u64, Relaxed);
            Ok(())
        })
    }

    /// Syncs what was appended and returns the index through which all is durable.
    ///
    /// # Errors
    /// Final: the state is marked, and never used again `[C-64]`.
    pub fn sync(&mut self) -> Result<u64, Failure> {
        self.guarded(State::sync_open)?;
        Ok(self.synced)
    }

    /// Whether there is anything to sync.
    pub fn is_dirty(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.synced < open.sequence)
    }

    /// Says in the log that all of it is durable, when no later frame does, and in meta how far that is: then no damage at its end
    /// can be taken for a torn one, nor a log that was cut for a whole one. To be called when nothing was appended for a while.
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn mark(&mut self) -> Result<(), Failure> {
        let is_needless = |open: &Open| open.synced < open.sequence || open.is_marked;
        if self.open.as_ref().is_none_or(is_needless) {
            return Ok(());
        }
        self.guarded(|state| {
            state.draft.clear();
            state.write_frame(state.end, state.end)?;
            state.write_meta()
        })
    }

    /// Makes a snapshot the one that counts, and removes what it replaces: the one before, and segments below it. When it is
    /// of an index that the log has not reached, the log goes on behind it.
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn install(&mut self, snapshot: Finished) -> Result<(), Failure> {
        self.guarded(|state| {
            state.sync_open()?;
            let at = snapshot.position;
            let mut removed: Vec<(PathBuf, u64)> = Vec::new();
            if at.index > state.end.index {
                if let Some(open) = state.open.take() {
                    state.close(open);
                }
                state.end = at;
                state.synced = at.index;
                state.meta.base = at;
                state.meta.first_segment = state.meta.last_segment + 1;
            }
            // What an older key is needed for goes as soon as a snapshot has all of it.
            if at.index >= state.end.index
                && let Some(open) = state
                    .open
                    .take_if(|open| open.key != state.shared.key().id())
            {
                state.close(open);
            }
            while let Some(oldest) = state.closed.front()
                && oldest.last <= at.index
            {
                let path = segment_path(&state.directory, oldest.number);
                removed.push((path, oldest.bytes));
                let next = oldest.number + 1;
                state.meta.first_segment = state.meta.first_segment.max(next);
                state.closed.pop_front();
            }
            if let Some((_, bytes)) = state.snapshot.replace((snapshot.key, snapshot.bytes)) {
                let path = snapshot::path(&state.directory, state.meta.snapshot.0);
                removed.push((path, bytes));
            }
            state.meta.snapshot = (snapshot.number, at);
            if state.shared.switches.keep(Rule::CutBelowSnapshot) {
                state.write_meta()?;
            }
            for (path, bytes) in removed {
                let gone = state.shared.disk.remove(&path);
                gone.map_err(|error| Failure::io("remove", &path, &error))?;
                state.shared.release(bytes);
            }
            if !state.shared.switches.keep(Rule::CutBelowSnapshot) {
                state.write_meta()?;
            }
            state.note_keys();
            Ok(())
        })
    }

    /// Snapshot and log are there: the state is good for its replica `[C-61]`. Durable when this returns.
    ///
    /// # Errors
    /// Final, see [`Failure`]; misused while the log begins after an index without a snapshot at it or above.
    pub fn complete(&mut self) -> Result<(), Failure> {
        self.guarded(|state| {
            let has_all = state.meta.base.index == 0 || state.snapshot.is_some();
            if !has_all {
                return Err(state.misused("there is no snapshot to complete it with"));
            }
            state.sync_open()?;
            state.meta.status = Status::Complete;
            state.write_meta()
        })
    }

    /// The same state, under another name: of a founder from disk `[C-63]`. What it may lack is settled by that.
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn rename(&mut self, identity: Identity) -> Result<(), Failure> {
        self.guarded(|state| {
            state.meta.generation = identity.generation;
            state.meta.replica = identity.replica;
            state.meta.feature_level = identity.feature_level;
            state.meta.may_lack = false;
            state.sync_open()?;
            state.write_meta()
        })
    }

    /// When entries count from now on. Durable when this returns.
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn set_sync(&mut self, sync: Sync) -> Result<(), Failure> {
        if self.meta.sync == sync {
            return Ok(());
        }
        self.guarded(|state| {
            state.sync_open()?;
            state.meta.sync = sync;
            state.meta.boot = state.shared.disk.boot().unwrap_or_default();
            state.write_meta()
        })
    }

    /// Ends in order: nothing can be missing at the next start.
    ///
    /// # Errors
    /// Final, see [`Failure`].
    pub fn close_in_order(mut self) -> Result<(), Failure> {
        self.guarded(|state| {
            state.sync_open()?;
            state.meta.is_closed = true;
            state.put_meta()
        })
    }

    /// Whether any of its files needs a key other than `key`.
    pub(crate) fn needs_other_key(&self, key: KeyId) -> bool {
        self.used_keys().any(|used| used != key)
    }

    fn used_keys(&self) -> impl Iterator<Item = KeyId> {
        let open = self.open.as_ref().map(|open| open.key);
        let closed = self.closed.iter().map(|closed| closed.key);
        let snapshot = self.snapshot.map(|(key, _)| key);
        open.into_iter().chain(closed).chain(snapshot)
    }

    /// Tells the keys to those who ask from other threads.
    pub(crate) fn note_keys(&self) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = self.used_keys().collect();
    }

    /// Runs what may fail, unless something has.
    fn guarded<T>(
        &mut self,
        what: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let done = what(self);
        if let Err(failure) = &done
            && (failure.kind != FailureKind::Sync
                || self.shared.switches.keep(Rule::FailedSyncIsFinal))
        {
            self.failure = Some(failure.clone());
            if failure.kind == FailureKind::Sync {
                // What was written looks written until the power goes: the mark is what keeps a restart from believing it.
                self.meta.has_failed = true;
                if let Err(error) = self.put_meta() {
                    tracing::error!(shard = self.shard.0, %error, "a state whose disk failed cannot be marked");
                }
            }
        }
        done
    }

    fn misused(&self, reason: &str) -> Failure {
        Failure {
            kind: FailureKind::Misused,
            action: "write",
            path: self.directory.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Writes the draft: the entries after `before`, through `last`.
    fn write_frame(&mut self, before: Position, last: Position) -> Result<(), Failure> {
        let bytes = self.draft.blocks();
        let key = self.shared.key();
        let is_full = |open: &Open| {
            let is_new = open.sequence == 0;
            open.key != key.id() || (!is_new && open.offset + bytes > self.shared.segment_bytes())
        };
        if self.open.as_ref().is_none_or(is_full) {
            self.begin_segment(before)?;
        }
        let Some(open) = &mut self.open else {
            return Err(self.misused("there is no segment"));
        };
        let path = segment_path(&self.directory, open.number);
        self.shared.claim(bytes, &path)?;
        let frame = self
            .draft
            .finish(&open.sealer, open.sequence, before.index + 1, open.synced);
        open.file
            .write_at(frame, open.offset)
            .map_err(|error| Failure::io("write", &path, &error))?;
        open.is_marked = before == last;
        open.sequence += 1;
        open.offset += bytes;
        self.end = last;
        Ok(())
    }

    fn sync_open(&mut self) -> Result<(), Failure> {
        if let Some(open) = &mut self.open
            && open.synced < open.sequence
        {
            if self.shared.switches.keep(Rule::SyncEntries) {
                self.shared.syncs.fetch_add(1, Relaxed);
                let path = segment_path(&self.directory, open.number);
                let begun = Instant::now();
                open.file
                    .sync()
                    .map_err(|error| Failure::sync(path, &error))?;
                self.shared.sync_times.add(begun.elapsed());
            }
            open.synced = open.sequence;
        }
        self.synced = self.end.index;
        Ok(())
    }

    /// Makes a segment whose first entry follows `base`, and names it in meta.
    fn begin_segment(&mut self, base: Position) -> Result<(), Failure> {
        if self.shared.switches.keep(Rule::SyncSegment) {
            self.sync_open()?;
        }
        if let Some(open) = self.open.take() {
            self.close(open);
        }
        let number = self.meta.last_segment + 1;
        let path = segment_path(&self.directory, number);
        let failed = |error: std::io::Error| Failure::io("write", &path, &error);
        let key = self.shared.key();
        let (header, sealer) = seal::begin(
            &*self.shared.disk,
            &key,
            Kind::Log,
            self.shard,
            number,
            base,
        )
        .map_err(failed)?;
        self.shared.claim(FRAMES_AT, &path)?;
        let file = self.shared.disk.create(&path).map_err(failed)?;
        let mut block = vec![0; FRAMES_AT as usize];
        block[..seal::HEADER_BYTES].copy_from_slice(&header.encode());
        file.write_at(&block, 0).map_err(failed)?;
        self.shared.syncs.fetch_add(1, Relaxed);
        file.sync().map_err(|error| Failure::sync(&path, &error))?;
        self.shared.sync_names(&self.directory)?;
        self.meta.last_segment = number;
        self.write_meta()?;
        self.open = Some(Open {
            number,
            base,
            file,
            sealer,
            key: key.id(),
            offset: FRAMES_AT,
            sequence: 0,
            synced: 0,
            is_marked: false,
        });
        self.note_keys();
        Ok(())
    }

    fn close(&mut self, open: Open) {
        self.closed.push_back(Closed {
            number: open.number,
            base: open.base,
            last: self.end.index,
            bytes: open.offset,
            key: open.key,
        });
    }

    /// Meta of a state that is in use.
    fn write_meta(&mut self) -> Result<(), Failure> {
        self.meta.is_closed = false;
        self.put_meta()
    }

    fn put_meta(&mut self) -> Result<(), Failure> {
        self.meta.durable = self.synced;
        self.shared.syncs.fetch_add(2, Relaxed);
        let disk = &*self.shared.disk;
        self.meta
            .write(disk, &self.directory, self.shared.switches)
            .map_err(|error| Failure::io("write meta in", &self.directory, &error))
    }
}

/// What makes snapshots of one state.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    shared: Arc<Shared>,
    directory: PathBuf,
    shard: ShardId,
    next: Arc<AtomicU64>,
    keys: Arc<Mutex<BTreeSet<KeyId>>>,
}

impl Snapshots {
    /// Whether anything of the state needs a key other than the one that is used now.
    pub(crate) fn needs_older_key(&self) -> bool {
        let current = self.shared.key().id();
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|used| *used != current)
    }

    pub(crate) fn begin(&self, position: Position) -> Result<SnapshotWriter, Failure> {
        let number = self.next.fetch_add(1, Relaxed);
        let shared = self.shared.clone();
        SnapshotWriter::begin(shared, &self.directory, self.shard, number, position)
    }
}
