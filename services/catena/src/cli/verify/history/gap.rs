//! How long a client had to wait.

use std::time::Duration;

use serde::Serialize;

/// A wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Which client of its kind waited.
    pub client: usize,
    /// How long.
    pub length: Duration,
    /// When it ended, since the start of the load.
    pub at: Duration,
}

/// Measures waits. Times are since the start of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    since: Option<Duration>,
}

impl Waiting {
    /// Waits from now on, if it did not before.
    pub fn begin(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// Some of the time was of the client's own choice, and does not count.
    pub fn leave_out(&mut self, length: Duration) {
        self.since = self.since.map(|since| since + length);
    }

    /// Waits for nothing any more.
    pub fn stop(&mut self) {
        self.since = None;
    }

    /// What was waited for has come, the next is waited for: how long it took.
    pub fn next(&mut self, now: Duration) -> Option<Duration> {
        let since = self.since.replace(now)?;
        Some(now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_from_one_to_the_next_but_for_what_is_left_out() {
        let at = Duration::from_secs;
        let mut waiting = Waiting::default();
        assert_eq!(waiting.next(at(1)), None);
        waiting.begin(at(5));
        assert_eq!(waiting.next(at(4)), Some(at(3)));
        waiting.leave_out(at(2));
        assert_eq!(waiting.next(at(10)), Some(at(4)));
        waiting.stop();
        waiting.begin(at(20));
        assert_eq!(waiting.next(at(21)), Some(at(1)));
    }
}
