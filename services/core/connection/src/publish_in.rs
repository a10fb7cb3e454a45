//! PUBLISH from the client, and what the shard says of it `[F-40]`.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{
    QoS, ReasonCode,
    packet::{Kind, Publish, ack},
    property,
};
use catena_shard::{Message, effect::Published};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Connection, Outside,
    answers::{self, AnswerClass},
    bounds::HOLD_MS,
    input::Now,
    outside::{Action, Event},
    parking::Parked,
    release::Arrival,
    timers::Timer,
};

/// The user property by which a publish asks to pass when memory is short `[F-63]`.
const HIGH_PRIORITY: &str = "$high_priority";

/// Topics that clients may not publish to: `$SYS/#` and `$share/#` `[F-37]`.
pub(crate) fn is_forbidden(topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix('$') else {
        return false;
    };
    let first = rest.split('/').next();
    matches!(first, Some("SYS" | "share"))
}

impl Connection {
    pub(crate) fn on_publish<O: Outside>(
        &mut self,
        mut publish: Publish,
        now: Now,
        outside: &mut O,
    ) {
        // v5 [MQTT-3.3.4-6]
        if !publish.subscription_ids.is_empty() {
            let text = "a Subscription Identifier from a client";
            return self.fail(ReasonCode::ProtocolError, text, now, outside);
        }
        let topic = std::mem::take(&mut publish.topic);
        match self.resolve_topic(topic, &publish) {
            Ok(topic) => publish.topic = topic,
            Err(reason) => return self.fail(reason, "topic alias", now, outside),
        }
        outside.publishing(&mut publish, &self.client_id, self.client);
        // v5 [MQTT-3.2.2-11]
        if self.is_v5() && publish.qos > self.settings.maximum_qos {
            return self.fail(ReasonCode::QosNotSupported, "", now, outside);
        }
        let id = publish.packet_id.map_or(0, |id| id.get());
        match publish.qos {
            QoS::AtMostOnce => self.on_qos0(publish, now, outside),
            // v5 [MQTT-3.3.4-9]
            _ if self.is_v5() && self.received() >= usize::from(self.settings.receive_maximum) => {
                if self.inbound.contains(id) && publish.qos == QoS::ExactlyOnce {
                    // A resend is not one more.
                    return self.on_qos2(id, publish, now, outside);
                }
                self.fail(ReasonCode::ReceiveMaximumExceeded, "", now, outside);
            }
            QoS::AtLeastOnce => self.on_qos1(id, publish, now, outside),
            QoS::ExactlyOnce => self.on_qos2(id, publish, now, outside),
        }
    }

    /// Publishes above QoS 0 that the client waits for us with, or for which it owes PUBREL. v5 4.9
    fn received(&self) -> usize {
        self.acknowledging.len() + self.inbound_counted
    }

    fn resolve_topic(
        &mut self,
        topic: ByteString,
        publish: &Publish,
    ) -> Result<ByteString, ReasonCode> {
        let Some(alias) = publish.topic_alias else {
            let named = !topic.is_empty();
            return if named {
                Ok(topic)
            } else {
                Err(ReasonCode::ProtocolError)
            };
        };
        let maximum = self.settings.topic_alias_maximum;
        self.aliases_in
            .get_or_insert_default()
            .resolve(topic, alias, maximum)
    }

    fn on_qos0<O: Outside>(&mut self, publish: Publish, now: Now, outside: &mut O) {
        if is_forbidden(&publish.topic) {
            return outside.count(Event::PublishRefused(ReasonCode::TopicNameInvalid));
        }
        if !self.allows(Action::Publish, &publish.topic, outside) {
            return;
        }
        self.counter = self.counter.wrapping_add(1);
        let token = answers::token(AnswerClass::Silent, 0);
        self.submit(publish, token, 0, now, outside);
    }

    fn on_qos1<O: Outside>(&mut self, id: u16, publish: Publish, now: Now, outside: &mut O) {
        let sequence = self.acknowledging.push(id);
        let refusal = if is_forbidden(&publish.topic) {
            Some(ReasonCode::TopicNameInvalid)
        } else if self.is_v5()
            && (self.inbound.contains(id) || self.acknowledging_ids.insert(id, ()).is_some())
        {
            // Below 5 a client may send again on the same connection: it is acknowledged once more.
            Some(ReasonCode::PacketIdentifierInUse)
        } else {
            None
        };
        if let Some(reason) = refusal {
            outside.count(Event::PublishRefused(reason));
            self.acknowledging.answer(sequence, reason);
            return self.write_pubacks(outside);
        }
        if !self.allows(Action::Publish, &publish.topic, outside) {
            // Below 5 it looks like a success: there is no word for "no".
            self.acknowledging
                .answer(sequence, ReasonCode::NotAuthorized);
            return self.write_pubacks(outside);
        }
        let token = answers::token(AnswerClass::Qos1, sequence);
        self.submit(publish, token, 0, now, outside);
    }

