//! Who keeps guessing is slowed down. Pure: the time comes in.
//!
//! After [`FREE`] wrong passwords for one username from one address, each further attempt waits for its turn, and turns are
//! further apart with each failure. Who waits too long is told to come again. A right password ends it.
//!
//! The same holds for an address alone, whatever usernames are tried there, after [`FREE_OF_ADDRESS`]: otherwise one would
//! try a few passwords each for any number of users. Many may share an address, so that it is held against the address only
//! when a username begins to be wrong there, and never against a user who has been right there before: a device with
//! an old password, or one who guesses, does not keep its neighbours out.
//!
//! There is a fixed number of places, and who shares one is decided by a keyed hash: so an attacker can neither fill the table
//! nor push its own entry out. Two that share a place slow each other down, which is all.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use catena_runtime::network;

/// Wrong passwords that cost nothing, of one username.
const FREE: u32 = 5;

/// Wrong passwords that cost nothing, of one address: all usernames together.
const FREE_OF_ADDRESS: u32 = 50;

/// How far apart turns are after the first failure that costs; twice as far with each one more.
const APART: Duration = Duration::from_millis(200);

/// The furthest that turns are apart.
const APART_MAX: Duration = Duration::from_secs(10);

/// The longest that an attempt waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A place is as new when nobody failed there for this long.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Of usernames at addresses, and as many again of addresses: some three million bytes, all told.
const PLACES: usize = 1 << 15;

/// What is remembered of those who failed.
pub struct Throttle {
    /// Of a username at an address.
    users: Vec<Option<Place>>,
    /// Of an address.
    addresses: Vec<Option<Place>>,
    /// Who was right last at each place of `users`.
    right: Vec<u64>,
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
        Throttle {
            users: vec![None; PLACES],
            addresses: vec![None; PLACES],
            right: vec![0; PLACES],
            keys,
        }
    }

    /// How long an attempt has to wait before its password is checked. `None`: too long; it is refused unchecked.
    pub fn attempt(
        &mut self,
        username: &str,
        peer: Option<IpAddr>,
        now: Instant,
    ) -> Option<Duration> {
        let user = self.user(username, peer);
        let address = self.address(peer);
        let was_right = self.right[place(user)] == user;
        let of_address = if was_right {
            Duration::ZERO
        } else {
            wait(self.addresses[address], FREE_OF_ADDRESS, now)?
        };
        let of_user = wait(self.users[place(user)], FREE, now)?;
        // Who is refused has had no turn.
        if !was_right {
            take_turn(&mut self.addresses[address], FREE_OF_ADDRESS, now);
        }
        take_turn(&mut self.users[place(user)], FREE, now);
        Some(of_address.max(of_user))
    }

    /// The password was wrong.
    pub fn failed(&mut self, username: &str, peer: Option<IpAddr>, now: Instant) {
        let user = self.user(username, peer);
        let failures = fail(&mut self.users[place(user)], FREE, now);
        // Whoever goes on with one username is slowed down by that.
        if failures < FREE {
            let address = self.address(peer);
            fail(&mut self.addresses[address], FREE_OF_ADDRESS, now);
        }
    }

    /// The password was right.
    pub fn succeeded(&mut self, username: &str, peer: Option<IpAddr>) {
        let user = self.user(username, peer);
        self.users[place(user)] = None;
        self.right[place(user)] = user;
    }

    fn user(&self, username: &str, peer: Option<IpAddr>) -> u64 {
        self.keys.hash_one((username, peer.map(network::of)))
    }

    fn address(&self, peer: Option<IpAddr>) -> usize {
        place(self.keys.hash_one(peer.map(network::of)))
    }
}

fn place(hash: u64) -> usize {
    (hash % PLACES as u64) as usize
}

/// What is known of a place, unless that is long ago.
fn known(place: Option<Place>, now: Instant) -> Option<Place> {
    place.filter(|known| now.saturating_duration_since(known.last) < FORGOTTEN)
}

