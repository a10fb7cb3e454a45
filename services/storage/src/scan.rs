//! Reads a segment, and tells a torn end from damage in the middle `[C-64]`.
//!
//! Frames are read one after the other up to the first that is not whole. What is wrong there may be
//!
//! - a **torn end**: the power went while it was written. Nobody was told that it is durable, so it is cut.
//! - **damage**: it was durable once. Cutting would lose acknowledged entries, so the log is unusable.
//!
//! It is torn only if both hold:
//!
//! 1. *A sector of it was not written*: it lies behind the end of the file, or ends with zeros. Sectors are written wholly or up
//!    to some multiple of 16 bytes (were it elsewhere, it is taken for damage), files are new when they are written, and what is encrypted or filled has no run of zeros. A flipped
//!    bit leaves all sectors as they were written, however, so it is never taken for a torn end.
//! 2. *Nothing says that it was durable*: no frame behind it that names it as synced, no later segment, and meta names no
//!    higher index as durable (`recover`).
//!
//! What cannot be told: the frames of the very last sync before the power went, of which whole sectors vanish as well. After a
//! second without appends, or a clean stop, nothing is left that could be mistaken: then a mark follows, or meta names the end.

use bytes::Bytes;
use catena_chain::Position;

use crate::{
    disk::File,
    error::Reason,
    frame::{self, BLOCK_BYTES, CONTENT_BYTES_MAX, HEAD_BYTES, Head, Record},
    seal::Sealer,
};

/// Where frames begin.
pub(crate) const FRAMES_AT: u64 = BLOCK_BYTES as u64;

/// How far a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Behind the last whole frame.
    pub offset: u64,
    /// Of its last entry, or of what it begins after.
    pub position: Position,
    /// Sequence of the next frame.
    pub sequence: u64,
    /// Whether something unwhole follows.
    pub is_torn: bool,
}

/// Reads frames one after the other.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    sealer: &'a Sealer,
    length: u64,
    end: End,
    tells_damage: bool,
}

impl<'a> Scan<'a> {
    /// A segment whose first entry follows `base`.
    pub(crate) fn new(
        file: &'a dyn File,
        sealer: &'a Sealer,
        base: Position,
        tells_damage: bool,
    ) -> Result<Scan<'a>, Reason> {
        Ok(Scan {
            file,
            sealer,
            length: file.length()?,
            end: End {
                offset: FRAMES_AT,
                position: base,
                sequence: 0,
                is_torn: false,
            },
            tells_damage,
        })
    }

    /// Goes on behind `end`.
    pub(crate) fn resume(mut self, end: End) -> Scan<'a> {
        self.end = end;
        self
    }

    /// How far it has come.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The entries of the next frame; `None` at the end.
    ///
    /// # Errors
    /// Damage, and what the disk says.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Record>>, Reason> {
        if self.end.offset >= self.length || self.end.is_torn {
            return Ok(None);
        }
        let mut bytes = self.read(self.end.offset, BLOCK_BYTES)?;
        let Some(head) = Head::decode(&bytes, self.sealer.seed) else {
            return self.broken(&bytes, HEAD_BYTES, "the head of a frame is broken");
        };
        if head.sequence != self.end.sequence
            || head.first != self.end.position.index + 1
            || head.length as usize > CONTENT_BYTES_MAX
        {
            return Err(self.damaged("a frame is not the one that follows"));
        }
        if head.bytes() > bytes.len() {
            bytes = self.read(self.end.offset, head.blocks() as usize)?;
        }
        if bytes.len() < head.bytes() {
            return self.broken(&bytes, head.bytes(), "a frame is cut");
        }
        let (own, sealed) = bytes.split_at_mut(HEAD_BYTES);
        let sealed = &mut sealed[..head.bytes() - HEAD_BYTES];
        if self.sealer.open(head.sequence, own, sealed).is_err() {
            // What does not open has been overwritten.
            let bytes = self.read(self.end.offset, head.blocks() as usize)?;
            return self.broken(&bytes, head.bytes(), "a frame is broken");
        }
        let content = Bytes::from(bytes).slice(HEAD_BYTES..HEAD_BYTES + head.length as usize);
        let Some(records) = frame::records(&head, &content) else {
            return Err(self.damaged("a frame does not hold what it says"));
        };
        self.end.offset += head.blocks();
        self.end.sequence += 1;
        if let Some(last) = records.last() {
            self.end.position = last.position;
        }
        Ok(Some(records))
    }

    /// At what is no whole frame: torn or damaged.
    fn broken(
        &mut self,
        bytes: &[u8],
        wanted: usize,
        what: &'static str,
    ) -> Result<Option<Vec<Record>>, Reason> {
        if self.tells_damage {
            if !frame::lacks_a_sector(bytes, wanted) {
                return Err(self.damaged(what));
            }
            if self.was_synced()? {
                return Err(
                    self.damaged("a frame is broken, and a later one says that it was durable")
                );
            }
        }
        self.end.is_torn = true;
        Ok(None)
    }

    /// Whether a frame behind the broken one says that it was durable.
    fn was_synced(&self) -> Result<bool, Reason> {
        let mut at = self.end.offset;
        while at < self.length {
            let bytes = self.read(at, 256 * BLOCK_BYTES)?;
            let heads = bytes.chunks(BLOCK_BYTES);
            let mut heads = heads.filter_map(|block| Head::decode(block, self.sealer.seed));
            if heads.any(|head| head.synced > self.end.sequence) {
                return Ok(true);
            }
            at += (256 * BLOCK_BYTES) as u64;
        }
        Ok(false)
    }

    fn damaged(&self, what: &'static str) -> Reason {
        let offset = self.end.offset;
        Reason::Damaged { offset, what }
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, Reason> {
        let left = self.length.saturating_sub(offset);
        let wanted = left.min(bytes as u64) as usize;
        let mut read = vec![0; wanted];
        let count = self.file.read_at(&mut read, offset)?;
        read.truncate(count);
        Ok(read)
    }
}
