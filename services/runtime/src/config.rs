//! Configuration files: TOML, with every unknown key refused by its path and the nearest known name.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Typing errors that a suggestion still sees through, in edits.
const EDITS_MAX: usize = 3;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or a value is of the wrong kind.
    #[error("{}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It has keys that mean nothing: all of them.
    #[error("{}: {}", path.display(), Unknowns(keys))]
    Unknown {
        /// Which.
        path: PathBuf,
        /// In the order of the file.
        keys: Vec<Unknown>,
    },
}

/// A key that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// With the tables around it, as in `clients.max_keep_alive_seconds`.
    pub path: String,
    /// The known key that looks most like it.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nearest {
            Some(nearest) => write!(f, "unknown key `{}`: did you mean `{nearest}`?", self.path),
            None => write!(f, "unknown key `{}`", self.path),
        }
    }
}

struct Unknowns<'a>(&'a [Unknown]);

impl fmt::Display for Unknowns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            key.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads `path`, whose keys may be those of `known`, written with the tables around them.
///
/// # Errors
/// See [`Error`].
pub fn read<T: DeserializeOwned>(path: &Path, known: &[&'static str]) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let parse = |source| Error::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let table: Table = toml::from_str(&text).map_err(parse)?;
    let keys = unknown(&table, known);
    if !keys.is_empty() {
        return Err(Error::Unknown {
            path: path.to_owned(),
            keys,
        });
    }
    // From the text once more: only so the error knows the line.
    toml::from_str(&text).map_err(parse)
}

/// The keys of `table` that are not among `known`, nor tables around one of them.
pub fn unknown(table: &Table, known: &[&'static str]) -> Vec<Unknown> {
    let mut found = Vec::new();
    collect("", table, known, &mut found);
    found
}

fn collect(prefix: &str, table: &Table, known: &[&'static str], found: &mut Vec<Unknown>) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        let is_table_around = |known: &&str| {
            known
                .strip_prefix(&path)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        match value {
            _ if known.contains(&path.as_str()) => {}
            Value::Table(inner) if known.iter().any(is_table_around) => {
                collect(&path, inner, known, found)
            }
            _ => found.push(Unknown {
                nearest: nearest(&path, known),
                path,
            }),
        }
    }
}

/// The known name that takes the fewest edits, or whose last part is the same.
fn nearest(path: &str, known: &[&'static str]) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let same_end = known.iter().find(|name| last(name) == last(path));
    let close = || {
        known
            .iter()
            .map(|name| (edits(path, name), name))
            .filter(|(edits, name)| *edits <= EDITS_MAX && *edits * 2 < name.len())
            .min()
    };
    same_end.or_else(|| close().map(|(_, name)| name)).copied()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "listen",
        "clients.max_keep_alive_seconds",
        "clients.limit.length",
    ];

    #[track_caller]
    fn said(text: &str) -> Vec<String> {
        unknown(&toml::from_str(text).unwrap(), KNOWN)
            .iter()
            .map(Unknown::to_string)
            .collect()
    }

    // A misspelt key that is silently ignored leaves a broker open that somebody meant to close.
    #[test]
    fn unknown_keys_are_named_with_their_path_and_the_nearest() {
        assert_eq!(
            said("listen = 1\n[clients]\nmax_keep_alive_seconds = 1\n[clients.limit]\nlength = 2"),
            [""; 0]
        );
        assert_eq!(said("foo = 1"), ["unknown key `foo`"]);
        assert_eq!(
            said("lisen = 1"),
            ["unknown key `lisen`: did you mean `listen`?"]
        );
        assert_eq!(
            said("[clients]\nmax_keepalive_second = 1"),
            [
                "unknown key `clients.max_keepalive_second`: did you mean `clients.max_keep_alive_seconds`?"
            ],
        );
        assert_eq!(
            said("max_keep_alive_seconds = 1"),
            [
                "unknown key `max_keep_alive_seconds`: did you mean `clients.max_keep_alive_seconds`?"
            ],
        );
        assert_eq!(said("[weather]\nrain = 1"), ["unknown key `weather`"]);
        assert_eq!(
            said("[clients.limit]\nwidth = 1"),
            ["unknown key `clients.limit.width`"]
        );
    }
}
