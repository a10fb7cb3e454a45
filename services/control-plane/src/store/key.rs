//! Names of entries, and of the cluster that they belong to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// Longest name of a cluster.
const CLUSTER_BYTES_MAX: usize = 63;

/// The key of an entry within its cluster: levels of visible ASCII separated by slashes, such as `nodes/backend-0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// The beginning that keys have in common: whole levels with a slash after each, or nothing for all keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

/// A cluster's name: lower-case letters, digits and hyphens, at most 63.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no key: levels of visible ASCII with single slashes between, at most {KEY_BYTES_MAX} bytes"
)]
pub struct InvalidKey(pub String);

/// A text that is no cluster's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name of a cluster: lower-case letters, digits and hyphens, 1 to {CLUSTER_BYTES_MAX}"
)]
pub struct InvalidClusterName(pub String);

impl Key {
    /// # Errors
    /// [`InvalidKey`] for a text with an empty level or with other than visible ASCII, or one that is too long.
    pub fn new(text: impl Into<String>) -> Result<Key, InvalidKey> {
        let text = text.into();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let levels = text.split('/').all(|level| !level.is_empty());
        if visible && levels && text.len() <= KEY_BYTES_MAX {
            Ok(Key(text))
        } else {
            Err(InvalidKey(text))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Prefix {
    /// All keys.
    pub const ALL: Prefix = Prefix(String::new());

    /// All keys below `key`, not that of `key` itself.
    pub fn below(key: &Key) -> Prefix {
        Prefix(format!("{}/", key.0))
    }

    /// Whether `key` begins so.
    pub fn has(&self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClusterName {
    /// # Errors
    /// [`InvalidClusterName`] for any other text.
    pub fn new(text: impl Into<String>) -> Result<ClusterName, InvalidClusterName> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=CLUSTER_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(ClusterName(text))
        } else {
            Err(InvalidClusterName(text))
        }
    }

    /// What all of the cluster's keys begin with in a store that several clusters may share.
    pub fn root(&self) -> String {
        format!("/catena/v1/{}/", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ClusterName {
    type Error = InvalidClusterName;

    fn try_from(text: String) -> Result<ClusterName, InvalidClusterName> {
        ClusterName::new(text)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A name with a slash would let one cluster read and delete another's keys.
    #[test]
    fn names_and_keys_stay_within_their_level() {
        for bad in ["", "a/b", "A", "a b", "ä", &"a".repeat(64)] {
            assert!(ClusterName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            ClusterName::new("edge-7").unwrap().root(),
            "/catena/v1/edge-7/"
        );
        for bad in ["", "/a", "a/", "a//b", "a b", "a\0", "ä", &"a".repeat(513)] {
            assert!(Key::new(bad).is_err(), "{bad}");
        }
        let nodes = Prefix::below(&Key::new("nodes").unwrap());
        assert!(nodes.has(&Key::new("nodes/1").unwrap()));
        assert!(!nodes.has(&Key::new("nodes").unwrap()));
        assert!(!nodes.has(&Key::new("nodes2/1").unwrap()));
        assert!(Prefix::ALL.has(&Key::new("nodes").unwrap()));
    }
}
