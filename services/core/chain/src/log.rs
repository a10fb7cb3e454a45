//! The entries that somebody may still have to be sent, and what stands before them.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    configuration::Epoch,
    entry::{Entry, Index},
    machine::Machine,
};

/// Where a log ends: its last entry's index and epoch, and the running digest after it `[C-20]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    pub index: Index,
    pub epoch: Epoch,
    pub digest: u64,
}

/// The last entries, without gaps.
///
/// ```text
///   1 ........ base | base+1 ........ last
///      forgotten    |       kept
/// ```
#[derive(Debug)]
pub struct Log<M: Machine> {
    base: Position,
    kept: VecDeque<Kept<M>>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<M: Machine> {
    entry: Arc<Entry<M>>,
    /// The running digest after it.
    digest: u64,
    weight: usize,
}

impl<M: Machine> Log<M> {
    /// A log that goes on after `base`.
    pub fn after(base: Position) -> Log<M> {
        Log {
            base,
            kept: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds the next entry with the running digest after it.
    pub fn push(&mut self, entry: Arc<Entry<M>>, digest: u64) {
        let weight = entry.weight();
        self.bytes += weight;
        self.kept.push_back(Kept {
            entry,
            digest,
            weight,
        });
    }

    /// Index of the last entry; 0 before the first.
    pub fn last(&self) -> Index {
        self.base.index + self.kept.len() as u64
    }

    /// Whether the entries through `index` have more than `bytes`.
    pub fn exceeds(&self, index: Index, bytes: usize) -> bool {
        if self.bytes <= bytes {
            return false;
        }
        let mut sum = 0;
        let through = self
            .kept
            .iter()
            .take_while(|kept| kept.entry.index <= index);
        through.into_iter().any(|kept| {
            sum += kept.weight;
            sum > bytes
        })
    }

    /// Where the log ends.
    pub fn end(&self) -> Position {
        self.at(self.last()).unwrap_or(self.base)
    }

    /// What stood at `index`; `None` before the base and after the end.
    pub fn at(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        let kept = self
            .kept
            .get(index.checked_sub(self.base.index + 1)? as usize)?;
        Some(Position {
            index,
            epoch: kept.entry.epoch,
            digest: kept.digest,
        })
    }

    /// Up to `count` entries and `bytes` after `index`, which must not be before the base. One entry always fits.
    pub fn from(&self, index: Index, count: usize, bytes: usize) -> Vec<Arc<Entry<M>>> {
        let skip = index.saturating_sub(self.base.index) as usize;
        let mut taken = Vec::new();
        let mut room = bytes;
        for kept in self.kept.range(skip.min(self.kept.len())..).take(count) {
            if kept.weight > room && !taken.is_empty() {
                break;
            }
            room = room.saturating_sub(kept.weight);
            taken.push(kept.entry.clone());
        }
        taken
    }

    /// The entries after `index`, each with the running digest after it.
    pub fn after_with_digests(&self, index: Index) -> impl Iterator<Item = (Arc<Entry<M>>, u64)> {
        let skip = index.saturating_sub(self.base.index) as usize;
        let kept = self.kept.range(skip.min(self.kept.len())..);
        kept.map(|kept| (kept.entry.clone(), kept.digest))
    }

    /// Forgets entries up to and including `through`.
    pub fn forget(&mut self, through: Index) {
        while self.base.index < through {
            let Some(kept) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= kept.weight;
            self.base = Position {
                index: kept.entry.index,
                epoch: kept.entry.epoch,
                digest: kept.digest,
            };
        }
    }
}
