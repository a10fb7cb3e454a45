//! A replica whose disk is full stays until another takes its place. Where nobody can, it goes on once there is room: its process
//! ends, and whoever looks after that starts it again, from what the disk has `[C-63]`.
//!
//! It does not go on by itself as it is: in memory it has entries that the disk lacks, and a log that broke off in the middle of a write
//! is read back at a start, by code that is tested for it.

use std::time::{Duration, Instant};

use catena_slots::ShardId;
use tracing::error;

/// How often to look for room. Before the first time another replica has had its chance to take over.
const LOOK: Duration = Duration::from_secs(20);

/// With less it would be full again at once, in bytes.
const ENOUGH_BYTES: u64 = 64 * 1024 * 1024;

/// A disk was full, and nothing more is written to it.
#[derive(Debug)]
pub(super) struct Full {
    since: Instant,
    look_at: Instant,
}

impl Full {
    pub fn new(now: Instant) -> Full {
        Full {
            since: now,
            look_at: now + LOOK,
        }
    }

    /// Whether it is time to look again.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.look_at;
        if is_due {
            self.look_at = now + LOOK;
        }
        is_due
    }

    /// There are `room` bytes now: ends the process if that is enough.
    pub fn found(&self, shard: ShardId, room: u64) {
        if room < ENOUGH_BYTES {
            return;
        }
        error!(
            %shard, room, full_seconds = self.since.elapsed().as_secs(),
            "the disk has room again: this process ends, to be started again and go on from what the disk has"
        );
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A disk that is looked at in each turn would cost more than it says; one that is looked at once only, nothing would ever come of.
    #[test]
    fn a_full_disk_is_looked_at_again_and_again_but_not_at_once() {
        let now = Instant::now();
        let mut full = Full::new(now);
        for n in 1..4 {
            assert!(!full.is_due(now + n * LOOK - Duration::from_millis(1)));
            assert!(full.is_due(now + n * LOOK));
        }
    }
}
