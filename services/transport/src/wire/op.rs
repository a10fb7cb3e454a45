//! Ops.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{Filter, QoS, packet::RetainHandling, topic};
use catena_proto::internal::v1 as proto;
use catena_shard::{
    ClientKey, ConnId, Message, Op, SessionId, Time, Who, Will,
    op::{
        Ack, AckItem, AckKind, Attach, Attachment, Connect, Credit, Detach, Disconnect, EndSession,
        Publish, PublishWill, Release, Replay, Subscribe, Subscription, SubscriptionOptions,
        Touched, Unsubscribe,
    },
    unkept::Keeps,
};
use proto::op::{Kind, ack::Outcome};

use super::{Malformed, Wire, all, each, halves, narrow, required, shard, whole};

/// The highest Subscription Identifier of MQTT 5.
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

/// What [`Detach::taken`] is when no tracked delivery is behind it.
const ALL_TAKEN: u64 = u64::MAX;

impl Wire for Op {
    type Proto = proto::Op;

    fn to_proto(&self) -> proto::Op {
        let kind = match self {
            Op::Noop => Kind::Noop(proto::op::Noop {}),
            Op::Connect(connect) => Kind::Connect(connect.to_proto()),
            Op::Disconnect(disconnect) => Kind::Disconnect(disconnect.to_proto()),
            Op::Kicked(disconnect) => Kind::Kicked(disconnect.to_proto()),
            Op::Attach(attach) => Kind::Attach(attach.to_proto()),
            Op::Detach(detach) => Kind::Detach(detach.to_proto()),
            Op::Subscribe(subscribe) => Kind::Subscribe(subscribe.to_proto()),
            Op::Unsubscribe(unsubscribe) => Kind::Unsubscribe(unsubscribe.to_proto()),
            Op::Replay(replay) => Kind::Replay(replay.to_proto()),
            Op::Publish(publish) => Kind::Publish(publish.to_proto()),
            Op::Release(release) => Kind::Release(release.to_proto()),
            Op::Ack(ack) => Kind::Ack(ack.to_proto()),
            Op::Credit(credit) => Kind::Credit(credit.to_proto()),
            Op::Touched(touched) => Kind::Touched(touched.to_proto()),
            Op::EndSession(end) => Kind::EndSession(end.to_proto()),
            Op::PublishWill(will) => Kind::PublishWill(will.to_proto()),
        };
        proto::Op { kind: Some(kind) }
    }

    fn from_proto(op: proto::Op) -> Result<Op, Malformed> {
        Ok(match op.kind.ok_or(Malformed { what: "op" })? {
            Kind::Noop(proto::op::Noop {}) => Op::Noop,
            Kind::Connect(connect) => Op::Connect(Box::new(Wire::from_proto(connect)?)),
            Kind::Disconnect(disconnect) => Op::Disconnect(Wire::from_proto(disconnect)?),
            Kind::Kicked(disconnect) => Op::Kicked(Wire::from_proto(disconnect)?),
            Kind::Attach(attach) => Op::Attach(Wire::from_proto(attach)?),
            Kind::Detach(detach) => Op::Detach(Wire::from_proto(detach)?),
            Kind::Subscribe(subscribe) => Op::Subscribe(Box::new(Wire::from_proto(subscribe)?)),
            Kind::Unsubscribe(op) => Op::Unsubscribe(Box::new(Wire::from_proto(op)?)),
            Kind::Replay(replay) => Op::Replay(Box::new(Wire::from_proto(replay)?)),
            Kind::Publish(publish) => Op::Publish(Wire::from_proto(publish)?),
            Kind::Release(release) => Op::Release(Wire::from_proto(release)?),
            Kind::Ack(ack) => Op::Ack(Wire::from_proto(ack)?),
            Kind::Credit(credit) => Op::Credit(Wire::from_proto(credit)?),
            Kind::Touched(touched) => Op::Touched(Wire::from_proto(touched)?),
            Kind::EndSession(end) => Op::EndSession(Wire::from_proto(end)?),
            Kind::PublishWill(will) => Op::PublishWill(Wire::from_proto(will)?),
        })
    }
}

