//! Remembered matches by topic, bounded, and forgotten when a subscription changes that could match.

use std::sync::Arc;

use bytestring::ByteString;
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::Matches;

/// Topics in one of the two halves of the cache.
pub(crate) const TOPICS_PER_HALF_MAX: usize = 8 * 1024;

/// Readers and groups that all remembered topics of one half may have in sum.
pub(crate) const MATCHES_PER_HALF_MAX: usize = 512 * 1024;

/// Counters of changes, by hash of a filter's literal front.
const CHANGE_COUNTERS: usize = 1024;

/// Two halves: topics that are asked for move to the young one, and when that is full the old one goes.
#[derive(Debug)]
pub(super) struct Cache {
    young: Half,
    old: Half,
    /// Slot 0 counts changes of filters that begin with a wildcard; the others those with a literal front.
    changes: Box<[u32; CHANGE_COUNTERS]>,
}

#[derive(Debug, Default)]
struct Half {
    topics: HashMap<ByteString, Remembered>,
    matches: usize,
}

#[derive(Debug, Clone)]
struct Remembered {
    matches: Arc<Matches>,
    fronts: [u16; 2],
    /// Sum of the counters at slot 0 and at `fronts` when the topic was matched.
    changes: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            young: Half::default(),
            old: Half::default(),
            changes: Box::new([0; CHANGE_COUNTERS]),
        }
    }
}

impl Cache {
    pub fn get(&mut self, topic: &ByteString) -> Option<Arc<Matches>> {
        if let Some(remembered) = self.young.topics.get(topic) {
            return self
                .is_current(remembered)
                .then(|| remembered.matches.clone());
        }
        let (topic, remembered) = self.old.topics.remove_entry(topic)?;
        if !self.is_current(&remembered) {
            return None;
        }
        let matches = remembered.matches.clone();
        self.remember(topic, remembered);
        Some(matches)
    }

    pub fn insert(&mut self, topic: &ByteString, matches: Arc<Matches>) {
        let fronts = fronts(topic);
        let changes = self.changes_of(fronts);
        // A topic that is a slice of what came from the network would pin all of that.
        let topic = ByteString::from(String::from(&**topic));
        self.remember(
            topic,
            Remembered {
                matches,
                fronts,
                changes,
            },
        );
    }

    /// A filter without wildcards changed.
    pub fn forget(&mut self, topic: &str) {
        self.young.topics.remove(topic);
        self.old.topics.remove(topic);
    }

    /// A filter with wildcards changed.
    pub fn forget_matching(&mut self, filter: &str) {
        let front = match filter.find(['+', '#']) {
            Some(wildcard) => &filter[..wildcard],
            None => filter,
        };
        let mut levels = front.match_indices('/').map(|(slash, _)| slash);
        let slot = match (levels.next(), levels.next()) {
            (None, _) => 0,
            (Some(first), None) => slot(&filter[..first]),
            (Some(_), Some(second)) => slot(&filter[..second]),
        };
        let counter = &mut self.changes[usize::from(slot)];
        *counter = counter.wrapping_add(1);
    }

    /// How many topics are remembered, and how many matches of them all.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        let halves = [&self.young, &self.old];
        let topics = halves.map(|half| half.topics.len());
        let matches = halves.map(|half| half.matches);
        (topics.iter().sum(), matches.iter().sum())
    }

    fn remember(&mut self, topic: ByteString, remembered: Remembered) {
        self.young.matches +=
            1 + remembered.matches.readers.len() + remembered.matches.groups.len();
        self.young.topics.insert(topic, remembered);
        if self.young.topics.len() >= TOPICS_PER_HALF_MAX
            || self.young.matches >= MATCHES_PER_HALF_MAX
        {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn is_current(&self, remembered: &Remembered) -> bool {
        self.changes_of(remembered.fronts) == remembered.changes
    }

    fn changes_of(&self, fronts: [u16; 2]) -> u32 {
        let [one, two] = fronts.map(|slot| self.changes[usize::from(slot)]);
        self.changes[0].wrapping_add(one).wrapping_add(two)
    }
}

/// The counters that a change of a filter which matches `topic` may touch: by its first level, and by its first two.
/// `a/#` matches `a`, and `a/b/#` matches `a/b`, so a topic's own end closes a level too.
fn fronts(topic: &str) -> [u16; 2] {
    let mut levels = topic
        .match_indices('/')
        .map(|(slash, _)| slash)
        .chain([topic.len()]);
    let first = levels.next().unwrap_or(topic.len());
    let second = levels.next();
    [
        slot(&topic[..first]),
        second.map_or(0, |second| slot(&topic[..second])),
    ]
}

fn slot(front: &str) -> u16 {
    1 + (xxh3_64(front.as_bytes()) % (CHANGE_COUNTERS as u64 - 1)) as u16
}
