//! The shard's side of links: connections, and the ops that come to the head `[C-40]` to `[C-45]`. What leaves the tail is
//! in `emit.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catena_link::Batch;

use crate::{
    configuration::{Configuration, Epoch, Generation, ReplicaId},
    direct::Direct,
    entry::Payload,
    machine::{Machine, Standing},
    message::{ConnectionId, FromOrigin, Lane, ToOrigin},
    replica::{Output, Replica},
    switches::Rule,
};

/// An open connection of an origin. Several may coexist: what was sent is known of each alone `[C-41]`.
#[derive(Debug)]
pub(crate) struct Connection<M: Machine> {
    pub origin: M::Origin,
    lane: Lane,
    pub sent_through: u64,
    /// `None`: parked, because the origin's link is not committed yet `[C-4]`.
    pub committed_sent: Option<u64>,
    /// It was told of a gap, and what fits has not come since: once is enough for all that was on its way.
    is_gap_told: bool,
    pub direct: Direct<M>,
}

/// The connections of all origins.
#[derive(Debug)]
pub(crate) struct Links<M: Machine> {
    open: BTreeMap<ConnectionId, Connection<M>>,
    effects_of: BTreeMap<M::Origin, BTreeSet<ConnectionId>>,
    /// May be owed something.
    dirty: BTreeSet<ConnectionId>,
    /// What passed by the log and was lost with its connection.
    pub direct_lost: u64,
}

impl<M: Machine> Default for Links<M> {
    fn default() -> Self {
        Links {
            open: BTreeMap::new(),
            effects_of: BTreeMap::new(),
            dirty: BTreeSet::new(),
            direct_lost: 0,
        }
    }
}

impl<M: Machine> Links<M> {
    fn insert(&mut self, id: ConnectionId, connection: Connection<M>) {
        if connection.lane == Lane::Effects {
            self.effects_of
                .entry(connection.origin)
                .or_default()
                .insert(id);
            self.dirty.insert(id);
        }
        self.open.insert(id, connection);
    }

    /// The connection broke or was closed.
    pub fn forget(&mut self, id: ConnectionId) {
        self.dirty.remove(&id);
        let Some(connection) = self.open.remove(&id) else {
            return;
        };
        self.direct_lost += connection.direct.left();
        if let Some(others) = self.effects_of.get_mut(&connection.origin) {
            others.remove(&id);
            if others.is_empty() {
                self.effects_of.remove(&connection.origin);
            }
        }
    }

    /// Forgets the connections of one lane and returns them.
    pub fn close(&mut self, lane: Lane) -> Vec<ConnectionId> {
        let of_lane =
            |(id, open): (&ConnectionId, &Connection<M>)| (open.lane == lane).then_some(*id);
        let ids: Vec<_> = self.open.iter().filter_map(of_lane).collect();
        for id in &ids {
            self.forget(*id);
        }
        ids
    }

    /// Forgets all connections and returns them.
    pub fn close_all(&mut self) -> Vec<ConnectionId> {
        let mut ids = self.close(Lane::Ops);
        ids.extend(self.close(Lane::Effects));
        ids
    }

    /// All connections.
    pub fn all(&self) -> impl Iterator<Item = ConnectionId> {
        self.open.keys().copied()
    }

    /// Something may be owed to `origin`.
    pub fn mark(&mut self, origin: &M::Origin) {
        if let Some(ids) = self.effects_of.get(origin) {
            self.dirty.extend(ids);
        }
    }

    /// Something may be owed to anyone.
    pub fn mark_all(&mut self) {
        self.dirty.extend(self.effects_of.values().flatten());
    }

    /// Something may be owed on this connection.
    pub fn mark_one(&mut self, id: ConnectionId) {
        self.dirty.insert(id);
    }

