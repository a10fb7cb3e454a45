//! Messages to the client: written at once where there is room, else in turn over the shards `[F-52]`.

use std::{collections::VecDeque, sync::Arc};

use catena_mqtt::{QoS, ReasonCode, packet::ack, packet::publish::Header};
use catena_shard::{
    Message, Op, Time,
    effect::{Pubrel, Target},
    op::{AckItem, AckKind, Credit},
    trace,
};
use catena_slots::ShardId;

use crate::{
    Connection, Outside,
    alias::Said,
    bounds::{CREDIT_MESSAGES, CREDIT_MS, KEPT_CAPACITY, SHARED_WAIT_MS, WAITING_MAX},
    connection::{Phase, packet_id},
    guard::Guard,
    input::{Delivery, Now},
    output::HIGH_WATER_BYTES,
    outside::{Event, Step, Why},
    peers::Pending,
    timers::Timer,
};

/// A delivery that the client has not yet acknowledged to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// Place of the shard among the peers.
    pub place: u16,
    /// As the shard gave it; 0: untracked.
    pub shard_id: u16,
    pub state: FlightState,
    /// It counts against the client's Receive Maximum.
    pub counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlightState {
    /// QoS 1, written.
    Qos1,
    /// QoS 2, written.
    Qos2,
    /// PUBREC came; the shard has not yet recorded it `[F-56]`.
    Recording,
    /// PUBREL was written.
    Released,
}

/// A delivery about to be written.
struct Outgoing<'a> {
    message: &'a Message,
    subscription_ids: &'a [u32],
    expires: Now,
    packet_id: u16,
    qos: QoS,
    retain: bool,
    dup: bool,
    counted: bool,
}

impl Pending {
    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            message: &self.message,
            subscription_ids: self.subscription_ids.as_deref().unwrap_or(&[]),
            expires: self.expires,
            packet_id: self.packet_id,
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            counted: self.counted,
        }
    }
}

const NEVER: Now = Now(u64::MAX);

/// When a message expires on the gateway's clock `[F-80]`.
fn expires(expires_at: Time, shard_now: Time, now: Now) -> Now {
    if expires_at == Time::NEVER {
        return NEVER;
    }
    now.plus_millis(expires_at.0.saturating_sub(shard_now.0))
}

impl Connection {
    pub(crate) fn on_deliver<O: Outside>(
        &mut self,
        shard: ShardId,
        delivery: &Delivery<'_>,
        now: Now,
        outside: &mut O,
    ) {
        let target = delivery.target;
        let place = self.peers.place(shard);
        let expires = expires(delivery.expires_at, delivery.shard_now, now);
        match self.phase {
            Phase::Live => {}
            Phase::Leaving if target.packet_id != 0 => {
                // Never written: the shard will be told so [F-53].
                return self.keep_waiting(place, pending(delivery.message, target, expires, now));
            }
            _ => return,
        }
        let may_receive = |guard: &Guard| guard.may_receive(&delivery.message.topic);
        if !self.guard.as_deref().is_none_or(may_receive) {
            let withheld = pending(delivery.message, target, expires, now);
            return self.discard(place, &withheld.outgoing(), Why::NotAllowed, now, outside);
        }
        let congested = outside.output().len() >= HIGH_WATER_BYTES;
        if target.qos == QoS::AtMostOnce && !target.counted {
            if outside.output().len() >= outside.output_max() {
                return self.drop_outgoing(delivery.message, outside);
            }
        } else if congested || self.waiting > 0 || !self.has_room_for(target.qos) {
            let untracked = target.packet_id == 0;
            if untracked && self.peers.at(place).waiting.len() >= WAITING_MAX {
                if target.counted {
                    self.give_credit(place, delivery.message, now, outside);
                }
                return self.drop_outgoing(delivery.message, outside);
            }
            if target.shared {
                self.timers
                    .start(Timer::Shared, now.plus_millis(SHARED_WAIT_MS));
            }
            return self.keep_waiting(place, pending(delivery.message, target, expires, now));
        }
        let outgoing = Outgoing {
            message: delivery.message,
            subscription_ids: target.subscription_ids.as_deref().unwrap_or(&[]),
            expires,
            packet_id: target.packet_id,
            qos: target.qos,
            retain: target.retain,
            dup: target.dup,
            counted: target.counted,
        };
        self.write_delivery(place, &outgoing, now, outside);
    }

    fn drop_outgoing<O: Outside>(&self, message: &Message, outside: &mut O) {
        outside.count(Event::DroppedOutgoing);
        self.step(message, Step::Dropped(Why::SlowReader), outside);
    }

