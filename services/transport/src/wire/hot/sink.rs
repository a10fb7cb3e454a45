//! The fields of a message, told once: to be counted and to be written.

use bytes::BufMut;
use prost::encoding::{WireType, encoded_len_varint};

/// Bytes of a key and a varint, at most.
const SCALAR_BYTES_MAX: usize = 15;

/// Tells its fields in ascending order, as the generated types do.
pub(in crate::wire) trait Fields {
    fn tell(&self, to: &mut impl Sink);
}

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

/// Writes a message.
pub(in crate::wire) fn put(message: &impl Fields, bytes: &mut impl BufMut) {
    message.tell(&mut Put(bytes));
}

fn count(message: &impl Fields) -> usize {
    let mut count = Count(0);
    message.tell(&mut count);
    count.0
}

fn key(field: u32, wire_type: WireType) -> u64 {
    u64::from(field << 3 | wire_type as u32)
}

fn packed_len(values: impl Iterator<Item = u64>) -> usize {
    values.map(encoded_len_varint).sum()
}

/// Counts bytes.
struct Count(usize);

impl Count {
    fn delimited(&mut self, field: u32, len: usize) {
        let key = key(field, WireType::LengthDelimited);
        self.0 += encoded_len_varint(key) + encoded_len_varint(len as u64) + len;
    }
}

impl Sink for Count {
    fn some(&mut self, field: u32, value: u64) {
        self.0 += encoded_len_varint(key(field, WireType::Varint)) + encoded_len_varint(value);
    }

    fn some_fixed64(&mut self, field: u32, _: u64) {
        self.0 += encoded_len_varint(key(field, WireType::SixtyFourBit)) + 8;
    }

    fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        self.delimited(field, bytes.len());
    }

    fn nested(&mut self, field: u32, message: &impl Fields) {
        self.delimited(field, count(message));
    }

    fn generated(&mut self, field: u32, message: &impl prost::Message) {
        self.delimited(field, message.encoded_len());
    }

    fn whole(&mut self, message: &impl prost::Message) {
        self.0 += message.encoded_len();
    }

    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values);
        if len > 0 {
            self.delimited(field, len);
        }
    }
}

/// Writes bytes.
struct Put<'a, B>(&'a mut B);

impl<B: BufMut> Put<'_, B> {
    /// A key and what follows it, in one piece: the buffer asks itself whether it has room only once.
    fn pair(&mut self, key: u64, value: u64) {
        let mut bytes = [0; SCALAR_BYTES_MAX];
        let at = fill(&mut bytes, 0, key);
        let end = fill(&mut bytes, at, value);
        self.0.put_slice(&bytes[..end]);
    }

    fn delimited(&mut self, field: u32, len: usize) {
        self.pair(key(field, WireType::LengthDelimited), len as u64);
    }
}

/// Writes a varint at `at`, and returns where it ends.
fn fill(bytes: &mut [u8; SCALAR_BYTES_MAX], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}

impl<B: BufMut> Sink for Put<'_, B> {
    fn some(&mut self, field: u32, value: u64) {
        self.pair(key(field, WireType::Varint), value);
    }

    fn some_fixed64(&mut self, field: u32, value: u64) {
        let mut bytes = [0; SCALAR_BYTES_MAX];
        let at = fill(&mut bytes, 0, key(field, WireType::SixtyFourBit));
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self.0.put_slice(&bytes[..at + 8]);
    }

    fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        self.delimited(field, bytes.len());
        self.0.put_slice(bytes);
    }

    fn nested(&mut self, field: u32, message: &impl Fields) {
        self.delimited(field, count(message));
        message.tell(self);
    }

    fn generated(&mut self, field: u32, message: &impl prost::Message) {
        self.delimited(field, message.encoded_len());
        self.whole(message);
    }

    fn whole(&mut self, message: &impl prost::Message) {
        message.encode_raw(self.0);
    }

    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values.clone());
        if len == 0 {
            return;
        }
        self.delimited(field, len);
        for value in values {
            prost::encoding::encode_varint(value, self.0);
        }
    }
}
