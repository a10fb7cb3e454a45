//! A disk in memory that does what real ones do to those who trust them, all of it from one seed.
//!
//! At a power cut each sector that was written since the last sync is there or not, by chance; one may be torn in its middle;
//! each name that was made, changed or removed since the last sync of its directory is what it was or what it became. Bits
//! flip, files are cut, space runs out, syncs fail - and after a failed sync the data still *looks* written, as in Linux,
//! until the power goes.
//!
//! ```text
//!   now: what a process reads ──sync──► kept: what a power cut leaves, with some of what was not synced
//! ```

mod file;
mod tree;

use std::{
    any::Any,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use self::{
    file::Content,
    tree::{NodeId, Tree},
};
use crate::disk::{Disk, File, Listed};

const POISONED: &str = "a test that broke the disk has failed already";

/// A handle of a simulated disk; clones are of the same disk.
#[derive(Clone)]
pub struct Simulated(Arc<Mutex<Machine>>);

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

#[derive(Debug)]
struct Machine {
    tree: Tree,
    random: fastrand::Rng,
    /// Rises with each life of the process: older handles are dead.
    life: u64,
    /// Rises with each power cut.
    boot: u64,
    /// Operations so far, and the one at which the power goes.
    steps: u64,
    cut_at: Option<u64>,
    is_off: bool,
    syncs: u64,
    fail_sync_at: Option<u64>,
    capacity: u64,
    is_locked: bool,
}

impl Simulated {
    /// An empty disk.
    pub fn new(seed: u64) -> Simulated {
        Simulated(Arc::new(Mutex::new(Machine {
            tree: Tree::default(),
            random: fastrand::Rng::with_seed(seed),
            life: 0,
            boot: 0,
            steps: 0,
            cut_at: None,
            is_off: false,
            syncs: 0,
            fail_sync_at: None,
            capacity: u64::MAX,
            is_locked: false,
        })))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().expect(POISONED)
    }

    /// Operations so far that changed something or synced it.
    pub fn steps(&self) -> u64 {
        self.machine().steps
    }

    /// Syncs so far, of files and directories.
    pub fn syncs(&self) -> u64 {
        self.machine().syncs
    }

    /// The power goes at that many operations from now: that one is done or not, and all after it fail, until
    /// [`Simulated::cut_power`].
    pub fn cut_power_in(&self, steps: u64) {
        let mut machine = self.machine();
        machine.cut_at = Some(machine.steps + steps);
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.machine().is_off
    }

    /// The sync that is that many from now fails: what it was to keep is lost at the next power cut, as far as it pleases.
    pub fn fail_sync_in(&self, syncs: u64) {
        let mut machine = self.machine();
        machine.fail_sync_at = Some(machine.syncs + syncs);
    }

    /// How many bytes all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.machine().capacity = bytes;
    }

    /// The power goes and comes back: what was not synced is there or not.
    pub fn cut_power(&self) {
        let machine = &mut *self.machine();
        machine.end_life();
        machine.boot += 1;
        machine.tree.cut_power(&mut machine.random);
    }

    /// The process ends, and nothing is lost that it wrote.
    pub fn kill(&self) {
        self.machine().end_life();
    }

    /// All files, ordered by name.
    pub fn files(&self) -> Vec<PathBuf> {
        self.machine().tree.files()
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn length(&self, path: &Path) -> io::Result<u64> {
        let machine = self.machine();
        Ok(machine.tree.content(machine.tree.find(path)?)?.length())
    }

    /// Turns one bit of a file, for good.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut machine = self.machine();
        let id = machine.tree.find(path)?;
        machine.tree.content_mut(id)?.flip(bit);
        Ok(())
    }

    /// Overwrites a part of a file with zeros, for good.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn zero(&self, path: &Path, offset: u64, bytes: u64) -> io::Result<()> {
        let mut machine = self.machine();
        let id = machine.tree.find(path)?;
        machine.tree.content_mut(id)?.zero(offset, bytes);
        Ok(())
    }

    /// Cuts a file, for good.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn shorten(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut machine = self.machine();
        let id = machine.tree.find(path)?;
        let content = machine.tree.content_mut(id)?;
        content.truncate(length);
        content.sync();
        Ok(())
    }

    /// A disk with the same files, all of them durable, that goes its own way.
    pub fn copy(&self, seed: u64) -> Simulated {
        let machine = self.machine();
        let copy = Simulated::new(seed);
        copy.machine().tree = machine.tree.clone();
        copy.machine().boot = machine.boot;
        copy
    }
}