impl Wire for Who {
    type Proto = proto::Who;

    fn to_proto(&self) -> proto::Who {
        let (client_high, client_low) = halves(self.client.0);
        proto::Who {
            client_high,
            client_low,
            home: self.session.home.0.into(),
            generation: self.session.generation,
            counter: self.session.counter,
            epoch: self.epoch,
        }
    }

    fn from_proto(who: proto::Who) -> Result<Who, Malformed> {
        Ok(Who {
            client: ClientKey(whole(who.client_high, who.client_low)),
            session: SessionId {
                generation: who.generation,
                counter: who.counter,
                home: shard(who.home)?,
            },
            epoch: who.epoch,
        })
    }
}

impl Wire for Message {
    type Proto = proto::Message;

    fn to_proto(&self) -> proto::Message {
        let (publisher_high, publisher_low) = halves(self.publisher.0);
        proto::Message {
            topic: self.topic.as_bytes().clone(),
            payload: self.payload.clone(),
            properties: self.properties.clone(),
            qos: self.qos.to_proto(),
            retain: self.retain,
            expiry: self.expiry,
            publisher_high,
            publisher_low,
            counter: self.counter,
        }
    }

    fn from_proto(message: proto::Message) -> Result<Message, Malformed> {
        let topic: ByteString = narrow("topic", message.topic)?;
        topic::validate(&topic).map_err(|_| Malformed { what: "topic" })?;
        Ok(Message {
            topic,
            payload: message.payload,
            properties: message.properties,
            qos: Wire::from_proto(message.qos)?,
            retain: message.retain,
            expiry: message.expiry,
            publisher: ClientKey(whole(message.publisher_high, message.publisher_low)),
            counter: message.counter,
        })
    }
}

impl Wire for QoS {
    type Proto = i32;

    fn to_proto(&self) -> i32 {
        match self {
            QoS::AtMostOnce => proto::Qos::AtMostOnce,
            QoS::AtLeastOnce => proto::Qos::AtLeastOnce,
            QoS::ExactlyOnce => proto::Qos::ExactlyOnce,
        }
        .into()
    }

    fn from_proto(qos: i32) -> Result<QoS, Malformed> {
        let what = "QoS";
        match narrow(what, qos)? {
            proto::Qos::Unspecified => Err(Malformed { what }),
            proto::Qos::AtMostOnce => Ok(QoS::AtMostOnce),
            proto::Qos::AtLeastOnce => Ok(QoS::AtLeastOnce),
            proto::Qos::ExactlyOnce => Ok(QoS::ExactlyOnce),
        }
    }
}

impl Wire for RetainHandling {
    type Proto = i32;

    fn to_proto(&self) -> i32 {
        match self {
            RetainHandling::Send => proto::RetainHandling::Send,
            RetainHandling::SendIfNew => proto::RetainHandling::SendIfNew,
            RetainHandling::DoNotSend => proto::RetainHandling::DoNotSend,
        }
        .into()
    }

    fn from_proto(handling: i32) -> Result<RetainHandling, Malformed> {
        let what = "retain handling";
        match narrow(what, handling)? {
            proto::RetainHandling::Unspecified => Err(Malformed { what }),
            proto::RetainHandling::Send => Ok(RetainHandling::Send),
            proto::RetainHandling::SendIfNew => Ok(RetainHandling::SendIfNew),
            proto::RetainHandling::DoNotSend => Ok(RetainHandling::DoNotSend),
        }
    }
}

impl Wire for Will {
    type Proto = proto::Will;

    fn to_proto(&self) -> proto::Will {
        proto::Will {
            message: Some(self.message.to_proto()),
            delay: self.delay,
        }
    }

    fn from_proto(will: proto::Will) -> Result<Will, Malformed> {
        Ok(Will {
            message: Arc::new(required("will's message", will.message)?),
            delay: will.delay,
        })
    }
}

impl Wire for Attachment {
    type Proto = proto::Attachment;

    fn to_proto(&self) -> proto::Attachment {
        proto::Attachment {
            conn: self.conn.0,
            persistent: self.persistent,
            receive_maximum: self.receive_maximum.into(),
            window_messages: self.window_messages,
            window_bytes: self.window_bytes,
            queue_named: self.keeps.named,
            queue_asked: self.keeps.asked,
        }
    }

