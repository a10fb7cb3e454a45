//! Lines of the log that a stranger can cause, held to a rate.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);
/// Lines in a window.
const LINES_MAX: u32 = 20;

/// Counts lines.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Limiter {
    /// Whether a line may be written at `now`: then how many were left out before it.
    pub fn may(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = counted
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW);
        if is_over {
            counted.began = Some(now);
            counted.lines = 0;
        }
        if counted.lines >= LINES_MAX {
            counted.left_out += 1;
            return None;
        }
        counted.lines += 1;
        Some(std::mem::take(&mut counted.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Whoever guesses tokens would fill the disk with log, or make it silent for good.
    #[test]
    fn lines_are_left_out_beyond_the_rate_and_counted() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for _ in 0..LINES_MAX {
            assert_eq!(limiter.may(now), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(limiter.may(now), None);
        }
        assert_eq!(limiter.may(now + WINDOW), Some(5));
        assert_eq!(limiter.may(now + WINDOW), Some(0));
    }
}
