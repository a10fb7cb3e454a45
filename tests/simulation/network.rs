//! The network: ordered connections between processes, which may be slow, be cut in one direction, or break.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::Random;

/// A place where one process runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Node(usize),
    Gateway(usize),
    Control(usize),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time, if the connection has this number still.
    Arrives { at: u64, connection: u64 },
    /// It is lost; the connection breaks after a while.
    Lost { breaks: bool },
}

/// The state of every pair of places.
#[derive(Debug, Default)]
pub struct Network {
    cuts: BTreeSet<(Place, Place)>,
    slow: BTreeMap<Place, u64>,
    last_arrival: BTreeMap<(Place, Place, bool), u64>,
    /// Counts the breaks of a pair.
    connections: BTreeMap<(Place, Place), u64>,
    /// A break is on its way.
    breaking: BTreeSet<(Place, Place)>,
}

/// A pair without a direction.
pub fn pair(a: Place, b: Place) -> (Place, Place) {
    if a < b { (a, b) } else { (b, a) }
}

impl Network {
    /// Sends a message now. What is bulky has a stream of its own, and may be overtaken.
    pub fn send(
        &mut self,
        random: &mut Random,
        now: u64,
        (from, to): (Place, Place),
        is_bulky: bool,
    ) -> Fate {
        if self.cuts.contains(&(from, to)) {
            return Fate::Lost {
                breaks: self.breaking.insert(pair(from, to)),
            };
        }
        let slowness = |place| self.slow.get(&place).copied().unwrap_or(0);
        let slow_max = slowness(from) + slowness(to);
        let size = if is_bulky { 40_000 } else { 1_000 };
        let delay = random.within(50, size) + random.within(0, slow_max);
        let last = self.last_arrival.entry((from, to, is_bulky)).or_default();
        *last = (now + delay).max(*last + 1);
        Fate::Arrives {
            at: *last,
            connection: self.connection(from, to),
        }
    }

    /// The number of the connection of a pair.
    pub fn connection(&self, a: Place, b: Place) -> u64 {
        self.connections.get(&pair(a, b)).copied().unwrap_or(0)
    }

    /// What is on its way between the two is lost.
    pub fn break_pair(&mut self, a: Place, b: Place) {
        let key = pair(a, b);
        *self.connections.entry(key).or_default() += 1;
        self.breaking.remove(&key);
    }

    pub fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// Heals all cuts and returns the pairs that had one.
    pub fn heal(&mut self) -> Vec<(Place, Place)> {
        let cuts = std::mem::take(&mut self.cuts);
        let pairs: BTreeSet<_> = cuts.into_iter().map(|(a, b)| pair(a, b)).collect();
        pairs.into_iter().collect()
    }

    /// Heals the cuts of one place.
    pub fn heal_place(&mut self, place: Place) -> Vec<(Place, Place)> {
        let of = |cut: &(Place, Place)| cut.0 == place || cut.1 == place;
        let healed: BTreeSet<_> = self
            .cuts
            .iter()
            .filter(|cut| of(cut))
            .map(|(a, b)| pair(*a, *b))
            .collect();
        self.cuts.retain(|cut| !of(cut));
        healed.into_iter().collect()
    }

    /// Messages of `place` take up to this much longer, in microseconds; 0: as others.
    pub fn slow(&mut self, place: Place, micros: u64) {
        self.slow.insert(place, micros);
    }

    pub fn speed_up(&mut self) {
        self.slow.clear();
    }
}
