//! Secrets and config maps: a directory that is watched.
//!
//! A secret is a directory `DIR/NAME` of files `DIR/NAME/KEY`, which is what Kubernetes mounts and what an operator makes by
//! hand. It is looked at every [`POLL`], and what changed is read again. Start reading at [`Secrets`].
//!
//! What is read here is never logged, and is overwritten in memory when its last user lets go of it.

#![forbid(unsafe_code)]

mod directory;
mod limits;
mod secret;
mod secrets;
mod write;

#[cfg(test)]
mod tests;

pub use limits::{BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, POLL};
pub use secret::Secret;
pub use secrets::Secrets;
pub use write::Error;
