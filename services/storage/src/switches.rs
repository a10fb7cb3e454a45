//! Precautions that a test may leave out, to show that something is lost then. In production builds they do not exist.

/// A precaution; how stands where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// Entries are called durable before they are synced `[C-62]`.
    SyncEntries,
    /// Names are not synced.
    SyncNames,
    /// Meta takes its name before its bytes are synced.
    SyncMeta,
    /// A snapshot counts before it is synced.
    SyncSnapshot,
    /// What a start finds is taken for durable.
    SyncFound,
    /// The next segment is begun while the last one is not synced.
    SyncSegment,
    /// A sync that failed is tried again `[C-64]`.
    FailedSyncIsFinal,
    /// A broken end is always taken for torn `[C-64]`.
    TellDamage,
    /// Segments go before the snapshot counts `[C-61]`.
    CutBelowSnapshot,
}

/// Which precautions are taken: all, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    #[cfg(any(test, feature = "switches"))]
    off: u32,
}

impl Switches {
    /// All but `rule`.
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
