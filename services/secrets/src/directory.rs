//! One look at the directory: what is new is read, what is as it was is kept.
//!
//! A file is as it was when its stamp is: device, inode, length and times. A file that was written within the last two seconds
//! is read again all the same, because a second write within one tick of the file system's clock leaves no trace in the stamp.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use zeroize::Zeroize as _;

use crate::{
    limits::{BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, ROUNDS_MAX},
    secret::Secret,
};

/// From this age on, a file's times tell whether it has been written since.
const SETTLED: Duration = Duration::from_secs(2);

/// The keys of one secret.
pub(crate) type Keys = BTreeMap<String, Entry>;

/// All secrets, by name.
pub(crate) type Tree = BTreeMap<String, Keys>;

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub value: Secret,
    stamp: Stamp,
    settled: bool,
    /// Others than the owner may read it, and it is not only of certificates.
    pub exposed: bool,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub tree: Tree,
    /// What could not be had, by `NAME/KEY`, and why.
    pub problems: BTreeMap<String, String>,
    /// The directory is not there.
    pub missing: bool,
    files: usize,
    bytes: u64,
}

/// Looks at `directory`, knowing what the last look found.
pub(crate) fn look(directory: &Path, last: &Tree, now: SystemTime) -> Look {
    let mut look = Look::default();
    let names = match names_in(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            look.missing = true;
            return look;
        }
        Err(error) => {
            look.problems.insert(String::new(), error.to_string());
            look.tree = last.clone();
            return look;
        }
    };
    for name in names.into_iter().filter(|name| !name.starts_with('.')) {
        let path = directory.join(&name);
        if !path.is_dir() {
            continue;
        }
        let known = last.get(&name);
        let mut keys = look.keys(&name, &path, known, now);
        let mut last_round;
        // Kubernetes swaps a link under us: a certificate of before and a key of after do not fit. Once nothing has changed during
        // a round, they do.
        let mut before = known;
        for _ in 1..ROUNDS_MAX {
            if before.is_some_and(|before| are_as(before, &keys)) {
                break;
            }
            last_round = keys;
            before = Some(&last_round);
            keys = look.keys(&name, &path, before, now);
        }
        look.count(&name, &mut keys);
        if !keys.is_empty() {
            look.tree.insert(name, keys);
        }
    }
    look
}

/// Whether no file has changed from one round to the next.
fn are_as(before: &Keys, after: &Keys) -> bool {
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|((key, before), (other, after))| key == other && before.stamp == after.stamp)
}

impl Look {
    /// The keys of the secret `name`.
    fn keys(&mut self, name: &str, path: &Path, known: Option<&Keys>, now: SystemTime) -> Keys {
        let files = match names_in(path) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Keys::new(),
            Err(error) => {
                self.problems.insert(name.to_owned(), error.to_string());
                return known.cloned().unwrap_or_default();
            }
        };
        let mut keys = Keys::new();
        for key in files.into_iter().filter(|key| !key.starts_with("..")) {
            let known = known.and_then(|known| known.get(&key));
            match entry(&path.join(&key), known, now) {
                Ok(Some(entry)) => {
                    keys.insert(key, entry);
                }
                Ok(None) => {}
                Err(error) => {
                    self.problems
                        .insert(format!("{name}/{key}"), error.to_string());
                    if let (Some(known), Error::Read(_)) = (known, &error) {
                        keys.insert(key, known.clone());
                    }
                }
            }
        }
        keys
    }

    /// Takes out what goes beyond the bounds of all secrets together.
    fn count(&mut self, name: &str, keys: &mut Keys) {
        keys.retain(|key, entry| {
            let bytes = self.bytes + entry.value.len();
            if self.files == FILES_MAX || bytes > BYTES_MAX {
                let problem =
                    format!("beyond the {FILES_MAX} files or {BYTES_MAX} bytes of all secrets");
                self.problems.insert(format!("{name}/{key}"), problem);
                return false;
            }
            self.files += 1;
            self.bytes = bytes;
            true
        });
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("has {0} bytes, and no more than {FILE_BYTES_MAX} are taken")]
    TooLarge(u64),
    #[error("cannot be read, and stays as it was: {0}")]
    Read(#[from] io::Error),
}

/// The names in a directory that are text, in order; others can be nobody's secret.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
        if names.len() > FILES_MAX {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The file at `path`, read where it is not as it was. `None`: it is no file, or has just gone.
fn entry(path: &Path, known: Option<&Entry>, now: SystemTime) -> Result<Option<Entry>, Error> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let stamp = Stamp::of(&metadata);
    if let Some(known) = known.filter(|known| known.settled && known.stamp == stamp) {
        return Ok(Some(known.clone()));
    }
    if stamp.length > FILE_BYTES_MAX {
        return Err(Error::TooLarge(stamp.length));
    }
    let value = read(path)?;
    // The same bytes are the same secret: nobody need hear of it.
    let value = match known {
        Some(known) if known.value == value => known.value.clone(),
        _ => value,
    };
    let age = metadata
        .modified()
        .ok()
        .and_then(|modified| now.duration_since(modified).ok());
    Ok(Some(Entry {
        exposed: metadata.mode() & 0o044 != 0 && !is_public(value.as_bytes()),
        value,
        stamp,
        settled: age.is_some_and(|age| age >= SETTLED),
    }))
}

/// Reads at most what is allowed, however the file grows meanwhile.
fn read(path: &Path) -> Result<Secret, Error> {
    let file = File::open(path)?;
    // Room for all of it at once: a buffer that grows leaves copies behind that nobody overwrites.
    let mut value = Vec::with_capacity(FILE_BYTES_MAX.min(file.metadata()?.len()) as usize + 1);
    let mut chunk = [0; 8192];
    let mut file = file.take(FILE_BYTES_MAX + 1);
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        value.extend_from_slice(&chunk[..count]);
    }
    chunk.zeroize();
    if value.len() as u64 > FILE_BYTES_MAX {
        let length = value.len() as u64;
        value.zeroize();
        return Err(Error::TooLarge(length));
    }
    Ok(Secret::new(value))
}

/// Certificates and revocation lists without a key may be read by anybody.
fn is_public(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let public =
        text.contains("-----BEGIN CERTIFICATE-----") || text.contains("-----BEGIN X509 CRL-----");
    public && !text.contains("PRIVATE KEY")
}
