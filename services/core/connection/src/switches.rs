//! Rules that a test may switch off, to show that something goes wrong then. In production builds they do not exist.

/// A rule of connections that can be loosened; how stands where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// The two lanes of a publisher do not wait for each other.
    F41,
    /// PUBREL does not wait until the shard has recorded PUBREC.
    F56,
}

/// Which rules hold: all, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Switches {
    #[cfg(any(test, feature = "switches"))]
    off: u32,
}

impl Switches {
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

#[cfg(any(test, feature = "switches"))]
impl crate::Connection {
    /// Goes without `rule` from now on.
    pub fn loosen(&mut self, rule: Rule) {
        self.switches.off |= 1 << rule as u8;
    }
}
