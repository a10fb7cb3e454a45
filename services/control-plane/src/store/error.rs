//! What can go wrong between us and a store.

/// Why a store did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or has no majority. It may be back any moment.
    #[error("the store is away: {0}")]
    Away(String),
    /// It did not answer in time. A write may have happened.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The lease expired or was revoked, and what was put under it is gone.
    #[error("the lease has ended")]
    LeaseGone,
    /// The credentials or the certificate are not accepted, or do not allow this.
    #[error("the store refuses us: {0}")]
    Denied(String),
    /// What was asked for is wrong: an address, a transaction that is too large.
    #[error("the store cannot do this: {0}")]
    Invalid(String),
    /// The disk failed, is full, or another process has the file.
    #[error("the store's disk: {0}")]
    Disk(String),
    /// What is stored is not what this version writes.
    #[error("the store holds what is not ours: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether asking again, later, can help without anyone doing something about it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Away(_) | Error::TimedOut)
    }
}
