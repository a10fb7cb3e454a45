//! What is in one file: as a process reads it, and as a power cut leaves it.

use std::collections::BTreeSet;

use crate::disk::SECTOR_BYTES;

/// Where a sector may tear: disks and buses move at least so much at once.
const TEAR_BYTES: usize = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    kept: Vec<u8>,
    /// Sectors that differ, by number.
    dirty: BTreeSet<usize>,
    /// Those whose sync failed: no later sync keeps them, for the system believes that they are kept.
    lost: BTreeSet<usize>,
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.now.len() as u64
    }

    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> usize {
        let from = (offset as usize).min(self.now.len());
        let count = bytes.len().min(self.now.len() - from);
        bytes[..count].copy_from_slice(&self.now[from..from + count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let from = offset as usize;
        let to = from + bytes.len();
        // What lies between is a hole of zeros.
        let touched = from.min(self.now.len());
        if to > self.now.len() {
            self.now.resize(to, 0);
        }
        self.now[from..to].copy_from_slice(bytes);
        self.touch(touched, to);
    }

    pub(super) fn truncate(&mut self, length: u64) {
        let (from, to) = (length as usize, self.now.len());
        self.now.resize(from, 0);
        self.touch(from.min(to), from.max(to));
    }

    fn touch(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
        }
    }

    pub(super) fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector, SECTOR_BYTES);
        }
        if self.lost.is_empty() {
            self.kept.resize(self.now.len(), 0);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.lost.append(&mut self.dirty);
    }

    /// Keeps the first `bytes` of a sector, as far as it is in the file.
    fn keep(&mut self, sector: usize, bytes: usize) {
        let from = sector * SECTOR_BYTES;
        let to = (from + bytes).min(self.now.len());
        if from >= to {
            return;
        }
        if self.kept.len() < to {
            self.kept.resize(to, 0);
        }
        self.kept[from..to].copy_from_slice(&self.now[from..to]);
    }

    /// Of what was not synced some is kept.
    pub(super) fn cut_power(&mut self, random: &mut fastrand::Rng) {
        let mut open = std::mem::take(&mut self.dirty);
        open.append(&mut self.lost);
        let (before, after) = (self.kept.len(), self.now.len());
        // All, nothing, few, half or most of it.
        let share = [0, 10, 50, 90, 100][random.usize(..5)];
        let torn = random
            .bool()
            .then(|| open.iter().nth(random.usize(..open.len().max(1))).copied())
            .flatten();
        for sector in open {
            if Some(sector) == torn {
                self.keep(
                    sector,
                    TEAR_BYTES * random.usize(..SECTOR_BYTES / TEAR_BYTES),
                );
            } else if random.u32(..100) < share {
                self.keep(sector, SECTOR_BYTES);
            }
        }
        let length = match random.u32(..3) {
            0 => before,
            1 => after,
            _ => random.usize(before.min(after)..=before.max(after)),
        };
        // Sectors that were kept stand in a file that is as long as they need.
        let length = if after > before {
            length.max(self.kept.len())
        } else {
            length
        };
        self.kept.resize(length, 0);
        self.now = self.kept.clone();
    }

    pub(super) fn flip(&mut self, bit: u64) {
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        for bytes in [&mut self.now, &mut self.kept] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= mask;
            }
        }
    }

    pub(super) fn zero(&mut self, offset: u64, count: u64) {
        for bytes in [&mut self.now, &mut self.kept] {
            let from = (offset as usize).min(bytes.len());
            let to = (from + count as usize).min(bytes.len());
            bytes[from..to].fill(0);
        }
    }
}
