//! What the replica wants kept: handed to the thread of the disk in its order, and what comes of that back `[C-61]` `[C-62]`.
//!
//! ```text
//!   Begin ──► a state is begun, on another thread ──► the journal ◄── entries that waited
//!                                                        ▲
//!                the checkpoint, written on another thread ──► installed ──► complete: from here on, durable counts
//! ```
//!
//! What is begun beside a replica that goes on is not made complete before the replica says so `[C-65]`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{self as blocking, TryRecvError},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::BytesMut;
use catena_chain::StoreId;
use catena_replicated::{Input, Replicated};
use catena_shard::LEVEL;
use catena_slots::ShardId;
use catena_storage::{
    Change, Event, Failure, FailureKind, Finished, Identity, Journal, Record, State, Sync, Volume,
};
use catena_transport::{Dial, Reach, wire::encode_entry};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, error, info, warn};

use super::{Host, room::Full};
use crate::{
    pulse::OnDisk,
    storage::{Storage, ToKeep},
};

type Keep = catena_chain::Keep<Replicated>;
type Checkpoint = catena_chain::Checkpoint<Replicated>;

/// A log of fewer bytes is not worth a snapshot; of more, when it has as many as the last snapshot.
const CHECKPOINT_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The same where more than half of `persistence.maxSize`, or of what the disk has for it, is used: a log that nobody needs must not be what fills it.
const CHECKPOINT_BYTES_NARROW: u64 = 4 * 1024 * 1024;

/// Bytes of entries that may wait, besides those that the journal has taken, while nobody waits for the disk `[C-65]`. Beyond it the
/// attempt is given up.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The disk of one shard.
pub(super) struct Keeping {
    shard: ShardId,
    storage: Storage,
    /// When entries are to count.
    sync: Sync,
    /// What was there at the start, until the replica goes on from it or begins another.
    found: Option<State>,
    current: Option<Current>,
    /// Each ends with what is to end before the next state is begun, or all of them are forgotten.
    before: Vec<blocking::Receiver<()>>,
    /// The last attempt to turn it on while the replica goes on came to nothing.
    has_failed_beside: bool,
    tell: mpsc::UnboundedSender<(StoreId, Event)>,
    told: mpsc::UnboundedReceiver<(StoreId, Event)>,
    works: JoinSet<Done>,
}

/// The store of the replica's present state.
struct Current {
    store: StoreId,
    /// `None` while it is begun.
    journal: Option<Arc<Journal>>,
    /// It is complete once the replica says so `[C-65]`.
    is_beside: bool,
    /// What is written first of all, before it counts.
    first: Option<Checkpoint>,
    /// What the journal has not taken yet, and how many bytes that is.
    waiting: VecDeque<Record>,
    waiting_bytes: usize,
    /// What it begins with is on the disk.
    is_based: bool,
    is_complete: bool,
    durable: u64,
    is_writing: bool,
    /// Of entries since the last snapshot.
    log_bytes: u64,
    snapshot_bytes: u64,
    snapshot_at: Option<Instant>,
    has_failed: bool,
    /// That is because there was no room.
    full: Option<Full>,
}

/// What another thread has done.
enum Done {
    Begun(StoreId, Result<(Box<State>, Alive), Failure>),
    Written(StoreId, Result<(Finished, u64), Failure>),
    Forgotten(StoreId, Result<(), Failure>),
    /// So many bytes could be written.
    Room(StoreId, u64),
    Cleaned,
}

/// Others wait until it is dropped: see [`Keeping::before`].
type Alive = blocking::Sender<()>;

