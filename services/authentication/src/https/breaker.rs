//! A server that is known to be away is not asked for a moment. Pure: the time comes in.

use std::time::{Duration, Instant};

/// Failures one after another until a server counts as away.
const FAILURES: u32 = 3;

/// How long it is left alone then; after that one call tries again.
pub const AWAY: Duration = Duration::from_secs(1);

/// Whether a server answers.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// Until then it is left alone.
    until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made now. One that may while the server is away is the only one, for as long as a call takes.
    pub fn admits(&mut self, now: Instant, call: Duration) -> bool {
        match self.until {
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + call);
                true
            }
            None => true,
        }
    }

    /// Whether calls that wait should give up.
    pub fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The server answered. `true`: it had been away.
    pub fn answered(&mut self) -> bool {
        let was_away = self.until.is_some();
        *self = Breaker::default();
        was_away
    }

    /// The server did not answer. `true`: it counts as away from now on.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let was_away = self.until.is_some();
        if self.failures < FAILURES {
            return false;
        }
        self.until = Some(now + AWAY);
        !was_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_secs(5);

    /// Each client waits five seconds for a server that is known to be away; or the server is never asked again.
    #[test]
    fn a_server_that_is_away_is_tried_by_one_at_a_time() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(now));
            assert!(breaker.admits(now, CALL));
        }
        assert!(breaker.failed(now));
        assert!(!breaker.admits(now, CALL));
        let later = now + AWAY;
        assert!(breaker.admits(later, CALL));
        assert!(!breaker.admits(later, CALL), "one tries");
        assert!(!breaker.failed(later + CALL), "it was away before");
        assert!(!breaker.admits(later + CALL, CALL));
        assert!(breaker.admits(later + CALL + AWAY, CALL));
        assert!(breaker.answered());
        assert!(
            breaker.admits(later + CALL + AWAY, CALL) && breaker.admits(later + CALL + AWAY, CALL)
        );
    }

    /// A server that fails now and then counts as away.
    #[test]
    fn failures_with_answers_in_between_do_not_count() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert!(!breaker.failed(now));
            assert!(!breaker.answered());
        }
    }

    /// A call that was tried and given up by its client leaves the server alone for ever.
    #[test]
    fn a_try_that_never_ends_is_followed_by_another() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..FAILURES {
            breaker.failed(now);
        }
        assert!(breaker.admits(now + AWAY, CALL));
        assert!(breaker.admits(now + AWAY + CALL, CALL));
    }
}
