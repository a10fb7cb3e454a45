//! What a process keeps on disk, as the Broker wants it.

use std::path::Path;

use anyhow::Context;
use catena_backend::{
    Spill, Storage, StorageOptions,
    storage::{Key, Keys, existing_key, generated_key},
};
use catena_resources::{Switch, broker::Persistence};
use catena_secrets::Secrets;
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
    let of_directory = || format!("the key in {}", directory.display());
    let encryption = wanted
        .persistence
        .map(|persistence| &persistence.encryption);
    let mut older: Vec<Key> = existing_key(directory)
        .with_context(of_directory)?
        .into_iter()
        .collect();
    if encryption.is_some_and(|encryption| encryption.mode == Switch::Disabled) {
        info!("what is kept on disk is not encrypted: persistence.encryption.mode is Disabled");
        return Ok(Keys {
            older,
            ..Keys::public()
        });
    }
    let Some(name) = encryption.and_then(|encryption| encryption.key_secret_ref.as_deref()) else {
        return Ok(Keys {
            current: generated_key(directory).with_context(of_directory)?,
            older: Vec::new(),
        });
    };
    let current = read_key(wanted.secrets, name)?;
    for (key, value) in wanted.secrets.all(name) {
        if key != KEY {
            let read = Key::read(value.as_bytes());
            older.push(read.with_context(|| format!("the older key {name}/{key}"))?);
        }
    }
    Ok(Keys { current, older })
}

fn read_key(secrets: &Secrets, name: &str) -> anyhow::Result<Key> {
    let secret = secrets.get(name, KEY).with_context(|| {
        format!("persistence.encryption.keySecretRef is {name}, and there is no secret {name}/{KEY}: see --secrets-dir")
    })?;
    Key::read(secret.as_bytes()).with_context(|| format!("the secret {name}/{KEY}"))
}

/// Encrypts what is written from now on with the key that the secret has now, each time that it changes.
pub async fn follow_key(storage: Storage, secrets: Secrets, name: String) {
    let mut changed = secrets.changed();
    while changed.changed().await.is_ok() {
        match read_key(&secrets, &name) {
            Ok(key) => {
                let id = key.id();
                storage.rotate(key);
                info!(key = %id, "what is written to the disk from now on is encrypted with this key");
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the key for the disk stays as it was"
            ),
        }
    }
}
