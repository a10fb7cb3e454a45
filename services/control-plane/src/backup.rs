//! The file of a backup: records in a row, each with a checksum, and an end that says that it is whole.
//!
//! ```text
//! "CATENABK"  version u32  record record record ... record
//! record: length u32  kind u8  body  checksum u64
//! ```
//!
//! Numbers are big endian. A body is a protobuf message: first one Header (kind 1) and one Resources (2), then any number of things (3), last one
//! End (4). The checksum is XXH3 of the kind and the body, with the record's place in the file as its seed, so that a record that is missing or
//! elsewhere shows too. [`Writer`] makes the bytes, [`Reader`] takes them in pieces of any size.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use catena_proto::{
    admin::v1::{BackupEnd, BackupHeader, BackupProgress, BackupResources},
    internal::v1::{Saved, SavedThings, saved::Thing},
};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How a file begins.
const MAGIC: &[u8; 8] = b"CATENABK";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Bytes before the first record.
const FRONT_BYTES: usize = 12;
/// Bytes of a record before its body, and behind it.
const HEAD_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 8;
/// The longest body, in bytes: the largest packet fits.
const BODY_BYTES_MAX: usize = 512 << 20;

/// What stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Header(BackupHeader),
    Resources(BackupResources),
    Things(Vec<Saved>),
    End(BackupEnd),
}

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("this is no backup of Catena")]
    NotOurs,
    #[error("it has version {0} of the format, and this program knows version {VERSION} alone")]
    Version(u32),
    #[error("the record at byte {0} is damaged: its checksum is another one")]
    Checksum(u64),
    #[error("the record at byte {0} does not belong there")]
    Order(u64),
    #[error("the record at byte {0} cannot be read")]
    Unreadable(u64),
    #[error("it is cut: its end is missing behind byte {0}")]
    Cut(u64),
    #[error("something follows behind its end at byte {0}")]
    Behind(u64),
}

/// Makes the bytes of a file.
#[derive(Debug, Default)]
pub struct Writer {
    records: u64,
    bytes: u64,
}

impl Writer {
    /// The bytes of the next record.
    pub fn put(&mut self, record: Record) -> Bytes {
        let (kind, body) = match record {
            Record::Header(header) => (1, header.encode_to_vec()),
            Record::Resources(resources) => (2, resources.encode_to_vec()),
            Record::Things(things) => (3, SavedThings { things }.encode_to_vec()),
            Record::End(end) => (4, end.encode_to_vec()),
        };
        let length = FRONT_BYTES + HEAD_BYTES + body.len() + CHECKSUM_BYTES;
        let mut bytes = BytesMut::with_capacity(length);
        if self.records == 0 {
            bytes.put_slice(MAGIC);
            bytes.put_u32(VERSION);
        }
        bytes.put_u32(body.len() as u32);
        let covered = bytes.len();
        bytes.put_u8(kind);
        bytes.put_slice(&body);
        let checksum = xxh3_64_with_seed(&bytes[covered..], self.records);
        bytes.put_u64(checksum);
        self.records += 1;
        self.bytes += bytes.len() as u64;
        bytes.freeze()
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Reads a file that comes in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    waiting: BytesMut,
    /// Bytes that were read.
    at: u64,
    records: u64,
    has_ended: bool,
}

impl Reader {
    /// Takes what comes next in the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next record; `None` until more has come.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn record(&mut self) -> Result<Option<Record>, Damaged> {
        if self.has_ended && !self.waiting.is_empty() {
            return Err(Damaged::Behind(self.at));
        }
        if self.at == 0 {
            let known = self.waiting.len().min(MAGIC.len());
            if self.waiting[..known] != MAGIC[..known] {
                return Err(Damaged::NotOurs);
            }
            if self.waiting.len() < FRONT_BYTES {
                return Ok(None);
            }
            self.waiting.advance(MAGIC.len());
            let version = self.waiting.get_u32();
            if version != VERSION {
                return Err(Damaged::Version(version));
            }
            self.at = FRONT_BYTES as u64;
        }
        let Some(head) = self.waiting.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > BODY_BYTES_MAX {
            return Err(Damaged::Unreadable(self.at));
        }
        let whole = HEAD_BYTES + length + CHECKSUM_BYTES;
        if self.waiting.len() < whole {
            return Ok(None);
        }
        let mut record = self.waiting.split_to(whole).freeze();
        let mut checksum = record.split_off(HEAD_BYTES + length);
        let covered = &record[HEAD_BYTES - 1..];
        if checksum.get_u64() != xxh3_64_with_seed(covered, self.records) {
            return Err(Damaged::Checksum(self.at));
        }
        let (kind, body) = (record[HEAD_BYTES - 1], record.slice(HEAD_BYTES..));
        let record = self.read(kind, body)?;
        self.records += 1;
        self.at += whole as u64;
        Ok(Some(record))
    }

