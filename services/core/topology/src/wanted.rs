//! What the Broker resource asks for.

use std::ops::RangeInclusive;

use catena_slots::SlotTable;

use crate::topology::Layout;

/// Partitions that a Broker may have.
pub const PARTITIONS: RangeInclusive<u16> = 1..=16;
/// Workers, each a shard, that a partition may have.
pub const WORKERS: RangeInclusive<u16> = 1..=16;
/// Replicas that a chain may have.
pub const REDUNDANCY: RangeInclusive<usize> = 1..=5;

/// The Broker's `cardinality.backendChain`, and what is fixed at creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    partitions: u16,
    workers: u16,
    redundancy: usize,
    key_levels: u8,
}

/// A number that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWanted {
    #[error("{0} partitions: must be from 1 to 16")]
    Partitions(u16),
    #[error("{0} workers: must be from 1 to 16")]
    Workers(u16),
    #[error("a redundancy factor of {0}: must be from 1 to 5")]
    Redundancy(usize),
}

impl Wanted {
    /// `partitions` of `workers` shards each, and `redundancy` replicas of every shard; `key_levels` is the Broker's
    /// `shardKeyLevels`.
    ///
    /// # Errors
    /// [`InvalidWanted`] names the number that is out of range.
    pub fn new(
        partitions: u16,
        workers: u16,
        redundancy: usize,
        key_levels: u8,
    ) -> Result<Wanted, InvalidWanted> {
        if !PARTITIONS.contains(&partitions) {
            return Err(InvalidWanted::Partitions(partitions));
        }
        if !WORKERS.contains(&workers) {
            return Err(InvalidWanted::Workers(workers));
        }
        if !REDUNDANCY.contains(&redundancy) {
            return Err(InvalidWanted::Redundancy(redundancy));
        }
        Ok(Wanted {
            partitions,
            workers,
            redundancy,
            key_levels,
        })
    }

    /// Replicas in a chain.
    pub fn redundancy(&self) -> usize {
        self.redundancy
    }

    /// How the slots are to be laid out.
    pub fn layout(&self) -> Layout {
        let shards = usize::from(self.partitions) * usize::from(self.workers);
        Layout {
            partitions: self.partitions,
            workers: self.workers,
            slots: SlotTable::even(shards, self.key_levels).expect("16 times 16 is not above 256"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A count out of range would make a table that names shards which nobody hosts.
    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(Wanted::new(0, 1, 1, 0), Err(InvalidWanted::Partitions(0)));
        assert_eq!(Wanted::new(1, 17, 1, 0), Err(InvalidWanted::Workers(17)));
        assert_eq!(Wanted::new(1, 1, 6, 0), Err(InvalidWanted::Redundancy(6)));
        let largest = Wanted::new(16, 16, 5, 2).unwrap();
        assert_eq!(largest.layout().slots.shard_count(), 256);
    }
}
