//! Packet ids: small maps by id, and the choice of a free one.

use std::hash::{BuildHasher, Hasher};

use crate::bounds::KEPT_CAPACITY;

/// Spreads 16-bit keys by one multiplication: a map by packet id is looked at for every message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IdHash(u64);

impl Hasher for IdHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte) ^ (self.0 >> 48) as u16);
        }
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHash;

    fn build_hasher(&self) -> IdHash {
        IdHash(0)
    }
}

/// Something for each of some packet ids; allocates nothing while empty.
#[derive(Debug)]
pub(crate) struct IdMap<T>(hashbrown::HashMap<u16, T, IdHash>);

impl<T> IdMap<T> {
    pub fn new() -> IdMap<T> {
        IdMap(hashbrown::HashMap::with_hasher(IdHash(0)))
    }

    pub fn get(&self, id: u16) -> Option<&T> {
        self.0.get(&id)
    }

    pub fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        self.0.get_mut(&id)
    }

    pub fn contains(&self, id: u16) -> bool {
        self.0.contains_key(&id)
    }

    pub fn insert(&mut self, id: u16, value: T) -> Option<T> {
        self.0.insert(id, value)
    }

    pub fn remove(&mut self, id: u16) -> Option<T> {
        let removed = self.0.remove(&id);
        if self.0.is_empty() && self.0.capacity() > KEPT_CAPACITY {
            *self = IdMap::new();
        }
        removed
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Gives packet ids in turn, so that a late acknowledgement of an old one meets no new one for long.
#[derive(Debug, Default)]
pub(crate) struct NextId(u16);

impl NextId {
    /// The next id that is not in `taken`, in which at least one is free.
    pub fn next<T>(&mut self, taken: &IdMap<T>) -> u16 {
        debug_assert!(taken.len() < usize::from(u16::MAX));
        loop {
            self.0 = self.0.checked_add(1).unwrap_or(1);
            if !taken.contains(self.0) {
                return self.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two deliveries would carry one id, and one of them could never be acknowledged. [MQTT-2.2.1-4]
    #[test]
    fn ids_in_use_are_passed_over_and_zero_is_never_given() {
        let mut taken = IdMap::new();
        let mut next = NextId(65_533);
        taken.insert(65_535, ());
        taken.insert(1, ());
        assert_eq!(next.next(&taken), 65_534);
        assert_eq!(next.next(&taken), 2);
    }

    // An idle connection would keep the memory of its busiest hour.
    #[test]
    fn an_empty_map_gives_its_memory_back() {
        let mut map = IdMap::new();
        for id in 1..1000 {
            map.insert(id, ());
        }
        for id in 1..1000 {
            map.remove(id);
        }
        assert_eq!(map.0.capacity(), 0);
    }
}
