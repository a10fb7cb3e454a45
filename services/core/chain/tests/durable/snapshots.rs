//! What the threads of one replica make of a snapshot, or read of it: at once, or when a test says so.

use std::collections::VecDeque;

use catena_chain::{
    Input, Replica,
    snapshot::{Decoding, Encoding, EncodingId, Piece},
};

use crate::tally::Tally;

#[derive(Default)]
pub struct Snapshots {
    making: Option<(EncodingId, VecDeque<Piece>)>,
    reading: Option<(Decoding, VecDeque<Piece>)>,
    /// The pieces that have arrived, of all snapshots: where each begins.
    pub arrived: Vec<usize>,
    /// Nothing is read.
    pub holds_reads: bool,
    /// A bit of this piece is flipped on its way.
    pub damages: Option<usize>,
}

impl Snapshots {
    pub fn encode(&mut self, encoding: Encoding<Tally>) {
        let (id, mut pieces) = (encoding.id(), VecDeque::new());
        encoding.run(&mut |piece| {
            pieces.push_back(piece);
            true
        });
        self.making = Some((id, pieces));
    }

    /// The next piece, if it is wanted.
    pub fn made(&mut self, replica: &Replica<Tally>) -> Option<Input<Tally>> {
        let (encoding, pieces) = self.making.as_mut()?;
        let encoding = *encoding;
        if replica.encoding() != Some(encoding) || !replica.wants_piece() {
            return None;
        }
        let piece = pieces.pop_front()?;
        Some(Input::Encoded { encoding, piece })
    }

    pub fn decode(&mut self, decoding: Decoding) {
        self.reading = Some((decoding, VecDeque::new()));
    }

    /// What was held is read.
    pub fn release(&mut self) -> Vec<Input<Tally>> {
        self.holds_reads = false;
        let held = self.reading.iter();
        let read = held.flat_map(|(decoding, pieces)| {
            let nonce = decoding.nonce();
            let bytes = pieces.iter().map(|piece| piece.bytes.len());
            bytes.map(move |bytes| Input::Read { nonce, bytes })
        });
        read.collect()
    }

    /// What the replica hears of it.
    pub fn arrived(&mut self, nonce: u64, mut piece: Piece) -> Option<Input<Tally>> {
        self.arrived.push(piece.offset);
        if self.damages == Some(piece.offset) {
            piece.bytes[0] ^= 1;
        }
        let (decoding, mut pieces) = self.reading.take()?;
        assert_eq!(
            decoding.nonce(),
            nonce,
            "pieces come to the one that is read"
        );
        let (bytes, is_last) = (piece.bytes.len(), piece.is_last);
        pieces.push_back(piece);
        if is_last && !self.holds_reads {
            let decoded = decoding.run(&mut || pieces.pop_front(), &mut |_| ());
            return Some(Input::Decoded(decoded));
        }
        self.reading = Some((decoding, pieces));
        (!self.holds_reads).then_some(Input::Read { nonce, bytes })
    }
}
