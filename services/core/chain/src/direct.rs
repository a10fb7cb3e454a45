//! What passes by the log: a tail hands it on as things stand, and remembers none of it `[F-41]` `[C-51]`.

use std::collections::VecDeque;

use crate::{configuration::Generation, machine::Machine, message::ConnectionId, replica::Replica};

/// Deliveries that one message takes.
const DELIVERIES_MAX: usize = 1_024;

/// Bytes of deliveries in one message; one always fits.
const DELIVERY_BYTES: usize = 1024 * 1024;

/// Bytes of deliveries that wait for one connection. Beyond it they are dropped and counted `[F-59]`.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// What passes by the log on one connection.
#[derive(Debug)]
pub(crate) struct Direct<M: Machine> {
    waiting: VecDeque<Waiting<M>>,
    bytes: usize,
    /// How much the connection has brought, and how much of that it was told of.
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

impl<M: Machine> Replica<M> {
    /// As the tail: hands on what passes by the log. One that may be none any more drops it, and says that it is done.
    pub(crate) fn direct_says(
        &mut self,
        id: ConnectionId,
        generation: Generation,
        publishes: &[M::Direct],
    ) {
        let is_served = self.direct().is_some();
        let (Some(state), Some(connection)) = (&self.state, self.links.get_mut(id)) else {
            return;
        };
        if state.generation != generation || !self.role.is_tail {
            return;
        }
        connection.direct.brought += publishes.len() as u64;
        self.links.mark_one(id);
        if !is_served {
            self.direct_dropped += publishes.len() as u64;
            return;
        }
        let at = state.clock.time(self.now);
        let mut deliveries = Vec::new();
        for publish in publishes {
            state.machine.direct(at, publish, &mut deliveries);
        }
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

    /// Deliveries past the log that found no room or nobody to go to, ever `[F-59]`.
    pub fn direct_dropped(&self) -> u64 {
        self.direct_dropped
    }
}
