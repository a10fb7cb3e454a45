//! What a process keeps on disk, as the Broker wants it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use catena_backend::{
    Spill, Storage, StorageOptions, ToKeep,
    storage::{Key, Keys, existing_key, generated_key},
};
use catena_membership::Cluster;
use catena_resources::{
    Switch,
    broker::{Encryption, Persistence},
};
use catena_secrets::Secrets;
use tokio::sync::watch;
use tracing::{info, warn};

/// The states of shards, in a data directory.
const DIRECTORY: &str = "shards";
/// The key that counts, in the secret that `persistence.encryption.keySecretRef` names; all others are older ones.
const KEY: &str = "key";
/// What came to nothing is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);
/// What a standalone broker keeps at most, unless the Broker says otherwise: 10 GiB.
pub const STANDALONE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// Where to keep, and what is needed for that.
pub struct Place {
    pub data_dir: PathBuf,
    pub secrets: Secrets,
    /// Where long queues go, with the room that they may take.
    pub spill: Spill,
    /// Whether other processes may have what is damaged here. Without them the data directory decides whether anything is kept.
    pub has_neighbours: bool,
}

impl Place {
    fn directory(&self) -> PathBuf {
        self.data_dir.join(DIRECTORY)
    }

    /// Whether anything was ever kept: then it counts, whatever the Broker says now.
    pub fn is_used(&self) -> bool {
        self.directory().exists()
    }

    /// Reads back what there is: takes time by its size. Without `persistence` as a standalone broker keeps by default, or, where there
    /// are neighbours, to be forgotten.
    ///
    /// # Errors
    /// A directory or key that cannot be used, and what must not be begun anew.
    pub async fn open(&self, persistence: Option<&Persistence>) -> anyhow::Result<Storage> {
        let directory = self.directory();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let keys = self.keys(&directory, persistence)?;
        let maximum = persistence.map_or(STANDALONE_BYTES_MAX, |persistence| {
            persistence.max_size.bytes()
        });
        let options = StorageOptions {
            directory,
            keys,
            bytes_max: Some(maximum),
            spill: self.spill.clone(),
            has_neighbours: self.has_neighbours,
        };
        // Others of this thread go on meanwhile.
        let opened = tokio::task::spawn_blocking(move || Storage::open(options));
        Ok(opened.await??)
    }

    fn keys(&self, directory: &Path, persistence: Option<&Persistence>) -> anyhow::Result<Keys> {
        let encryption = persistence.map(|persistence| &persistence.encryption);
        let found = existing_key(directory).with_context(|| of_directory(directory))?;
        let current = if persistence.is_none() && self.has_neighbours {
            // Nothing is written before it is turned on.
            Key::public()
        } else {
            current_key(directory, encryption, &self.secrets)?
        };
        let mut older: Vec<Key> = found.into_iter().collect();
        if let Some(name) = encryption.and_then(|encryption| encryption.key_secret_ref.as_deref()) {
            for (key, value) in self.secrets.all(name) {
                if key != KEY {
                    let read = Key::read(value.as_bytes());
                    older.push(read.with_context(|| format!("the older key {name}/{key}"))?);
                }
            }
        }
        Ok(Keys { current, older })
    }
}

/// The key that is asked for: of a secret, of the directory, or the one that everybody knows.
fn current_key(
    directory: &Path,
    encryption: Option<&Encryption>,
    secrets: &Secrets,
) -> anyhow::Result<Key> {
    if encryption.is_some_and(|encryption| encryption.mode == Switch::Disabled) {
        return Ok(Key::public());
    }
    match encryption.and_then(|encryption| encryption.key_secret_ref.as_deref()) {
        Some(name) => read_key(secrets, name),
        None => generated_key(directory).with_context(|| of_directory(directory)),
    }
}

fn of_directory(directory: &Path) -> String {
    format!("the key in {}", directory.display())
}

fn read_key(secrets: &Secrets, name: &str) -> anyhow::Result<Key> {
    let secret = secrets.get(name, KEY).with_context(|| {
        format!("persistence.encryption.keySecretRef is {name}, and there is no secret {name}/{KEY}: see --secrets-dir")
    })?;
    Key::read(secret.as_bytes()).with_context(|| format!("the secret {name}/{KEY}"))
}

/// What may change while everything runs: whether anything is kept, in how much room, and with which key.
pub struct Followed {
    pub place: Place,
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// Told to the shards.
    pub to_keep: watch::Sender<ToKeep>,
}

impl Followed {
    /// Follows what the Broker and its secrets say, for as long as the present runtime runs.
    pub async fn follow(mut self) {
        let mut changed = self.place.secrets.changed();
        let mut told = String::new();
        loop {
            // What the shards are told is of the same moment: a Broker that is not there yet says nothing.
            let cluster = self.cluster.borrow_and_update().clone();
            let outcome = match (&cluster.broker.persistence, cluster.resources.broker()) {
                (_, None) => Ok(()),
                (Some(persistence), _) => self.turn_on(persistence).await,
                (None, _) => {
                    self.turn_off();
                    Ok(())
                }
            };
            let has_failed = outcome.is_err();
            let error = outcome.map_or_else(|error| format!("{error:#}"), |()| String::new());
            if has_failed && told != error {
                warn!(
                    error,
                    "what the Broker says of persistence has no effect yet"
                );
            }
            told = error;
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                changed = self.cluster.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if has_failed => {}
            }
        }
    }

    /// An error leaves everything as it was.
    async fn turn_on(&self, persistence: &Persistence) -> anyhow::Result<()> {
        let known = self.to_keep.borrow().storage.clone();
        let storage = match known {
            Some(storage) => storage,
            None => self.place.open(Some(persistence)).await?,
        };
        storage.set_max(persistence.max_size.bytes());
        let directory = self.place.directory();
        let key = current_key(
            &directory,
            Some(&persistence.encryption),
            &self.place.secrets,
        );
        let key = key.context("the key for the disk stays as it was")?;
        let (id, is_kept) = (key.id(), self.to_keep.borrow().is_wanted);
        if storage.rotate(key) && is_kept {
            info!(key = %id, "what is written to the disk from now on has this key, and what is there is written anew");
        }
        if !is_kept {
            info!(directory = %directory.display(), "persistence is turned on: what shards hold is written to the disk");
            self.to_keep.send_replace(ToKeep {
                storage: Some(storage),
                is_wanted: true,
            });
        }
        Ok(())
    }

    fn turn_off(&self) {
        if self.place.has_neighbours && self.to_keep.borrow().is_wanted {
            info!(
                "persistence is turned off: what shards hold is in memory alone, and removed from the disk"
            );
            self.to_keep
                .send_modify(|to_keep| to_keep.is_wanted = false);
        }
    }
}