    /// Those that may be owed something, once.
    pub fn take_dirty(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.dirty)
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection<M>> {
        self.open.get(&id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<M>> {
        self.open.get_mut(&id)
    }

    /// The newest connection of the lane of effects that `origin` has.
    pub fn newest_of(&self, origin: &M::Origin) -> Option<ConnectionId> {
        self.effects_of.get(origin)?.last().copied()
    }
}

impl<M: Machine> Replica<M> {
    /// An origin says something on a connection to us.
    pub(crate) fn origin_says(
        &mut self,
        id: ConnectionId,
        message: FromOrigin<M>,
        outputs: &mut Vec<Output<M>>,
    ) {
        match message {
            FromOrigin::Open {
                origin,
                lane,
                replica,
                epoch,
                generation,
                first_uncommitted,
                effects_through,
            } => {
                if !self.is_meant(lane, replica, generation) {
                    if self.options.switches.keep(Rule::C4) {
                        self.not_yet(id, epoch, outputs);
                    }
                    return;
                }
                let connection = Connection {
                    origin,
                    lane,
                    sent_through: effects_through,
                    committed_sent: None,
                    is_gap_told: false,
                    direct: Direct::default(),
                };
                match self.standing(&origin) {
                    Standing::Refused => self.refuse(id, outputs),
                    Standing::NotYet => self.not_yet(id, epoch, outputs),
                    Standing::Known => {
                        self.links.insert(id, connection);
                        if lane == Lane::Ops {
                            self.open_ops(id, origin, first_uncommitted, outputs);
                        }
                    }
                }
            }
            FromOrigin::Ops {
                generation,
                acked_through,
                batch,
            } => self.ops(id, generation, acked_through, batch, outputs),
            FromOrigin::Acked {
                generation,
                through,
            } => self.acked(id, generation, through),
            FromOrigin::Direct {
                generation,
                publishes,
            } => self.direct_says(id, generation, publishes),
        }
    }

    /// Whether we are the one whom an Open is for, in this generation `[C-2]` `[C-4]`.
    fn is_meant(&self, lane: Lane, replica: ReplicaId, generation: Generation) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        let has_role = match lane {
            Lane::Ops => self.role.is_head,
            Lane::Effects => self.role.is_tail,
        };
        let is_same_line = state.generation == generation || !self.options.switches.keep(Rule::C2);
        has_role && self.seat == Some(replica) && is_same_line
    }

    /// As the log says it, never a local view `[C-43]`.
    pub(crate) fn standing(&self, origin: &M::Origin) -> Standing {
        match &self.state {
            _ if !self.options.switches.keep(Rule::C43) => Standing::Known,
            Some(state) => state.machine.standing(origin),
            None => Standing::NotYet,
        }
    }

    /// Ask again; with our configuration when it is newer than the one that the origin came by `[C-11]`.
    fn not_yet(&mut self, id: ConnectionId, epoch: Epoch, outputs: &mut Vec<Output<M>>) {
        let hands_on = self.options.switches.keep(Rule::C11);
        let newer = |ours: &&Configuration| hands_on && ours.epoch > epoch;
        let message = ToOrigin::NotYet {
            configuration: self.configuration.as_ref().filter(newer).cloned(),
        };
        self.close_with(id, message, outputs);
    }

    pub(crate) fn refuse(&mut self, id: ConnectionId, outputs: &mut Vec<Output<M>>) {
        self.close_with(id, ToOrigin::Refused, outputs);
    }

    fn close_with(
        &mut self,
        connection: ConnectionId,
        message: ToOrigin<M>,
        outputs: &mut Vec<Output<M>>,
    ) {
        outputs.push(Output::Reply {
            connection,
            message,
        });
        outputs.push(Output::Close { connection });
        self.links.forget(connection);
    }

    /// As the head: tells where to go on. A link is made by a logged entry, never by the receipt of an Open `[C-43]`.
    fn open_ops(
        &mut self,
        connection: ConnectionId,
        origin: M::Origin,
        first: u64,
        outputs: &mut Vec<Output<M>>,
    ) {
        let applied = |replica: &Self| {
            let state = replica.state.as_ref()?;
            state.machine.applied_through(&origin)
        };
        // A link that we made to owe it something has taken nothing yet.
        if applied(self).is_none_or(|through| through == 0 && first > 1) {
            self.append(Payload::LinkOpen { origin, first });
        }
        let (Some(applied_through), Some(state)) = (applied(self), &self.state) else {
            self.refuse(connection, outputs);
            return;
        };
        let message = ToOrigin::OpsOpened {
            generation: state.generation,
            applied_through,
            now: state.clock.time(self.now),
        };
        outputs.push(Output::Reply {
            connection,
            message,
        });
    }

    /// The origin of a connection of the lane of ops, opened in this generation `[C-4]`.
    fn sender(&self, id: ConnectionId, generation: Generation) -> Option<M::Origin> {
        let connection = self.links.open.get(&id)?;
        let state = self.state.as_ref()?;
        let is_same_line = state.generation == generation || !self.options.switches.keep(Rule::C2);
        (connection.lane == Lane::Ops && self.role.is_head && is_same_line)
            .then_some(connection.origin)
    }

    fn ops(
        &mut self,
        id: ConnectionId,
        generation: Generation,
        acked_through: u64,
        batch: Arc<Batch<M::Op>>,
        outputs: &mut Vec<Output<M>>,
    ) {
        let Some(origin) = self.sender(id, generation) else {
            return;
        };
        let machine = self.state.as_ref().map(|state| &state.machine);
        let Some(applied_through) = machine.and_then(|machine| machine.applied_through(&origin))
        else {
            match self.standing(&origin) {
                Standing::Refused => self.refuse(id, outputs),
                _ => self.not_yet(id, self.epoch(), outputs),
            }
            return;
        };
        if batch.first > applied_through + 1 {
            if !self.tell_gap(id, true) {
                outputs.push(Output::Reply {
                    connection: id,
                    message: ToOrigin::Gap { applied_through },
                });
            }
            return;
        }
        self.tell_gap(id, false);
        if batch.last() <= applied_through {
            self.acked(id, generation, acked_through);
            return;
        }
        self.append(Payload::Ops {
            origin,
            acked_through,
            batch,
        });
    }

    /// Notes whether a connection is told of a gap, and returns whether it had been.
    fn tell_gap(&mut self, id: ConnectionId, is_told: bool) -> bool {
        let connection = self.links.open.get_mut(&id);
        connection.is_some_and(|open| std::mem::replace(&mut open.is_gap_told, is_told))
    }

    fn acked(&mut self, id: ConnectionId, generation: Generation, through: u64) {
        let Some(origin) = self.sender(id, generation) else {
            return;
        };
        let machine = self.state.as_ref().map(|state| &state.machine);
        let outbox = machine.and_then(|machine| machine.outbox(&origin));
        if outbox.is_some_and(|outbox| outbox.first() <= through && through <= outbox.last()) {
            self.append(Payload::Acked { origin, through });
        }
    }

    /// The origins with an open connection of ops: a heartbeat tells the control plane of them `[C-43]`.
    pub fn connected_origins(&self) -> impl Iterator<Item = M::Origin> {
        let open = self.links.open.values();
        open.filter(|connection| connection.lane == Lane::Ops)
            .map(|connection| connection.origin)
    }
}