    fn from_proto(attachment: proto::Attachment) -> Result<Attachment, Malformed> {
        Ok(Attachment {
            conn: ConnId(attachment.conn),
            persistent: attachment.persistent,
            receive_maximum: narrow("receive maximum", attachment.receive_maximum)?,
            window_messages: attachment.window_messages,
            window_bytes: attachment.window_bytes,
            keeps: Keeps {
                named: attachment.queue_named,
                asked: attachment.queue_asked,
            },
        })
    }
}

impl Wire for Connect {
    type Proto = proto::op::Connect;

    fn to_proto(&self) -> proto::op::Connect {
        proto::op::Connect {
            client_id: self.client_id.to_string(),
            clean_start: self.clean_start,
            expiry: self.expiry,
            will: self.will.as_ref().map(Wire::to_proto),
            principal: self.principal.as_ref().map(ByteString::to_string),
            asked_at: self.asked_at.0,
            protocol: self.protocol.into(),
            attachment: Some(self.attachment.to_proto()),
        }
    }

    fn from_proto(connect: proto::op::Connect) -> Result<Connect, Malformed> {
        Ok(Connect {
            client_id: connect.client_id.into(),
            clean_start: connect.clean_start,
            expiry: connect.expiry,
            will: connect.will.map(Wire::from_proto).transpose()?,
            principal: connect.principal.map(ByteString::from),
            asked_at: Time(connect.asked_at),
            protocol: narrow("protocol", connect.protocol)?,
            attachment: required("attachment", connect.attachment)?,
        })
    }
}

impl Wire for Disconnect {
    type Proto = proto::op::Disconnect;

    fn to_proto(&self) -> proto::op::Disconnect {
        proto::op::Disconnect {
            who: Some(self.who.to_proto()),
            will: self.will,
            expiry: self.expiry,
        }
    }

    fn from_proto(disconnect: proto::op::Disconnect) -> Result<Disconnect, Malformed> {
        Ok(Disconnect {
            who: required("who", disconnect.who)?,
            will: disconnect.will,
            expiry: disconnect.expiry,
        })
    }
}

impl Wire for Attach {
    type Proto = proto::op::Attach;

    fn to_proto(&self) -> proto::op::Attach {
        proto::op::Attach {
            who: Some(self.who.to_proto()),
            attachment: Some(self.attachment.to_proto()),
        }
    }

    fn from_proto(attach: proto::op::Attach) -> Result<Attach, Malformed> {
        Ok(Attach {
            who: required("who", attach.who)?,
            attachment: required("attachment", attach.attachment)?,
        })
    }
}

impl Wire for Detach {
    type Proto = proto::op::Detach;

    fn to_proto(&self) -> proto::op::Detach {
        proto::op::Detach {
            who: Some(self.who.to_proto()),
            unsent: self.unsent.iter().map(|id| u32::from(*id)).collect(),
            taken: (self.taken != ALL_TAKEN).then_some(self.taken),
        }
    }

    fn from_proto(detach: proto::op::Detach) -> Result<Detach, Malformed> {
        let unsent = detach.unsent.into_iter().map(packet_id);
        Ok(Detach {
            who: required("who", detach.who)?,
            unsent: unsent.collect::<Result<_, _>>()?,
            taken: detach.taken.unwrap_or(ALL_TAKEN),
        })
    }
}

pub(super) fn packet_id(id: u32) -> Result<u16, Malformed> {
    narrow("packet id", id)
}

impl Wire for SubscriptionOptions {
    type Proto = proto::SubscriptionOptions;

    fn to_proto(&self) -> proto::SubscriptionOptions {
        proto::SubscriptionOptions {
            qos: self.qos.to_proto(),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling.to_proto(),
            id: self.id.unwrap_or(0),
        }
    }

    fn from_proto(options: proto::SubscriptionOptions) -> Result<SubscriptionOptions, Malformed> {
        Ok(SubscriptionOptions {
            qos: Wire::from_proto(options.qos)?,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: Wire::from_proto(options.retain_handling)?,
            id: match options.id {
                0 => None,
                id => Some(subscription_id(id)?),
            },
        })
    }
}

