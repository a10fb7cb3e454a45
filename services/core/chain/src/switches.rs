//! Rules that a test may switch off, to show that something goes wrong then. In production builds they do not exist.

/// A rule of the chain and its links that can be loosened; how stands where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// A process that does not hold an id's state plays its role nevertheless.
    C1,
    /// Generations are not compared.
    C2,
    /// A replica keeps its state whatever its id and the generation are.
    C3,
    /// An Open to a replica that is not head or tail is dropped.
    C4,
    /// Only the next epoch is adopted.
    C10,
    /// Nobody hands a configuration on.
    C11,
    /// A stream goes on after a break without Hello, and entries are taken although others are missing before them.
    C20,
    /// Entries of an earlier epoch are dropped.
    C21,
    /// A replica that is not the tail calls committed what it has applied.
    C22,
    /// What leaves a tail is not cut at the commit index.
    C23,
    /// A learner installs whatever snapshot arrives.
    C30,
    /// A tail in sync commits alone.
    C31,
    /// A tail reports its learner before that has acknowledged what was committed.
    C32,
    /// A replica that was evicted keeps its state under its new id.
    C35,
    /// `applied_through` releases ops.
    C40,
    /// An origin takes effects that it has taken before.
    C41,
    /// What another shard's head has applied counts as committed there.
    C42,
    /// Gateways that are not live are admitted.
    C43,
    /// An entry counts before it is durable.
    C62,
    /// A store that is begun beside counts as soon as its snapshot is there.
    C65,
    /// Nobody waits until a disk has forgotten.
    C66,
}

/// Which rules hold: all, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    #[cfg(any(test, feature = "switches"))]
    off: u32,
}

impl Switches {
    /// All rules but `rule`.
    #[cfg(any(test, feature = "switches"))]
    pub fn without(rule: Rule) -> Switches {
        Switches {
            off: 1 << rule as u8,
        }
    }

    /// Whether `rule` holds.
    #[cfg(any(test, feature = "switches"))]
    pub fn keep(self, rule: Rule) -> bool {
        self.off & (1 << rule as u8) == 0
    }

    /// Whether `rule` holds.
    #[cfg(not(any(test, feature = "switches")))]
    #[inline(always)]
    pub fn keep(self, _: Rule) -> bool {
        true
    }
}
