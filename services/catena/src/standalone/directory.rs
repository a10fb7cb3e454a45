//! Where a standalone broker keeps what it has, if it is not told.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Of a broker that may write there, as root and services may.
const OF_THE_SYSTEM: &str = "/var/lib/catena";

/// The directory that was named, or else the default of whoever runs the broker; `None`: everything is in memory.
///
/// # Errors
/// There is no directory to take.
pub fn choose(named: Option<PathBuf>, in_memory: bool) -> anyhow::Result<Option<PathBuf>> {
    if in_memory {
        return Ok(None);
    }
    let (data, home) = (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
    named
        .or_else(|| default_of(rustix::process::geteuid().is_root(), data, home))
        .map(Some)
        .context("there is no home directory for data: name a directory with --data-dir DIR, or use --in-memory")
}

/// By the rules of the XDG base directories: what is not an absolute path does not count.
fn default_of(is_root: bool, data: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    if is_root {
        return Some(OF_THE_SYSTEM.into());
    }
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    data.and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".local/share")))
        .map(|directory| directory.join("catena"))
}

/// Makes the directory, if it is not there.
///
/// # Errors
/// It cannot be made; says what else could be done.
pub fn make(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| {
        format!(
            "cannot make the data directory {}: name another with --data-dir DIR, or keep everything in memory with --in-memory",
            directory.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // A broker would write where it may not, or where its owner never looks.
    #[test]
    fn everybody_has_a_directory_of_their_own() {
        let of = |is_root, data: Option<&str>, home: Option<&str>| {
            default_of(is_root, data.map(Into::into), home.map(Into::into))
        };
        assert_eq!(of(true, None, None), Some("/var/lib/catena".into()));
        assert_eq!(
            of(false, None, Some("/of/a")),
            Some("/of/a/.local/share/catena".into())
        );
        assert_eq!(
            of(false, Some("/data"), Some("/of/a")),
            Some("/data/catena".into())
        );
        assert_eq!(
            of(false, Some("data"), Some("/of/a")),
            Some("/of/a/.local/share/catena".into())
        );
        assert_eq!(of(false, None, None), None);
    }

    // A setting of the machine would keep a broker from being tried out.
    #[test]
    fn memory_goes_before_a_directory() {
        assert_eq!(choose(Some("d".into()), true).unwrap(), None);
        assert_eq!(choose(Some("d".into()), false).unwrap(), Some("d".into()));
    }
}
