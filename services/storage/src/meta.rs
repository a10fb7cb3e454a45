//! `meta`: who a state belongs to, how far it is whole, and which of its files count. Replaced as a whole, or not at all.

use std::{io, path::Path};

use catena_chain::{Epoch, Generation, Position, ReplicaId};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    disk::Disk,
    error::Reason,
    seal::number,
    switches::{Rule, Switches},
};

/// Its file in a state's directory.
pub(crate) const NAME: &str = "meta";
const NEW: &str = "meta.new";
const MAGIC: &[u8; 8] = b"catena-m";
const VERSION: u16 = 1;
const BYTES: usize = 160;

/// Whether a state is whole `[C-61]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A learner's, before snapshot and log are there: of no use to anybody else.
    Joining,
    Complete,
}

/// When an entry counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// When it is synced.
    Always,
    /// When it is written; synced at intervals. A power cut loses what came after the last sync.
    Interval,
}

/// Who a state belongs to, how far it is whole, and which of its files count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub generation: Generation,
    pub replica: ReplicaId,
    pub status: Status,
    /// Of the state machine `[C-50]`.
    pub feature_level: u32,
    pub sync: Sync,
    /// Entries may be missing that were acknowledged: the generation must rise before it is used `[C-64]`.
    pub may_lack: bool,
    /// A sync failed: never used again.
    pub(crate) has_failed: bool,
    /// Closed in order: `durable` is the very end.
    pub(crate) is_closed: bool,
    /// What the log began after.
    pub(crate) base: Position,
    /// Durable when this was written, at least.
    pub(crate) durable: u64,
    /// Segments that count. None when the last is lower than the first.
    pub(crate) first_segment: u64,
    pub(crate) last_segment: u64,
    /// The snapshot that counts; number 0: none.
    pub(crate) snapshot: (u64, Position),
    /// When `sync` is Interval: the boot in which it was written.
    pub(crate) boot: [u8; 16],
}

impl Meta {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = u8::from(self.status == Status::Complete);
        bytes[11] = u8::from(self.sync == Sync::Interval);
        bytes[12] = u8::from(self.may_lack);
        bytes[13] = u8::from(self.has_failed);
        bytes[14] = u8::from(self.is_closed);
        bytes[16..20].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.feature_level.to_le_bytes());
        let (snapshot, at) = self.snapshot;
        let numbers = [
            self.replica.0,
            self.base.index,
            self.base.epoch.0,
            self.base.digest,
            self.durable,
            self.first_segment,
            self.last_segment,
            snapshot,
            at.index,
            at.epoch.0,
            at.digest,
        ];
        for (place, number) in bytes[24..].chunks_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[112..128].copy_from_slice(&self.boot);
        let check = xxh3_64(&bytes[..BYTES - 8]);
        bytes[BYTES - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Meta, Reason> {
        let damaged = |what| Reason::Damaged { offset: 0, what };
        if bytes.len() != BYTES || &bytes[..8] != MAGIC {
            return Err(damaged("meta is none"));
        }
        if xxh3_64(&bytes[..BYTES - 8]) != number(&bytes[BYTES - 8..]) {
            return Err(damaged("meta is broken"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(Reason::Newer(version));
        }
        let half = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let place = |n: usize| number(&bytes[24 + 8 * n..]);
        let position = |n: usize| Position {
            index: place(n),
            epoch: Epoch(place(n + 1)),
            digest: place(n + 2),
        };
        let mut boot = [0; 16];
        boot.copy_from_slice(&bytes[112..128]);
        let is = |at: usize| bytes[at] != 0;
        Ok(Meta {
            generation: Generation(half(16)),
            replica: ReplicaId(place(0)),
            status: if is(10) {
                Status::Complete
            } else {
                Status::Joining
            },
            feature_level: half(20),
            sync: if is(11) { Sync::Interval } else { Sync::Always },
            may_lack: is(12),
            has_failed: is(13),
            is_closed: is(14),
            base: position(1),
            durable: place(4),
            first_segment: place(5),
            last_segment: place(6),
            snapshot: (place(7), position(8)),
            boot,
        })
    }

    /// Reads a state's meta.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Meta, Reason> {
        let file = match disk.open(&directory.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Reason::Missing),
            other => other?,
        };
        let mut bytes = [0; BYTES + 1];
        let length = file.read_at(&mut bytes, 0)?;
        Meta::decode(&bytes[..length])
    }

    /// Puts it in the place of the one before: durable when this returns.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        directory: &Path,
        switches: Switches,
    ) -> io::Result<()> {
        let new = directory.join(NEW);
        match disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&new)?;
        file.write_at(&self.encode(), 0)?;
        if switches.keep(Rule::SyncMeta) {
            file.sync()?;
        }
        disk.rename(&new, &directory.join(NAME))?;
        if switches.keep(Rule::SyncNames) {
            disk.sync_directory(directory)?;
        }
        Ok(())
    }
}
