//! Disks for processes under test, which may lose their power or have little room: mounted for the test, by root alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// What the directories begin with; the number of the process that made them follows.
const PREFIX: &str = "catena-disk-";
/// What python says to an ext4: nothing more reaches its device, as when the power goes. What is in the journal stays there.
/// The number is `EXT4_IOC_SHUTDOWN`, the 2 `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const CUT: &str = "import fcntl, os, struct, sys\n\
                   fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A disk of its own. Dropping it takes it away; processes must have let go of it.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    has_image: bool,
}

impl Disk {
    /// An ext4 of that many MiB, whose power can be cut.
    ///
    /// # Errors
    /// Why this machine cannot: not root, or a command or the kernel lacks.
    pub fn with_power(mebibytes: u32) -> Result<Disk, String> {
        let disk = Disk::prepare(true)?;
        let image = disk.directory.join("image");
        run(&["truncate", "-s", &format!("{mebibytes}M"), &text(&image)])?;
        run(&["mkfs.ext4", "-q", &text(&image)])?;
        disk.mount()?;
        Ok(disk)
    }

    /// One in memory, of that many MiB.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn small(mebibytes: u32) -> Result<Disk, String> {
        let disk = Disk::prepare(false)?;
        let size = format!("size={mebibytes}m");
        run(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &size,
            "tmpfs",
            &text(&disk.path()),
        ])?;
        Ok(disk)
    }

    fn prepare(has_image: bool) -> Result<Disk, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount a disk".to_owned());
        }
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let disk = Disk {
            directory,
            has_image,
        };
        fs::create_dir_all(disk.path()).map_err(|error| error.to_string())?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let image = self.directory.join("image");
        run(&["mount", "-o", "loop", &text(&image), &text(&self.path())])
    }

    /// Where its files are.
    pub fn path(&self) -> PathBuf {
        self.directory.join("disk")
    }

    /// Cuts the power: what was not synced is lost, and from now on every write fails. What is open stays open.
    ///
    /// # Panics
    /// When that does not work, which worked before.
    pub fn cut_power(&self) {
        assert!(self.has_image, "a disk in memory has no power to cut");
        run(&["python3", "-c", CUT, &text(&self.path())]).expect("an ext4 may be shut down");
    }

    /// The power is there again: what had reached the disk is found. All processes must have ended.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn restore_power(&self) {
        run(&["umount", &text(&self.path())]).expect("nobody uses it any more");
        self.mount().expect("it was mounted before");
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// When the disk says anything but that it is full.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).expect("a file has room, if no more");
        let full = std::io::copy(&mut std::io::repeat(0), &mut file);
        let error = full.expect_err("no disk has room for ever");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// What the test has to say that needs a disk which this machine does not give.
pub fn skipped(reason: &str) {
    eprintln!("SKIPPED, this machine has no disks for tests: {reason}");
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Takes away a disk, and its mount even while somebody uses it.
fn remove(directory: &Path) {
    // It may not be mounted.
    let _ = run(&["umount", "--lazy", &text(&directory.join("disk"))]);
    let _ = fs::remove_file(directory.join("image"));
    let _ = fs::remove_dir(directory.join("disk"));
    let _ = fs::remove_dir(directory);
}

/// Takes away what test processes left behind that were killed.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(PREFIX);
        let owner = rest.and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove(&entry.path());
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", words[0], complaint.trim()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    // Were everything there after a cut, the tests that cut would show nothing.
    #[test]
    fn what_was_not_synced_is_gone_after_a_cut_and_what_was_is_there() {
        let disk = match Disk::with_power(16) {
            Ok(disk) => disk,
            Err(reason) => return skipped(&reason),
        };
        let write = |name: &str, synced: bool| {
            let mut file = fs::File::create(disk.path().join(name)).expect("there is room");
            file.write_all(b"something").expect("there is room");
            if synced {
                file.sync_all().expect("the power is on");
            }
        };
        write("synced", true);
        write("not", false);
        disk.cut_power();
        assert!(fs::write(disk.path().join("after"), "x").is_err());
        disk.restore_power();
        let read = |name: &str| fs::read(disk.path().join(name)).unwrap_or_default();
        assert_eq!(read("synced"), b"something");
        assert_eq!(read("not"), b"");
        assert_eq!(read("after"), b"");
    }
}
