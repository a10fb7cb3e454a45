//! What a connection knows of each shard that it deals with.

use std::{collections::VecDeque, sync::Arc};

use catena_mqtt::QoS;
use catena_shard::{Message, op::AckItem};
use catena_slots::ShardId;
use smallvec::SmallVec;

use crate::{Outside, input::Now, parking::Parked};

/// Whether the session's reader on a shard knows this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    /// It was not asked to.
    No,
    /// Asked, not yet answered. `resume`: the shard may hold inbound QoS 2 ids `[F-42]`.
    Sent { resume: bool },
    /// It does.
    Yes,
}

/// A delivery that waits to be written.
#[derive(Debug)]
pub(crate) struct Pending {
    pub message: Arc<Message>,
    pub subscription_ids: Option<Arc<[u32]>>,
    /// In gateway time; `u64::MAX`: never.
    pub expires: Now,
    pub since: Now,
    /// As the shard gave it; 0: untracked.
    pub packet_id: u16,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub shared: bool,
    pub counted: bool,
}

/// One shard, as this connection sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub shard: ShardId,
    pub attach: Attach,
    /// Asked for [`crate::Input::Progress`] and not yet told.
    pub awaiting: bool,
    /// Number of the last publish that went through the log, and is not known to be committed; 0: none `[F-41]`.
    pub last_op: u64,
    /// Place of the last publish that went past the log, and is not known to be handled; 0: none `[F-41]`.
    pub last_direct: u64,
    /// Publishes that wait for this shard, oldest first `[F-62]`.
    pub parked: VecDeque<Parked>,
    /// Deliveries from this shard that wait to be written, oldest first `[F-52]`.
    pub waiting: VecDeque<Pending>,
    /// What became of tracked deliveries since the last flush `[F-55]`.
    pub acks: SmallVec<[AckItem; 4]>,
    /// Counted deliveries that left since the last Credit `[F-50]`.
    pub credit_messages: u32,
    pub credit_bytes: u64,
    /// Number of the Detach of a connection that is taken over `[F-12]`.
    pub detached: u64,
}

impl Peer {
    fn new(shard: ShardId) -> Peer {
        Peer {
            shard,
            attach: Attach::No,
            awaiting: false,
            last_op: 0,
            last_direct: 0,
            parked: VecDeque::new(),
            waiting: VecDeque::new(),
            acks: SmallVec::new(),
            credit_messages: 0,
            credit_bytes: 0,
            detached: 0,
        }
    }

    /// Asks to be told of the link's progress, unless that was asked before.
    pub fn await_progress<O: Outside>(&mut self, outside: &mut O) {
        if !self.awaiting {
            self.awaiting = true;
            outside.await_progress(self.shard);
        }
    }
}

const NONE: u16 = u16::MAX;

/// The shards that this connection deals with, in the order in which it met them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Place in `rows` by shard.
    places: Vec<u16>,
    rows: Vec<Peer>,
}

impl Peers {
    /// The place of `shard`, new if need be.
    pub fn place(&mut self, shard: ShardId) -> usize {
        if let Some(place) = self.find(shard) {
            return place;
        }
        if self.places.len() <= shard.index() {
            self.places
                .reserve_exact(shard.index() + 1 - self.places.len());
            self.places.resize(shard.index() + 1, NONE);
        }
        // One at a time: most connections meet one or two shards, and there are many connections.
        self.rows.reserve_exact(1);
        self.places[shard.index()] = self.rows.len() as u16;
        self.rows.push(Peer::new(shard));
        self.rows.len() - 1
    }

    /// The place of `shard`, if it was met.
    pub fn find(&self, shard: ShardId) -> Option<usize> {
        let place = *self.places.get(shard.index())?;
        (place != NONE).then_some(usize::from(place))
    }

    pub fn at(&self, place: usize) -> &Peer {
        &self.rows[place]
    }

    pub fn at_mut(&mut self, place: usize) -> &mut Peer {
        &mut self.rows[place]
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.rows.iter_mut()
    }
}
