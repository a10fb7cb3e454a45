//! Secrets and config maps: a directory that is watched.

#![forbid(unsafe_code)]
