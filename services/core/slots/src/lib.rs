//! Key to slot to shard.
//!
//! Keys map to one of [`SLOTS`] slots by hash, and a table maps slots to shards, so that slots can move
//! later without changing the hash. Sessions are placed by client id, messages by topic `[F-30]`.
//! Pure: a table in, a shard out.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Number of slots; fixed for ever, because every key's place depends on it.
pub const SLOTS: usize = 1024;

/// The most shards that a table can name.
pub const SHARDS_MAX: usize = 256;

/// A shard of the cluster: 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's place in tables that have one row per shard.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard-{}", self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a filter's subscription lives `[F-30]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On this shard alone.
    One(ShardId),
    /// On every shard.
    All,
}

/// Which shard has which slot, and by how much of a topic it is placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTable {
    slots: Vec<ShardId>,
    shards: u16,
    /// 0: the whole topic is the key. k > 0: its first k levels.
    key_levels: u8,
}

/// A slot table that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidShardCount(
    /// The count that was asked for.
    pub usize,
);

impl fmt::Display for InvalidShardCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} shards: the number of shards must be from 1 to {SHARDS_MAX}",
            self.0
        )
    }
}

impl std::error::Error for InvalidShardCount {}

impl SlotTable {
    /// A table that spreads the slots evenly over `shards` shards.
    ///
    /// `key_levels` is the Broker's `shardKeyLevels`: 0 places topics as a whole.
    ///
    /// # Errors
    /// [`InvalidShardCount`] unless `shards` is 1 to [`SHARDS_MAX`].
    pub fn even(shards: usize, key_levels: u8) -> Result<SlotTable, InvalidShardCount> {
        if shards == 0 || shards > SHARDS_MAX {
            return Err(InvalidShardCount(shards));
        }
        let slots = (0..SLOTS)
            .map(|slot| ShardId((slot % shards) as u16))
            .collect();
        Ok(SlotTable {
            slots,
            shards: shards as u16,
            key_levels,
        })
    }

    /// The table with these parts, as another process has told them; `None` unless each of the [`SLOTS`] slots has one of
    /// 1 to [`SHARDS_MAX`] shards.
    pub fn from_parts(slots: Vec<ShardId>, shards: usize, key_levels: u8) -> Option<SlotTable> {
        let is_whole = slots.len() == SLOTS && slots.iter().all(|shard| shard.index() < shards);
        (is_whole && (1..=SHARDS_MAX).contains(&shards)).then_some(SlotTable {
            slots,
            shards: shards as u16,
            key_levels,
        })
    }

    /// The shard of each slot.
    pub fn slots(&self) -> &[ShardId] {
        &self.slots
    }

    /// By how many levels topics are placed; 0: as a whole.
    pub fn key_levels(&self) -> u8 {
        self.key_levels
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards as usize
    }

    /// All shards, ascending.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// The home shard of a client id.
    pub fn home(&self, client_id: &str) -> ShardId {
        self.of_key(client_id.as_bytes())
    }

    /// The shard that stores and delivers the messages of `topic`.
    pub fn topic(&self, topic: &str) -> ShardId {
        self.of_key(self.topic_key(topic).as_bytes())
    }

    /// Where the subscription of `filter` lives; for a shared subscription, the filter behind the group.
    pub fn filter(&self, filter: &str) -> Placement {
        if self.shards == 1 {
            return Placement::One(ShardId(0));
        }
        let literal = if self.key_levels == 0 {
            !filter.contains(['+', '#'])
        } else {
            // A filter with fewer levels than the key also stands for one key alone, unless a wildcard is in it.
            filter
                .split('/')
                .take(self.key_levels as usize)
                .all(|level| level != "+" && level != "#")
                && !(filter.split('/').count() <= self.key_levels as usize && filter.ends_with('#'))
                && !self.matches_shorter_topic(filter)
        };
        if literal {
            Placement::One(self.topic(filter))
        } else {
            Placement::All
        }
    }

    /// `a/b/#` matches the topic `a/b`, whose key is shorter than that of `a/b/c` only when the key takes in
    /// more levels than stand before the `#`; with as many or fewer, all have one key.
    fn matches_shorter_topic(&self, filter: &str) -> bool {
        let before_hash = filter.split('/').take_while(|level| *level != "#").count();
        filter.ends_with('#') && before_hash < self.key_levels as usize
    }

