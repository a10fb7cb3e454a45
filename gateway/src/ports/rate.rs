//! How many connections a port takes in a second.
//!
//! Who comes beyond that is closed at once. Were they kept waiting, most would have given up when their turn
//! comes, and a port under a storm would serve nobody.

use std::time::Instant;

const ONE: u64 = 1_000_000_000;

/// Connections of the present second, with as many in a burst.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Billionths of a connection: what a nanosecond earns at one per second.
    left: u64,
    at: Instant,
}

impl Rate {
    pub fn new(now: Instant) -> Rate {
        Rate {
            left: u64::MAX,
            at: now,
        }
    }

    /// Whether one more may come. `None`: always.
    pub fn take(&mut self, per_second: Option<u32>, now: Instant) -> bool {
        let Some(per_second) = per_second.map(u64::from) else {
            return true;
        };
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX).min(ONE);
        self.at = now;
        // Neither product is above 2^62: `per_second` has 32 bits, and a billion 30.
        let earned = passed * per_second;
        self.left = self.left.saturating_add(earned).min(per_second * ONE);
        let may = self.left >= ONE;
        if may {
            self.left -= ONE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // A storm of clients would take the processor from those who are connected.
    #[test]
    fn as_many_as_are_allowed_come_in_a_second() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let taken = |rate: &mut Rate, from: u64, to: u64| {
            let at = |millis| start + Duration::from_millis(millis);
            (from..to)
                .filter(|millis| rate.take(Some(50), at(*millis)))
                .count()
        };
        assert_eq!(taken(&mut rate, 0, 1_000), 50 + 49);
        assert_eq!(taken(&mut rate, 1_000, 3_000), 100);
        // A long silence is worth no more than one second.
        assert_eq!(taken(&mut rate, 60_000, 60_010), 10);
        assert_eq!(taken(&mut rate, 60_010, 61_000), 50 - 10 + 49);
        assert!((0..1_000).all(|_| rate.take(None, start)));
    }

    // Many tries in little time earn nothing each, and all the same something together.
    #[test]
    fn many_tries_do_not_lose_what_is_earned() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let tries = (0..2_000_000_u64).step_by(10);
        let taken = tries
            .filter(|micros| rate.take(Some(10), start + Duration::from_micros(*micros)))
            .count();
        assert!((28..=30).contains(&taken), "{taken}");
    }
}