    fn step<O: Outside>(&self, message: &Message, step: Step, outside: &mut O) {
        outside.stepped(&self.client_id, message, step);
    }

    fn keep_waiting(&mut self, place: usize, pending: Pending) {
        self.waiting += 1;
        self.peers.at_mut(place).waiting.push_back(pending);
    }

    /// v5 `[MQTT-3.3.4-7]`
    fn has_room_for(&self, qos: QoS) -> bool {
        qos == QoS::AtMostOnce || self.unacknowledged < self.receive_maximum
    }

    /// Writes what waits, one of each shard in turn, as far as there is room.
    pub(crate) fn write_waiting<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let mut stuck = 0;
        while self.waiting > 0
            && stuck < self.peers.len()
            && outside.output().len() < HIGH_WATER_BYTES
        {
            self.turn = (self.turn + 1) % self.peers.len();
            let room = self.unacknowledged < self.receive_maximum;
            let waiting = &mut self.peers.at_mut(self.turn).waiting;
            match waiting.front() {
                Some(pending) if room || pending.qos == QoS::AtMostOnce => {}
                _ => {
                    stuck += 1;
                    continue;
                }
            }
            let Some(pending) = waiting.pop_front() else {
                continue;
            };
            if waiting.is_empty() && waiting.capacity() > KEPT_CAPACITY {
                *waiting = VecDeque::new();
            }
            stuck = 0;
            self.waiting -= 1;
            self.write_delivery(self.turn, &pending.outgoing(), now, outside);
        }
    }

    /// Writes a delivery, unless it has expired or is too large `[F-54]`.
    fn write_delivery<O: Outside>(
        &mut self,
        place: usize,
        out: &Outgoing<'_>,
        now: Now,
        outside: &mut O,
    ) {
        let Some(version) = self.version else { return };
        let message = out.message;
        // In-flight messages do not expire. [MQTT-4.3.3-7]
        if out.expires <= now && !out.dup {
            return self.discard(place, out, Why::Expired, now, outside);
        }
        let said = match &self.aliases_out {
            Some(aliases) => aliases.say(&message.topic),
            None => Said::Topic,
        };
        let (topic, topic_alias) = match said {
            Said::Topic => (&*message.topic, None),
            Said::New(alias) => (&*message.topic, Some(alias)),
            Said::Alias(alias) => ("", Some(alias)),
        };
        let id = match out.qos {
            QoS::AtMostOnce => 0,
            _ if self.is_tracked() && out.packet_id != 0 => out.packet_id,
            _ => self.next_id.next(&self.flights),
        };
        let header = Header {
            dup: out.dup,
            qos: out.qos,
            retain: out.retain,
            packet_id: packet_id(id),
            topic,
            topic_alias,
            message_expiry: remaining_seconds(out.expires, now),
            subscription_ids: out.subscription_ids,
            properties: trace::without(&message.properties),
        };
        let payload_len = message.payload.len();
        // v5 [MQTT-3.1.2-24]
        if self.packet_size_max != usize::MAX
            && header.encoded_len(version, payload_len) > self.packet_size_max
        {
            return self.discard(place, out, Why::TooLarge, now, outside);
        }
        let output = outside.output();
        header.encode(version, payload_len, output.buffer());
        output.payload(&message.payload);
        outside.count(Event::Sent {
            payload: payload_len,
            // A retained message is delivered long after its trace.
            trace: message.trace().filter(|_| !out.retain),
        });
        let delivered = Step::Delivered {
            packet_id: id,
            qos: out.qos,
        };
        self.step(message, delivered, outside);
        if let (Said::New(alias), Some(aliases)) = (said, &mut self.aliases_out) {
            aliases.keep(&message.topic, alias);
        }
        if out.qos != QoS::AtMostOnce {
            self.take_off(id, place, out);
        }
        if out.counted {
            self.give_credit(place, message, now, outside);
        }
    }

    /// Notes a written delivery until it is acknowledged.
    fn take_off(&mut self, id: u16, place: usize, out: &Outgoing<'_>) {
        let state = if out.qos == QoS::AtLeastOnce {
            FlightState::Qos1
        } else {
            FlightState::Qos2
        };
        let flight = Flight {
            place: place as u16,
            shard_id: out.packet_id,
            state,
            counted: true,
        };
        let before = self.flights.insert(id, flight);
        if !before.is_some_and(|flight| flight.counted) {
            self.unacknowledged += 1;
        }
        if out.packet_id != 0 && !self.is_tracked() {
            self.tracked.insert(out.packet_id, id);
        }
    }

    /// Never written, and over.
    fn discard<O: Outside>(
        &mut self,
        place: usize,
        out: &Outgoing<'_>,
        why: Why,
        now: Now,
        outside: &mut O,
    ) {
        outside.count(Event::Discarded);
        self.step(out.message, Step::Dropped(why), outside);
        if out.packet_id != 0 {
            self.add_ack(place, out.packet_id, AckKind::Discarded, outside);
        }
        if out.counted {
            self.give_credit(place, out.message, now, outside);
        }
    }

    /// Adds to what [`Connection::flush`] sends `[F-55]`.
    pub(crate) fn add_ack<O: Outside>(
        &mut self,
        place: usize,
        packet_id: u16,
        kind: AckKind,
        outside: &mut O,
    ) {
        self.dirty = true;
        let acks = &mut self.peers.at_mut(place).acks;
        acks.push(AckItem { packet_id, kind });
        if acks.len() >= crate::bounds::ACKS_PER_OP_MAX {
            self.send_acks(outside);
        }
    }

    /// A counted delivery left. Credit goes back in portions: small enough that what is held back never stops a
    /// reader for longer than [`CREDIT_MS`] `[F-50]`.
    fn give_credit<O: Outside>(
        &mut self,
        place: usize,
        message: &Message,
        now: Now,
        outside: &mut O,
    ) {
        let bytes_max = u64::from(self.window_bytes(outside.slots()) / 4);
        let peer = self.peers.at_mut(place);
        peer.credit_messages += 1;
        peer.credit_bytes += message.weight() as u64;
        if peer.credit_messages >= CREDIT_MESSAGES || peer.credit_bytes >= bytes_max {
            self.send_credit(place, outside);
        } else {
            self.timers.start(Timer::Credit, now.plus_millis(CREDIT_MS));
        }
    }

    fn send_credit<O: Outside>(&mut self, place: usize, outside: &mut O) {
        let Some(who) = self.session else { return };
        let peer = self.peers.at_mut(place);
        let messages = std::mem::take(&mut peer.credit_messages);
        let bytes = std::mem::take(&mut peer.credit_bytes);
        let shard = peer.shard;
        if messages > 0 {
            self.send_control(
                shard,
                Op::Credit(Credit {
                    who,
                    messages,
                    bytes,
                }),
                outside,
            );
        }
    }

    pub(crate) fn send_credits<O: Outside>(&mut self, outside: &mut O) {
        for place in 0..self.peers.len() {
            self.send_credit(place, outside);
        }
    }

    /// Gives back what waits too long for a shared subscription `[F-71]`.
    pub(crate) fn on_shared_time(&mut self, now: Now) {
        let mut next = NEVER;
        for peer in self.peers.iter_mut() {
            let (acks, waiting) = (&mut peer.acks, &mut peer.waiting);
            let before = waiting.len();
            waiting.retain(|pending| {
                let until = pending.since.plus_millis(SHARED_WAIT_MS);
                if !pending.shared || pending.packet_id == 0 {
                    return true;
                }
                if until > now {
                    next = next.min(until);
                    return true;
                }
                acks.push(AckItem {
                    packet_id: pending.packet_id,
                    kind: AckKind::Returned,
                });
                false
            });
            self.waiting -= before - waiting.len();
            self.dirty |= before > waiting.len();
        }
        if next != NEVER {
            self.timers.set(Timer::Shared, next);
        }
    }

    /// An outbound QoS 2 delivery that was at PUBREL when the last connection ended. Never waits `[F-52]`.
    pub(crate) fn on_resumed_pubrel<O: Outside>(
        &mut self,
        shard: ShardId,
        pubrel: &Pubrel,
        outside: &mut O,
    ) {
        if !self.is_live() {
            return;
        }
        let place = self.peers.place(shard) as u16;
        let id = pubrel.packet_id;
        let state = FlightState::Released;
        self.flights.insert(
            id,
            Flight {
                place,
                shard_id: id,
                state,
                counted: false,
            },
        );
        self.write_ack(ack::Kind::Pubrel, id, ReasonCode::Success, outside);
    }
}

fn pending(message: &Arc<Message>, target: &Target, expires: Now, now: Now) -> Pending {
    Pending {
        message: message.clone(),
        subscription_ids: target.subscription_ids.clone(),
        expires,
        since: now,
        packet_id: target.packet_id,
        qos: target.qos,
        retain: target.retain,
        dup: target.dup,
        shared: target.shared,
        counted: target.counted,
    }
}

/// Whole seconds, at least 1. v5 `[MQTT-3.3.2-6]`
fn remaining_seconds(expires: Now, now: Now) -> Option<u32> {
    if expires == NEVER {
        return None;
    }
    let seconds = expires.0.saturating_sub(now.0) / 1000;
    Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX))
}
