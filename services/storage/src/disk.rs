//! What the storage needs of the disk below it.
//!
//! Two implementations: [`Real`], the file system of this machine, and, for tests, one in memory that loses, tears and flips
//! as real disks do (`simulated`).
//!
//! What is promised by neither, and therefore never relied on: that anything is kept before [`File::sync`] has returned; that a
//! file is found under its name before [`Disk::sync_directory`] has; that writes reach the disk in their order, or wholly.

mod real;

use std::{any::Any, fmt, io, path::Path};

pub use real::Real;

/// Writes smaller than this reach a disk wholly or not at all; what is larger may be torn anywhere between.
pub const SECTOR_BYTES: usize = 512;

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a file that nobody but the owner may read, to write and to read.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to write and to read.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Makes a directory, if it is not there, in one that is there.
    ///
    /// # Errors
    /// What the system says.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Returns when the names in a directory are durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or a directory another name in the same directory, and takes it from a file that has it.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, ordered by name.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;

    /// Bytes that may still be written below `path`.
    ///
    /// # Errors
    /// What the system says.
    fn free(&self, path: &Path) -> io::Result<u64>;

    /// Keeps other processes from locking the same file, as long as what is returned lives.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it, and what the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Names the time since the machine was started: while it is the same, what was written is there even when it was
    /// not synced. `None`: not known.
    fn boot(&self) -> Option<[u8; 16]>;

    /// Random bytes, good enough for keys.
    ///
    /// # Errors
    /// The system has none.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// An open file. The methods take `&self`, so that one thread may sync what another one writes.
pub trait File: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`, and makes the file longer if need be.
    ///
    /// # Errors
    /// `StorageFull`, and what the system says: then any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `bytes.len()` bytes: fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns when all that was written is durable. After an error nobody knows what is, also when a later call succeeds.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// Of a directory: 0.
    pub bytes: u64,
    pub is_directory: bool,
}