/// A Subscription Identifier is 1 to 268,435,455. v5 3.8.2.1.2
pub(super) fn subscription_id(id: u32) -> Result<u32, Malformed> {
    if !(1..=SUBSCRIPTION_ID_MAX).contains(&id) {
        return Err(Malformed {
            what: "subscription identifier",
        });
    }
    Ok(id)
}

impl Wire for Subscription {
    type Proto = proto::Subscription;

    fn to_proto(&self) -> proto::Subscription {
        proto::Subscription {
            filter: self.filter.to_proto(),
            options: Some(self.options.to_proto()),
        }
    }

    fn from_proto(subscription: proto::Subscription) -> Result<Subscription, Malformed> {
        Ok(Subscription {
            filter: Wire::from_proto(subscription.filter)?,
            options: required("subscription's options", subscription.options)?,
        })
    }
}

impl Wire for Filter {
    type Proto = String;

    fn to_proto(&self) -> String {
        self.full().to_string()
    }

    fn from_proto(filter: String) -> Result<Filter, Malformed> {
        Filter::parse(filter).map_err(|_| Malformed { what: "filter" })
    }
}

impl Wire for Subscribe {
    type Proto = proto::op::Subscribe;

    fn to_proto(&self) -> proto::op::Subscribe {
        proto::op::Subscribe {
            who: Some(self.who.to_proto()),
            token: self.token,
            subscriptions: each(&self.subscriptions),
        }
    }

    fn from_proto(subscribe: proto::op::Subscribe) -> Result<Subscribe, Malformed> {
        Ok(Subscribe {
            who: required("who", subscribe.who)?,
            token: subscribe.token,
            subscriptions: all(subscribe.subscriptions)?,
        })
    }
}

impl Wire for Unsubscribe {
    type Proto = proto::op::Unsubscribe;

    fn to_proto(&self) -> proto::op::Unsubscribe {
        proto::op::Unsubscribe {
            who: Some(self.who.to_proto()),
            conn: self.conn.0,
            token: self.token,
            filters: each(&self.filters),
        }
    }

    fn from_proto(unsubscribe: proto::op::Unsubscribe) -> Result<Unsubscribe, Malformed> {
        Ok(Unsubscribe {
            who: required("who", unsubscribe.who)?,
            conn: ConnId(unsubscribe.conn),
            token: unsubscribe.token,
            filters: all(unsubscribe.filters)?,
        })
    }
}

impl Wire for Replay {
    type Proto = proto::op::Replay;

    fn to_proto(&self) -> proto::op::Replay {
        proto::op::Replay {
            who: Some(self.who.to_proto()),
            filters: each(&self.filters),
        }
    }

    fn from_proto(replay: proto::op::Replay) -> Result<Replay, Malformed> {
        Ok(Replay {
            who: required("who", replay.who)?,
            filters: all(replay.filters)?,
        })
    }
}

impl Wire for Publish {
    type Proto = proto::Publish;

    fn to_proto(&self) -> proto::Publish {
        proto::Publish {
            message: Some(self.message.to_proto()),
            who: Some(self.who.to_proto()),
            conn: self.conn.0,
            token: self.token,
            packet_id: self.packet_id.into(),
            dup: self.dup,
            high_priority: self.high_priority,
        }
    }

    fn from_proto(publish: proto::Publish) -> Result<Publish, Malformed> {
        Ok(Publish {
            who: required("who", publish.who)?,
            conn: ConnId(publish.conn),
            token: publish.token,
            packet_id: packet_id(publish.packet_id)?,
            dup: publish.dup,
            high_priority: publish.high_priority,
            message: Arc::new(required("message", publish.message)?),
        })
    }
}

impl Wire for Release {
    type Proto = proto::op::Release;

    fn to_proto(&self) -> proto::op::Release {
        proto::op::Release {
            who: Some(self.who.to_proto()),
            conn: self.conn.0,
            packet_id: self.packet_id.into(),
        }
    }