impl Keeping {
    pub fn new(shard: ShardId, storage: Storage, sync: Sync, found: Option<State>) -> Keeping {
        #[expect(
            clippy::disallowed_methods,
            reason = "an event answers something in the journal's bounded queue, which is filled where events are taken"
        )]
        let (tell, told) = mpsc::unbounded_channel();
        Keeping {
            shard,
            storage,
            sync,
            found,
            current: None,
            before: Vec::new(),
            has_failed_beside: false,
            tell,
            told,
            works: JoinSet::new(),
        }
    }

    /// When entries count from now on.
    pub fn follow(&mut self, sync: Sync) {
        if self.sync != sync {
            self.sync = sync;
            self.change(Change::Sync(sync));
        }
    }

    /// What there is, for metrics.
    pub fn on_disk(&self) -> Option<OnDisk> {
        let Some(current) = self.current.as_ref() else {
            return self.has_failed_beside.then(OnDisk::default);
        };
        Some(OnDisk {
            log_bytes: current.log_bytes,
            snapshot_at: current.snapshot_at,
            is_complete: current.is_complete,
            has_failed: current.has_failed,
            needs_older_key: current.needs_older_key(),
        })
    }

    /// Does what the replica wants.
    fn keep(&mut self, keep: Keep) {
        match keep {
            Keep::Begin {
                store,
                generation,
                replica,
                checkpoint,
                is_beside,
            } => {
                self.end();
                let identity = Identity {
                    generation,
                    replica,
                    feature_level: LEVEL,
                };
                let base = checkpoint.as_ref().map(Checkpoint::end).unwrap_or_default();
                self.current = Some(Current {
                    is_beside,
                    ..Current::new(store, checkpoint)
                });
                // Its files are moved aside.
                self.found = None;
                let (volume, shard, sync) = (self.storage.volume().clone(), self.shard, self.sync);
                self.in_turn(move |alive| {
                    let begun = volume.begin(shard, identity, base, sync);
                    Done::Begun(store, begun.map(|state| (Box::new(state), alive)))
                });
            }
            Keep::Complete { store } => {
                if self.current.as_ref().is_some_and(|c| c.store == store) {
                    self.change(Change::Complete);
                }
            }
            Keep::Forget { store } => {
                self.end();
                self.found = None;
                self.has_failed_beside = false;
                let (volume, shard) = (self.storage.volume().clone(), self.shard);
                self.in_turn(move |_alive| Done::Forgotten(store, volume.forget(shard)));
            }
            Keep::Rename {
                store,
                generation,
                replica,
            } => {
                let mut current = Current::new(store, None);
                let Some(state) = self.found.take() else {
                    return;
                };
                current.log_bytes = state.log_bytes();
                current.snapshot_bytes = state.snapshot_bytes();
                current.durable = state.durable();
                self.current = Some(current);
                let alive = self.alive();
                self.adopt(store, state, alive);
                self.change(Change::Rename(Identity {
                    generation,
                    replica,
                    feature_level: LEVEL,
                }));
            }
            Keep::Append { store, entries } => {
                let Some(current) = self.current.as_mut().filter(|c| c.store == store) else {
                    return;
                };
                let mut bytes = BytesMut::new();
                for (entry, digest) in entries {
                    encode_entry(&entry, &mut bytes);
                    current.waiting_bytes += bytes.len();
                    current.waiting.push_back(Record {
                        position: catena_chain::Position {
                            index: entry.index,
                            epoch: entry.epoch,
                            digest,
                        },
                        bytes: bytes.split().freeze(),
                    });
                }
                current.flush();
            }
            Keep::End { store } => {
                if self.current.as_ref().is_some_and(|c| c.store == store) {
                    self.end();
                }
            }
        }
    }

    /// Nothing more is written to the present store.
    fn end(&mut self) {
        if let Some(Current {
            journal: Some(journal),
            ..
        }) = self.current.take()
        {
            journal.close();
        }
    }

    /// Something that has to end before the next state is begun: when what comes back is dropped.
    fn alive(&mut self) -> Alive {
        let (alive, ended) = blocking::channel();
        // What has ended is not waited for.
        let is_there =
            |ended: &blocking::Receiver<()>| ended.try_recv() == Err(TryRecvError::Empty);
        self.before.retain(is_there);
        self.before.push(ended);
        alive
    }

    /// Does something to the shard's directory, on another thread, after what is to end before.
    fn in_turn(&mut self, work: impl FnOnce(Alive) -> Done + Send + 'static) {
        let before = std::mem::take(&mut self.before);
        let alive = self.alive();
        self.works.spawn_blocking(move || {
            for ended in before {
                // It never says anything: it is dropped.
                let _ = ended.recv();
            }
            work(alive)
        });
    }

    /// From now on the thread of the disk writes to `state`.
    fn adopt(&mut self, store: StoreId, state: State, alive: Alive) {
        let tell = self.tell.clone();
        let sync = Some(self.sync).filter(|sync| *sync != state.meta().sync);
        let journal = self.storage.writer().adopt(state, move |event| {
            // Held as long as the state is.
            let _ = &alive;
            let _ = tell.send((store, event));
        });
        if let Some(current) = self.current.as_mut().filter(|c| c.store == store) {
            if let Some(sync) = sync {
                journal.change(Change::Sync(sync));
            }
            current.journal = Some(Arc::new(journal));
            current.flush();
        } else {
            journal.close();
        }
    }

    fn change(&self, change: Change) {
        if let Some(journal) = self.current.as_ref().and_then(|c| c.journal.as_ref()) {
            journal.change(change);
        }
    }

    /// Writes a snapshot, on another thread.
    fn write(&mut self, checkpoint: Checkpoint) {
        let Some(current) = self.current.as_mut() else {
            return;
        };
        let Some(journal) = current.journal.clone() else {
            return;
        };
        current.is_writing = true;
        let store = current.store;
        self.works
            .spawn_blocking(move || Done::Written(store, write(&journal, checkpoint)));
    }

    /// What has come of it all, as inputs of the replica.
    fn poll(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
        self.look_at_waiting(inputs);
        while let Poll::Ready(Some((store, event))) = self.told.poll_recv(cx) {
            self.happened(store, event, inputs);
        }
        while let (false, Poll::Ready(Some(done))) =
            (self.works.is_empty(), self.works.poll_join_next(cx))
        {
            match done {
                Ok(Done::Begun(store, Ok((state, alive)))) => {
                    self.begun(store, *state, alive, inputs);
                }
                Ok(Done::Forgotten(store, Ok(()))) => {
                    info!(shard = %self.shard, "nothing is kept of a shard any more: its files are removed");
                    inputs.push(Input::Forgotten { store });
                }
                Ok(Done::Forgotten(store, Err(failure))) => {
                    error!(
                        shard = %self.shard, %failure,
                        "the disk does not forget a shard: until it does, this replica acknowledges nothing any more"
                    );
                    inputs.push(Input::DiskFailed { store });
                }
                Ok(Done::Written(store, Ok((finished, bytes)))) => {
                    if let Some(current) = self.current.as_mut().filter(|c| c.store == store)
                        && let Some(journal) = current.journal.clone()
                    {
                        current.snapshot_bytes = bytes;
                        journal.install(finished);
                        if !current.is_complete && !current.is_beside {
                            self.change(Change::Complete);
                        }
                    }
                }
                Ok(Done::Begun(store, Err(failure)) | Done::Written(store, Err(failure))) => {
                    self.happened(store, Event::Failed(failure), inputs);
                }
                Ok(Done::Room(store, room)) => {
                    let current = self.current.as_ref().filter(|c| c.store == store);
                    if let Some(full) = current.and_then(|current| current.full.as_ref()) {
                        full.found(self.shard, room);
                    }
                }
                Ok(Done::Cleaned) => {}
                Err(error) => {
                    error!(shard = %self.shard, %error, "work on the disk came to nothing")
                }
            }
        }
    }

    fn begun(&mut self, store: StoreId, state: State, alive: Alive, inputs: &mut Vec<Input>) {
        self.adopt(store, state, alive);
        let Some(current) = self.current.as_mut().filter(|c| c.store == store) else {
            return;
        };
        match current.first.take() {
            Some(checkpoint) => self.write(checkpoint),
            None if current.is_beside => {
                current.is_based = true;
                let through = current.durable;
                inputs.push(Input::Durable { store, through });
            }
            None => self.change(Change::Complete),
        }
    }

    /// A disk that takes less than comes, while nobody waits for it, would fill the memory.
    fn look_at_waiting(&mut self, inputs: &mut Vec<Input>) {
        if let Some(current) = self.current.as_ref().filter(|current| {
            current.is_beside && !current.is_complete && current.waiting_bytes > WAITING_BYTES_MAX
        }) {
            let store = current.store;
            error!(
                shard = %self.shard, waiting = current.waiting_bytes,
                "the disk is too slow to begin with a shard while this much comes: it goes on in memory, and it is tried again"
            );
            self.has_failed_beside = true;
            inputs.push(Input::DiskFailed { store });
        }
    }

    fn happened(&mut self, store: StoreId, event: Event, inputs: &mut Vec<Input>) {
        let shard = self.shard;
        let Some(current) = self.current.as_mut().filter(|c| c.store == store) else {
            return;
        };
        match event {
            Event::Durable { through, log_bytes } => {
                current.durable = current.durable.max(through);
                current.log_bytes = log_bytes;
            }
            Event::Changed(Change::Sync(sync)) => {
                info!(%shard, ?sync, "when entries count has changed");
            }
            Event::Changed(change) => {
                current.is_complete = true;
                self.has_failed_beside = false;
                if current.is_beside {
                    info!(%shard, "what is kept of a shard is complete: it outlives the loss of all replicas from now on");
                } else {
                    debug!(%shard, ?change, "what is kept of a shard is complete");
                }
            }
            Event::Installed {
                position,
                log_bytes,
            } => {
                current.log_bytes = log_bytes;
                current.is_writing = false;
                current.is_based = true;
                current.snapshot_at = Some(Instant::now());
                current.durable = current.durable.max(position.index);
                info!(%shard, index = position.index, bytes = current.snapshot_bytes, "wrote a snapshot, and cut the log");
            }
            Event::Room => return current.flush(),
            Event::Closed => return,
            Event::Failed(failure) => {
                let is_full = matches!(failure.kind, FailureKind::NoSpace | FailureKind::Limit);
                let advice = match failure.kind {
                    FailureKind::NoSpace => "make room on the disk: then the replica comes back",
                    FailureKind::Limit => "raise it: then the replica comes back",
                    _ => "look at the disk; the process has to be started again",
                };
                if current.is_beside && !current.is_complete {
                    error!(
                        %shard, %failure,
                        "the disk cannot begin with a shard: it goes on in memory, and it is tried again"
                    );
                    self.has_failed_beside = true;
                } else {
                    error!(
                        %shard, %failure, advice,
                        "the disk keeps nothing more: this replica acknowledges nothing any more, and leaves its chain"
                    );
                    current.full = is_full.then(|| Full::new(Instant::now()));
                }
                current.is_complete = false;
                current.has_failed = true;
                current.waiting.clear();
                current.waiting_bytes = 0;
                return inputs.push(Input::DiskFailed { store });
            }
        }
        if current.is_complete || (current.is_beside && current.is_based) {
            let through = current.durable;
            inputs.push(Input::Durable { store, through });
        }
    }

    /// Whether it is time to cut the log behind a snapshot.
    fn is_grown(&self) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let used = self.storage.figures().bytes_used;
            let is_narrow = used > self.storage.room();
            let least = match is_narrow {
                true => CHECKPOINT_BYTES_NARROW,
                false => CHECKPOINT_BYTES_MIN,
            };
            let enough = current.snapshot_bytes.max(least);
            let is_rekeyed = || current.needs_older_key();
            current.is_complete
                && !current.is_writing
                && current.waiting.is_empty()
                && (current.log_bytes >= enough || is_rekeyed())
        })
    }

    /// Looks whether a disk that was full has room again, when that is due: on another thread, for a disk may let one wait. Whether it
    /// does.
    fn look_for_room(&mut self) -> bool {
        let Some(current) = self.current.as_mut() else {
            return false;
        };
        let store = current.store;
        let is_due = |full: &mut Full| full.is_due(Instant::now());
        if !current.full.as_mut().is_some_and(is_due) {
            return false;
        }
        let storage = self.storage.clone();
        self.works
            .spawn_blocking(move || Done::Room(store, storage.room()));
        true
    }

    /// The chain is at full strength: what was kept aside helps nobody any more `[C-3]`.
    fn clean(&mut self) {
        let (volume, shard) = (self.storage.volume().clone(), self.shard);
        let alive = self.alive();
        self.works.spawn_blocking(move || {
            clean(&volume, shard);
            drop(alive);
            Done::Cleaned
        });
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes a snapshot, piece by piece.
fn write(journal: &Journal, checkpoint: Checkpoint) -> Result<(Finished, u64), Failure> {
    let mut writer = journal.write_snapshot(checkpoint.end())?;
    let (mut bytes, mut written) = (0, Ok(()));
    checkpoint.write(&mut |piece| {
        bytes += piece.len() as u64;
        written = writer.write(piece);
        written.is_ok()
    });
    written?;
    Ok((writer.finish()?, bytes))
}

fn clean(volume: &Volume, shard: ShardId) {
    if let Err(error) = volume.remove_asides(shard) {
        warn!(%shard, %error, "what was kept aside of a shard cannot be removed");
    }
}

impl Current {
    fn new(store: StoreId, first: Option<Checkpoint>) -> Current {
        Current {
            store,
            journal: None,
            is_beside: false,
            first,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_based: false,
            is_complete: false,
            durable: 0,
            is_writing: false,
            log_bytes: 0,
            snapshot_bytes: 0,
            snapshot_at: None,
            has_failed: false,
            full: None,
        }
    }

    /// Whether a key that was replaced is needed for any of it.
    fn needs_older_key(&self) -> bool {
        let journal = self.journal.as_ref();
        journal.is_some_and(|journal| journal.needs_older_key())
    }

    /// Hands over what waits. What is refused is tried again when there is room.
    fn flush(&mut self) {
        let Some(journal) = self.journal.as_ref().filter(|_| !self.waiting.is_empty()) else {
            return;
        };
        let records = Vec::from(std::mem::take(&mut self.waiting));
        match journal.append(records) {
            Ok(()) => self.waiting_bytes = 0,
            Err(refused) => self.waiting = refused.into(),
        }
    }
}

impl<D: Dial, R: Reach> Host<D, R> {
    /// Whether anything is to be kept, and where.
    pub(super) fn take_to_keep(&mut self, to_keep: ToKeep) {
        if let (None, Some(storage)) = (&self.keeping, to_keep.storage) {
            // Registered was this process without what may be there: it is moved aside.
            drop(storage.take(self.shard));
            self.keeping = Some(Keeping::new(self.shard, storage, self.sync, None));
        }
        let is_wanted = to_keep.is_wanted && self.keeping.is_some();
        self.handle(Input::Keeps { is_wanted });
    }

    pub(super) fn keep(&mut self, keep: Keep) {
        if let Some(keeping) = &mut self.keeping {
            keeping.keep(keep);
            // What was begun on another thread is asked for in the next turn.
            self.is_offloading |= !keeping.works.is_empty();
        }
    }

    /// Takes what the disk has come to.
    pub(super) fn hear_disk(&mut self, cx: &mut Context<'_>) {
        let Some(keeping) = &mut self.keeping else {
            return;
        };
        let mut inputs = Vec::new();
        keeping.poll(cx, &mut inputs);
        inputs.into_iter().for_each(|input| self.handle(input));
    }

    /// Cuts the log on the disk when it has grown.
    pub(super) fn tend_disk(&mut self) {
        let Some(keeping) = self.keeping.as_mut().filter(|keeping| keeping.is_grown()) else {
            return;
        };
        let Some((store, checkpoint)) = self.replica.checkpoint() else {
            return;
        };
        if keeping.current.as_ref().is_some_and(|c| c.store == store) {
            keeping.write(checkpoint);
            self.is_offloading = true;
        }
    }

    /// A disk that was full may have room again.
    pub(super) fn look_for_room(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            self.is_offloading |= keeping.look_for_room();
        }
    }

    /// After a new configuration: whether the chain is whole.
    pub(super) fn tend_asides(&mut self) {
        let configuration = self.replica.configuration();
        let is_whole = configuration
            .is_some_and(|known| known.learner.is_none() && known.chain.len() >= self.redundancy);
        if let Some(keeping) = self.keeping.as_mut().filter(|keeping| {
            is_whole
                && keeping
                    .current
                    .as_ref()
                    .is_some_and(|current| current.is_complete)
        }) {
            keeping.clean();
            self.is_offloading = true;
        }
    }
}
