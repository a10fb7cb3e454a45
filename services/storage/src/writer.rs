//! The thread that writes for all shards of a node, and syncs once for all that gathered `[C-62]`.
//!
//! A batch is what came while the last one was being synced: there is no timer between an entry and the disk. What a host asks
//! for by its [`Journal`] happens in its order; what comes of it is told by a callback, on the writer's thread.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use catena_chain::Position;

use crate::{
    error::Failure,
    frame::Record,
    meta::Sync,
    snapshot::{Finished, SnapshotWriter},
    state::{Identity, Snapshots, State},
};

/// Bytes of entries that may wait for one shard; one batch always may.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Without an append for so long, the log says that it is durable ([`State::mark`]).
const IDLE: Duration = Duration::from_secs(1);
const POISONED: &str = "nothing panics while it holds the queue";

/// What becomes of a shard's journal.
#[derive(Debug, Clone)]
pub enum Event {
    /// All entries up to this index count as durable. The log has so many bytes on the disk, which are more than those of the entries: each
    /// write begins a block.
    Durable { through: u64, log_bytes: u64 },
    /// This is the snapshot that counts, and so long is the log behind it.
    Installed { position: Position, log_bytes: u64 },
    /// A change is durable.
    Changed(Change),
    /// Entries that were refused may be tried again.
    Room,
    /// It was closed in order.
    Closed,
    /// Nothing more is written: the replica gives up its role `[C-64]`.
    Failed(Failure),
}

/// A change of meta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// See [`State::complete`].
    Complete,
    /// See [`State::rename`].
    Rename(Identity),
    /// See [`State::set_sync`].
    Sync(Sync),
}

type Tell = Box<dyn Fn(Event) + Send>;

enum Command {
    Adopt(Box<State>, Tell),
    Append(Vec<Record>),
    Install(Finished),
    Change(Change),
    Close,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<(u64, Command)>,
    /// Bytes of entries by journal, and whether it was refused any.
    bytes: BTreeMap<u64, (usize, bool)>,
    next: u64,
    is_ending: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect(POISONED)
    }

    fn push(&self, journal: u64, command: Command) {
        self.lock().commands.push_back((journal, command));
        self.filled.notify_one();
    }
}

/// The thread that writes. Dropped, it does what was asked for, syncs, and ends.
pub struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Starts the thread. States in Interval mode are synced every `interval`.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(interval: Duration) -> io::Result<Writer> {
        let queue = Arc::new(Queue::default());
        let taken = queue.clone();
        let run = move || {
            Thread {
                states: BTreeMap::new(),
                interval,
                synced_at: Instant::now(),
            }
            .run(&taken);
        };
        let thread = thread::Builder::new().name("disk".into()).spawn(run)?;
        Ok(Writer {
            queue,
            thread: Some(thread),
        })
    }

    /// Writes for `state` from now on; `tell` is called on the writer's thread and must not wait.
    pub fn adopt(&self, state: State, tell: impl Fn(Event) + Send + 'static) -> Journal {
        let snapshots = state.snapshots();
        let mut waiting = self.queue.lock();
        waiting.next += 1;
        let id = waiting.next;
        waiting.bytes.insert(id, (0, false));
        drop(waiting);
        let adopt = Command::Adopt(Box::new(state), Box::new(tell));
        self.queue.push(id, adopt);
        Journal {
            queue: self.queue.clone(),
            id,
            snapshots,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().is_ending = true;
        self.queue.filled.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to the disk has panicked");
        }
    }
}

/// What a host has of its shard's state while the writer writes it.
pub struct Journal {
    queue: Arc<Queue>,
    id: u64,
    snapshots: Snapshots,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.id)
    }
}

impl Journal {
    /// Appends entries; [`Event::Durable`] says when they are durable.
    ///
    /// # Errors
    /// Too much waits: the entries are given back, and [`Event::Room`] says when to try again.
    pub fn append(&self, records: Vec<Record>) -> Result<(), Vec<Record>> {
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        let mut waiting = self.queue.lock();
        let (used, is_refused) = waiting.bytes.entry(self.id).or_default();
        if *used > 0 && *used + bytes > WAITING_BYTES_MAX {
            *is_refused = true;
            return Err(records);
        }
        *used += bytes;
        let command = (self.id, Command::Append(records));
        waiting.commands.push_back(command);
        drop(waiting);
        self.queue.filled.notify_one();
        Ok(())
    }

