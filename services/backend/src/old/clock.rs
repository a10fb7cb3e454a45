//! The stamps of entries: they follow the monotonic clock, and the wall clock slowly `[F-80]` `[C-53]`.

use catena_shard::Time;

/// A tenth of what has passed: so much faster or slower than real time may shard time run.
const SLEW_DIVISOR: u64 = 10;

/// What the head stamps entries with. Readings come in from outside, in microseconds.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Shard time of the last stamp.
    last_micros: u64,
    /// The monotonic clock then.
    read_at_micros: u64,
}

impl Clock {
    /// A clock for a shard whose last entry was stamped `last`: [`Time::default`] if there is none. The wall clock and
    /// the monotonic clock say `wall_micros` and `monotonic_micros`.
    ///
    /// A shard that has just started takes the wall clock's time, one that comes from disk the later of the two.
    pub fn new(last: Time, wall_micros: u64, monotonic_micros: u64) -> Clock {
        Clock {
            last_micros: wall_micros.max(last.0 * 1000),
            read_at_micros: monotonic_micros,
        }
    }

    /// The stamp of an entry that was received when the clocks said this. Never lower than the one before.
    pub fn stamp(&mut self, wall_micros: u64, monotonic_micros: u64) -> Time {
        let passed = monotonic_micros.saturating_sub(self.read_at_micros);
        let straight = self.last_micros + passed;
        let slew_max = passed / SLEW_DIVISOR;
        self.last_micros = wall_micros.clamp(straight - slew_max, straight + slew_max);
        self.read_at_micros = self.read_at_micros.max(monotonic_micros);
        Time(self.last_micros / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn stamps_follow_a_wall_clock_that_is_right() {
        let mut clock = Clock::new(Time::default(), 1_000 * SECOND, 5 * SECOND);
        assert_eq!(clock.stamp(1_000 * SECOND, 5 * SECOND), Time(1_000_000));
        assert_eq!(clock.stamp(1_007 * SECOND, 12 * SECOND), Time(1_007_000));
    }

    // An hour forward would expire every session, an hour back would keep each for an hour more.
    #[test]
    fn a_wall_clock_that_jumps_is_followed_by_a_tenth_at_most() {
        let mut clock = Clock::new(Time::default(), 1_000 * SECOND, 0);
        assert_eq!(clock.stamp(9_000 * SECOND, 10 * SECOND), Time(1_011_000));
        assert_eq!(clock.stamp(0, 20 * SECOND), Time(1_020_000));
    }

    #[test]
    fn small_steps_slew_as_far_as_large_ones() {
        let mut clock = Clock::new(Time::default(), 0, 0);
        let last = (1..=10_000)
            .map(|step| clock.stamp(SECOND * 100, step * 100))
            .last();
        assert_eq!(last, Some(Time(1_100)));
    }

    #[test]
    fn stamps_never_go_back() {
        let mut clock = Clock::new(Time(5_000), 1, 3 * SECOND);
        assert_eq!(clock.stamp(0, 3 * SECOND), Time(5_000));
        assert_eq!(clock.stamp(0, SECOND), Time(5_000));
        assert_eq!(clock.stamp(0, 4 * SECOND), Time(5_900));
    }
}