    fn topic_key<'a>(&self, topic: &'a str) -> &'a str {
        if self.key_levels == 0 {
            return topic;
        }
        match topic.match_indices('/').nth(self.key_levels as usize - 1) {
            Some((end, _)) => &topic[..end],
            None => topic,
        }
    }

    fn of_key(&self, key: &[u8]) -> ShardId {
        if self.shards == 1 {
            return ShardId(0);
        }
        self.slots[(xxh3_64(key) % SLOTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_shard_has_slots_and_counts_out_of_range_are_refused() {
        let table = SlotTable::even(7, 0).unwrap();
        for shard in table.shards() {
            assert!(table.slots.iter().filter(|s| **s == shard).count() >= SLOTS / 7);
        }
        assert_eq!(SlotTable::even(0, 0), Err(InvalidShardCount(0)));
        assert_eq!(SlotTable::even(257, 0), Err(InvalidShardCount(257)));
    }

    // A slot of a shard that is not there would end the process at the first key in it.
    #[test]
    fn a_table_is_made_of_parts_that_fit() {
        let table = SlotTable::even(7, 2).unwrap();
        let slots = table.slots().to_vec();
        assert_eq!(SlotTable::from_parts(slots.clone(), 7, 2), Some(table));
        assert_eq!(SlotTable::from_parts(slots.clone(), 6, 2), None);
        assert_eq!(SlotTable::from_parts(slots[1..].to_vec(), 7, 2), None);
        assert_eq!(SlotTable::from_parts(vec![], 0, 0), None);
        assert_eq!(SlotTable::from_parts(slots, 257, 0), None);
    }

    /// A subscription that lived elsewhere than a matching topic would never see its messages [F-30].
    #[test]
    fn a_filter_lives_wherever_a_matching_topic_may() {
        let cases = [
            ("a/b/c", "a/b/c"),
            ("a/b/#", "a/b"),
            ("a/b/#", "a/b/c/d"),
            ("a/b/+", "a/b/x"),
            ("a/#", "a"),
            ("a/+/c", "a/b/c"),
            ("#", "a"),
            ("+", "a"),
            ("a/b", "a/b"),
        ];
        for key_levels in 0..4 {
            let table = SlotTable::even(64, key_levels).unwrap();
            for (filter, topic) in cases {
                match table.filter(filter) {
                    Placement::All => {}
                    Placement::One(shard) => {
                        assert_eq!(shard, table.topic(topic), "{filter} {topic} {key_levels}")
                    }
                }
            }
        }
    }

    #[test]
    fn key_levels_keep_a_literal_prefix_on_one_shard() {
        let table = SlotTable::even(64, 2).unwrap();
        assert_eq!(
            table.filter("plant/7/#"),
            Placement::One(table.topic("plant/7/temperature"))
        );
        assert_eq!(table.filter("plant/+/temperature"), Placement::All);
        assert_eq!(table.filter("plant/#"), Placement::All);
    }

    fn matches(filter: &str, topic: &str) -> bool {
        let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
        loop {
            match (wanted.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some(want), Some(level)) if want == "+" || want == level => {}
                _ => return false,
            }
        }
    }

    proptest! {
        /// A subscription that lived elsewhere than a matching topic would never see its messages [F-30].
        #[test]
        fn any_filter_lives_wherever_a_matching_topic_may(
            filter in "(a|b|\\+|)(/(a|b|\\+|)){0,3}(/#)?",
            topic in "(a|b|)(/(a|b|)){0,4}",
            key_levels in 0u8..5,
        ) {
            let table = SlotTable::even(64, key_levels).unwrap();
            let placement = table.filter(&filter);
            if matches(&filter, &topic) && placement != Placement::All {
                prop_assert_eq!(placement, Placement::One(table.topic(&topic)));
            }
            let has_wildcards = filter.contains(['+', '#']);
            prop_assert!(has_wildcards || placement != Placement::All, "a literal filter lives on one shard");
        }
    }
}
