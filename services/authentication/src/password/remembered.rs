//! Passwords that were right lately, so that ten thousand devices that come back need not cost ten thousand slow hashes.
//!
//! Kept is a keyed hash of username, password and the stored hash, never the password. It is safe because
//!
//! - the key is random, made at the start and never leaves the process, so a tag means nothing elsewhere;
//! - the stored hash goes into the tag: once it is changed or deleted in the secret, no tag fits any more;
//! - only what the slow hash has accepted is remembered, and for a bounded time. A wrong password always takes the slow way.
//!
//! What it costs: who can read this process's memory could guess at the passwords remembered faster than by the slow hash. Who can do
//! that sees the passwords themselves as they arrive.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time, hmac};

/// How long a right password is remembered after it was last used.
pub const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// How many are remembered: some 200 bytes each.
pub const REMEMBERED_MAX: usize = 100_000;

/// Passwords that were right lately, by username.
pub struct Remembered {
    key: hmac::Key,
    users: HashMap<Box<str>, User>,
}

struct User {
    tag: hmac::Tag,
    until: Instant,
}

impl Remembered {
    /// `key` is random and used for nothing else.
    pub fn new(key: &[u8; 32]) -> Remembered {
        Remembered {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            users: HashMap::new(),
        }
    }

    /// The tag of a password. `hash` is what the secret says.
    pub fn tag(&self, username: &str, password: &[u8], hash: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [username.as_bytes(), hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }

    /// Whether this was right lately; if so it is remembered on.
    pub fn knows(&mut self, username: &str, tag: &hmac::Tag, now: Instant) -> bool {
        let Some(user) = self.users.get_mut(username) else {
            return false;
        };
        let same = constant_time::verify_slices_are_equal(user.tag.as_ref(), tag.as_ref()).is_ok();
        let knows = same && now < user.until;
        if knows {
            user.until = now + REMEMBERED;
        }
        knows
    }

    /// This was right.
    pub fn remember(&mut self, username: &str, tag: hmac::Tag, now: Instant) {
        if self.users.len() >= REMEMBERED_MAX && !self.users.contains_key(username) {
            self.users.retain(|_, user| now < user.until);
            // Still full: who is remembered already is as good as who comes now.
            if self.users.len() >= REMEMBERED_MAX {
                return;
            }
        }
        let until = now + REMEMBERED;
        self.users.insert(username.into(), User { tag, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password that was changed, or another one, that still opens the door.
    #[test]
    fn only_the_same_password_under_the_same_hash_is_known() {
        let mut remembered = Remembered::new(&[1; 32]);
        let now = Instant::now();
        let tag = remembered.tag("a", b"right", "$hash1");
        assert!(!remembered.knows("a", &tag, now));
        remembered.remember("a", tag, now);
        assert!(remembered.knows("a", &tag, now));
        assert!(!remembered.knows("b", &tag, now));
        for (username, password, hash) in [
            ("a", &b"wrong"[..], "$hash1"),
            ("a", b"right", "$hash2"),
            // The parts do not run into each other.
            ("a", b"1right", "$hash"),
        ] {
            let tag = remembered.tag(username, password, hash);
            assert!(!remembered.knows("a", &tag, now), "{password:?} {hash}");
        }
    }

    /// A password that is remembered for ever.
    #[test]
    fn it_is_forgotten_when_it_is_not_used() {
        let mut remembered = Remembered::new(&[1; 32]);
        let now = Instant::now();
        let tag = remembered.tag("a", b"right", "$hash");
        remembered.remember("a", tag, now);
        assert!(remembered.knows("a", &tag, now + REMEMBERED / 2));
        assert!(remembered.knows("a", &tag, now + REMEMBERED));
        assert!(!remembered.knows("a", &tag, now + 2 * REMEMBERED));
    }

    /// Memory without end, by ever new usernames.
    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut remembered = Remembered::new(&[1; 32]);
        let now = Instant::now();
        let tag = remembered.tag("a", b"right", "$hash");
        for user in 0..REMEMBERED_MAX + 10 {
            remembered.remember(&user.to_string(), tag, now);
        }
        assert_eq!(remembered.users.len(), REMEMBERED_MAX);
        assert!(remembered.knows("0", &tag, now), "and who was there stays");
        remembered.remember("late", tag, now + 3 * REMEMBERED);
        assert_eq!(remembered.users.len(), 1, "and who is forgotten makes room");
    }
}
