//! The tail's side of a snapshot: what is on its way to the learner `[C-30]`.

use crate::{
    entry::Stamp,
    join::Phase,
    log::Position,
    machine::Machine,
    message::{Message, SnapshotHeader},
    replica::{Output, Replica},
    snapshot::{Encoding, EncodingId, PIECES_AHEAD, Piece},
};

/// A snapshot on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    encoding: EncodingId,
    /// Of the learner's last Hello `[C-30]`.
    nonce: u64,
    end: Position,
    at: Stamp,
    /// Bytes that were sent, and that the learner has read.
    sent: usize,
    read: usize,
    /// The last piece was sent.
    is_whole: bool,
}

impl Transfer {
    /// Where the log goes on from it.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The learner's Hello that it answers.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }
}

impl<M: Machine> Replica<M> {
    /// As the tail: the learner has nothing and asks for all.
    pub(crate) fn begin_snapshot(&mut self, nonce: u64, outputs: &mut Vec<Output<M>>) {
        if self.join.phase() != Phase::CatchingUp {
            return;
        }
        if let Some(transfer) = &mut self.join.transfer {
            if transfer.sent == 0 && !transfer.is_whole {
                // It asks again because it was told nothing yet.
                transfer.nonce = nonce;
            }
            if transfer.nonce == nonce {
                return;
            }
        }
        let Some(state) = &self.state else {
            return;
        };
        self.last_encoding.0 += 1;
        let id = self.last_encoding;
        self.join.transfer = Some(Transfer {
            encoding: id,
            nonce,
            end: state.log.end(),
            at: state.clock.time(self.now),
            sent: 0,
            read: 0,
            is_whole: false,
        });
        outputs.push(Output::Encode(Encoding {
            id,
            frozen: state.machine.freeze(),
            piece_bytes: self.options.snapshot_piece_bytes,
        }));
    }

    /// The snapshot whose pieces are of use; all others are to be given up.
    pub fn encoding(&self) -> Option<EncodingId> {
        let transfer = self.join.transfer.as_ref()?;
        (!transfer.is_whole).then_some(transfer.encoding)
    }

    /// Whether there is room for the next piece of [`Replica::encoding`] on its way to the learner ([`crate::Input::Encoded`]).
    pub fn wants_piece(&self) -> bool {
        let window = self.options.snapshot_piece_bytes * PIECES_AHEAD;
        let transfer = self.join.transfer.as_ref();
        transfer.is_some_and(|transfer| {
            !transfer.is_whole && transfer.sent < transfer.read.saturating_add(window)
        })
    }

    /// As the tail: the next piece.
    pub(crate) fn piece_encoded(
        &mut self,
        encoding: EncodingId,
        piece: Piece,
        outputs: &mut Vec<Output<M>>,
    ) {
        let transfer = self.join.transfer.as_mut();
        let is_next = |transfer: &&mut Transfer| {
            transfer.encoding == encoding && transfer.sent == piece.offset && !transfer.is_whole
        };
        let (Some(transfer), Some(learner)) = (transfer.filter(is_next), self.role.successor)
        else {
            return;
        };
        transfer.sent += piece.bytes.len();
        transfer.is_whole = piece.is_last;
        self.transfers.sent += 1;
        self.transfers.sent_bytes += piece.bytes.len() as u64;
        let part = Message::SnapshotPart {
            nonce: transfer.nonce,
            header: SnapshotHeader {
                end: transfer.end,
                at: transfer.at,
            },
            piece,
        };
        self.send(learner, part, outputs);
    }

    /// As the tail: the learner has read so many bytes.
    pub(crate) fn snapshot_taken(&mut self, nonce: u64, through: usize) {
        let transfer = self.join.transfer.as_mut();
        if let Some(transfer) = transfer.filter(|transfer| transfer.nonce == nonce) {
            transfer.read = transfer.read.max(through.min(transfer.sent));
        }
    }
}
