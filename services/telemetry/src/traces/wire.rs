//! Protobuf, as far as spans need it: fields whose numbers are below 16, into memory that is there.

use prost::encoding::{WireType, encode_varint, encoded_len_varint};

/// What a field begins with.
pub(crate) const fn key(number: u8, kind: WireType) -> u8 {
    number << 3 | kind as u8
}

/// A number, or the length of a field.
#[inline]
pub(crate) fn put_varint(number: u64, out: &mut Vec<u8>) {
    // Nearly all are that small.
    if number < 0x80 {
        out.push(number as u8);
    } else {
        encode_varint(number, out);
    }
}

/// How many bytes a field of `len` bytes takes.
pub(crate) fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// The head of a field of `len` bytes.
#[inline]
pub(crate) fn put_head(number: u8, len: usize, out: &mut Vec<u8>) {
    out.push(key(number, WireType::LengthDelimited));
    put_varint(len as u64, out);
}

/// A field of bytes.
#[inline]
pub(crate) fn put(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}
