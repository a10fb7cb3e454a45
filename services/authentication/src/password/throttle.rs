//! Who keeps guessing is slowed down. Pure: the time comes in.
//!
//! After [`FREE`] wrong passwords for one username from one address, each further attempt waits for its turn, and turns are
//! further apart with each failure. Who waits too long is told to come again. A right password ends it.
//!
//! There is a fixed number of places, and who shares one is decided by a keyed hash: so an attacker can neither fill the table
//! nor push its own entry out. Two that share a place slow each other down, which is all.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Wrong passwords that cost nothing.
const FREE: u32 = 5;

/// How far apart turns are after the first failure that costs; twice as far with each one more.
const APART: Duration = Duration::from_millis(200);

/// The furthest that turns are apart.
const APART_MAX: Duration = Duration::from_secs(10);

/// The longest that an attempt waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A place is as new when nobody failed there for this long.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A million bytes, all told.
const PLACES: usize = 1 << 15;

/// What is remembered of those who failed.
pub struct Throttle {
    places: Vec<Option<Place>>,
    keys: RandomState,
}

#[derive(Clone, Copy)]
struct Place {
    failures: u32,
    last: Instant,
    /// When the next attempt has its turn.
    turn: Instant,
}

impl Throttle {
    /// `keys` are random, so that nobody knows who shares a place.
    pub fn new(keys: RandomState) -> Throttle {
        let places = vec![None; PLACES];
        Throttle { places, keys }
    }

    /// How long an attempt has to wait before its password is checked. `None`: too long; it is refused unchecked.
    pub fn attempt(
        &mut self,
        username: &str,
        peer: Option<IpAddr>,
        now: Instant,
    ) -> Option<Duration> {
        let place = self.place(username, peer);
        let Some(known) =
            place.filter(|known| now.saturating_duration_since(known.last) < FORGOTTEN)
        else {
            return Some(Duration::ZERO);
        };
        if known.failures < FREE {
            return Some(Duration::ZERO);
        }
        let turn = known.turn.max(now);
        let wait = turn.saturating_duration_since(now);
        if wait > WAIT_MAX {
            return None;
        }
        // Whoever comes meanwhile has the turn after this one.
        *place = Some(Place {
            turn: turn + apart(known.failures),
            ..known
        });
        Some(wait)
    }

    /// The password was wrong.
    pub fn failed(&mut self, username: &str, peer: Option<IpAddr>, now: Instant) {
        let place = self.place(username, peer);
        let known = place.filter(|known| now.saturating_duration_since(known.last) < FORGOTTEN);
        let failures = known.map_or(0, |known| known.failures).saturating_add(1);
        let turn = if failures < FREE {
            now
        } else {
            now + apart(failures)
        };
        *place = Some(Place {
            failures,
            last: now,
            turn: known.map_or(turn, |known| known.turn.max(turn)),
        });
    }

    /// The password was right.
    pub fn succeeded(&mut self, username: &str, peer: Option<IpAddr>) {
        *self.place(username, peer) = None;
    }

    fn place(&mut self, username: &str, peer: Option<IpAddr>) -> &mut Option<Place> {
        let hash = self.keys.hash_one((username, peer));
        let count = self.places.len() as u64;
        &mut self.places[(hash % count) as usize]
    }
}

/// How far apart turns are after so many failures.
fn apart(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(FREE).min(16);
    (APART * (1 << doublings)).min(APART_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle() -> (Throttle, Instant, Option<IpAddr>) {
        (
            Throttle::new(RandomState::new()),
            Instant::now(),
            Some([192, 0, 2, 1].into()),
        )
    }

    /// Who mistypes once or twice is locked out.
    #[test]
    fn a_few_failures_cost_nothing() {
        let (mut throttle, now, peer) = throttle();
        for _ in 1..FREE {
            throttle.failed("a", peer, now);
            assert_eq!(throttle.attempt("a", peer, now), Some(Duration::ZERO));
        }
    }

    /// A guesser who tries as fast as hashes are checked.
    #[test]
    fn who_keeps_guessing_is_slowed_down() {
        let (mut throttle, start, peer) = throttle();
        let mut now = start;
        let mut guesses = 0;
        while now < start + 60 * SECOND {
            match throttle.attempt("a", peer, now) {
                Some(wait) => {
                    now += wait;
                    guesses += 1;
                    throttle.failed("a", peer, now);
                }
                None => now += SECOND,
            }
        }
        assert!(guesses < 20, "{guesses} guesses in a minute");
        // Another user, and another address, are not concerned.
        assert_eq!(throttle.attempt("b", peer, now), Some(Duration::ZERO));
        assert_eq!(throttle.attempt("a", None, now), Some(Duration::ZERO));
    }

    /// A guesser who tries many at once, each of them before the others have failed.
    #[test]
    fn attempts_at_once_have_their_turns_one_after_another() {
        let (mut throttle, now, peer) = throttle();
        for _ in 0..FREE {
            throttle.failed("a", peer, now);
        }
        let waits: Vec<_> = (0..100)
            .filter_map(|_| throttle.attempt("a", peer, now))
            .collect();
        assert!(
            waits.len() as u128 <= WAIT_MAX.as_millis() / APART.as_millis() + 1,
            "{waits:?}"
        );
        assert!(
            waits.windows(2).all(|pair| pair[0] + APART <= pair[1]),
            "{waits:?}"
        );
    }

    /// A user who remembers the password at last, and stays slow; or a device that is fixed the day after.
    #[test]
    fn a_right_password_or_time_ends_it() {
        let (mut throttle, now, peer) = throttle();
        for _ in 0..20 {
            throttle.failed("a", peer, now);
        }
        assert_eq!(throttle.attempt("a", peer, now), None);
        assert_eq!(
            throttle.attempt("a", peer, now + FORGOTTEN),
            Some(Duration::ZERO)
        );
        throttle.succeeded("a", peer);
        assert_eq!(throttle.attempt("a", peer, now), Some(Duration::ZERO));
    }
}
