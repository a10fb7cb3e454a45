//! Snapshots: written and read in pieces, each sealed; the last one says how many bytes there are.
//!
//! A snapshot is written beside the log, by whatever thread makes it, and counts once meta names it
//! ([`crate::State::install`]).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use catena_chain::Position;
use catena_slots::ShardId;

use crate::{
    disk::File,
    error::{Failure, Reason, Unusable},
    key::KeyId,
    seal::{self, HEADER_BYTES, Kind, Sealer, TAG_BYTES, number},
    shared::Shared,
    switches::Rule,
};

/// Bytes of a piece at most.
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// After so many bytes a snapshot is synced, so that no sync of the log waits for all of it.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;
/// Before each piece: its length, and whether it is the last.
const HEAD_BYTES: usize = 8;

/// The file of the snapshot with this number.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("snapshot-{number:016x}"))
}

/// A snapshot that is being written. Dropped unfinished it counts for nothing, and is removed at the next start.
#[derive(Debug)]
pub struct SnapshotWriter {
    shared: Arc<Shared>,
    file: Box<dyn File>,
    path: PathBuf,
    sealer: Sealer,
    key: KeyId,
    number: u64,
    position: Position,
    pieces: u64,
    offset: u64,
    unsynced: u64,
    total: u64,
    buffer: Vec<u8>,
}

/// A snapshot that is durable, and does not count yet.
#[derive(Debug)]
pub struct Finished {
    pub(crate) number: u64,
    pub(crate) position: Position,
    pub(crate) bytes: u64,
    pub(crate) key: KeyId,
}

impl SnapshotWriter {
    pub(crate) fn begin(
        shared: Arc<Shared>,
        directory: &Path,
        shard: ShardId,
        number: u64,
        position: Position,
    ) -> Result<SnapshotWriter, Failure> {
        let path = path(directory, number);
        let failed = |error: std::io::Error| Failure::io("write", &path, &error);
        let key = shared.key();
        let (header, sealer) =
            seal::begin(&*shared.disk, &key, Kind::Snapshot, shard, number, position)
                .map_err(failed)?;
        shared.claim(HEADER_BYTES as u64, &path)?;
        let file = shared.disk.create(&path).map_err(failed)?;
        file.write_at(&header.encode(), 0).map_err(failed)?;
        Ok(SnapshotWriter {
            shared,
            file,
            path,
            sealer,
            key: key.id(),
            number,
            position,
            pieces: 0,
            offset: HEADER_BYTES as u64,
            unsynced: 0,
            total: 0,
            buffer: Vec::new(),
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The disk, or the bound of the volume: the snapshot is of no use then, the state goes on.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            self.total += piece.len() as u64;
            self.piece(piece, false)?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: &[u8], is_last: bool) -> Result<(), Failure> {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&(piece.len() as u32).to_le_bytes());
        head[4] = u8::from(is_last);
        self.buffer.clear();
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(piece);
        let tag = self
            .sealer
            .seal(self.pieces, &head, &mut self.buffer[HEAD_BYTES..]);
        self.buffer.extend_from_slice(&tag);
        let length = self.buffer.len() as u64;
        self.shared.claim(length, &self.path)?;
        self.file
            .write_at(&self.buffer, self.offset)
            .map_err(|error| Failure::io("write", &self.path, &error))?;
        self.pieces += 1;
        self.offset += length;
        self.unsynced += length;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.unsynced = 0;
        if !self.shared.switches.keep(Rule::SyncSnapshot) {
            return Ok(());
        }
        self.shared.syncs.fetch_add(1, Relaxed);
        self.file
            .sync()
            .map_err(|error| Failure::sync(&self.path, &error))
    }

    /// Ends it: durable when this returns.
    ///
    /// # Errors
    /// As [`SnapshotWriter::write`].
    pub fn finish(mut self) -> Result<Finished, Failure> {
        let total = self.total.to_le_bytes();
        self.piece(&total, true)?;
        self.sync()?;
        if let Some(directory) = self.path.parent() {
            self.shared.sync_names(directory)?;
        }
        Ok(Finished {
            number: self.number,
            position: self.position,
            bytes: self.offset,
            key: self.key,
        })
    }
}

/// Reads a snapshot, piece by piece.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Box<dyn File>,
    path: PathBuf,
    sealer: Sealer,
    position: Position,
    pieces: u64,
    offset: u64,
    total: u64,
    is_done: bool,
}

impl SnapshotReader {
    pub(crate) fn open(
        shared: &Shared,
        directory: &Path,
        number: u64,
    ) -> Result<(SnapshotReader, KeyId), Unusable> {
        let path = path(directory, number);
        let file = open(shared, &path)?;
        let (header, sealer) = seal::resume(&*file, &path, &shared.keys(), Kind::Snapshot)?;
        let reader = SnapshotReader {
            file,
            path,
            sealer,
            position: header.base,
            pieces: 0,
            offset: HEADER_BYTES as u64,
            total: 0,
            is_done: false,
        };
        Ok((reader, header.key))
    }

    /// What it is the state at.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes of the file that were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// Damage, and what the disk says.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, Unusable> {
        if self.is_done {
            return Ok(None);
        }
        self.piece().map_err(|reason| reason.at(&self.path))
    }

    fn piece(&mut self) -> Result<Option<Vec<u8>>, Reason> {
        let offset = self.offset;
        let damaged = |what| Reason::Damaged { offset, what };
        let mut head = [0; HEAD_BYTES];
        if self.file.read_at(&mut head, offset)? < HEAD_BYTES {
            return Err(damaged("the snapshot is cut"));
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > PIECE_BYTES_MAX {
            return Err(damaged("a piece of the snapshot is broken"));
        }
        let mut bytes = vec![0; length + TAG_BYTES];
        if self.file.read_at(&mut bytes, offset + HEAD_BYTES as u64)? < bytes.len() {
            return Err(damaged("the snapshot is cut"));
        }
        if self.sealer.open(self.pieces, &head, &mut bytes).is_err() {
            return Err(damaged("a piece of the snapshot is broken"));
        }
        bytes.truncate(length);
        self.pieces += 1;
        self.offset += (HEAD_BYTES + length + TAG_BYTES) as u64;
        if head[4] == 0 {
            self.total += length as u64;
            return Ok(Some(bytes));
        }
        self.is_done = true;
        if bytes.len() != 8 || number(&bytes) != self.total {
            return Err(damaged("pieces of the snapshot are missing"));
        }
        Ok(None)
    }
}

/// Opens a file that meta names.
pub(crate) fn open(shared: &Shared, path: &Path) -> Result<Box<dyn File>, Unusable> {
    match shared.disk.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Reason::Missing.at(path)),
        Err(error) => Err(Reason::from(error).at(path)),
        Ok(file) => Ok(file),
    }
}
