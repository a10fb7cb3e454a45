//! Publish, Release and wills: messages come in `[F-40]` `[F-42]` `[F-63]`.

use std::sync::Arc;

use catena_mqtt::ReasonCode;

use crate::{
    account::{HIGH_PRIORITY_PERCENT_MAX, PUBLISH_PERCENT_MAX, REFERENCE_BYTES},
    effect::{Effect, Published, Released},
    id::Time,
    links::LinkId,
    message::{Message, Will},
    op::{Publish, PublishWill, Release},
    retained::Retained,
    shard::Shard,
    store::MessageId,
    switches::Rule,
    timer::Timer,
    watch::{What, Why},
};

impl Shard {
    pub(crate) fn publish(&mut self, link: LinkId, publish: &Publish) {
        let message = &publish.message;
        let Some(reader) = self.admit(&publish.who) else {
            let what = What::Dropped(Why::Replaced);
            return self.watching.note(message, None, what);
        };
        self.stats.publishes += 1;
        self.watching.note(message, None, What::Applied);
        let answer = |reason| {
            Effect::Published(Published {
                conn: publish.conn,
                token: publish.token,
                reason,
            })
        };
        if publish.packet_id != 0 {
            let known = self
                .readers
                .get(reader)
                .and_then(|r| r.inbound.get(&publish.packet_id));
            // An id that an earlier connection left behind, without DUP, is a new publish [F-42].
            let is_new = |epoch: &u64| !publish.dup && *epoch < publish.who.epoch;
            if known.is_some_and(|epoch| !is_new(epoch)) {
                let what = What::Dropped(Why::Duplicate);
                self.watching.note(message, None, what);
                self.emit(link, answer(ReasonCode::Success));
                return;
            }
        }
        if self.refuses(publish) {
            self.stats.publishes_refused += 1;
            self.stats.publishes_refused_disk += u64::from(self.is_full_elsewhere());
            let what = What::Dropped(Why::Refused);
            self.watching.note(message, None, what);
            self.spill_later();
            self.emit(link, answer(ReasonCode::QuotaExceeded));
            return;
        }
        if publish.packet_id != 0 && self.switches.keep(Rule::F42) {
            if let Some(row) = self.readers.get_mut(reader) {
                let old = row.inbound.insert(publish.packet_id, publish.who.epoch);
                self.account.add(old.map_or(REFERENCE_BYTES, |_| 0));
            }
            self.tell_home(reader);
        }
        let anyone = self.route(&publish.message);
        let reason = if anyone {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        };
        self.emit(link, answer(reason));
    }

    pub(crate) fn release(&mut self, link: LinkId, release: &Release) {
        let Some(reader) = self.admit(&release.who) else {
            return;
        };
        let Some(row) = self.readers.get_mut(reader) else {
            return;
        };
        let found = row.inbound.remove(&release.packet_id).is_some();
        self.account.remove(if found { REFERENCE_BYTES } else { 0 });
        let Release {
            conn, packet_id, ..
        } = *release;
        self.emit(
            link,
            Effect::Released(Released {
                conn,
                packet_id,
                found,
            }),
        );
        self.look_later(reader);
    }

    /// A will from its home shard. Never refused `[F-20]`.
    pub(crate) fn publish_peer_will(&mut self, will: &PublishWill) {
        self.stats.wills += 1;
        self.route(&will.message);
    }

    /// Publishes a will from here: applied at once if the topic is this shard's, else sent to its shard. Returns the
    /// number of the op on the link to it.
    pub(crate) fn publish_will(&mut self, will: &Will) -> Option<(catena_slots::ShardId, u64)> {
        let shard = self.settings.slots.topic(&will.message.topic);
        if shard == self.id {
            self.stats.wills += 1;
            self.route(&will.message);
            return None;
        }
        let op = PublishWill {
            message: will.message.clone(),
        };
        Some((shard, self.emit_to_shard(shard, crate::Op::PublishWill(op))))
    }

    /// Whether memory or the limits of retained messages forbid the publish `[F-63]` `[F-66]`.
    fn refuses(&self, publish: &Publish) -> bool {
        let message = &publish.message;
        let clears = message.retain && message.payload.is_empty();
        if clears {
            return false;
        }
        let percent = if publish.high_priority {
            HIGH_PRIORITY_PERCENT_MAX
        } else {
            PUBLISH_PERCENT_MAX
        };
        if self.account.is_above(percent, self.settings.buffer_bytes) {
            return true;
        }
        message.retain && !self.retained_fits(message)
    }

    fn retained_fits(&self, message: &Message) -> bool {
        let old = self.retained.get(&message.topic);
        let count_fits = old.is_some()
            || self
                .settings
                .retained_messages_max
                .is_none_or(|max| (self.retained.len() as u64) < max);
        let given_back = old.map_or(0, |old| self.store.message(old.message).weight() as u64);
        let bytes = self.retained.bytes().saturating_sub(given_back) + message.weight() as u64;
        count_fits && bytes <= self.settings.retained_bytes_max
    }

    /// Stores, replaces or clears the retained message of a topic. v5 [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    pub(crate) fn retain(&mut self, message: &Arc<Message>, expires_at: Time) {
        self.watching.note(message, None, What::Retained);
        let old = if message.payload.is_empty() {
            self.retained.clear(&message.topic)
        } else {
            let stored = self.store.insert(message, expires_at, &mut self.account);
            if self.settings.durable.is_asked_by(message) {
                self.stats.count_asked(self.settings.durable.retained);
            }
            self.place_retained(&message.topic, stored, expires_at, message.weight() as u64)
        };
        if let Some(old) = old {
            self.forget_retained(old);
        }
    }

    /// Puts a stored message in the place of a topic's retained one, and returns the one before.
    pub(crate) fn place_retained(
        &mut self,
        topic: &str,
        stored: MessageId,
        expires_at: Time,
        weight: u64,
    ) -> Option<Retained> {
        self.account.add(REFERENCE_BYTES);
        self.timers.set(expires_at, Timer::Retained(stored));
        let retained = Retained {
            message: stored,
            sequence: self.sequence,
        };
        self.retained.set(topic, retained, weight)
    }

    /// A retained message expires; it is the one of its topic, or its timer would be cancelled.
    pub(crate) fn expire_retained(&mut self, message: MessageId) {
        let topic = self.store.message(message).topic.clone();
        if let Some(old) = self.retained.clear(&topic) {
            self.forget_retained(old);
        }
    }

    /// An administrator clears a topic.
    pub(crate) fn clear_retained(&mut self, topic: &str) {
        if let Some(old) = self.retained.clear(topic) {
            self.forget_retained(old);
        }
    }

    fn forget_retained(&mut self, old: Retained) {
        let expires_at = self.store.expires_at(old.message);
        self.timers.cancel(expires_at, Timer::Retained(old.message));
        self.retained
            .give_back(self.store.message(old.message).weight() as u64);
        self.store.release(old.message, &mut self.account);
        self.account.remove(REFERENCE_BYTES);
    }
}