    /// Begins a snapshot of the state at `position`: to be written on the thread that makes it.
    ///
    /// # Errors
    /// See [`State::write_snapshot`].
    pub fn write_snapshot(&self, position: Position) -> Result<SnapshotWriter, Failure> {
        self.snapshots.begin(position)
    }

    /// Whether anything of the state needs an older key: a snapshot and the cut after it change that.
    pub fn needs_older_key(&self) -> bool {
        self.snapshots.needs_older_key()
    }

    /// See [`State::install`]; [`Event::Installed`] answers.
    pub fn install(&self, snapshot: Finished) {
        self.queue.push(self.id, Command::Install(snapshot));
    }

    /// Changes meta; [`Event::Changed`] answers.
    pub fn change(&self, change: Change) {
        self.queue.push(self.id, Command::Change(change));
    }

    /// Ends in order; [`Event::Closed`] answers, and the state may be begun anew or read back.
    pub fn close(&self) {
        self.queue.push(self.id, Command::Close);
    }
}

struct Thread {
    states: BTreeMap<u64, (State, Tell)>,
    interval: Duration,
    synced_at: Instant,
}

impl Thread {
    fn run(mut self, queue: &Queue) {
        loop {
            let wait = if self.states.values().any(|(state, _)| state.is_dirty()) {
                self.interval.saturating_sub(self.synced_at.elapsed())
            } else {
                IDLE
            };
            let waiting = queue.lock();
            let (mut waiting, timeout) = queue
                .filled
                .wait_timeout_while(waiting, wait, |waiting| {
                    waiting.commands.is_empty() && !waiting.is_ending
                })
                .expect(POISONED);
            let commands = std::mem::take(&mut waiting.commands);
            let is_ending = waiting.is_ending && commands.is_empty();
            let mut refused = Vec::new();
            for (id, (bytes, is_refused)) in &mut waiting.bytes {
                *bytes = 0;
                if std::mem::take(is_refused) {
                    refused.push(*id);
                }
            }
            drop(waiting);
            for (id, command) in commands {
                self.carry_out(id, command);
                if !self.states.contains_key(&id) {
                    queue.lock().bytes.remove(&id);
                }
            }
            self.sync(is_ending, timeout.timed_out());
            for (_, tell) in refused.iter().filter_map(|id| self.states.get(id)) {
                tell(Event::Room);
            }
            if is_ending {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: u64, command: Command) {
        if let Command::Adopt(state, tell) = command {
            self.states.insert(id, (*state, tell));
            return;
        }
        let Some((mut state, tell)) = self.states.remove(&id) else {
            return;
        };
        let durable = state.durable();
        let done = match command {
            Command::Adopt(..) => return,
            Command::Append(records) => state.append(&records).map(|()| None),
            Command::Install(snapshot) => {
                let position = snapshot.position;
                state.install(snapshot).map(|()| {
                    let log_bytes = state.log_bytes();
                    Some(Event::Installed {
                        position,
                        log_bytes,
                    })
                })
            }
            Command::Change(change) => match change {
                Change::Complete => state.complete(),
                Change::Rename(identity) => state.rename(identity),
                Change::Sync(sync) => state.set_sync(sync),
            }
            .map(|()| Some(Event::Changed(change))),
            Command::Close => {
                return match state.close_in_order() {
                    Ok(()) => tell(Event::Closed),
                    Err(failure) => tell(Event::Failed(failure)),
                };
            }
        };
        match done {
            Ok(event) => {
                // Whatever else is made durable takes the entries before it along.
                if event.is_some() && state.durable() > durable {
                    tell(durable_through(&state, state.durable()));
                }
                event.into_iter().for_each(&tell);
                self.states.insert(id, (state, tell));
            }
            Err(failure) => tell(Event::Failed(failure)),
        }
    }

    /// Syncs what was written, or tells that it was, by the mode of each state.
    fn sync(&mut self, is_ending: bool, is_idle: bool) {
        let is_due = is_ending || self.synced_at.elapsed() >= self.interval;
        if is_due {
            self.synced_at = Instant::now();
        }
        self.states.retain(|_, (state, tell)| {
            let done = if !state.is_dirty() {
                if is_idle { state.mark() } else { Ok(()) }
            } else if state.meta().sync == Sync::Always || is_due {
                state
                    .sync()
                    .map(|through| tell(durable_through(state, through)))
            } else {
                tell(durable_through(state, state.end().index));
                Ok(())
            };
            done.inspect_err(|failure| tell(Event::Failed(failure.clone())))
                .is_ok()
        });
    }
}

fn durable_through(state: &State, through: u64) -> Event {
    Event::Durable {
        through,
        log_bytes: state.log_bytes(),
    }
}