/// How long it is to the next turn. `None`: too long.
fn wait(place: Option<Place>, free: u32, now: Instant) -> Option<Duration> {
    let slowed = known(place, now).filter(|known| known.failures >= free);
    let wait = slowed.map_or(Duration::ZERO, |known| {
        known.turn.saturating_duration_since(now)
    });
    (wait <= WAIT_MAX).then_some(wait)
}

/// Whoever comes meanwhile has the turn after this one.
fn take_turn(place: &mut Option<Place>, free: u32, now: Instant) {
    if let Some(slowed) = place.as_mut().filter(|known| known.failures >= free) {
        slowed.turn = slowed.turn.max(now) + apart(slowed.failures, free);
    }
}

/// Counts a failure; answers how many there are.
fn fail(place: &mut Option<Place>, free: u32, now: Instant) -> u32 {
    let known = known(*place, now);
    let failures = known.map_or(0, |known| known.failures).saturating_add(1);
    let turn = if failures < free {
        now
    } else {
        now + apart(failures, free)
    };
    *place = Some(Place {
        failures,
        last: now,
        turn: known.map_or(turn, |known| known.turn.max(turn)),
    });
    failures
}

/// How far apart turns are after so many failures, of which some are free.
fn apart(failures: u32, free: u32) -> Duration {
    let doublings = failures.saturating_sub(free).min(16);
    (APART * (1 << doublings)).min(APART_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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

    /// A guesser with a list of usernames, who tries the most common password of each.
    #[test]
    fn who_tries_many_usernames_is_slowed_down() {
        let (mut throttle, start, peer) = throttle();
        let mut now = start;
        let mut guesses = 0;
        for user in 0.. {
            if now >= start + 60 * SECOND {
                break;
            }
            let user = format!("user {user}");
            match throttle.attempt(&user, peer, now) {
                Some(wait) => {
                    now += wait;
                    guesses += 1;
                    throttle.failed(&user, peer, now);
                }
                None => now += SECOND,
            }
        }
        let free = FREE_OF_ADDRESS;
        assert!((free..free + 20).contains(&guesses), "{guesses} guesses");
        let elsewhere = Some([192, 0, 2, 2].into());
        assert_eq!(
            throttle.attempt("new", elsewhere, now),
            Some(Duration::ZERO)
        );
    }

    /// Everybody behind one address would be kept out by who guesses there, and by one device with an old password.
    #[test]
    fn neighbours_are_not_kept_out() {
        let (mut throttle, now, peer) = throttle();
        for _ in 0..10 * FREE_OF_ADDRESS {
            throttle.failed("old password", peer, now);
        }
        assert_eq!(throttle.attempt("new", peer, now), Some(Duration::ZERO));

        throttle.succeeded("known", peer);
        for user in 0..10 * FREE_OF_ADDRESS {
            throttle.failed(&format!("user {user}"), peer, now);
        }
        assert_eq!(throttle.attempt("new", peer, now), None);
        assert_eq!(throttle.attempt("known", peer, now), Some(Duration::ZERO));
        for _ in 0..20 {
            throttle.failed("known", peer, now);
        }
        assert_eq!(
            throttle.attempt("known", peer, now),
            None,
            "but it is slowed down itself"
        );
    }

    /// One with an IPv6 network guesses from as many addresses as it likes.
    #[test]
    fn addresses_of_one_network_are_one() {
        let (mut throttle, now, _) = throttle();
        for host in 0..200 {
            let peer: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into();
            throttle.failed(&format!("user {host}"), Some(peer), now);
        }
        let peer: IpAddr = "2001:db8::ffff".parse().unwrap();
        assert_eq!(throttle.attempt("new", Some(peer), now), None);
        let other: IpAddr = "2001:db8:0:1::".parse().unwrap();
        assert_eq!(
            throttle.attempt("new", Some(other), now),
            Some(Duration::ZERO)
        );
    }
}
