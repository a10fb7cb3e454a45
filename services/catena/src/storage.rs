//! What a process keeps on disk, as the Broker wants it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use catena_backend::{
    Spill, Storage, StorageOptions,
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
/// What a standalone broker keeps at most, unless the Broker says otherwise: 10 GiB.
pub const STANDALONE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// What to keep, and where.
pub struct Wanted<'a> {
    pub data_dir: &'a Path,
    /// `None`: as a standalone broker keeps it by default.
    pub persistence: Option<&'a Persistence>,
    pub secrets: &'a Secrets,
    /// Where long queues go, with the room that they may take.
    pub spill: Spill,
    /// Whether other processes may have what is damaged here.
    pub has_neighbours: bool,
}

/// Reads back what there is: takes time by its size.
///
/// # Errors
/// A directory or key that cannot be used, and what must not be begun anew.
pub async fn open(wanted: Wanted<'_>) -> anyhow::Result<Storage> {
    let directory = wanted.data_dir.join(DIRECTORY);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let keys = keys(&directory, &wanted)?;
    let maximum = wanted
        .persistence
        .map_or(STANDALONE_BYTES_MAX, |persistence| {
            persistence.max_size.bytes()
        });
    let options = StorageOptions {
        directory,
        keys,
        bytes_max: Some(maximum),
        spill: wanted.spill.clone(),
        has_neighbours: wanted.has_neighbours,
    };
    // Others of this thread go on meanwhile.
    let opened = tokio::task::spawn_blocking(move || Storage::open(options));
    Ok(opened.await??)
}

fn keys(directory: &Path, wanted: &Wanted<'_>) -> anyhow::Result<Keys> {
    let encryption = wanted
        .persistence
        .map(|persistence| &persistence.encryption);
    let found = existing_key(directory).with_context(|| of_directory(directory))?;
    let current = current_key(directory, encryption, wanted.secrets)?;
    let mut older: Vec<Key> = found.into_iter().collect();
    if let Some(name) = encryption.and_then(|encryption| encryption.key_secret_ref.as_deref()) {
        for (key, value) in wanted.secrets.all(name) {
            if key != KEY {
                let read = Key::read(value.as_bytes());
                older.push(read.with_context(|| format!("the older key {name}/{key}"))?);
            }
        }
    }
    Ok(Keys { current, older })
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

/// What may change while everything runs, and where that is.
pub struct Followed {
    pub storage: Storage,
    pub data_dir: PathBuf,
    pub secrets: Secrets,
    pub cluster: watch::Receiver<Arc<Cluster>>,
}

impl Followed {
    /// Follows the room and the key that the Broker and its secrets say, for as long as the present runtime runs. A Broker that says
    /// nothing of persistence any more changes nothing before the next start.
    pub async fn follow(mut self) {
        let mut changed = self.secrets.changed();
        let mut told = String::new();
        loop {
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                changed = self.cluster.changed() => if changed.is_err() { return },
            }
            let persistence = self.cluster.borrow_and_update().broker.persistence.clone();
            let Some(persistence) = persistence else {
                continue;
            };
            self.storage.set_max(persistence.max_size.bytes());
            let directory = self.data_dir.join(DIRECTORY);
            match current_key(&directory, Some(&persistence.encryption), &self.secrets) {
                Ok(key) => {
                    told.clear();
                    let id = key.id();
                    if self.storage.rotate(key) {
                        info!(key = %id, "what is written to the disk from now on has this key, and what is there is written anew");
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if told != error {
                        warn!(error, "the key for the disk stays as it was");
                        told = error;
                    }
                }
            }
        }
    }
}
