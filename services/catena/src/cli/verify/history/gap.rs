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
