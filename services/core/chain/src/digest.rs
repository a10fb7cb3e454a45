//! The running digest: equal on two replicas as long as their entries and effects are `[C-52]`.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    entry::{Entry, Index},
    machine::Machine,
};

/// Entries between two checkpoints.
pub const CHECKPOINT_ENTRIES: Index = 256;

/// The digest after `entry`, whose effects for each origin are `effects`.
pub fn after<'a, M: Machine + 'a>(
    before: u64,
    entry: &Entry<M>,
    effects: impl Iterator<Item = &'a M::Effect>,
) -> u64 {
    let own = mix(mix(mix(before, entry.index), entry.epoch.0), entry.at.0);
    effects.fold(own, |digest, effect| mix(digest, M::digest(effect)))
}

/// Of bytes that come over a wire behind others, of which this was `before`.
pub fn checksum(before: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, before)
}

fn mix(digest: u64, value: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&digest.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    xxh3_64(&bytes)
}
