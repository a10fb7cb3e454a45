//! The stamps of entries: they follow the head's monotonic clock, and the wall clock slowly `[F-80]` `[C-53]`.

use crate::entry::Stamp;

/// What the clocks of a process say, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Never goes back; its start means nothing.
    pub monotonic: u64,
    /// Since 1970; may jump.
    pub wall: u64,
}

/// A tenth of what has passed: so much faster or slower than real time may shard time run.
const SLEW_DIVISOR: u64 = 10;

/// Shard time as one replica sees it.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Shard time of the last stamp.
    last_micros: u64,
    /// The monotonic clock when that stamp was given or received.
    read_at_micros: u64,
}

impl Clock {
    /// Of a generation that starts empty: it takes the wall clock's time.
    pub fn starting(now: Now) -> Clock {
        Clock {
            last_micros: now.wall,
            read_at_micros: now.monotonic,
        }
    }

    /// Of a replica that goes on from an entry stamped `last`.
    pub fn resuming(last: Stamp, now: Now) -> Clock {
        Clock {
            last_micros: last.0 * 1000,
            read_at_micros: now.monotonic,
        }
    }

    /// Of a chain that goes on from disk: the later of its last stamp and the wall clock `[C-53]`.
    pub fn from_disk(last: Stamp, now: Now) -> Clock {
        Clock {
            last_micros: now.wall.max(last.0 * 1000),
            read_at_micros: now.monotonic,
        }
    }

    /// Takes note of an entry that the head stamped.
    pub fn follow(&mut self, at: Stamp, now: Now) {
        self.last_micros = self.last_micros.max(at.0 * 1000);
        if self.last_micros / 1000 == at.0 {
            self.read_at_micros = now.monotonic;
        }
    }

    /// The stamp of an entry that is received now. Never lower than the one before.
    pub fn stamp(&mut self, now: Now) -> Stamp {
        let passed = now.monotonic.saturating_sub(self.read_at_micros);
        let straight = self.last_micros + passed;
        let slew_max = passed / SLEW_DIVISOR;
        self.last_micros = now.wall.clamp(straight - slew_max, straight + slew_max);
        self.read_at_micros = self.read_at_micros.max(now.monotonic);
        Stamp(self.last_micros / 1000)
    }

    /// Shard time now, as far as this replica knows.
    pub fn time(&self, now: Now) -> Stamp {
        Stamp((self.last_micros + now.monotonic.saturating_sub(self.read_at_micros)) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(wall: u64, monotonic: u64) -> Now {
        Now {
            monotonic: monotonic * SECOND,
            wall: wall * SECOND,
        }
    }

    // An hour forward would expire every session, an hour back would keep each for an hour more.
    #[test]
    fn a_wall_clock_that_jumps_is_followed_by_a_tenth_at_most() {
        let mut clock = Clock::starting(at(1_000, 0));
        assert_eq!(clock.stamp(at(9_000, 10)), Stamp(1_011_000));
        assert_eq!(clock.stamp(at(0, 20)), Stamp(1_020_000));
    }

    // [C-53] A new head whose clock is wrong changes nothing at once.
    #[test]
    fn a_new_head_goes_on_from_the_last_stamp() {
        let mut clock = Clock::resuming(Stamp(5_000), at(9_000, 0));
        clock.follow(Stamp(7_000), at(9_000, 3));
        assert_eq!(clock.stamp(at(9_000, 3)), Stamp(7_000));
        assert_eq!(clock.stamp(at(9_000, 13)), Stamp(18_000));
    }
}
