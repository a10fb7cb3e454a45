//! Where parts of long queues are that left memory: files in a directory, never durable, gone with the process.
//!
//! A shard says which parts came about; its host hands them over ([`Spill::put_away`]) and goes on. One thread writes them, and only
//! when a part is written does its memory go; another reads ahead what is asked for soon. What is written fails loudly and waits in
//! memory to be written again, and meanwhile the shard is told to part no more queues: so a full disk ends in refused publishes
//! `[F-63]`, and in nothing lost. Deleted at each start: whoever was here before is dead, and its state with it `[C-1]`.

mod files;
mod reader;
mod seal;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use catena_shard::segment::Segment;

use self::{
    files::Files,
    reader::{Task, read_ahead},
    seal::Seal,
    writer::write_all,
};

/// Bytes of parts that wait to be written, at which shards are told to part no more queues.
pub const WAITING_MAX: u64 = 32 * 1024 * 1024;

/// Below this they are told to go on.
pub const WAITING_LOW: u64 = WAITING_MAX / 4;

/// Bytes of parts that are read ahead and not yet taken. Beyond it a part is read when it is wanted.
pub const AHEAD_MAX: u64 = 16 * 1024 * 1024;

/// Parts that wait to be read ahead, and files to be deleted. Beyond it that is done at once by whoever wants it.
const TASKS_MAX: usize = 1_024;

/// The place for parts of all shards of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spill(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    state: Arc<State>,
    to_write: mpsc::Sender<Arc<Segment>>,
}

/// What both threads and all shards know.
#[derive(Debug)]
pub(crate) struct State {
    /// Bytes that the files may take, all together.
    max: AtomicU64,
    /// Bytes that they take.
    used: AtomicU64,
    /// Bytes of parts that wait to be written.
    waiting: AtomicU64,
    /// Bytes of parts that were read ahead.
    ahead: AtomicU64,
    /// Parts that were written.
    written: AtomicU64,
    /// Attempts to write one that failed.
    failed: AtomicU64,
    /// The last write failed, or found no room.
    is_full: AtomicBool,
    seal: Seal,
    to_read: mpsc::SyncSender<Task>,
}

/// What is known of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpillStatus {
    /// Bytes that the files may take.
    pub max: u64,
    /// Bytes that they take.
    pub used: u64,
    /// Bytes of parts that wait in memory to be written.
    pub waiting: u64,
    /// Parts that were written since the process started.
    pub written: u64,
    /// Attempts to write one that failed.
    pub failed: u64,
    /// The disk is full, or fails: parts stay in memory.
    pub is_full: bool,
}

impl Spill {
    /// A place in `directory`, which is made with the first part. What an earlier process left there is deleted now.
    ///
    /// # Errors
    /// A directory that is there and cannot be emptied, or is another process's; a thread that cannot be started; no random numbers.
    pub fn new(directory: &Path) -> io::Result<Spill> {
        let lock = match directory.exists() {
            true => Some(files::take(directory)?),
            false => None,
        };
        let (to_write, writes) = mpsc::channel();
        let (to_read, reads) = mpsc::sync_channel(TASKS_MAX);
        let state = Arc::new(State {
            max: AtomicU64::new(0),
            used: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            seal: Seal::new()?,
            to_read,
        });
        let files = Files::new(directory.to_owned(), lock, state.clone());
        let start = |name: &str| thread::Builder::new().name(name.to_owned());
        start("spill-write").spawn(move || write_all(&writes, files))?;
        start("spill-read").spawn(move || read_ahead(&reads))?;
        Ok(Spill(Arc::new(Shared {
            directory: directory.to_owned(),
            state,
            to_write,
        })))
    }

    /// Bytes that the files may take, all together.
    pub fn set_max(&self, bytes: u64) {
        self.0.state.max.store(bytes, Relaxed);
    }

    /// Takes a part; its memory goes when it is written.
    pub fn put_away(&self, segment: Arc<Segment>) {
        let len = segment.len() as u64;
        self.0.state.waiting.fetch_add(len, Relaxed);
        if self.0.to_write.send(segment).is_err() {
            // The writer has panicked, and with it the process. [panics::abort_on_panic]
            self.0.state.is_full.store(true, Relaxed);
        }
    }

    /// Whether shards are to part no more queues, where `was` is what they were told last.
    pub fn is_pressed(&self, was: bool) -> bool {
        let state = &self.0.state;
        let bound = if was { WAITING_LOW } else { WAITING_MAX };
        state.is_full.load(Relaxed) || state.waiting.load(Relaxed) >= bound
    }

    /// How things stand.
    pub fn status(&self) -> SpillStatus {
        let state = &self.0.state;
        SpillStatus {
            max: state.max.load(Relaxed),
            used: state.used.load(Relaxed),
            waiting: state.waiting.load(Relaxed),
            written: state.written.load(Relaxed),
            failed: state.failed.load(Relaxed),
            is_full: state.is_full.load(Relaxed),
        }
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }
}

#[cfg(test)]
mod tests;