impl Machine {
    fn end_life(&mut self) {
        self.life += 1;
        self.is_off = false;
        self.cut_at = None;
        self.fail_sync_at = None;
        self.is_locked = false;
    }

    /// Does one operation that changes something, unless the power is gone.
    fn change<T>(&mut self, what: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        if self.is_off {
            return Err(gone());
        }
        self.steps += 1;
        if self.cut_at.is_some_and(|at| self.steps > at) {
            self.is_off = true;
            // Whether it was done nobody hears.
            if self.random.bool() {
                drop(what(self));
            }
            return Err(gone());
        }
        what(self)
    }

    /// Counts a sync, which may be the one that fails.
    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_sync_at.is_some_and(|at| self.syncs >= at) {
            self.fail_sync_at = None;
            return Err(io::Error::other("the disk did not take it"));
        }
        Ok(())
    }

    /// Reads, unless the power is gone.
    fn read<T>(&self, what: impl FnOnce(&Machine) -> io::Result<T>) -> io::Result<T> {
        if self.is_off { Err(gone()) } else { what(self) }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl Disk for Simulated {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let (id, life) = self.machine().change(|machine| {
            let id = machine.tree.create(path, Content::default())?;
            Ok((id, machine.life))
        })?;
        Ok(Box::new(Handle {
            disk: self.clone(),
            id,
            life,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let (id, life) = self.machine().read(|machine| {
            let id = machine.tree.find(path)?;
            machine.tree.content(id)?;
            Ok((id, machine.life))
        })?;
        Ok(Box::new(Handle {
            disk: self.clone(),
            id,
            life,
        }))
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.machine()
            .change(|machine| machine.tree.make_directory(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.machine().change(|machine| {
            machine.count_sync()?;
            machine.tree.sync_directory(path)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.machine()
            .change(|machine| machine.tree.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.machine()
            .change(|machine| machine.tree.remove(path, false))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.machine()
            .change(|machine| machine.tree.remove(path, true))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.machine().read(|machine| machine.tree.list(path))
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        self.machine().read(|machine| {
            let used = machine.tree.bytes();
            Ok(machine.capacity.saturating_sub(used))
        })
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut machine = self.machine();
        if std::mem::replace(&mut machine.is_locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock {
            disk: self.clone(),
            life: machine.life,
        }))
    }

    fn boot(&self) -> Option<[u8; 16]> {
        Some(u128::from(self.machine().boot).to_le_bytes())
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.machine().random.fill(bytes);
        Ok(())
    }
}

/// Ends with the process that has it, or before.
#[derive(Debug)]
struct Lock {
    disk: Simulated,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        if machine.life == self.life {
            machine.is_locked = false;
        }
    }
}

/// An open file, of one life of the process.
#[derive(Debug)]
struct Handle {
    disk: Simulated,
    id: NodeId,
    life: u64,
}

impl Handle {
    fn change<T>(&self, what: impl FnOnce(&mut Machine, NodeId) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.disk.machine();
        if machine.life != self.life {
            return Err(gone());
        }
        machine.change(|machine| what(machine, self.id))
    }

    fn read<T>(&self, what: impl FnOnce(&Content) -> T) -> io::Result<T> {
        let machine = self.disk.machine();
        if machine.life != self.life {
            return Err(gone());
        }
        machine.read(|machine| Ok(what(machine.tree.content(self.id)?)))
    }
}

impl File for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|machine, id| {
            let used = machine.tree.bytes();
            let length = machine.tree.content(id)?.length();
            let more = (offset + bytes.len() as u64).saturating_sub(length);
            let room = machine.capacity.saturating_sub(used);
            let content = machine.tree.content_mut(id)?;
            if more > room {
                let fits = (length + room).saturating_sub(offset) as usize;
                content.write(&bytes[..fits.min(bytes.len())], offset);
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.write(bytes, offset);
            Ok(())
        })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|content| content.read(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|machine, id| {
            if let Err(error) = machine.count_sync() {
                machine.tree.content_mut(id)?.fail_sync();
                return Err(error);
            }
            machine.tree.content_mut(id)?.sync();
            Ok(())
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(|machine, id| {
            machine.tree.content_mut(id)?.truncate(length);
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.read(Content::length)
    }
}
