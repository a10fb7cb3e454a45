//! What passes by the log: a tail hands it on as things stand, and remembers none of it `[F-41]` `[C-51]`.

use std::collections::VecDeque;

use crate::{configuration::Generation, machine::Machine, message::ConnectionId, replica::Replica};

/// Deliveries that one message takes.
const DELIVERIES_MAX: usize = 1_024;

/// Bytes of deliveries in one message; one always fits.
const DELIVERY_BYTES: usize = 1024 * 1024;

/// Bytes of deliveries that wait for one connection. Beyond it they are dropped and counted `[F-59]`.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Units of work that are done between two times that a replica settles: then other inputs have their turn `[F-60]`.
const WORK_MAX: u32 = 4_096;

/// Units of work after which another connection has its turn.
const STEP: u32 = 1_000;

/// What passes by the log on one connection.
#[derive(Debug)]
pub(crate) struct Direct<M: Machine> {
    /// What has come and is not begun, in order.
    come: VecDeque<M::Direct>,
    /// What is left of the one before those.
    rest: Option<M::Rest>,
    /// It waits for its turn to go on.
    is_waiting: bool,
    waiting: VecDeque<Waiting<M>>,
    bytes: usize,
    /// How much the connection has brought that is done with, and how much of that it was told of.
    brought: u64,
    told: u64,
}

/// A delivery, behind all effects through `after`.
#[derive(Debug)]
struct Waiting<M: Machine> {
    after: u64,
    effect: M::Effect,
    weight: usize,
}

impl<M: Machine> Default for Direct<M> {
    fn default() -> Self {
        Direct {
            come: VecDeque::new(),
            rest: None,
            is_waiting: false,
            waiting: VecDeque::new(),
            bytes: 0,
            brought: 0,
            told: 0,
        }
    }
}

impl<M: Machine> Direct<M> {
    /// Takes a delivery, which goes out behind all effects that the outbox holds now: so the two lanes of a publisher keep
    /// their order `[F-41]`. `false`: there is no room for it.
    fn push(&mut self, after: u64, effect: M::Effect) -> bool {
        let weight = M::effect_weight(&effect);
        if self.bytes + weight > WAITING_BYTES && !self.waiting.is_empty() {
            return false;
        }
        self.bytes += weight;
        self.waiting.push_back(Waiting {
            after,
            effect,
            weight,
        });
        true
    }

    /// Whether not all that has come is on its way.
    pub fn is_busy(&self) -> bool {
        self.rest.is_some() || !self.come.is_empty()
    }

    /// What is lost when the connection ends: messages that are not on their way to all, and deliveries that wait.
    pub fn left(&self) -> u64 {
        self.undone() + self.waiting.len() as u64
    }

    /// Messages that are not on their way to all.
    fn undone(&self) -> u64 {
        self.come.len() as u64 + u64::from(self.rest.is_some())
    }

    /// The last effect that may go out before the next delivery.
    pub fn next_after(&self) -> u64 {
        self.waiting.front().map_or(u64::MAX, |next| next.after)
    }

    /// The deliveries whose turn it is once effects through `sent_through` are out; `has_no_outbox`: there are no effects.
    pub fn take(&mut self, sent_through: u64, has_no_outbox: bool) -> Vec<M::Effect> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let is_due = has_no_outbox || next.after <= sent_through;
            let is_full = taken.len() >= DELIVERIES_MAX
                || (bytes + next.weight > DELIVERY_BYTES && !taken.is_empty());
            if !is_due || is_full {
                break;
            }
            bytes += next.weight;
            taken.extend(self.waiting.pop_front().map(|next| next.effect));
        }
        self.bytes -= bytes;
        taken
    }

    /// Whether the connection has brought more than it was told of, and is not owed deliveries of it.
    pub fn has_news(&self) -> bool {
        self.brought > self.told && self.waiting.is_empty()
    }

    /// How much the connection is told now that it has brought.
    pub fn told(&mut self) -> u64 {
        if self.waiting.is_empty() {
            self.told = self.brought;
        }
        self.told
    }
}