    fn from_proto(release: proto::op::Release) -> Result<Release, Malformed> {
        Ok(Release {
            who: required("who", release.who)?,
            conn: ConnId(release.conn),
            packet_id: packet_id(release.packet_id)?,
        })
    }
}

impl Wire for AckKind {
    type Proto = i32;

    fn to_proto(&self) -> i32 {
        match self {
            AckKind::Done => Outcome::Done,
            AckKind::Received => Outcome::Received,
            AckKind::Discarded => Outcome::Discarded,
            AckKind::Returned => Outcome::Returned,
        }
        .into()
    }

    fn from_proto(outcome: i32) -> Result<AckKind, Malformed> {
        let what = "outcome";
        match narrow(what, outcome)? {
            Outcome::Unspecified => Err(Malformed { what }),
            Outcome::Done => Ok(AckKind::Done),
            Outcome::Received => Ok(AckKind::Received),
            Outcome::Discarded => Ok(AckKind::Discarded),
            Outcome::Returned => Ok(AckKind::Returned),
        }
    }
}

impl Wire for Ack {
    type Proto = proto::op::Ack;

    fn to_proto(&self) -> proto::op::Ack {
        let items = self.items.iter();
        proto::op::Ack {
            who: Some(self.who.to_proto()),
            packet_ids: items.clone().map(|item| item.packet_id.into()).collect(),
            outcomes: items.map(|item| item.kind.to_proto()).collect(),
        }
    }

    fn from_proto(ack: proto::op::Ack) -> Result<Ack, Malformed> {
        if ack.packet_ids.len() != ack.outcomes.len() {
            return Err(Malformed { what: "outcome" });
        }
        let items = ack.packet_ids.into_iter().zip(ack.outcomes);
        let items = items.map(|(id, outcome)| {
            Ok(AckItem {
                packet_id: packet_id(id)?,
                kind: Wire::from_proto(outcome)?,
            })
        });
        Ok(Ack {
            who: required("who", ack.who)?,
            items: items.collect::<Result<_, _>>()?,
        })
    }
}

impl Wire for Credit {
    type Proto = proto::op::Credit;

    fn to_proto(&self) -> proto::op::Credit {
        proto::op::Credit {
            who: Some(self.who.to_proto()),
            messages: self.messages,
            bytes: self.bytes,
        }
    }

    fn from_proto(credit: proto::op::Credit) -> Result<Credit, Malformed> {
        Ok(Credit {
            who: required("who", credit.who)?,
            messages: credit.messages,
            bytes: credit.bytes,
        })
    }
}

impl Wire for Touched {
    type Proto = proto::op::Touched;

    fn to_proto(&self) -> proto::op::Touched {
        proto::op::Touched {
            who: Some(self.who.to_proto()),
            shard: self.shard.0.into(),
            generation: self.generation,
        }
    }

    fn from_proto(touched: proto::op::Touched) -> Result<Touched, Malformed> {
        Ok(Touched {
            who: required("who", touched.who)?,
            shard: shard(touched.shard)?,
            generation: touched.generation,
        })
    }
}

impl Wire for EndSession {
    type Proto = proto::op::EndSession;

    fn to_proto(&self) -> proto::op::EndSession {
        let (client_high, client_low) = halves(self.client.0);
        proto::op::EndSession {
            client_high,
            client_low,
            home: self.session.home.0.into(),
            generation: self.session.generation,
            counter: self.session.counter,
        }
    }

    fn from_proto(end: proto::op::EndSession) -> Result<EndSession, Malformed> {
        Ok(EndSession {
            client: ClientKey(whole(end.client_high, end.client_low)),
            session: SessionId {
                generation: end.generation,
                counter: end.counter,
                home: shard(end.home)?,
            },
        })
    }
}

impl Wire for PublishWill {
    type Proto = proto::op::PublishWill;

    fn to_proto(&self) -> proto::op::PublishWill {
        proto::op::PublishWill {
            message: Some(self.message.to_proto()),
        }
    }

    fn from_proto(will: proto::op::PublishWill) -> Result<PublishWill, Malformed> {
        Ok(PublishWill {
            message: Arc::new(required("message", will.message)?),
        })
    }
}
