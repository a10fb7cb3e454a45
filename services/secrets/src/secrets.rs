//! All secrets of the process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::SystemTime,
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    directory::{self, Look, Tree},
    limits::POLL,
    secret::Secret,
    write::{self, Error},
};

/// The secrets and config maps of a directory. Cheap to clone; the directory is watched until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Secrets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Option<PathBuf>,
    /// What the last look found.
    tree: RwLock<Arc<Tree>>,
    /// What was said already. Held during a look, so that there is one at a time.
    said: Mutex<Said>,
    changes: watch::Sender<u64>,
    /// Dropped with this, which ends the watching thread.
    _watching: SyncSender<()>,
}

/// What was logged, so that it is logged once.
#[derive(Debug, Default)]
struct Said {
    problems: BTreeMap<String, String>,
    missing: bool,
    exposed: bool,
}

impl Secrets {
    /// Reads `directory` and watches it from now on. Without one, or where it is not there, there are no secrets; when it
    /// appears later, there are.
    pub fn open(directory: Option<PathBuf>) -> Secrets {
        let (watching, ended) = sync_channel(0);
        let inner = Arc::new(Inner {
            tree: RwLock::default(),
            said: Mutex::default(),
            changes: watch::Sender::new(0),
            _watching: watching,
            directory,
        });
        if inner.directory.is_some() {
            inner.look();
            let watched = Arc::downgrade(&inner);
            let thread = thread::Builder::new().name("secrets".to_owned());
            if let Err(error) = thread.spawn(move || watch(&watched, &ended)) {
                error!(%error, "secrets will not be read again when they change: there is no thread for it");
            }
        }
        Secrets(inner)
    }

    /// The key `key` of the secret `name`.
    pub fn get(&self, name: &str, key: &str) -> Option<Secret> {
        self.0
            .tree()
            .get(name)?
            .get(key)
            .map(|entry| entry.value.clone())
    }

    /// All keys of the secret `name`; none where there is no such secret.
    pub fn all(&self, name: &str) -> BTreeMap<String, Secret> {
        let tree = self.0.tree();
        let keys = tree.get(name).into_iter().flatten();
        keys.map(|(key, entry)| (key.clone(), entry.value.clone()))
            .collect()
    }

    /// How often what is read here has changed. A reader takes the number first and the secrets after it, and so misses nothing.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Looks at the directory now, instead of within [`POLL`]. `true`: something had changed. Reads files: not for a thread that
    /// serves clients.
    pub fn look(&self) -> bool {
        self.0.look()
    }

    /// Writes a key, readable by the owner alone, whole or not at all; it can be read here when this returns. Reads and writes
    /// files.
    ///
    /// # Errors
    /// When there is no directory, a name is none for a file, or the file cannot be written.
    pub fn put(&self, name: &str, key: &str, value: &[u8]) -> Result<(), Error> {
        write::put(self.0.directory()?, name, key, value)?;
        self.0.look();
        Ok(())
    }

    /// Removes a key. `false`: it was not there. Reads and writes files.
    ///
    /// # Errors
    /// As [`Secrets::put`].
    pub fn remove(&self, name: &str, key: &str) -> Result<bool, Error> {
        let was_there = write::remove(self.0.directory()?, name, key)?;
        self.0.look();
        Ok(was_there)
    }
}

impl Inner {
    fn directory(&self) -> Result<&Path, Error> {
        self.directory.as_deref().ok_or(Error::NoDirectory)
    }

    fn tree(&self) -> Arc<Tree> {
        self.tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn look(&self) -> bool {
        let Some(directory) = &self.directory else {
            return false;
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.tree();
        let look = directory::look(directory, &last, SystemTime::now());
        said.say(directory, &look);
        let changed = differ(&last, &look.tree);
        *self.tree.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(look.tree);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        changed
    }
}

impl Said {
    /// Logs what is new of it.
    fn say(&mut self, directory: &Path, look: &Look) {
        let directory = directory.display();
        if look.missing && !self.missing {
            info!(%directory, "the directory of secrets is not there: there are none");
        }
        self.missing = look.missing;
        for (place, problem) in &look.problems {
            if self.problems.get(place) != Some(problem) {
                warn!(%directory, place, problem, "a secret cannot be had");
            }
        }
        self.problems.clone_from(&look.problems);
        if self.exposed {
            return;
        }
        let files = look
            .tree
            .iter()
            .flat_map(|(name, keys)| keys.iter().map(move |(key, entry)| (name, key, entry)));
        let mut exposed = files.filter(|(_, _, entry)| entry.exposed);
        if let Some((name, key, _)) = exposed.next() {
            let more = exposed.count();
            self.exposed = true;
            warn!(%directory, file = %format_args!("{name}/{key}"), more, "secrets can be read by others than their owner: chmod go-r");
        }
    }
}

fn differ(before: &Tree, after: &Tree) -> bool {
    let same = before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|((name, keys), (other, others))| {
                name == other
                    && keys.len() == others.len()
                    && keys
                        .iter()
                        .zip(others)
                        .all(|((key, entry), (another, other))| {
                            key == another && entry.value == other.value
                        })
            });
    !same
}

/// Looks again and again, until nobody uses the secrets any more.
fn watch(watched: &Weak<Inner>, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(POLL) {
        let Some(inner) = watched.upgrade() else {
            return;
        };
        inner.look();
    }
}
