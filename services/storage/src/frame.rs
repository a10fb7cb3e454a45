//! A frame: the entries that were written together, sealed as one, from one block's beginning to another's.
//!
//! ```text
//!   | head 48 | entries, encrypted | tag 16 | fill |
//!   ^ block                                        ^ block
//! ```
//!
//! No block belongs to two frames: what was synced is never written again, so that a torn write cannot take it along.

use bytes::Bytes;
use catena_chain::{Epoch, Position};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    disk::SECTOR_BYTES,
    seal::{Sealer, TAG_BYTES, number},
};

/// Frames begin at multiples of it.
pub(crate) const BLOCK_BYTES: usize = 4096;
pub(crate) const HEAD_BYTES: usize = 48;
/// What a frame holds at most: one entry of the largest size there is between processes, and some more.
pub(crate) const CONTENT_BYTES_MAX: usize = 513 * 1024 * 1024;
/// So many bytes of entries make a frame full.
pub(crate) const CONTENT_BYTES_TARGET: usize = 1024 * 1024;

const MAGIC: u32 = 0x6d72_6663;
/// Of an entry, before its bytes.
const ENTRY_HEAD_BYTES: usize = 20;
/// Behind a frame, up to the end of its block: not zero, so that every sector that was written ends with something.
const FILL: u8 = 0xa5;
/// A sector that ends with so many zeros was not written to its end: what is encrypted does not look so.
const UNWRITTEN_BYTES: usize = 16;

/// An entry of a shard's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index and epoch, and the running digest after it.
    pub position: Position,
    /// The entry, as the caller encodes it.
    pub bytes: Bytes,
}

/// What a frame says of itself, in the open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the entries, without the tag.
    pub length: u32,
    pub count: u32,
    /// In its segment, from 0.
    pub sequence: u64,
    /// Index of its first entry, or of the next when it has none.
    pub first: u64,
    /// Frames of this segment with lower sequences were durable when it was written.
    pub synced: u64,
}

impl Head {
    fn encode(&self, seed: u64) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        let check = xxh3_64_with_seed(&bytes[..40], seed);
        bytes[40..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The head at the beginning of `bytes`; `None` when there is none, or of another file.
    pub(crate) fn decode(bytes: &[u8], seed: u64) -> Option<Head> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let half = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let is_ours =
            half(0) == MAGIC && xxh3_64_with_seed(&bytes[..40], seed) == number(&bytes[40..]);
        is_ours.then(|| Head {
            length: half(4),
            count: half(32),
            sequence: number(&bytes[8..]),
            first: number(&bytes[16..]),
            synced: number(&bytes[24..]),
        })
    }

    /// Bytes from head to tag.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_BYTES + self.length as usize + TAG_BYTES
    }

    /// Bytes up to the next frame.
    pub(crate) fn blocks(&self) -> u64 {
        self.bytes().next_multiple_of(BLOCK_BYTES) as u64
    }
}

/// A frame that is being made, in a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    count: u32,
}

impl Draft {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(8 * CONTENT_BYTES_TARGET);
        self.bytes.resize(HEAD_BYTES, 0);
        self.count = 0;
    }

    pub(crate) fn push(&mut self, record: &Record) {
        self.count += 1;
        let length = record.bytes.len() as u32;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        let position = &record.position;
        self.bytes
            .extend_from_slice(&position.epoch.0.to_le_bytes());
        self.bytes.extend_from_slice(&position.digest.to_le_bytes());
        self.bytes.extend_from_slice(&record.bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the entries so far.
    pub(crate) fn content_bytes(&self) -> usize {
        self.bytes.len() - HEAD_BYTES
    }

    /// Bytes that the frame will take.
    pub(crate) fn blocks(&self) -> u64 {
        (self.bytes.len() + TAG_BYTES).next_multiple_of(BLOCK_BYTES) as u64
    }

    /// The frame, to be written as it is.
    pub(crate) fn finish(
        &mut self,
        sealer: &Sealer,
        sequence: u64,
        first: u64,
        synced: u64,
    ) -> &[u8] {
        let head = Head {
            length: self.content_bytes() as u32,
            count: self.count,
            sequence,
            first,
            synced,
        }
        .encode(sealer.seed);
        self.bytes[..HEAD_BYTES].copy_from_slice(&head);
        let tag = sealer.seal(sequence, &head, &mut self.bytes[HEAD_BYTES..]);
        self.bytes.extend_from_slice(&tag);
        let whole = self.bytes.len().next_multiple_of(BLOCK_BYTES);
        self.bytes.resize(whole, FILL);
        &self.bytes
    }
}

/// The entries of a frame that was opened; `None` when they are not what their head says.
pub(crate) fn records(head: &Head, content: &Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::with_capacity((head.count as usize).min(content.len()));
    let mut at = 0;
    for index in (head.first..).take(head.count as usize) {
        let own = content.get(at..at + ENTRY_HEAD_BYTES)?;
        let length = u32::from_le_bytes([own[0], own[1], own[2], own[3]]) as usize;
        let position = Position {
            index,
            epoch: Epoch(number(&own[4..])),
            digest: number(&own[12..]),
        };
        at += ENTRY_HEAD_BYTES;
        content.get(at..at + length)?;
        let bytes = content.slice(at..at + length);
        records.push(Record { position, bytes });
        at += length;
    }
    (at == content.len()).then_some(records)
}

/// Whether a sector of `frame` was not written to its end. `frame` begins with a block, and is cut where the file ends.
pub(crate) fn lacks_a_sector(frame: &[u8], wanted: usize) -> bool {
    let sectors = wanted.div_ceil(SECTOR_BYTES) * SECTOR_BYTES;
    if frame.len() < sectors {
        return true;
    }
    frame[..sectors]
        .chunks(SECTOR_BYTES)
        .any(|sector| sector[SECTOR_BYTES - UNWRITTEN_BYTES..] == [0; UNWRITTEN_BYTES])
}
