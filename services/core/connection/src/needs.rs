//! Which shards a connection cannot do without.

use catena_slots::ShardId;

use crate::{Connection, connection::Phase, peers::Attach};

impl Connection {
    /// Whether `shard` holds something of the session, or was asked to: it cannot go on as it was when that is lost
    /// `[F-25]`.
    pub fn rests_on(&self, shard: ShardId) -> bool {
        let is_attached = |place| self.peers.at(place).attach != Attach::No;
        self.session.is_some()
            && (self.home == shard || self.peers.find(shard).is_some_and(is_attached))
    }

    /// Whether the client waits for something, or may, that `shard` alone can do `[C-45]`. The ops of this gateway
    /// through `committed_through` are committed there.
    pub fn needs(&self, shard: ShardId, committed_through: u64) -> bool {
        let is_asked = match self.phase {
            Phase::Asking(_) | Phase::Connecting(_) => self.home == shard,
            _ => self.rests_on(shard),
        };
        let is_owed = |place| {
            let peer = self.peers.at(place);
            peer.last_op > committed_through || !peer.parked.is_empty()
        };
        is_asked || self.peers.find(shard).is_some_and(is_owed)
    }
}