    fn read(&mut self, kind: u8, body: Bytes) -> Result<Record, Damaged> {
        let read = match (self.records, kind) {
            (0, 1) => BackupHeader::decode(body).map(Record::Header),
            (1, 2) => BackupResources::decode(body).map(Record::Resources),
            (2.., 3) => SavedThings::decode(body).map(|saved| Record::Things(saved.things)),
            (2.., 4) => {
                self.has_ended = true;
                BackupEnd::decode(body).map(Record::End)
            }
            _ => return Err(Damaged::Order(self.at)),
        };
        read.map_err(|_| Damaged::Unreadable(self.at))
    }

    /// Nothing comes any more: whether that was all.
    ///
    /// # Errors
    /// [`Damaged`] when the end is missing.
    pub fn finish(&self) -> Result<(), Damaged> {
        match self.has_ended {
            true if self.waiting.is_empty() => Ok(()),
            true => Err(Damaged::Behind(self.at)),
            false => Err(Damaged::Cut(self.at)),
        }
    }
}

/// Counts a thing.
pub fn count(progress: &mut BackupProgress, saved: &Saved) {
    match &saved.thing {
        Some(Thing::Retained(_)) => progress.retained += 1,
        Some(Thing::Session(_)) => progress.sessions += 1,
        Some(Thing::Subscription(_)) => progress.subscriptions += 1,
        Some(Thing::InFlight(_) | Thing::Queued(_) | Thing::Grouped(_)) => progress.messages += 1,
        Some(Thing::Message(_) | Thing::Inbound(_) | Thing::Will(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut writer = Writer::default();
        let header = BackupHeader {
            shards: 4,
            ..BackupHeader::default()
        };
        let resources = BackupResources {
            manifests: vec!["{}".to_owned()],
        };
        let things = || Record::Things(vec![Saved::default(); 3]);
        let records = [
            Record::Header(header),
            Record::Resources(resources),
            things(),
            things(),
            Record::End(BackupEnd::default()),
        ];
        let file: Vec<u8> = records
            .into_iter()
            .flat_map(|record| writer.put(record))
            .collect();
        assert_eq!(writer.bytes(), file.len() as u64);
        file
    }

    /// The records of a file that comes in pieces of so many bytes.
    fn read(file: &[u8], piece: usize) -> Result<usize, Damaged> {
        let (mut reader, mut records) = (Reader::default(), 0);
        for piece in file.chunks(piece) {
            reader.push(piece);
            while reader.record()?.is_some() {
                records += 1;
            }
        }
        reader.finish().map(|()| records)
    }

    // A backup would be found to be of no use on the day that it is needed.
    #[test]
    fn a_file_is_read_in_pieces_of_any_size() {
        let file = file();
        for piece in [1, 7, 64, file.len()] {
            assert_eq!(read(&file, piece), Ok(5));
        }
    }

    // Half of a backup would be put in as if it were all.
    #[test]
    fn what_is_cut_damaged_or_out_of_order_is_refused() {
        let file = file();
        for length in 0..file.len() {
            let cut = read(&file[..length], 16);
            assert!(matches!(cut, Err(Damaged::Cut(_))), "{length}: {cut:?}");
        }
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 0x10;
            assert!(read(&flipped, 16).is_err(), "byte {at}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(matches!(read(&longer, 16), Err(Damaged::Behind(_))));
        // Without the third record, whose twin is the fourth.
        let mut writer = Writer::default();
        let mut record = |record| writer.put(record).len();
        let front = record(Record::Header(BackupHeader {
            shards: 4,
            ..BackupHeader::default()
        })) + record(Record::Resources(BackupResources {
            manifests: vec!["{}".to_owned()],
        }));
        let third = record(Record::Things(vec![Saved::default(); 3]));
        let without = [&file[..front], &file[front + third..]].concat();
        assert!(matches!(read(&without, 16), Err(Damaged::Checksum(_))));
    }
}
