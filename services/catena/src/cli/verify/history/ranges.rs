//! A set of sequence numbers, kept as ranges: what comes in turn costs nothing, each gap costs one.

use std::{collections::BTreeMap, ops::Range};

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First to one above last. They neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds one number; false if it was there.
    pub fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        self.insert_range(number..number + 1);
        true
    }

    /// Adds all of a range.
    pub fn insert_range(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        while let Some((&first, &last_end)) = self.ranges.range(..=end).next_back() {
            if last_end < start {
                break;
            }
            start = start.min(first);
            end = end.max(last_end);
            self.ranges.remove(&first);
        }
        self.ranges.insert(start, end);
    }

    /// Whether a number is there.
    pub fn contains(&self, number: u64) -> bool {
        let before = self.ranges.range(..=number).next_back();
        before.is_some_and(|(_, &end)| number < end)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&first, &end)| first..end)
    }

    /// What is here and not in `other`.
    pub fn without(&self, other: &Ranges) -> Ranges {
        let mut rest = Ranges::default();
        for range in self.iter() {
            let mut start = range.start;
            for taken in other.overlapping(&range) {
                rest.insert_range(start..taken.start.max(start));
                start = start.max(taken.end);
            }
            rest.insert_range(start..range.end);
        }
        rest
    }

    /// What is here and in `other` too.
    pub fn intersection(&self, other: &Ranges) -> Ranges {
        let mut both = Ranges::default();
        for range in self.iter() {
            for other in other.overlapping(&range) {
                both.insert_range(range.start.max(other.start)..range.end.min(other.end));
            }
        }
        both
    }

    fn overlapping<'a>(&'a self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + 'a {
        let before = self.ranges.range(..=range.start).next_back();
        let first = before.map_or(range.start, |(&first, _)| first);
        self.ranges
            .range(first..range.end.max(first))
            .map(|(&first, &end)| first..end)
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Ranges {
        let mut ranges = Ranges::default();
        numbers.into_iter().for_each(|number| {
            ranges.insert(number);
        });
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::verify::random::Random;

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flatten().collect()
    }

    #[test]
    fn neighbours_become_one_range() {
        let ranges: Ranges = [1, 3, 2, 7].into_iter().collect();
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [1..4, 7..8]);
        assert_eq!(ranges.len(), 4);
    }

    // Everything that is found rests on this arithmetic; a plain set is slow and surely right.
    #[test]
    fn agrees_with_a_set() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut all = [Ranges::default(), Ranges::default()];
            let mut sets = [BTreeSet::new(), BTreeSet::new()];
            for _ in 0..60 {
                let which = random.below(2) as usize;
                let start = random.below(50);
                if random.below(3) == 0 {
                    let end = start + random.below(6);
                    all[which].insert_range(start..end);
                    sets[which].extend(start..end);
                } else {
                    assert_eq!(all[which].insert(start), sets[which].insert(start));
                }
            }
            let [a, b] = &all;
            assert_eq!(set(a), sets[0], "seed {seed}");
            assert_eq!(a.len(), sets[0].len() as u64);
            assert!((0..60).all(|number| a.contains(number) == sets[0].contains(&number)));
            assert_eq!(set(&a.without(b)), &sets[0] - &sets[1], "seed {seed}");
            assert_eq!(set(&a.intersection(b)), &sets[0] & &sets[1], "seed {seed}");
        }
    }
}