/// Whose turn it is to go on with what passes by the log.
#[derive(Debug)]
pub(crate) struct Turns {
    connections: VecDeque<ConnectionId>,
    /// Units of work that are left until the replica settles.
    work: u32,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            connections: VecDeque::new(),
            work: WORK_MAX,
        }
    }
}

impl<M: Machine> Replica<M> {
    /// As the tail: hands on what passes by the log. One that may be none any more drops it, and says that it is done.
    pub(crate) fn direct_says(
        &mut self,
        id: ConnectionId,
        generation: Generation,
        publishes: Vec<M::Direct>,
    ) {
        let (Some(state), Some(connection)) = (&self.state, self.links.get_mut(id)) else {
            return;
        };
        if state.generation != generation || !self.role.is_tail {
            return;
        }
        connection.direct.come.extend(publishes);
        if !connection.direct.is_waiting {
            self.direct_step(id);
        }
    }

    /// Goes on with what is for so many that it takes several turns, connection by connection `[F-60]`.
    pub(crate) fn direct_on(&mut self) {
        while self.direct_turns.work > 0
            && let Some(id) = self.direct_turns.connections.pop_front()
        {
            if let Some(connection) = self.links.get_mut(id) {
                connection.direct.is_waiting = false;
                self.direct_step(id);
            }
        }
        self.direct_turns.work = WORK_MAX;
    }

    /// Hands on what has come on one connection, in its order, as far as a step reaches.
    fn direct_step(&mut self, id: ConnectionId) {
        let is_served = self.direct().is_some();
        let (Some(state), Some(connection)) = (&self.state, self.links.get_mut(id)) else {
            return;
        };
        let direct = &mut connection.direct;
        if !is_served {
            let lost = direct.undone();
            (direct.rest, direct.brought) = (None, direct.brought + lost);
            direct.come.clear();
            self.direct_dropped += lost;
            return self.links.mark_one(id);
        }
        let at = state.clock.time(self.now);
        let step = self.direct_turns.work.min(STEP);
        let (mut work, mut deliveries) = (step, Vec::new());
        while work > 0 {
            let rest = if let Some(rest) = direct.rest.take() {
                let machine = &state.machine;
                machine.direct_more(rest, &mut work, &mut deliveries)
            } else if let Some(publish) = direct.come.pop_front() {
                let machine = &state.machine;
                machine.direct(at, &publish, &mut work, &mut deliveries)
            } else {
                break;
            };
            direct.brought += u64::from(rest.is_none());
            direct.rest = rest;
        }
        self.direct_turns.work -= step - work;
        direct.is_waiting = direct.is_busy();
        if direct.is_waiting {
            self.direct_turns.connections.push_back(id);
        }
        self.links.mark_one(id);
        for (origin, effect) in deliveries {
            let after = state
                .machine
                .outbox(&origin)
                .map_or(0, |outbox| outbox.last());
            let to = self.links.newest_of(&origin);
            let connection = to.and_then(|to| self.links.get_mut(to));
            let is_taken = connection.is_some_and(|to| to.direct.push(after, effect));
            match to.filter(|_| is_taken) {
                Some(to) => self.links.mark_one(to),
                None => self.direct_dropped += 1,
            }
        }
    }

    /// Whether settling again would go on with what passes by the log.
    pub fn has_more(&self) -> bool {
        self.state.is_some() && !self.direct_turns.connections.is_empty()
    }

    /// Whether not all that a connection brought past the log is on its way: nothing more is to be taken from it until then.
    pub fn is_busy_with(&self, connection: ConnectionId) -> bool {
        let connection = self.links.get(connection);
        connection.is_some_and(|connection| connection.direct.is_busy())
    }

    /// Deliveries past the log that found no room or nobody to go to, and messages that were lost with their connection, ever `[F-59]`.
    pub fn direct_dropped(&self) -> u64 {
        self.direct_dropped + self.links.direct_lost
    }
}
