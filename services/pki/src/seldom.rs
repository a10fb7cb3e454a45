//! A line in the log once in a while, where others can cause it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Counts what is not said.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    said: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    pub(crate) fn new(every: Duration) -> Seldom {
        Seldom {
            every,
            said: Mutex::default(),
        }
    }

    /// Whether it is time to say something, and how often nothing was said since the last time.
    pub(crate) fn ask(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *said;
        if last.is_some_and(|last| now.duration_since(last) < self.every) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A stranger who connects a thousand times a second would fill the disk.
    #[test]
    fn what_is_repeated_is_counted_and_not_said() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let seldom = Seldom::new(minute);
        assert_eq!(seldom.ask(now), Some(0));
        assert_eq!(seldom.ask(now + minute / 2), None);
        assert_eq!(seldom.ask(now + minute / 2), None);
        assert_eq!(seldom.ask(now + minute), Some(2));
    }
}
