//! The properties of a message that stay encoded.

use bytes::{Bytes, BytesMut};

use crate::decode::reader::Reader;

/// Gathers, while a section is read, the properties that stay encoded. Where they stand in one piece,
/// which is the rule, they are a slice of what was received; otherwise a copy of the pieces.
pub(crate) struct Kept<'a> {
    section: &'a [u8],
    start: usize,
    end: usize,
    pieces: Option<BytesMut>,
}

impl<'a> Kept<'a> {
    #[inline]
    pub(crate) fn new(section: &'a [u8]) -> Kept<'a> {
        Kept {
            section,
            start: 0,
            end: 0,
            pieces: None,
        }
    }

    /// Keeps the property that stands between two rests of the section.
    #[inline]
    pub(crate) fn keep(&mut self, before: &[u8], after: &[u8]) {
        let from = self.section.len() - before.len();
        let to = self.section.len() - after.len();
        if let Some(pieces) = &mut self.pieces {
            pieces.extend_from_slice(&self.section[from..to]);
        } else if self.start == self.end {
            (self.start, self.end) = (from, to);
        } else if self.end == from {
            self.end = to;
        } else {
            // At most the section itself, which has been received.
            let mut pieces = BytesMut::with_capacity(self.section.len());
            pieces.extend_from_slice(&self.section[self.start..self.end]);
            pieces.extend_from_slice(&self.section[from..to]);
            self.pieces = Some(pieces);
        }
    }

    /// The kept properties; `reader` is of the packet that holds the section.
    #[inline]
    pub(crate) fn finish(self, reader: &Reader<'a>) -> Bytes {
        match self.pieces {
            Some(pieces) => pieces.freeze(),
            None => reader.share(&self.section[self.start..self.end]),
        }
    }
}
