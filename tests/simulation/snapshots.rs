//! Snapshots on their way: what a node's threads make of a state, and read of what arrives.

use std::collections::VecDeque;

use catena_chain::{
    Input,
    snapshot::{Decoding, Encoding, EncodingId, Piece},
};

use crate::{
    network::Place,
    parcel::{Event, Parcel},
    workload::Workload,
    world::World,
};

/// Those of one shard on one node.
#[derive(Default)]
pub struct Snapshots {
    making: Option<Making>,
    reading: Option<Reading>,
}

/// Its pieces are all there, but leave only when they are wanted.
struct Making {
    encoding: EncodingId,
    pieces: VecDeque<Piece>,
    /// The thread is at the next one.
    is_busy: bool,
}

struct Reading {
    decoding: Decoding,
    pieces: VecDeque<Piece>,
}

impl<W: Workload> World<W> {
    /// A tail wants its state made bytes.
    pub fn encode(&mut self, node: usize, shard: usize, encoding: Encoding<W::Machine>) {
        let (id, mut pieces) = (encoding.id(), VecDeque::new());
        encoding.run(&mut |piece| {
            pieces.push_back(piece);
            true
        });
        let snapshots = self.nodes[node].snapshots.entry(shard).or_default();
        snapshots.making = Some(Making {
            encoding: id,
            pieces,
            is_busy: false,
        });
    }

    /// The next piece is made while it is wanted.
    pub fn make_pieces(&mut self, node: usize, shard: usize) {
        let Some(replica) = self.nodes[node].replicas.get(shard) else {
            return;
        };
        let (wanted, wants_piece) = (replica.encoding(), replica.wants_piece());
        let Some(snapshots) = self.nodes[node].snapshots.get_mut(&shard) else {
            return;
        };
        let is_given_up = |making: &mut Making| Some(making.encoding) != wanted;
        snapshots.making.take_if(is_given_up);
        let making = snapshots.making.as_mut();
        if let Some(making) = making.filter(|making| wants_piece && !making.is_busy)
            && let Some(piece) = making.pieces.pop_front()
        {
            making.is_busy = true;
            let encoding = making.encoding;
            self.came_of(node, shard, Input::Encoded { encoding, piece });
        }
    }

    /// A learner wants a state made of what arrives.
    pub fn decode(&mut self, node: usize, shard: usize, decoding: Decoding) {
        let snapshots = self.nodes[node].snapshots.entry(shard).or_default();
        snapshots.reading = Some(Reading {
            decoding,
            pieces: VecDeque::new(),
        });
    }

    /// It is read at once; that it was, and what came of it, is told later.
    pub fn piece_arrived(&mut self, node: usize, shard: usize, nonce: u64, piece: Piece) {
        let Some(snapshots) = self.nodes[node].snapshots.get_mut(&shard) else {
            return;
        };
        let is_it = |reading: &mut Reading| reading.decoding.nonce() == nonce;
        let Some(mut reading) = snapshots.reading.take_if(is_it) else {
            return;
        };
        let (bytes, is_last) = (piece.bytes.len(), piece.is_last);
        reading.pieces.push_back(piece);
        if is_last {
            let mut pieces = reading.pieces;
            let decoded = reading
                .decoding
                .run(&mut || pieces.pop_front(), &mut |_| ());
            self.came_of(node, shard, Input::Decoded(decoded));
        } else {
            snapshots.reading = Some(reading);
            self.came_of(node, shard, Input::Read { nonce, bytes });
        }
    }

    /// Another thread tells it, if there is one: it takes its time.
    fn came_of(&mut self, node: usize, shard: usize, input: Input<W::Machine>) {
        let Some(incarnation) = self.nodes[node].incarnation else {
            return;
        };
        let late = match self.plan.offloads_snapshots {
            true => self.random.within(100, 60_000),
            false => 0,
        };
        let parcel = Parcel::Snapshot {
            incarnation,
            shard,
            input,
        };
        let to = Place::Node(node);
        self.schedule(self.now + late, Event::Notice { to, parcel });
    }

    /// It has told.
    pub fn snapshot_came_on(&mut self, node: usize, shard: usize, input: Input<W::Machine>) {
        let snapshots = self.nodes[node].snapshots.get_mut(&shard);
        let making = snapshots.and_then(|snapshots| snapshots.making.as_mut());
        if let (Input::Encoded { encoding, .. }, Some(making)) = (&input, making)
            && making.encoding == *encoding
        {
            making.is_busy = false;
        }
        self.step(node, shard, input);
    }
}
