//! A table whose rows have keys that are never used twice, given in one order on every replica.

use serde::{Deserialize, Serialize};

/// A row's key: its place in the upper half, how often the place was used before in the lower.
pub(crate) type Key = u64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row<T> {
    uses: u32,
    value: Option<T>,
}

/// Rows by key. Part of the state: two replicas give the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slab<T> {
    rows: Vec<Row<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Adds a row and returns its key.
    pub fn insert(&mut self, value: T) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row {
                uses: 0,
                value: None,
            });
            (self.rows.len() - 1) as u32
        });
        let row = &mut self.rows[place as usize];
        row.value = Some(value);
        key(place, row.uses)
    }

    /// Takes a row out; its key leads nowhere from here on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let value = self.row_mut(key)?.value.take()?;
        let place = (key >> 32) as u32;
        let row = &mut self.rows[place as usize];
        row.uses = row.uses.wrapping_add(1);
        self.free.push(place);
        Some(value)
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let row = self.rows.get((key >> 32) as usize)?;
        if row.uses == key as u32 {
            row.value.as_ref()
        } else {
            None
        }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.row_mut(key)?.value.as_mut()
    }

    /// How many rows stand.
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Rows with their keys, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.iter_from(0)
    }

    /// Rows from `place` on.
    pub fn iter_from(&self, place: u32) -> impl Iterator<Item = (Key, &T)> {
        let rows = self.rows.iter().enumerate().skip(place as usize);
        rows.filter_map(|(place, row)| Some((key(place as u32, row.uses), row.value.as_ref()?)))
    }

    /// The keys of rows at `place` and the `count - 1` places behind it; `None` when there are no places left.
    pub fn keys_at(&self, place: u32, count: u32) -> Option<Vec<Key>> {
        let end = (place.saturating_add(count) as usize).min(self.rows.len());
        let rows = self
            .rows
            .get(place as usize..end)
            .filter(|rows| !rows.is_empty())?;
        let standing = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.value.is_some());
        Some(
            standing
                .map(|(offset, row)| key(place + offset as u32, row.uses))
                .collect(),
        )
    }

    fn row_mut(&mut self, key: Key) -> Option<&mut Row<T>> {
        self.rows
            .get_mut((key >> 32) as usize)
            .filter(|row| row.uses == key as u32)
    }
}

fn key(place: u32, uses: u32) -> Key {
    u64::from(place) << 32 | u64::from(uses)
}
