//! What leaves a tail: effects and progress, cut at the commit index `[C-23]`.
//!
//! Whoever carries the connections asks for the next message when there is room for it; until then effects stay in the
//! outbox, which is counted and replicated.

use crate::{
    commit,
    machine::{Machine, Standing},
    message::{ConnectionId, ToOrigin},
    replica::{Output, Replica},
};

/// Effects of one message.
const EFFECTS_MAX: usize = 1_024;

/// Bytes of effects in one message; one effect always fits.
const EFFECTS_BYTES: usize = 1024 * 1024;

impl<M: Machine> Replica<M> {
    /// As the tail: names every connection that may be owed something.
    pub(crate) fn emit(&mut self, outputs: &mut Vec<Output<M>>) {
        for id in self.links.take_dirty() {
            let Some(origin) = self.links.get(id).map(|connection| connection.origin) else {
                continue;
            };
            if self.seen(&origin).is_some() {
                outputs.push(Output::Owed { connection: id });
            } else if self.standing(&origin) == Standing::Refused {
                self.refuse(id, outputs);
            }
            // Else it is parked until its link is committed: that marks it again.
        }
    }

    fn seen(&self, origin: &M::Origin) -> Option<commit::Seen> {
        let state = self.state.as_ref().filter(|_| self.role.is_tail)?;
        state.cut.seen(origin)
    }

    /// The next message that a connection of the lane of effects is owed; `None` when there is none now.
    pub fn owed(&mut self, id: ConnectionId) -> Option<ToOrigin<M>> {
        let origin = self.links.get(id)?.origin;
        let seen = self.seen(&origin)?;
        let (state, configuration) = (self.state.as_ref()?, self.configuration.as_ref()?);
        let connection = self.links.get_mut(id)?;
        // What is owed to a shard travels as ops of our own link to it [C-42].
        let is_shard = M::shard_of(&origin).is_some();
        let outbox = state.machine.outbox(&origin).filter(|_| !is_shard);
        let (mut first, mut effects) = (connection.sent_through + 1, Vec::new());
        if let Some(outbox) = outbox {
            let unsent;
            (first, unsent) = outbox.after(connection.sent_through);
            let through = seen.effects.min(connection.direct.next_after());
            let count = ((through + 1).saturating_sub(first) as usize).min(EFFECTS_MAX);
            effects.reserve_exact(count);
            let mut bytes = 0;
            for effect in unsent.take(count) {
                bytes += M::effect_weight(effect);
                if bytes > EFFECTS_BYTES && !effects.is_empty() {
                    break;
                }
                effects.push(effect.clone());
            }
        }
        let sent_through = first + effects.len() as u64 - 1;
        let direct = connection.direct.take(sent_through, outbox.is_none());
        let is_new = connection.committed_sent != Some(seen.ops);
        if effects.is_empty() && direct.is_empty() && !is_new && !connection.direct.has_news() {
            return None;
        }
        connection.sent_through = sent_through;
        connection.committed_sent = Some(seen.ops);
        Some(ToOrigin::Effects {
            generation: state.generation,
            epoch: configuration.epoch,
            first,
            effects,
            committed: seen.ops,
            direct,
            direct_through: connection.direct.told(),
            now: state.clock.time(self.now),
        })
    }
}
