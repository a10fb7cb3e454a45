//! A snapshot is made and read beside the shard, which goes on meanwhile, and is nowhere as a whole `[C-30]`.
//!
//! The tail freezes its state at one index and asks for its bytes ([`Encoding`]); the learner asks for a state of the bytes that
//! arrive ([`Decoding`]). Both take long and run on threads of their own, piece by piece: a piece is made when the learner has
//! read those before it, but for [`PIECES_AHEAD`]. So neither side holds more than a few, however large the state is.
//!
//! ```text
//!  tail                                                   learner
//!  Output::Encode ─► thread ─► Input::Encoded             Output::Decode ─► thread ─► Input::Decoded
//!                    ▲     piece │                            ▲ Output::Arrived   │ Input::Read
//!    wants_piece() ──┘           └──── SnapshotPart ──────────┘ (a piece)         │
//!          ▲                                                                      │
//!          └─────────────────────── SnapshotTaken ◄───────────────────────────────┘
//! ```

use std::fmt;

use crate::{
    digest,
    machine::{Machine, Unreadable},
};

/// Pieces of a snapshot that the learner may not have read yet.
pub const PIECES_AHEAD: usize = 4;

/// Names an [`Encoding`], uniquely in the life of a process's part in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EncodingId(pub(crate) u64);

/// The state at one index, to be made bytes.
#[derive(Debug)]
pub struct Encoding<M: Machine> {
    pub(crate) id: EncodingId,
    pub(crate) frozen: M::Frozen,
    pub(crate) piece_bytes: usize,
}

/// Some of a snapshot's bytes, in order.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where in the snapshot it begins.
    pub offset: usize,
    pub bytes: Vec<u8>,
    /// Of all bytes through the last of these.
    pub checksum: u64,
    /// Whether the snapshot ends with it.
    pub is_last: bool,
}

/// The size says enough.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_last { ", the last" } else { "" };
        write!(f, "Piece({} + {}{end})", self.offset, self.bytes.len())
    }
}

impl<M: Machine> Encoding<M> {
    /// Which one it is: its pieces come back under this name, as long as [`crate::Replica::encoding`] says so.
    pub fn id(&self) -> EncodingId {
        self.id
    }

    /// Makes the pieces one by one, until `out` wants no more. Takes time by the size of the state, and as long as `out` does.
    pub fn run(self, out: &mut dyn FnMut(Piece) -> bool) {
        let mut cutter = Cutter::default();
        let mut is_wanted = true;
        M::write(self.frozen, &mut |bytes| {
            // Before the first bytes there is nothing to be the last piece of.
            is_wanted = bytes
                .chunks(self.piece_bytes.max(1))
                .all(|chunk| cutter.next(Some(chunk)).is_none_or(&mut *out));
            is_wanted
        });
        if is_wanted && let Some(last) = cutter.next(None) {
            out(last);
        }
    }
}

/// Holds one piece back: it may be the last.
#[derive(Default)]
struct Cutter {
    held: Vec<u8>,
    offset: usize,
    checksum: u64,
    has_any: bool,
}

impl Cutter {
    /// The piece before `bytes`; `None` behind the last.
    fn next(&mut self, bytes: Option<&[u8]>) -> Option<Piece> {
        let is_last = bytes.is_none();
        let is_first = !std::mem::replace(&mut self.has_any, true);
        let next = bytes.unwrap_or_default().to_vec();
        let held = std::mem::replace(&mut self.held, next);
        if is_first && !is_last {
            return None;
        }
        let offset = self.offset;
        self.offset += held.len();
        self.checksum = digest::checksum(self.checksum, &held);
        Some(Piece {
            offset,
            bytes: held,
            checksum: self.checksum,
            is_last,
        })
    }
}

/// Pieces that arrive are to be made a state.
#[derive(Debug)]
pub struct Decoding {
    pub(crate) nonce: u64,
}

impl Decoding {
    /// Which one it is: its pieces come under this name, as long as [`crate::Replica::decoding`] says so.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Takes the pieces as they come, and `None` when there will be no more; `look` sees the state while it grows. Takes time by
    /// the size of the state.
    pub fn run<M: Machine>(
        self,
        pieces: &mut dyn FnMut() -> Option<Piece>,
        look: &mut dyn FnMut(&M),
    ) -> Decoded<M> {
        let (mut checksum, mut is_whole) = (0, false);
        let mut next = || {
            if is_whole {
                return None;
            }
            let piece = pieces()?;
            checksum = digest::checksum(checksum, &piece.bytes);
            // Whatever follows would be read as something else.
            let is_intact = checksum == piece.checksum;
            is_whole = is_intact && piece.is_last;
            is_intact.then_some(piece.bytes)
        };
        let machine = M::read(&mut next, look);
        // Nothing may be left of it.
        let is_at_end = next().is_none();
        let machine = machine.and_then(|machine| match is_at_end && is_whole {
            true => Ok(machine),
            false => Err(Unreadable),
        });
        Decoded {
            nonce: self.nonce,
            machine: machine.ok(),
        }
    }
}

/// What came of a [`Decoding`].
#[derive(Debug)]
pub struct Decoded<M: Machine> {
    pub(crate) nonce: u64,
    /// `None`: the bytes are no snapshot, or not what their checksums say.
    pub(crate) machine: Option<M>,
}

impl<M: Machine> Decoded<M> {
    /// Of the decoding of this name nothing came.
    pub fn nothing(nonce: u64) -> Self {
        Decoded {
            nonce,
            machine: None,
        }
    }
}
