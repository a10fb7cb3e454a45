//! The names of sessions, connections, origins and moments.

use std::fmt;

use catena_slots::ShardId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Milliseconds of shard time: stamped by the head, never read from a clock in `apply` `[F-80]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
pub struct Time(pub u64);

impl Time {
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// This moment and `seconds` later; [`Time::NEVER`] for `u32::MAX`, which MQTT reads as "never".
    pub fn plus_seconds(self, seconds: u32) -> Time {
        if seconds == u32::MAX {
            return Time::NEVER;
        }
        Time(self.0.saturating_add(u64::from(seconds) * 1000))
    }

    /// This moment and `milliseconds` later.
    pub fn plus_millis(self, milliseconds: u64) -> Time {
        Time(self.0.saturating_add(milliseconds))
    }
}

/// A 128-bit hash of a client id `[F-2]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientKey(pub u128);

impl ClientKey {
    /// The key of `client_id`.
    pub fn of(client_id: &str) -> ClientKey {
        ClientKey(xxh3_128(client_id.as_bytes()))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client-{:08x}", self.0 as u32)
    }
}

/// One session's life; never used twice `[F-1]`. Those of one client order by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// How often the home shard had started empty when the session began.
    pub generation: u32,
    /// Counts the sessions of that generation.
    pub counter: u64,
    /// The shard that owns the session record.
    pub home: ShardId,
}

/// Who causes an op: one connection of one session `[F-3]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Who {
    /// Whose session it is.
    pub client: ClientKey,
    /// The session.
    pub session: SessionId,
    /// Counts the connections of the session, from 1.
    pub epoch: u64,
}

impl Who {
    /// What orders the ops of one client: a lower one is stale.
    pub fn age(&self) -> (SessionId, u64) {
        (self.session, self.epoch)
    }
}

/// A connection's name, chosen by its gateway and unique within the origin's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnId(pub u64);

/// Who sends numbered ops over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// One worker of one life of a gateway. All workers of an incarnation live and die together `[C-43]`.
    Gateway {
        /// The gateway's life.
        incarnation: u64,
        /// Which of its workers.
        worker: u16,
    },
    /// Another shard, in one of its generations `[C-2]`.
    Shard {
        /// Which.
        shard: ShardId,
        /// How often it had started empty.
        generation: u32,
    },
}

/// Hashes client keys, which are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyHasher;

/// See [`KeyHasher`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyHash(u64);

impl std::hash::BuildHasher for KeyHasher {
    type Hasher = KeyHash;

    fn build_hasher(&self) -> KeyHash {
        KeyHash(0)
    }
}

impl std::hash::Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}
