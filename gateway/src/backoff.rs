//! Clients that were closed because the broker had no memory for what they publish stay away for longer each time `[F-63]`.
//!
//! MQTT 3.1.1 has no word for "not now": such a client is held without an acknowledgement and closed, connects again at once, and sends
//! the same again. Here is for how long it is told that the server is not available.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use catena_shard::ClientKey;

use crate::limits::{BACKOFF_FIRST_MS, BACKOFF_FORGOTTEN_MS, BACKOFF_MAX_MS, BACKOFFS_MAX};

/// Those of one gateway, whichever worker they come to.
#[derive(Debug, Default)]
pub(crate) struct Backoffs {
    rows: Mutex<HashMap<ClientKey, Backoff>>,
    /// How many rows there are: while there is none, CONNECT costs one look.
    len: AtomicUsize,
}

#[derive(Debug)]
struct Backoff {
    /// How often it was closed without a pause.
    times: u32,
    until: Instant,
}

impl Backoff {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) >= Duration::from_millis(BACKOFF_FORGOTTEN_MS)
    }
}

impl Backoffs {
    /// Whether nobody is kept away.
    pub fn is_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }

    /// Whether the client is to stay away yet.
    pub fn keeps_away(&self, client: ClientKey, now: Instant) -> bool {
        self.rows().get(&client).is_some_and(|row| now < row.until)
    }

    /// The client was closed: returns for how long it is kept away. When there are too many of them, it is not.
    pub fn closed(&self, client: ClientKey, now: Instant) -> Duration {
        let mut rows = self.rows();
        if rows.len() >= BACKOFFS_MAX {
            rows.retain(|_, row| !row.is_forgotten(now));
        }
        if rows.len() >= BACKOFFS_MAX && !rows.contains_key(&client) {
            return Duration::ZERO;
        }
        let row = rows.entry(client).or_insert(Backoff {
            times: 0,
            until: now,
        });
        if row.is_forgotten(now) {
            row.times = 0;
        }
        let growth = 2_u64.saturating_pow(row.times);
        let wait =
            Duration::from_millis(BACKOFF_FIRST_MS.saturating_mul(growth).min(BACKOFF_MAX_MS));
        row.times += 1;
        row.until = now + wait;
        self.len.store(rows.len(), Relaxed);
        wait
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<ClientKey, Backoff>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn key(number: u128) -> ClientKey {
        ClientKey::of(&number.to_string())
    }

    // A client that cannot be told would publish into a full broker without end.
    #[test]
    fn the_delay_grows_to_its_bound_and_is_the_client_s_alone() {
        let (backoffs, mut now) = (Backoffs::default(), Instant::now());
        assert!(backoffs.is_empty());
        for wait in [1, 2, 4, 8, 16, 32, 60, 60].map(|seconds| MS(seconds * 1_000)) {
            assert_eq!(backoffs.closed(key(1), now), wait);
            assert!(backoffs.keeps_away(key(1), now + wait - MS(1)));
            assert!(!backoffs.keeps_away(key(1), now + wait));
            assert!(!backoffs.keeps_away(key(2), now));
            // It comes back as soon as it may, is held for a while, and closed again.
            now += wait + MS(10_000);
        }
        assert!(!backoffs.is_empty());
    }

    // A device would be punished tomorrow for a bottleneck of today.
    #[test]
    fn it_begins_anew_after_a_while_without() {
        let (backoffs, now) = (Backoffs::default(), Instant::now());
        backoffs.closed(key(1), now);
        assert_eq!(backoffs.closed(key(1), now), MS(2_000));
        let later = now + MS(2_000 + BACKOFF_FORGOTTEN_MS);
        assert_eq!(backoffs.closed(key(1), later), MS(1_000));
    }

    // Clients with ever new names would fill the gateway's memory.
    #[test]
    fn there_is_room_for_so_many_and_it_is_used_again() {
        let (backoffs, now) = (Backoffs::default(), Instant::now());
        for number in 0..BACKOFFS_MAX as u128 {
            assert_eq!(backoffs.closed(key(number), now), MS(1_000));
        }
        assert_eq!(backoffs.closed(key(1 << 64), now), Duration::ZERO);
        assert!(!backoffs.keeps_away(key(1 << 64), now));
        assert_eq!(
            backoffs.closed(key(1), now),
            MS(2_000),
            "it has its place already"
        );
        let later = now + MS(2_000 + BACKOFF_FORGOTTEN_MS);
        assert_eq!(backoffs.closed(key(1 << 64), later), MS(1_000));
    }
}
