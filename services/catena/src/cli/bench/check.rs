//! Whether each message arrived, once, and in order.

use std::collections::BTreeMap;

/// What the arrival of a message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its number; `skipped` messages before it have not arrived so far.
    New {
        /// How many.
        skipped: u64,
    },
    /// One that had been skipped, after all.
    Late,
    /// Seen before.
    Duplicate,
}

/// Which messages of one publisher have come to one receiver, or to one shared group.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// One above the highest that has arrived.
    next: u64,
    /// What is missing below `next`: first and one above last.
    missing: BTreeMap<u64, u64>,
}

impl Arrivals {
    /// Takes down that message `sequence` has come.
    #[inline]
    pub fn take(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::New { skipped: 0 };
        }
        self.take_out_of_turn(sequence)
    }

    /// How many of the first `sent` have not arrived.
    pub fn lost(&self, sent: u64) -> u64 {
        let gaps: u64 = self.missing.iter().map(|(first, end)| end - first).sum();
        gaps + sent.saturating_sub(self.next)
    }

    #[cold]
    fn take_out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence > self.next {
            let skipped = sequence - self.next;
            self.missing.insert(self.next, sequence);
            self.next = sequence + 1;
            return Arrival::New { skipped };
        }
        let Some((&first, &end)) = self.missing.range(..=sequence).next_back() else {
            return Arrival::Duplicate;
        };
        if sequence >= end {
            return Arrival::Duplicate;
        }
        self.missing.remove(&first);
        if first < sequence {
            self.missing.insert(first, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        Arrival::Late
    }
}

/// The order in which one publisher's messages come to one receiver.
///
/// v5 `[MQTT-4.6.0-6]`: also to each member of a shared group, though a member does not get all of them.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// One above the last that has arrived.
    next: u64,
}

impl Order {
    /// Whether message `sequence`, which is not a duplicate, comes after those before it.
    #[inline]
    pub fn take(&mut self, sequence: u64) -> bool {
        let in_order = sequence >= self.next;
        self.next = self.next.max(sequence + 1);
        in_order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_turn_is_new() {
        let mut arrivals = Arrivals::default();
        for sequence in 0..100 {
            assert_eq!(arrivals.take(sequence), Arrival::New { skipped: 0 });
        }
        assert_eq!(arrivals.lost(100), 0);
        assert_eq!(arrivals.lost(103), 3);
    }

    #[test]
    fn gaps_are_lost_until_they_are_filled() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.take(5), Arrival::New { skipped: 5 });
        assert_eq!(arrivals.lost(6), 5);
        assert_eq!(arrivals.take(2), Arrival::Late);
        assert_eq!(arrivals.take(2), Arrival::Duplicate);
        assert_eq!(arrivals.take(0), Arrival::Late);
        assert_eq!(arrivals.take(4), Arrival::Late);
        assert_eq!(arrivals.lost(6), 2);
        assert_eq!(arrivals.take(1), Arrival::Late);
        assert_eq!(arrivals.take(3), Arrival::Late);
        assert_eq!(arrivals.lost(6), 0);
    }

    #[test]
    fn what_came_before_is_a_duplicate() {
        let mut arrivals = Arrivals::default();
        arrivals.take(0);
        arrivals.take(1);
        assert_eq!(arrivals.take(0), Arrival::Duplicate);
        assert_eq!(arrivals.take(1), Arrival::Duplicate);
        arrivals.take(9);
        assert_eq!(arrivals.take(9), Arrival::Duplicate);
        assert_eq!(arrivals.take(1), Arrival::Duplicate);
    }

    // Against the simplest model: a set. Numbers from a small linear congruential generator.
    #[test]
    fn agrees_with_a_set() {
        let mut state = 4711_u64;
        let mut arrivals = Arrivals::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let sequence = (state >> 33) % 1_000;
            let duplicate = arrivals.take(sequence) == Arrival::Duplicate;
            assert_eq!(duplicate, !seen.insert(sequence));
        }
        assert_eq!(arrivals.lost(1_200), 1_200 - seen.len() as u64);
    }

    #[test]
    fn order_is_kept_by_gaps_and_broken_by_going_back() {
        let mut order = Order::default();
        assert!(
            [0, 1, 5, 9]
                .into_iter()
                .all(|sequence| order.take(sequence))
        );
        assert!(!order.take(7));
        assert!(order.take(10));
    }
}
