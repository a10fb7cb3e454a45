//! Snapshots that are made for a learner, or read as one: on threads of their own, a piece at a time.
//!
//! A thread that makes one waits until the tail has room for its next piece, and one that reads waits for the next to arrive. Both
//! end when the replica has given theirs up: nobody is at the other end of their channel any more.

use std::{sync::mpsc as blocking, task::Context, task::Poll};

use catena_chain::snapshot::{Decoding, Encoding, EncodingId, PIECES_AHEAD, Piece};
use catena_replicated::{Input, Replica, Replicated};
use catena_transport::{Dial, Reach};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::Host;
use crate::{spill::Spill, storage::put_away};

/// Pieces that were made and that the tail has not taken. It says itself how many may be on their way.
const PIECES_MADE: usize = 1;

/// Pieces that have arrived and were not read. The replica bounds their bytes; a tail that cuts them smaller than tails do gets no
/// further.
const PIECES_ARRIVED: usize = 4 * PIECES_AHEAD;

/// What reading threads have told and the host has not heard. Beyond it they wait.
const NEWS: usize = 4;

/// The snapshots of a shard on this process.
#[derive(Debug)]
pub(super) struct Snapshots {
    making: Option<Making>,
    reading: Option<Reading>,
    /// What comes of those that are read.
    news: mpsc::Receiver<Input>,
    teller: mpsc::Sender<Input>,
}

#[derive(Debug)]
struct Making {
    encoding: EncodingId,
    pieces: mpsc::Receiver<Piece>,
}

#[derive(Debug)]
struct Reading {
    nonce: u64,
    pieces: blocking::SyncSender<Piece>,
}

impl Snapshots {
    pub fn new() -> Snapshots {
        let (teller, news) = mpsc::channel(NEWS);
        Snapshots {
            making: None,
            reading: None,
            news,
            teller,
        }
    }

    /// A tail wants its state made bytes.
    pub fn encode(&mut self, encoding: Encoding<Replicated>) {
        let (give, pieces) = mpsc::channel(PIECES_MADE);
        self.making = Some(Making {
            encoding: encoding.id(),
            pieces,
        });
        spawn_blocking(move || encoding.run(&mut |piece| give.blocking_send(piece).is_ok()));
    }

    /// A learner wants a state made of what arrives. What it holds on disk besides goes there at once: memory has no room for it.
    pub fn decode(&mut self, decoding: Decoding, spill: Spill) {
        let nonce = decoding.nonce();
        let (pieces, arrived) = blocking::sync_channel::<Piece>(PIECES_ARRIVED);
        self.reading = Some(Reading { nonce, pieces });
        let teller = self.teller.clone();
        spawn_blocking(move || {
            // Whoever does not hear it any more is gone, and the pieces end too.
            let tell = |input| drop(teller.blocking_send(input));
            let mut next = || {
                let piece = arrived.recv().ok()?;
                let bytes = piece.bytes.len();
                tell(Input::Read { nonce, bytes });
                Some(piece)
            };
            let mut look = |machine: &Replicated| put_away(machine, &spill);
            tell(Input::Decoded(decoding.run(&mut next, &mut look)));
        });
    }

    /// A piece for it.
    pub fn arrived(&mut self, nonce: u64, piece: Piece) {
        if let Some(reading) = self.reading.as_ref().filter(|it| it.nonce == nonce)
            && reading.pieces.try_send(piece).is_err()
        {
            // The thread has ended and tells what came of it; or it will find the end where this one is missing.
            self.reading = None;
        }
    }

    /// What the replica is to hear next.
    fn next(&mut self, replica: &Replica, cx: &mut Context<'_>) -> Option<Input> {
        self.making
            .take_if(|making| replica.encoding() != Some(making.encoding));
        self.reading
            .take_if(|reading| replica.decoding() != Some(reading.nonce));
        if let Poll::Ready(Some(input)) = self.news.poll_recv(cx) {
            return Some(input);
        }
        let making = self.making.as_mut()?;
        match replica.wants_piece().then(|| making.pieces.poll_recv(cx))? {
            Poll::Ready(Some(piece)) => Some(Input::Encoded {
                encoding: making.encoding,
                piece,
            }),
            Poll::Ready(None) => {
                self.making = None;
                None
            }
            Poll::Pending => None,
        }
    }
}

impl<D: Dial, R: Reach> Host<D, R> {
    /// Takes what the threads have come to.
    pub(super) fn tend_snapshots(&mut self, cx: &mut Context<'_>) {
        while let Some(input) = self.snapshots.next(&self.replica, cx) {
            self.handle(input);
        }
    }
}
