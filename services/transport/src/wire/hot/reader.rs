//! The fields of a message that was received.

use bytes::Bytes;

use crate::wire::{Malformed, NO_PROTOBUF};

/// Bytes of the longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// A message of which some fields were read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// What was received: parts of it are kept as slices.
    received: &'a Bytes,
    rest: &'a [u8],
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Bytes, a message, or varints in one piece.
    Piece(Reader<'a>),
    /// Nothing that we send.
    Fixed32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(received: &'a Bytes) -> Reader<'a> {
        Reader {
            received,
            rest: received,
        }
    }

    /// The next field with its number; `None` at the end.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(NO_PROTOBUF)?;
                self.rest = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| NO_PROTOBUF)?;
                let (piece, rest) = self.rest.split_at_checked(len).ok_or(NO_PROTOBUF)?;
                self.rest = rest;
                Value::Piece(Reader {
                    received: self.received,
                    rest: piece,
                })
            }
            5 => {
                let (_, rest) = self.rest.split_at_checked(4).ok_or(NO_PROTOBUF)?;
                self.rest = rest;
                Value::Fixed32
            }
            _ => return Err(NO_PROTOBUF),
        };
        Ok(Some((key >> 3, value)))
    }

    /// The next varint of a piece that consists of them.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            // Most lengths.
            [low, high @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (place, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                // The tenth byte has room for one bit alone.
                if place == VARINT_BYTES_MAX - 1 && *byte > 1 {
                    return Err(NO_PROTOBUF);
                }
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(NO_PROTOBUF)
    }

    /// Whether all was read.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, as a slice of what was received.
    pub(super) fn bytes(&self) -> Bytes {
        if self.rest.is_empty() {
            // It would keep what was received for nothing.
            return Bytes::new();
        }
        self.received.slice_ref(self.rest)
    }

    /// What is left, as a message of a generated type.
    pub(super) fn generated<P: prost::Message + Default>(&self) -> Result<P, Malformed> {
        P::decode(self.bytes()).map_err(|_| NO_PROTOBUF)
    }
}