    fn on_qos2<O: Outside>(&mut self, id: u16, publish: Publish, now: Now, outside: &mut O) {
        let refusal = if is_forbidden(&publish.topic) && !self.inbound.contains(id) {
            Some(ReasonCode::TopicNameInvalid)
        } else if self.acknowledging_ids.contains(id) {
            Some(ReasonCode::PacketIdentifierInUse)
        } else {
            None
        };
        if let Some(reason) = refusal {
            outside.count(Event::PublishRefused(reason));
            return self.answer_pubrec_now(id, reason, outside);
        }
        let shard = outside.slots().topic(&publish.topic);
        let topic = xxh3_64(publish.topic.as_bytes());
        // What was allowed when it came first is not published again, and its exchange goes on.
        if !self.has_arrived(id, topic) && !self.allows(Action::Publish, &publish.topic, outside) {
            if !self.is_v5() {
                self.hold_denied(id, shard, topic);
            }
            // 5: this ends the exchange.
            return self.answer_pubrec_now(id, ReasonCode::NotAuthorized, outside);
        }
        match self.arrive(id, shard, topic, outside) {
            // v5 [MQTT-4.3.3-10]
            Arrival::Resend => self.answer_pubrec_now(id, ReasonCode::Success, outside),
            // Its PUBREC is on the way.
            Arrival::Unanswered => {}
            Arrival::InUse => {
                self.answer_pubrec_now(id, ReasonCode::PacketIdentifierInUse, outside);
            }
            Arrival::New => {
                let sequence = self.recording.push(id);
                let token = answers::token(AnswerClass::Qos2, sequence);
                // The shard remembers the id for persistent sessions alone [F-42].
                let kept_id = if self.is_tracked() { id } else { 0 };
                self.submit(publish, token, kept_id, now, outside);
            }
        }
    }

    /// Makes the message of a publish, and sends it or parks it.
    fn submit<O: Outside>(
        &mut self,
        publish: Publish,
        token: u32,
        packet_id: u16,
        now: Now,
        outside: &mut O,
    ) {
        let shard = outside.slots().topic(&publish.topic);
        let high_priority = !publish.properties.is_empty()
            && property::find_user_property(&publish.properties, HIGH_PRIORITY).is_some();
        let message = Arc::new(Message {
            topic: publish.topic,
            payload: publish.payload,
            properties: publish.properties,
            qos: publish.qos,
            retain: publish.retain,
            expiry: publish.message_expiry,
            publisher: self.client,
            counter: if publish.qos == QoS::AtMostOnce {
                self.counter
            } else {
                0
            },
        });
        let parked = Parked {
            message,
            token,
            packet_id,
            dup: publish.dup,
            high_priority,
            behind: self.requests_received(),
            since: now,
        };
        self.send_or_park(shard, parked, now, outside);
    }

    pub(crate) fn on_published<O: Outside>(
        &mut self,
        published: &Published,
        now: Now,
        outside: &mut O,
    ) {
        self.publishing = self.publishing.saturating_sub(1);
        let Some((class, sequence)) = answers::split_token(published.token) else {
            return;
        };
        let reason = published.reason;
        if reason.is_error() {
            outside.count(Event::PublishRefused(reason));
            if self.holds_back(class, reason) {
                // [F-63]: never acknowledged, so that it will be sent again.
                return self.timers.start(Timer::Hold, now.plus_millis(HOLD_MS));
            }
        }
        match class {
            AnswerClass::Silent => {}
            AnswerClass::Qos1 => {
                self.acknowledging.answer(sequence, reason);
                self.write_pubacks(outside);
            }
            AnswerClass::Qos2 => {
                if let Some(id) = self.recording.answer(sequence, reason) {
                    self.record_inbound(id, reason);
                }
                self.write_pubrecs(outside);
            }
        }
    }

    /// Versions below 5 have no word for "no": a client that cannot be told is held, then closed `[F-63]`.
    fn holds_back(&self, class: AnswerClass, reason: ReasonCode) -> bool {
        !self.is_v5() && class != AnswerClass::Silent && reason == ReasonCode::QuotaExceeded
    }

    pub(crate) fn on_hold_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        self.fail(ReasonCode::QuotaExceeded, "", now, outside);
    }

    fn answer_pubrec_now<O: Outside>(&mut self, id: u16, reason: ReasonCode, outside: &mut O) {
        let sequence = self.recording.push(id);
        self.recording.answer(sequence, reason);
        self.write_pubrecs(outside);
    }

    fn write_pubacks<O: Outside>(&mut self, outside: &mut O) {
        while let Some((id, reason)) = self.acknowledging.pop() {
            self.acknowledging_ids.remove(id);
            self.write_ack(ack::Kind::Puback, id, acknowledgement(reason), outside);
        }
    }

    fn write_pubrecs<O: Outside>(&mut self, outside: &mut O) {
        while let Some((id, reason)) = self.recording.pop() {
            self.write_ack(ack::Kind::Pubrec, id, acknowledgement(reason), outside);
        }
    }
}

/// A word that PUBACK and PUBREC have.
fn acknowledgement(reason: ReasonCode) -> ReasonCode {
    if reason.is_valid_in(Kind::Puback) {
        reason
    } else {
        ReasonCode::UnspecifiedError
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A client could speak in the broker's name, or to a topic that no filter can name. [F-37]
    #[test]
    fn system_and_share_topics_are_forbidden() {
        for topic in ["$SYS", "$SYS/broker", "$share", "$share/g/t"] {
            assert!(is_forbidden(topic), "{topic}");
        }
        for topic in ["$SYSTEM/a", "$shared", "a/$SYS/b", "SYS/a", "$dollar"] {
            assert!(!is_forbidden(topic), "{topic}");
        }
    }
}
