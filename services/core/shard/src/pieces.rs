//! postcard in pieces: what is written leaves as it comes, and what is read is never there as a whole.

use bytes::Bytes;
use postcard::{Error, Result, de_flavors, ser_flavors};

/// Bytes that are gathered before they leave.
const PIECE_BYTES: usize = 256 * 1024;

/// Gives away what it is given, in pieces.
pub(crate) struct Scatter<'a> {
    out: &'a mut dyn FnMut(&[u8]) -> bool,
    buffer: Vec<u8>,
}

impl<'a> Scatter<'a> {
    pub fn new(out: &'a mut dyn FnMut(&[u8]) -> bool) -> Scatter<'a> {
        Scatter {
            out,
            buffer: Vec::with_capacity(PIECE_BYTES),
        }
    }

    /// Whether more is wanted.
    pub fn put(&mut self, mut bytes: &[u8]) -> bool {
        while self.buffer.len() + bytes.len() > PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            if !self.finish() {
                return false;
            }
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        true
    }

    /// Gives away what is left.
    pub fn finish(&mut self) -> bool {
        let is_wanted = self.buffer.is_empty() || (self.out)(&self.buffer);
        self.buffer.clear();
        is_wanted
    }
}

impl ser_flavors::Flavor for &mut Scatter<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> Result<()> {
        match self.put(data) {
            true => Ok(()),
            false => Err(Error::SerializeBufferFull),
        }
    }

    fn try_push(&mut self, data: u8) -> Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> Result<()> {
        Ok(())
    }
}

/// Takes bytes out of pieces, as they come.
pub(crate) struct Gather<'a> {
    pieces: &'a mut dyn FnMut() -> Option<Vec<u8>>,
    /// What is left of the piece that came last.
    piece: Bytes,
    /// What is handed out, if it was of several pieces.
    taken: Bytes,
}

impl<'a> Gather<'a> {
    pub fn new(pieces: &'a mut dyn FnMut() -> Option<Vec<u8>>) -> Gather<'a> {
        Gather {
            pieces,
            piece: Bytes::new(),
            taken: Bytes::new(),
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&[u8]> {
        if self.piece.len() >= count {
            self.taken = self.piece.split_to(count);
            return Ok(&self.taken);
        }
        let mut taken = Vec::new();
        while taken.len() < count {
            if self.piece.is_empty() {
                let piece = (self.pieces)().ok_or(Error::DeserializeUnexpectedEnd)?;
                self.piece = piece.into();
            }
            let now = self.piece.len().min(count - taken.len());
            taken.extend_from_slice(&self.piece.split_to(now));
        }
        self.taken = taken.into();
        Ok(&self.taken)
    }
}

impl<'de> de_flavors::Flavor<'de> for Gather<'de> {
    type Remainder = Gather<'de>;
    type Source = &'de [u8];

    fn pop(&mut self) -> Result<u8> {
        if let Some((first, _)) = self.piece.split_first() {
            let first = *first;
            bytes::Buf::advance(&mut self.piece, 1);
            return Ok(first);
        }
        Ok(self.take(1)?[0])
    }

    /// Nothing in the state borrows.
    fn try_take_n(&mut self, _: usize) -> Result<&'de [u8]> {
        Err(Error::WontImplement)
    }

    fn try_take_n_temp<'a>(&'a mut self, count: usize) -> Result<&'a [u8]>
    where
        'de: 'a,
    {
        self.take(count)
    }

    fn finalize(self) -> Result<Gather<'de>> {
        Ok(self)
    }
}
