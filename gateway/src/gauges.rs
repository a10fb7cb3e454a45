//! How the links of a worker stand, as of a moment ago: looked at a few times in a failure time-out, and never for a message.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use catena_slots::ShardId;

use crate::counters::Counter;

/// Upper bounds of the ranges that gaps are counted in, in milliseconds.
pub const GAP_BOUNDS_MS: [u64; 11] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/// The links of one worker.
#[derive(Debug, Default)]
pub struct Links(OnceLock<Box<[LinkGauge]>>);

/// One link.
#[derive(Debug, Default)]
pub struct LinkGauge {
    /// Whether both lanes were open.
    is_whole: AtomicU64,
    pushed: AtomicU64,
    committed: AtomicU64,
    effects: AtomicU64,
}

/// One link at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSeen {
    pub is_whole: bool,
    /// Ops that were numbered.
    pub pushed: u64,
    /// Of them, those that are committed.
    pub committed: u64,
    /// Effects that were handed to connections.
    pub effects: u64,
}

impl Links {
    pub(crate) fn set(&self, shard: ShardId, shards: usize, seen: LinkSeen) {
        let links = self
            .0
            .get_or_init(|| (0..shards).map(|_| LinkGauge::default()).collect());
        if let Some(link) = links.get(shard.index()) {
            link.is_whole.store(u64::from(seen.is_whole), Relaxed);
            link.pushed.store(seen.pushed, Relaxed);
            link.committed.store(seen.committed, Relaxed);
            link.effects.store(seen.effects, Relaxed);
        }
    }

    /// All links, by shard; none before they were first looked at.
    pub fn each(&self) -> impl Iterator<Item = (ShardId, LinkSeen)> {
        let links = self.0.get().map(|links| &**links).unwrap_or_default();
        links.iter().enumerate().map(|(shard, link)| {
            let seen = LinkSeen {
                is_whole: link.is_whole.load(Relaxed) == 1,
                pushed: link.pushed.load(Relaxed),
                committed: link.committed.load(Relaxed),
                effects: link.effects.load(Relaxed),
            };
            (ShardId(shard as u16), seen)
        })
    }
}

/// For how long links were not whole, from the moment that one broke until it was whole again.
#[derive(Debug, Default)]
pub struct Gaps {
    counts: [Counter; GAP_BOUNDS_MS.len() + 1],
    sum_ms: Counter,
}

impl Gaps {
    pub(crate) fn add(&self, ms: u64) {
        let range = GAP_BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.counts[range].add();
        self.sum_ms.add_by(ms as usize);
    }

    /// How many fell into each range, and their sum in milliseconds.
    pub fn read(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter().map(Counter::get).collect();
        (counts, self.sum_ms.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // An alert on half a second would fire at a quarter, or never.
    #[test]
    fn a_gap_falls_into_the_range_that_it_does_not_exceed() {
        let gaps = Gaps::default();
        for ms in [0, 10, 11, 30_000, 30_001] {
            gaps.add(ms);
        }
        let (counts, sum) = gaps.read();
        assert_eq!((counts[0], counts[1], counts[10], counts[11]), (2, 1, 1, 1));
        assert_eq!(sum, 60_022);
    }
}
