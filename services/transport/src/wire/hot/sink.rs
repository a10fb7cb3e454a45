//! The fields of a message, told once: to be counted and to be written.

use std::vec;

use bytes::BufMut;
use prost::encoding::{WireType, encoded_len_varint};

/// Bytes of a key and a varint, or of a key and a fixed64, at most.
const SCALAR_BYTES_MAX: usize = 15;

/// Bytes that are gathered before they are written: each write asks the buffer whether it has room.
const GATHERED_BYTES: usize = 256;

/// Bytes that are not worth a write of their own, at most.
const SHORT_BYTES_MAX: usize = 64;

/// Tells its fields in ascending order, as the generated types do.
pub(in crate::wire) trait Fields {
    fn tell(&self, to: &mut impl Sink);
}

/// Messages within a message that there is room for from the start: those of a batch of a dozen.
const LENGTHS_USUAL: usize = 64;

/// Takes the fields of a message. Zeros and what is empty are left out, as proto3 wants it, unless the name says `some`.
pub(in crate::wire) trait Sink {
    fn some(&mut self, field: u32, value: u64);

    fn some_fixed64(&mut self, field: u32, value: u64);

    fn some_bytes(&mut self, field: u32, bytes: &[u8]);

    /// A message, also when it is empty.
    fn nested(&mut self, field: u32, message: &impl Fields);

    /// The same, of a generated type.
    fn generated(&mut self, field: u32, message: &impl prost::Message);

    /// All fields, as a generated type has them.
    fn whole(&mut self, message: &impl prost::Message);

    /// Varints in one piece.
    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone);

    fn varint(&mut self, field: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.some(field, value);
        }
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.some_fixed64(field, value);
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.some_bytes(field, bytes);
        }
    }
}

/// Writes a message. It is gone through twice: for the lengths of the messages in it, and to be written.
pub(in crate::wire) fn put(message: &impl Fields, bytes: &mut impl BufMut) {
    let mut count = Count {
        bytes: 0,
        lengths: Vec::with_capacity(LENGTHS_USUAL),
    };
    message.tell(&mut count);
    let mut put = Put {
        bytes,
        gathered: [0; GATHERED_BYTES],
        len: 0,
        lengths: count.lengths.into_iter(),
    };
    message.tell(&mut put);
    put.flush();
}

fn key(field: u32, wire_type: WireType) -> u64 {
    u64::from(field << 3 | wire_type as u32)
}

fn packed_len(values: impl Iterator<Item = u64>) -> usize {
    values.map(encoded_len_varint).sum()
}

/// Counts bytes.
struct Count {
    bytes: usize,
    /// Of messages within the message, in the order in which they begin.
    lengths: Vec<usize>,
}

impl Count {
    fn delimited(&mut self, field: u32, len: usize) {
        let key = key(field, WireType::LengthDelimited);
        self.bytes += encoded_len_varint(key) + encoded_len_varint(len as u64) + len;
    }
}

impl Sink for Count {
    fn some(&mut self, field: u32, value: u64) {
        self.bytes += encoded_len_varint(key(field, WireType::Varint)) + encoded_len_varint(value);
    }

    fn some_fixed64(&mut self, field: u32, _: u64) {
        self.bytes += encoded_len_varint(key(field, WireType::SixtyFourBit)) + 8;
    }

    fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        self.delimited(field, bytes.len());
    }

    fn nested(&mut self, field: u32, message: &impl Fields) {
        let place = self.lengths.len();
        self.lengths.push(0);
        let before = std::mem::take(&mut self.bytes);
        message.tell(self);
        let len = std::mem::replace(&mut self.bytes, before);
        self.lengths[place] = len;
        self.delimited(field, len);
    }

    fn generated(&mut self, field: u32, message: &impl prost::Message) {
        self.delimited(field, message.encoded_len());
    }

    fn whole(&mut self, message: &impl prost::Message) {
        self.bytes += message.encoded_len();
    }

    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values);
        if len > 0 {
            self.delimited(field, len);
        }
    }
}

/// Writes bytes.
struct Put<'a, B> {
    bytes: &'a mut B,
    gathered: [u8; GATHERED_BYTES],
    len: usize,
    /// What [`Count`] has found.
    lengths: vec::IntoIter<usize>,
}

impl<B: BufMut> Put<'_, B> {
    fn flush(&mut self) {
        self.bytes.put_slice(&self.gathered[..self.len]);
        self.len = 0;
    }

    fn make_room(&mut self, bytes: usize) {
        if GATHERED_BYTES - self.len < bytes {
            self.flush();
        }
    }

    /// A varint, for which there is room.
    fn fill(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.gathered[self.len] = value as u8 | 0x80;
            value >>= 7;
            self.len += 1;
        }
        self.gathered[self.len] = value as u8;
        self.len += 1;
    }

    /// Bytes for which there is room.
    fn copy(&mut self, bytes: &[u8]) {
        self.gathered[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn pair(&mut self, key: u64, value: u64) {
        self.make_room(SCALAR_BYTES_MAX);
        self.fill(key);
        self.fill(value);
    }

    fn delimited(&mut self, field: u32, len: usize) {
        self.pair(key(field, WireType::LengthDelimited), len as u64);
    }
}

impl<B: BufMut> Sink for Put<'_, B> {
    fn some(&mut self, field: u32, value: u64) {
        self.pair(key(field, WireType::Varint), value);
    }

    fn some_fixed64(&mut self, field: u32, value: u64) {
        self.make_room(SCALAR_BYTES_MAX);
        self.fill(key(field, WireType::SixtyFourBit));
        self.copy(&value.to_le_bytes());
    }

    fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        self.delimited(field, bytes.len());
        if bytes.len() <= SHORT_BYTES_MAX {
            self.make_room(bytes.len());
            self.copy(bytes);
        } else {
            self.flush();
            self.bytes.put_slice(bytes);
        }
    }

    fn nested(&mut self, field: u32, message: &impl Fields) {
        // Both times the same is told, so there is one for each.
        let len = self.lengths.next().unwrap_or_default();
        self.delimited(field, len);
        message.tell(self);
    }

    fn generated(&mut self, field: u32, message: &impl prost::Message) {
        self.delimited(field, message.encoded_len());
        self.whole(message);
    }

    fn whole(&mut self, message: &impl prost::Message) {
        self.flush();
        message.encode_raw(self.bytes);
    }

    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values.clone());
        if len == 0 {
            return;
        }
        self.delimited(field, len);
        for value in values {
            self.make_room(SCALAR_BYTES_MAX);
            self.fill(value);
        }
    }
}
