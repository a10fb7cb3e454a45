//! The filters that a session holds, as far as a policy must know them `[F-90]`.
//!
//! While a port has a policy, the connection keeps the filters that were granted, so that a changed policy is applied at once.
//! Those that a resumed session brings, and that are no longer granted, are unsubscribed; until the shards have done
//! so, and for what was queued before, deliveries that only they match are not passed on.

use bytestring::ByteString;
use catena_mqtt::{Filter, ReasonCode};
use catena_shard::{Op, effect::Held, op::Attach as AttachOp};
use catena_slots::ShardId;

use crate::{
    Connection, Outside,
    bounds::{HELD_FILTERS_MAX, REVOKED_FILTERS_MAX},
    guard::Guard,
    input::Now,
    outside::Action,
    peers::Attach,
    requests::Wanted,
};

impl Guard {
    fn hold(&mut self, filter: &Filter) {
        if self.held.contains(filter) {
            return;
        }
        if self.held.len() >= HELD_FILTERS_MAX {
            self.held_elsewhere = true;
            return;
        }
        self.held.insert(own(filter));
    }

    /// Whether a message may be passed on: not if only filters match it that are no longer granted.
    pub fn may_receive(&self, topic: &str) -> bool {
        let matches = |filter: &Filter| filter.matches(topic);
        self.revoked.is_empty()
            || !self.revoked.iter().any(matches)
            || self.held.iter().any(matches)
    }
}

/// In memory of its own: a slice of what came from the network would pin all of that `[F-45]`.
fn own(filter: &Filter) -> Filter {
    let text = ByteString::from(&**filter.full());
    Filter::parse(text).unwrap_or_else(|_| filter.clone())
}

impl Connection {
    fn strict_guard(&mut self) -> Option<&mut Guard> {
        self.guard.as_deref_mut().filter(|guard| guard.is_strict())
    }

    /// Marks the filters that the policy does not allow. What the others match may be passed on from now on.
    pub(crate) fn judge_filters<O: Outside>(&mut self, filters: &mut [Wanted], outside: &mut O) {
        for wanted in filters {
            let Some(filter) = &wanted.filter else {
                continue;
            };
            wanted.is_denied = !self.allows(Action::Subscribe, filter.full(), outside);
            if let Some(guard) = self.guard.as_deref_mut().filter(|_| !wanted.is_denied) {
                guard.revoked.retain(|revoked| revoked != filter);
            }
        }
    }

    /// Keeps or forgets the filters of a round. `done`: whether they were granted, or unsubscribed.
    pub(crate) fn note_filters(&mut self, filters: &[Wanted], done: &[bool]) {
        let Some(guard) = self.strict_guard() else {
            return;
        };
        for (wanted, _) in filters.iter().zip(done).filter(|(_, done)| **done) {
            match (&wanted.filter, wanted.options) {
                (Some(filter), Some(_)) => guard.hold(filter),
                (Some(filter), None) => {
                    guard.held.remove(filter);
                }
                (None, _) => {}
            }
        }
    }

    /// Whether all filters are granted that the client is known to hold, or is about to.
    pub(crate) fn may_hold_all<O: Outside>(&mut self, outside: &mut O) -> bool {
        let Some(guard) = self.strict_guard() else {
            return true;
        };
        let held = std::mem::take(&mut guard.held);
        let all = held
            .iter()
            .all(|filter| self.allows(Action::Subscribe, filter.full(), outside));
        if let Some(guard) = self.strict_guard() {
            guard.held = held;
        }
        all && self.may_hold_wanted(outside)
    }

    /// Whether all filters are granted that shards are asked about.
    fn may_hold_wanted<O: Outside>(&mut self, outside: &mut O) -> bool {
        let round = self
            .requests
            .as_ref()
            .and_then(|requests| requests.round.as_ref());
        let filters = round.into_iter().flat_map(|round| &round.filters);
        let wanted = filters.filter(|wanted| wanted.options.is_some() && !wanted.is_denied);
        let wanted: Vec<ByteString> = wanted
            .filter_map(|wanted| Some(wanted.filter.as_ref()?.full().clone()))
            .collect();
        wanted
            .iter()
            .all(|filter| self.allows(Action::Subscribe, filter, outside))
    }

    /// A policy is new to a connection that has lived without one, or the filters were too many to keep: the shards tell which are held.
    pub(crate) fn ask_what_is_held<O: Outside>(&mut self, outside: &mut O) {
        let Some(who) = self.session else { return };
        if !self
            .strict_guard()
            .is_some_and(|guard| guard.held_elsewhere)
        {
            return;
        }
        for place in 0..self.peers.len() {
            let (shard, attach) = (self.peers.at(place).shard, self.peers.at(place).attach);
            let Some(guard) = self.strict_guard() else {
                return;
            };
            // One that was not answered will be, and then tells.
            if attach != Attach::Yes || guard.asked.contains(&shard) {
                continue;
            }
            guard.asked.push(shard);
            let attachment = self.attachment(outside.slots());
            self.send_control(shard, Op::Attach(AttachOp { who, attachment }), outside);
        }
        if let Some(guard) = self.strict_guard() {
            guard.held_elsewhere = false;
        }
    }

    /// A shard that was asked has told which filters are held.
    pub(crate) fn on_held_told<O: Outside>(
        &mut self,
        shard: ShardId,
        held: &Held,
        now: Now,
        outside: &mut O,
    ) {
        let Some(guard) = self.strict_guard() else {
            return;
        };
        let Some(place) = guard.asked.iter().position(|asked| *asked == shard) else {
            return;
        };
        guard.asked.swap_remove(place);
        for (filter, _) in &held.filters {
            // One that was revoked at resume goes as soon as the shard has come to it.
            let is_revoked = self
                .strict_guard()
                .is_some_and(|guard| guard.revoked.contains(filter));
            if is_revoked {
                continue;
            }
            if !self.allows(Action::Subscribe, filter.full(), outside) {
                let text = "a subscription is no longer allowed by the authorization policy";
                return self.fail(ReasonCode::NotAuthorized, text, now, outside);
            }
            if let Some(guard) = self.strict_guard() {
                guard.hold(filter);
            }
        }
    }

    /// The session is resumed on `shard`: what is no longer granted is unsubscribed before delivery goes on `[F-90]`.
    pub(crate) fn take_held<O: Outside>(
        &mut self,
        shard: ShardId,
        held: &Held,
        now: Now,
        outside: &mut O,
    ) {
        if self.strict_guard().is_none() {
            return;
        }
        let mut refused = Vec::new();
        for (filter, _) in &held.filters {
            if self.allows(Action::Subscribe, filter.full(), outside) {
                if let Some(guard) = self.strict_guard() {
                    guard.hold(filter);
                }
            } else {
                refused.push(own(filter));
            }
        }
        if refused.is_empty() {
            return;
        }
        let is_too_many = self.strict_guard().is_some_and(|guard| {
            let new = refused
                .iter()
                .filter(|filter| !guard.revoked.contains(filter));
            let new: Vec<Filter> = new.cloned().collect();
            let is_too_many = guard.revoked.len() + new.len() > REVOKED_FILTERS_MAX;
            if !is_too_many {
                guard.revoked.extend(new);
            }
            is_too_many
        });
        self.send_take_back(shard, refused, outside);
        if is_too_many {
            // They are unsubscribed, and cannot all be watched for what was queued: the next connection finds none of them.
            let text = "many subscriptions are no longer allowed: connect again";
            self.fail(ReasonCode::NotAuthorized, text, now, outside);
        }
    }
}
