//! Rules that a test may switch off, to show that something goes wrong then. In production builds they do not exist.

/// A rule of sessions that can be loosened; how stands where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// Ops of earlier connections and sessions are taken.
    F3,
    /// A takeover does not wait for the old connection.
    F12,
    /// A CONNECT is answered although a will of the client is on its way.
    F21,
    /// Home is not told where its sessions are.
    F22,
    /// Packet ids of QoS 2 publishes are not remembered.
    F42,
}

/// Which rules hold: all, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Switches {
    #[cfg(any(test, feature = "switches"))]
    off: u32,
    #[cfg(any(test, feature = "switches"))]
    part_bytes: Option<u64>,
}

impl Switches {
    /// Whether `rule` holds.
    #[cfg(any(test, feature = "switches"))]
    pub fn keep(self, rule: Rule) -> bool {
        self.off & (1 << rule as u8) == 0
    }

    /// What parts of long queues weigh, if a test says it.
    #[cfg(any(test, feature = "switches"))]
    pub fn part_bytes(self) -> Option<u64> {
        self.part_bytes
    }

    /// What parts of long queues weigh, if a test says it.
    #[cfg(not(any(test, feature = "switches")))]
    #[inline(always)]
    pub fn part_bytes(self) -> Option<u64> {
        None
    }

    /// Whether `rule` holds.
    #[cfg(not(any(test, feature = "switches")))]
    #[inline(always)]
    pub fn keep(self, _: Rule) -> bool {
        true
    }
}

#[cfg(any(test, feature = "switches"))]
impl crate::Shard {
    /// Goes without `rule` from now on. It is no part of the state: a shard that is restored keeps all rules.
    pub fn loosen(&mut self, rule: Rule) {
        self.switches.off |= 1 << rule as u8;
    }

    /// Parts of this weight leave long queues from now on, however much of the memory is used. It is no part of the state either.
    pub fn part_early(&mut self, part_bytes: u64) {
        self.switches.part_bytes = Some(part_bytes);
    }
}
