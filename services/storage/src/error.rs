//! What goes wrong: while a state is written, and while it is read back.

use std::{io, path::PathBuf};

use crate::key::KeyId;

/// Why nothing more can be written to a state. It is final: the replica gives up its role `[C-64]`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {}: {reason}", path.display())]
pub struct Failure {
    pub kind: FailureKind,
    pub action: &'static str,
    pub path: PathBuf,
    pub reason: String,
}

/// What kind of failure it is, for metrics and advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The file system has no room left. What was told durable is safe; a start with more room goes on.
    NoSpace,
    /// `persistence.maxSize` is reached. As with [`FailureKind::NoSpace`].
    Limit,
    /// The disk did not keep what it was given. The state is marked, and is never used again.
    Sync,
    /// The disk refused something else.
    Disk,
    /// The caller appended what does not follow, or completed what is not complete.
    Misused,
}

impl Failure {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::NoSpace,
            _ => FailureKind::Disk,
        };
        Failure {
            kind,
            action,
            path: path.into(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn sync(path: impl Into<PathBuf>, error: &io::Error) -> Failure {
        Failure {
            kind: FailureKind::Sync,
            ..Failure::io("sync", path, error)
        }
    }
}

/// A state that cannot be used. Its files are left as they are.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used: {reason}", path.display())]
pub struct Unusable {
    /// The file that shows it.
    pub path: PathBuf,
    pub reason: Reason,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// What was durable is broken `[C-64]`.
    #[error("damaged at byte {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
    /// A file is gone that meta names.
    #[error("the file is missing")]
    Missing,
    /// A key may have been taken away too early: give it back as one of the older ones.
    #[error("encrypted with the key {0}, which was not given")]
    UnknownKey(KeyId),
    /// Written by a newer version.
    #[error("written in format {0}, which this version does not read")]
    Newer(u16),
    /// The disk had failed: nobody knows what it kept `[C-64]`.
    #[error("a sync had failed while it was written")]
    Failed,
    /// The disk does not let us read.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Reason {
    /// Whether another start, with the right key, version or a working disk, could use it.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Reason::UnknownKey(_) | Reason::Newer(_) | Reason::Disk(_)
        )
    }

    pub(crate) fn at(self, path: impl Into<PathBuf>) -> Unusable {
        Unusable {
            path: path.into(),
            reason: self,
        }
    }
}
