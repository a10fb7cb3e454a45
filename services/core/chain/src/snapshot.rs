//! A snapshot is made and read beside the shard, which goes on meanwhile `[C-30]`.
//!
//! The replica freezes its state at one index and asks for the bytes ([`Encoding`]), or has received all bytes and asks for
//! the state ([`Decoding`]). Both can run on another thread; their results come back as inputs.

use crate::{digest, log::Position, machine::Machine, message::SnapshotHeader};

/// The state at one index, to be made bytes.
#[derive(Debug)]
pub struct Encoding<M: Machine> {
    pub(crate) end: Position,
    pub(crate) frozen: M::Frozen,
}

/// What came of an [`Encoding`].
#[derive(Debug)]
pub struct Encoded {
    pub(crate) end: Position,
    pub(crate) bytes: Vec<u8>,
    pub(crate) checksum: u64,
}

/// Bytes that arrived, to be made a state.
#[derive(Debug)]
pub struct Decoding {
    pub(crate) nonce: u64,
    pub(crate) header: SnapshotHeader,
    pub(crate) bytes: Vec<u8>,
}

/// What came of a [`Decoding`].
#[derive(Debug)]
pub struct Decoded<M: Machine> {
    pub(crate) nonce: u64,
    pub(crate) header: SnapshotHeader,
    /// `None`: the bytes are no snapshot, or not what their checksum says.
    pub(crate) machine: Option<M>,
}

impl<M: Machine> Encoding<M> {
    /// Takes time by the size of the state.
    pub fn run(self) -> Encoded {
        let bytes = M::encode(&self.frozen);
        Encoded {
            end: self.end,
            checksum: digest::checksum(&bytes),
            bytes,
        }
    }
}

impl Encoded {
    /// How many bytes the snapshot has.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Decoding {
    /// How many bytes the snapshot has.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes time by the size of the state.
    pub fn run<M: Machine>(self) -> Decoded<M> {
        let is_intact = digest::checksum(&self.bytes) == self.header.checksum;
        let machine = is_intact.then(|| M::restore(&self.bytes).ok()).flatten();
        Decoded {
            nonce: self.nonce,
            header: self.header,
            machine,
        }
    }
}
