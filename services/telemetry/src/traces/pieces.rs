//! Memory of spans that wait to be sent: pieces, into which spans are written one behind another, and which are used again.
//!
//! A list for each span, made on one thread and given back on another, would cost more than all else about it; and the fewer
//! pieces are on their way, the more of them the processor's cache still has.

use std::{
    collections::VecDeque,
    mem,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use opentelemetry_proto::tonic::trace::v1::{self as proto, ScopeSpans};
use prost::Message;

use super::{Attributes, Place, Span, Spans};

/// Bytes of a piece: of some 800 spans, where collectors take requests of 4 MiB.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Pieces that are kept to be used again.
const SPARE_MAX: usize = 8;

/// All that wait within [`Spans`].
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Older than `open`, oldest first.
    full: VecDeque<Written>,
    /// Written to now.
    open: Written,
    /// Spans of all of these.
    count: usize,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    count: usize,
}

impl Pieces {
    /// Spans that wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is a piece that no more spans go into.
    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Writes a span behind the others; says whether that has made a piece full.
    pub fn write(&mut self, span: &Span, said: &Attributes) -> bool {
        let len = span.len(said);
        let is_full = self.open.count > 0 && self.open.bytes.len() + len > PIECE_BYTES;
        if is_full {
            self.full.push_back(mem::take(&mut self.open));
        }
        let open = &mut self.open;
        if open.bytes.capacity() == 0 {
            let spare = self.spare.pop();
            open.bytes = spare.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        }
        span.encode(said, &mut open.bytes);
        open.count += 1;
        self.count += 1;
        is_full
    }

    /// Takes what is full; with `open` the rest as well.
    fn take(&mut self, with_open: bool) -> VecDeque<Written> {
        let mut taken = mem::take(&mut self.full);
        if with_open && self.open.count > 0 {
            taken.push_back(mem::take(&mut self.open));
        }
        self.count = self.open.count;
        taken
    }

    /// Memory that is no longer needed.
    fn give_back(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Nothing is to be written for now.
    pub fn forget_spare(&mut self) {
        self.spare = Vec::new();
    }
}

/// Spans that are to be sent, encoded one behind another. When it is dropped its memory goes back to where it came from, and what was not
/// sent by then is counted.
#[derive(Debug)]
pub struct Piece {
    bytes: Vec<u8>,
    unsent: AtomicUsize,
    home: Spans,
}

impl Piece {
    /// What `home` has: all of it, or what is full.
    pub(super) fn take(home: &Spans, with_open: bool) -> Vec<Piece> {
        let taken = home.change(|pieces| pieces.take(with_open));
        let piece = |written: Written| Piece {
            bytes: written.bytes,
            unsent: AtomicUsize::new(written.count),
            home: home.clone(),
        };
        taken.into_iter().map(piece).collect()
    }

    /// The `spans` of OTLP's `ScopeSpans`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in their traces its spans are: for tests of those who make them.
    pub fn places(&self) -> Vec<Place> {
        // What we have written ourselves is whole, and an id that is not there is 0.
        let read = ScopeSpans::decode(self.bytes()).unwrap_or_default();
        let number = |id: &[u8]| id.iter().fold(0, |id, byte| id << 8 | u128::from(*byte));
        let place = |span: &proto::Span| Place {
            trace: number(&span.trace_id),
            span: number(&span.span_id) as u64,
            parent: number(&span.parent_span_id) as u64,
        };
        read.spans.iter().map(place).collect()
    }

    /// The collector has it.
    pub fn sent(&self) {
        self.unsent.store(0, Relaxed);
    }

    /// Spans that the collector does not have.
    pub fn unsent(&self) -> usize {
        self.unsent.load(Relaxed)
    }

    /// Takes what is in `later`, if there is room for all of it; whether there was.
    pub fn append(&mut self, later: &Piece) -> bool {
        let has_room = self.bytes.len() + later.bytes.len() <= PIECE_BYTES;
        if has_room {
            self.bytes.extend_from_slice(&later.bytes);
            *self.unsent.get_mut() += later.unsent.swap(0, Relaxed);
        }
        has_room
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.home.drop_some(self.unsent());
        if self.home.are_wanted() {
            let bytes = mem::take(&mut self.bytes);
            self.home.change(|pieces| pieces.give_back(bytes));
        }
    }
}
