//! The origin's side of effects: each number is taken once, from whichever connection brings it `[C-41]`.

/// Effects are missing between what the origin has and what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("have effects through {have_through}, got a batch that begins at {first}")]
pub struct Gap {
    /// The last number taken.
    pub have_through: u64,
    /// The first number of the batch.
    pub first: u64,
}

/// How far a shard's effects have been taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receiver {
    have_through: u64,
}

impl Receiver {
    /// Takes a batch of `count` effects that begins at number `first`; returns how many of its front
    /// to skip because they were taken before.
    ///
    /// # Errors
    /// [`Gap`] when numbers are missing before `first`; nothing is taken.
    pub fn take(&mut self, first: u64, count: usize) -> Result<usize, Gap> {
        if first > self.have_through + 1 {
            return Err(Gap {
                have_through: self.have_through,
                first,
            });
        }
        let skip = ((self.have_through + 1 - first) as usize).min(count);
        self.have_through = self.have_through.max(first + count as u64 - 1);
        Ok(skip)
    }

    /// The last number taken: what `acked_through` says; 0 before the first.
    pub fn have_through(&self) -> u64 {
        self.have_through
    }
}
