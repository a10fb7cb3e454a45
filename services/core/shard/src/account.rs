//! Memory, counted in the state so that every replica refuses alike `[F-63]`.

use serde::{Deserialize, Serialize};

/// One place in a queue, an in-flight set or the retained messages, in bytes.
pub const REFERENCE_BYTES: u64 = 48;

/// One session record or reader, in bytes.
pub const SESSION_BYTES: u64 = 512;

/// One subscription beyond the bytes of its filter.
pub const SUBSCRIPTION_BYTES: u64 = 128;

/// From here on publishes are refused, in percent of the buffer.
pub const PUBLISH_PERCENT_MAX: u64 = 75;

/// From here on `$high_priority` publishes are refused too.
pub const HIGH_PRIORITY_PERCENT_MAX: u64 = 90;

/// From here on new sessions and subscriptions are refused.
pub const FULL_PERCENT: u64 = 100;

/// Bytes that the shard's state weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    bytes: u64,
}

impl Account {
    /// Counts `bytes` more.
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Counts `bytes` less.
    pub fn remove(&mut self, bytes: u64) {
        debug_assert!(
            bytes <= self.bytes,
            "more bytes given back than were counted"
        );
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The sum.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `bytes` has reached `percent` of `buffer`.
    pub fn is_above(&self, percent: u64, buffer: u64) -> bool {
        u128::from(self.bytes) * 100 >= u128::from(buffer) * u128::from(percent)
    }
}
