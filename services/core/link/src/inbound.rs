//! The shard's side of ops: each number is applied once.

use serde::{Deserialize, Serialize};

/// What to do with an op that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The next number: apply it.
    Apply,
    /// Applied before: drop it.
    Duplicate,
    /// Numbers are missing: drop it and answer with `applied_through`.
    Gap,
}

/// How far an origin's ops have been applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    applied_through: u64,
}

impl Inbound {
    /// A link whose first op has the number `first`.
    pub fn starting_at(first: u64) -> Inbound {
        Inbound {
            applied_through: first.saturating_sub(1),
        }
    }

    /// Tells whether op `number` is the next, and if so counts it as applied.
    pub fn admit(&mut self, number: u64) -> Admission {
        if number == self.applied_through + 1 {
            self.applied_through = number;
            Admission::Apply
        } else if number <= self.applied_through {
            Admission::Duplicate
        } else {
            Admission::Gap
        }
    }

    /// The highest number applied; 0 before the first.
    pub fn applied_through(&self) -> u64 {
        self.applied_through
    }
}
