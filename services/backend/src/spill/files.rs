//! The files: parts one behind the other, a file deleted when none of its parts is wanted any more.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::TrySendError,
    },
};

use bytes::Bytes;
use tracing::{error, warn};

use super::{State, reader::Task};

/// A file that has grown to this is left, and a new one begun.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What names of files end with.
const EXTENSION: &str = "spill";

/// A file that is locked by whose directory it is.
const LOCK: &str = "lock";

/// The file that is written to, and where.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// `None`: not made yet.
    lock: Option<File>,
    state: Arc<State>,
    made: u64,
    current: Option<Arc<Opened>>,
    end: u64,
}

/// A file that holds parts, or will.
#[derive(Debug)]
pub(super) struct Opened {
    /// `None` once it is to be deleted.
    file: Option<File>,
    path: PathBuf,
    state: Arc<State>,
    /// Bytes of it that count as used.
    counted: AtomicU64,
}

/// Makes the directory this process's own, and deletes what an earlier one left. It is its own as long as the file is open.
pub(super) fn take(directory: &Path) -> io::Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(directory.join(LOCK))?;
    lock.try_lock().map_err(|error| {
        let error = io::Error::from(error);
        let text = format!(
            "another process has its buffer in {}: {error}",
            directory.display()
        );
        io::Error::new(error.kind(), text)
    })?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == EXTENSION) {
            fs::remove_file(path)?;
        }
    }
    Ok(lock)
}

impl Files {
    pub fn new(directory: PathBuf, lock: Option<File>, state: Arc<State>) -> Files {
        Files {
            directory,
            lock,
            state,
            made: 0,
            current: None,
            end: 0,
        }
    }

    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Writes a part; where it stands.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<(Arc<Opened>, u64)> {
        let len = bytes.len() as u64;
        let (used, max) = (self.state.used.load(Relaxed), self.state.max.load(Relaxed));
        if used + len > max {
            // The file that is written to may be all that holds room.
            self.current = None;
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{used} of {max} bytes of the disk-backed message buffer are used"),
            ));
        }
        let (file, at) = match self.current.take().filter(|_| self.end < FILE_BYTES) {
            Some(file) => (file, self.end),
            None => (Arc::new(self.begin()?), 0),
        };
        // What is written twice because it failed in between stands at the same place.
        file.write(bytes, at)?;
        file.count(len);
        self.end = at + len;
        self.current = Some(file.clone());
        Ok((file, at))
    }

    fn begin(&mut self) -> io::Result<Opened> {
        if self.lock.is_none() {
            self.lock = Some(take(&self.directory)?);
        }
        self.made += 1;
        let path = self.directory.join(format!("{:08}.{EXTENSION}", self.made));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Opened {
            file: Some(options.open(&path)?),
            path,
            state: self.state.clone(),
            counted: 0.into(),
        })
    }
}

impl Opened {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(bytes, at)
    }

    fn count(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Relaxed);
        self.state.used.fetch_add(bytes, Relaxed);
    }

    /// Reads a part. A disk that does not give it back has taken a piece of the replica's state: the process ends, and other
    /// replicas go on `[C-1]`.
    pub fn read(&self, at: u64, len: usize, nonce: &[u8; 12]) -> Bytes {
        let mut bytes = vec![0; len];
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound);
        let outcome = file
            .map_err(io::Error::from)
            .and_then(|file| file.read_exact_at(&mut bytes, at));
        if let Err(error) = outcome {
            give_up(&self.path, &error.to_string());
        }
        match self.state.seal.open(bytes, nonce) {
            Some(bytes) => bytes.into(),
            None => give_up(&self.path, "what was read is not what was written"),
        }
    }
}

fn give_up(path: &Path, why: &str) -> ! {
    error!(
        path = %path.display(), why,
        "a part of a queue cannot be read back: this process ends, so that other replicas go on; look at the disk"
    );
    std::process::exit(1);
}

impl Drop for Opened {
    fn drop(&mut self) {
        let counted = self.counted.load(Relaxed);
        self.state.used.fetch_sub(counted, Relaxed);
        let done = Done {
            _file: self.file.take(),
            path: std::mem::take(&mut self.path),
        };
        // It takes a while for a large file: not on the thread of a shard, if that can be.
        if let Err(
            TrySendError::Full(Task::Delete(done)) | TrySendError::Disconnected(Task::Delete(done)),
        ) = self.state.to_read.try_send(Task::Delete(done))
        {
            done.delete();
        }
    }
}

/// A file without a part that anybody wants.
#[derive(Debug)]
pub(super) struct Done {
    _file: Option<File>,
    path: PathBuf,
}

impl Done {
    pub fn delete(self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %self.path.display(), %error, "a file of the disk-backed message buffer cannot be deleted");
        }
    }
}
