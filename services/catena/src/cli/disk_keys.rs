//! `catena disk-keys`: which keys the files of a data directory need, so that one knows when an older one may go.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use catena_backend::storage::{Key, KeyId, keys_in_use};
use clap::Args;

/// The entry of a secret that what is written now is encrypted with.
const CURRENT: &str = "key";

/// Tell which keys the data directory of a node needs
///
/// Reads the headers of its files, also while a broker uses it. A key that is not listed, or listed with 0 files, is not needed by this
/// node. With --secret the command fails while a key other than its `key` is needed: so it tells when the older ones may go.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory, as --data-dir of the broker or backend
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory of the secret, DIR/NAME of --secrets-dir: its keys are called by their names
    #[arg(long, value_name = "DIR")]
    secret: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let used = keys_in_use(&arguments.directory)
        .with_context(|| format!("cannot read {}", arguments.directory.display()))?;
    let mut names = match &arguments.secret {
        Some(secret) => names(secret)?,
        None => BTreeMap::new(),
    };
    names.insert(Key::public().id(), "(not encrypted)".to_owned());
    let mut out = io::stdout().lock();
    let unused = names.iter().filter(|(_, name)| !name.starts_with('('));
    let mut lines: BTreeMap<KeyId, usize> = unused.map(|(id, _)| (*id, 0)).collect();
    lines.extend(used);
    let mut is_older_needed = false;
    for (id, files) in lines {
        let name = names.get(&id).map_or("", String::as_str);
        is_older_needed |= files > 0 && name != CURRENT;
        writeln!(out, "{id}  {files} files  {name}")?;
    }
    let fails = is_older_needed && arguments.secret.is_some();
    Ok(if fails {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The keys of a secret, by what names them.
fn names(secret: &Path) -> anyhow::Result<BTreeMap<KeyId, String>> {
    let read = || format!("cannot read {}", secret.display());
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(secret).with_context(read)? {
        let path = entry.with_context(read)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Kubernetes keeps the files themselves in directories that begin so.
        if name.starts_with("..") {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = Key::read(&bytes).with_context(|| format!("{}", path.display()))?;
        // The same key under two names is the one that counts.
        let known = names.entry(key.id()).or_insert_with(|| name.clone());
        if name == CURRENT {
            *known = name;
        }
    }
    Ok(names)
}
