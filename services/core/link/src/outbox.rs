//! The shard's side of effects: numbered, and kept until the origin has acknowledged them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Effects for one origin that it has not yet acknowledged, with the bytes that they weigh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox<E> {
    /// Number of the effect at the front; numbers begin at 1.
    first: u64,
    items: VecDeque<(u32, E)>,
    bytes: u64,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Outbox {
            first: 1,
            items: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<E> Outbox<E> {
    /// Adds an effect that weighs `weight` bytes and returns its number.
    pub fn push(&mut self, weight: u32, effect: E) -> u64 {
        self.bytes += u64::from(weight);
        self.items.push_back((weight, effect));
        self.last()
    }

    /// The number of the newest effect ever pushed; 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }

    /// The number of the oldest effect that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Forgets effects up to and including `through`, and returns how many bytes that freed.
    /// Numbers never given out yet are left alone: such an acknowledgement is stale or wrong `[C-42]`.
    pub fn acknowledge(&mut self, through: u64) -> u64 {
        let count = (through.min(self.last()) + 1).saturating_sub(self.first) as usize;
        let freed: u64 = self
            .items
            .drain(..count)
            .map(|(weight, _)| u64::from(weight))
            .sum();
        self.first += count as u64;
        self.bytes -= freed;
        freed
    }

    /// The kept effects with numbers above `have_through`, with the number of the first of them.
    pub fn after(&self, have_through: u64) -> (u64, impl Iterator<Item = &E>) {
        let skip = (have_through + 1).saturating_sub(self.first) as usize;
        let skip = skip.min(self.items.len());
        (
            self.first + skip as u64,
            self.items.range(skip..).map(|(_, effect)| effect),
        )
    }

    /// Bytes that the kept effects weigh.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many effects are kept.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether every effect has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
