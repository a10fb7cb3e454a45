//! Writing: our own CA keeps its key here, and `catena passwd` its hashes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The longest name of a secret or key, in bytes: a name of a file.
const NAME_BYTES_MAX: usize = 253;

/// Why a secret was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no directory for secrets: give one with --secrets-dir")]
    NoDirectory,
    #[error(
        "{0:?} cannot be the name of a secret or of a key in it: a name is a file's, without / and not beginning with a dot"
    )]
    Name(String),
    #[error("{path}: {error}")]
    Write { path: PathBuf, error: io::Error },
}

/// Writes `directory/name/key`, readable by the owner alone. Whoever reads it has either the old value or the new one,
/// whole, also after a crash.
pub(crate) fn put(directory: &Path, name: &str, key: &str, value: &[u8]) -> Result<(), Error> {
    check(name, key)?;
    let secret = directory.join(name);
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&secret);
    made.map_err(|error| failed(&secret, error))?;
    let temporary = secret.join(temporary_name());
    let written = write_new(&temporary, value)
        .and_then(|()| fs::rename(&temporary, secret.join(key)))
        .and_then(|()| sync(&secret))
        .and_then(|()| sync(directory));
    written.map_err(|error| {
        // Gone already when it was the last step that failed.
        let _ = fs::remove_file(&temporary);
        failed(&secret.join(key), error)
    })
}

/// Removes `directory/name/key`. `false`: it was not there.
pub(crate) fn remove(directory: &Path, name: &str, key: &str) -> Result<bool, Error> {
    check(name, key)?;
    let secret = directory.join(name);
    let path = secret.join(key);
    match fs::remove_file(&path).and_then(|()| sync(&secret)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(&path, error)),
    }
}

fn check(name: &str, key: &str) -> Result<(), Error> {
    let is_file = |name: &str| {
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0'])
    };
    if !is_file(name) || name.starts_with('.') {
        return Err(Error::Name(name.to_owned()));
    }
    if !is_file(key) || key == "." || key.starts_with("..") {
        return Err(Error::Name(key.to_owned()));
    }
    Ok(())
}

/// A name that no other writer uses, and that is no key.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("..new-{}-{count}", std::process::id())
}

fn write_new(path: &Path, value: &[u8]) -> io::Result<()> {
    // Left by a process of the same id that died here.
    if path.exists() {
        fs::remove_file(path)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(value)?;
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        error,
    }
}
