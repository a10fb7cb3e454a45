//! Effects.

use std::sync::Arc;

use catena_mqtt::{Filter, ReasonCode};
use catena_proto::internal::v1 as proto;
use catena_shard::{
    ConnId, Effect, SessionId, Time,
    effect::{
        Accepted, AlsoAttach, Attached, Connected, Deliver, Held, Kick, Published, Pubrel,
        Recorded, Released, SubscribeResult, Subscribed, Target, Unsubscribed,
    },
    op::SubscriptionOptions,
};
use proto::effect::{Kind, connected::Outcome};

use super::{
    Malformed, Wire, all, each, narrow,
    op::{packet_id, subscription_id},
    required, shard,
};

impl Wire for Effect {
    type Proto = proto::Effect;

    fn to_proto(&self) -> proto::Effect {
        let kind = match self {
            Effect::Connected(connected) => Kind::Connected(connected.to_proto()),
            Effect::Attached(attached) => Kind::Attached(attached.to_proto()),
            Effect::Subscribed(subscribed) => Kind::Subscribed(subscribed.to_proto()),
            Effect::Unsubscribed(unsubscribed) => Kind::Unsubscribed(unsubscribed.to_proto()),
            Effect::Published(published) => Kind::Published(published.to_proto()),
            Effect::Released(released) => Kind::Released(released.to_proto()),
            Effect::Recorded(recorded) => Kind::Recorded(recorded.to_proto()),
            Effect::Deliver(deliver) => Kind::Deliver(deliver.to_proto()),
            Effect::Pubrel(pubrel) => Kind::Pubrel(pubrel.to_proto()),
            Effect::Kick(kick) => Kind::Kick(kick.to_proto()),
            Effect::AlsoAttach(also) => Kind::AlsoAttach(also.to_proto()),
            Effect::Peer(op) => Kind::Peer(op.to_proto()),
        };
        proto::Effect { kind: Some(kind) }
    }

    fn from_proto(effect: proto::Effect) -> Result<Effect, Malformed> {
        Ok(match effect.kind.ok_or(Malformed { what: "effect" })? {
            Kind::Connected(connected) => Effect::Connected(Box::new(Wire::from_proto(connected)?)),
            Kind::Attached(attached) => Effect::Attached(Box::new(Wire::from_proto(attached)?)),
            Kind::Subscribed(effect) => Effect::Subscribed(Box::new(Wire::from_proto(effect)?)),
            Kind::Unsubscribed(effect) => Effect::Unsubscribed(Box::new(Wire::from_proto(effect)?)),
            Kind::Published(published) => Effect::Published(Wire::from_proto(published)?),
            Kind::Released(released) => Effect::Released(Wire::from_proto(released)?),
            Kind::Recorded(recorded) => Effect::Recorded(Wire::from_proto(recorded)?),
            Kind::Deliver(deliver) => Effect::Deliver(Wire::from_proto(deliver)?),
            Kind::Pubrel(pubrel) => Effect::Pubrel(Wire::from_proto(pubrel)?),
            Kind::Kick(kick) => Effect::Kick(Wire::from_proto(kick)?),
            Kind::AlsoAttach(also) => Effect::AlsoAttach(Wire::from_proto(also)?),
            Kind::Peer(op) => Effect::Peer(Box::new(Wire::from_proto(op)?)),
        })
    }
}

impl Wire for ReasonCode {
    type Proto = u32;

    fn to_proto(&self) -> u32 {
        self.as_u8().into()
    }

    fn from_proto(reason: u32) -> Result<ReasonCode, Malformed> {
        let what = "reason";
        ReasonCode::from_u8(narrow(what, reason)?).ok_or(Malformed { what })
    }
}

impl Wire for Connected {
    type Proto = proto::effect::Connected;

    fn to_proto(&self) -> proto::effect::Connected {
        proto::effect::Connected {
            conn: self.conn.0,
            outcome: Some(match &self.outcome {
                Ok(accepted) => Outcome::Accepted(accepted.to_proto()),
                Err(reason) => Outcome::Refused(reason.to_proto()),
            }),
        }
    }

    fn from_proto(connected: proto::effect::Connected) -> Result<Connected, Malformed> {
        let outcome = match connected.outcome.ok_or(Malformed { what: "outcome" })? {
            Outcome::Accepted(accepted) => Ok(Wire::from_proto(accepted)?),
            Outcome::Refused(reason) => Err(Wire::from_proto(reason)?),
        };
        Ok(Connected {
            conn: ConnId(connected.conn),
            outcome,
        })
    }
}

impl Wire for Accepted {
    type Proto = proto::Accepted;

    fn to_proto(&self) -> proto::Accepted {
        proto::Accepted {
            home: self.session.home.0.into(),
            generation: self.session.generation,
            counter: self.session.counter,
            epoch: self.epoch,
            session_present: self.session_present,
            shards: self.shards.iter().map(|shard| shard.0.into()).collect(),
            held: Some(self.held.to_proto()),
        }
    }

    fn from_proto(accepted: proto::Accepted) -> Result<Accepted, Malformed> {
        let shards = accepted.shards.into_iter().map(shard);
        Ok(Accepted {
            session: SessionId {
                generation: accepted.generation,
                counter: accepted.counter,
                home: shard(accepted.home)?,
            },
            epoch: accepted.epoch,
            session_present: accepted.session_present,
            shards: shards.collect::<Result<_, _>>()?,
            held: required("held", accepted.held)?,
        })
    }
}

impl Wire for Held {
    type Proto = proto::Held;

    fn to_proto(&self) -> proto::Held {
        proto::Held {
            inbound: self.inbound.iter().map(|id| u32::from(*id)).collect(),
            filters: each(&self.filters),
        }
    }

    fn from_proto(held: proto::Held) -> Result<Held, Malformed> {
        let inbound = held.inbound.into_iter().map(packet_id);
        Ok(Held {
            inbound: inbound.collect::<Result<_, _>>()?,
            filters: all(held.filters)?,
        })
    }
}

impl Wire for (Filter, SubscriptionOptions) {
    type Proto = proto::Subscription;

    fn to_proto(&self) -> proto::Subscription {
        proto::Subscription {
            filter: self.0.to_proto(),
            options: Some(self.1.to_proto()),
        }
    }

    fn from_proto(subscription: proto::Subscription) -> Result<Self, Malformed> {
        let options = required("subscription's options", subscription.options)?;
        Ok((Wire::from_proto(subscription.filter)?, options))
    }
}

impl Wire for Attached {
    type Proto = proto::effect::Attached;

    fn to_proto(&self) -> proto::effect::Attached {
        proto::effect::Attached {
            conn: self.conn.0,
            held: Some(self.held.to_proto()),
        }
    }

    fn from_proto(attached: proto::effect::Attached) -> Result<Attached, Malformed> {
        Ok(Attached {
            conn: ConnId(attached.conn),
            held: required("held", attached.held)?,
        })
    }
}

impl Wire for Subscribed {
    type Proto = proto::effect::Subscribed;

    fn to_proto(&self) -> proto::effect::Subscribed {
        proto::effect::Subscribed {
            conn: self.conn.0,
            token: self.token,
            results: each(&self.results),
        }
    }

    fn from_proto(subscribed: proto::effect::Subscribed) -> Result<Subscribed, Malformed> {
        Ok(Subscribed {
            conn: ConnId(subscribed.conn),
            token: subscribed.token,
            results: all(subscribed.results)?,
        })
    }
}

impl Wire for SubscribeResult {
    type Proto = proto::SubscribeResult;

    fn to_proto(&self) -> proto::SubscribeResult {
        proto::SubscribeResult {
            reason: self.reason.to_proto(),
            existed: self.existed,
        }
    }

    fn from_proto(result: proto::SubscribeResult) -> Result<SubscribeResult, Malformed> {
        Ok(SubscribeResult {
            reason: Wire::from_proto(result.reason)?,
            existed: result.existed,
        })
    }
}

impl Wire for Unsubscribed {
    type Proto = proto::effect::Unsubscribed;

    fn to_proto(&self) -> proto::effect::Unsubscribed {
        proto::effect::Unsubscribed {
            conn: self.conn.0,
            token: self.token,
            existed: self.existed.clone(),
        }
    }

    fn from_proto(unsubscribed: proto::effect::Unsubscribed) -> Result<Unsubscribed, Malformed> {
        Ok(Unsubscribed {
            conn: ConnId(unsubscribed.conn),
            token: unsubscribed.token,
            existed: unsubscribed.existed,
        })
    }
}

impl Wire for Published {
    type Proto = proto::effect::Published;

    fn to_proto(&self) -> proto::effect::Published {
        proto::effect::Published {
            conn: self.conn.0,
            token: self.token,
            reason: self.reason.to_proto(),
        }
    }

    fn from_proto(published: proto::effect::Published) -> Result<Published, Malformed> {
        Ok(Published {
            conn: ConnId(published.conn),
            token: published.token,
            reason: Wire::from_proto(published.reason)?,
        })
    }
}

impl Wire for Released {
    type Proto = proto::effect::Released;

    fn to_proto(&self) -> proto::effect::Released {
        proto::effect::Released {
            conn: self.conn.0,
            packet_id: self.packet_id.into(),
            found: self.found,
        }
    }

    fn from_proto(released: proto::effect::Released) -> Result<Released, Malformed> {
        Ok(Released {
            conn: ConnId(released.conn),
            packet_id: packet_id(released.packet_id)?,
            found: released.found,
        })
    }
}

impl Wire for Recorded {
    type Proto = proto::effect::Recorded;

    fn to_proto(&self) -> proto::effect::Recorded {
        proto::effect::Recorded {
            conn: self.conn.0,
            packet_id: self.packet_id.into(),
        }
    }

    fn from_proto(recorded: proto::effect::Recorded) -> Result<Recorded, Malformed> {
        Ok(Recorded {
            conn: ConnId(recorded.conn),
            packet_id: packet_id(recorded.packet_id)?,
        })
    }
}

impl Wire for Deliver {
    type Proto = proto::effect::Deliver;

    fn to_proto(&self) -> proto::effect::Deliver {
        proto::effect::Deliver {
            message: Some(self.message.to_proto()),
            expires_at: (self.expires_at != Time::NEVER).then_some(self.expires_at.0),
            targets: each(&self.targets),
        }
    }

    fn from_proto(deliver: proto::effect::Deliver) -> Result<Deliver, Malformed> {
        Ok(Deliver {
            message: Arc::new(required("message", deliver.message)?),
            expires_at: deliver.expires_at.map_or(Time::NEVER, Time),
            targets: all(deliver.targets)?,
        })
    }
}

impl Wire for Target {
    type Proto = proto::Target;

    fn to_proto(&self) -> proto::Target {
        let ids = self.subscription_ids.as_ref();
        proto::Target {
            conn: self.conn.0,
            qos: self.qos.to_proto(),
            packet_id: self.packet_id.into(),
            retain: self.retain,
            dup: self.dup,
            counted: self.counted,
            shared: self.shared,
            subscription_ids: ids.map_or(Vec::new(), |ids| ids.to_vec()),
        }
    }

    fn from_proto(target: proto::Target) -> Result<Target, Malformed> {
        for id in &target.subscription_ids {
            subscription_id(*id)?;
        }
        let ids = target.subscription_ids;
        Ok(Target {
            conn: ConnId(target.conn),
            packet_id: packet_id(target.packet_id)?,
            qos: Wire::from_proto(target.qos)?,
            retain: target.retain,
            dup: target.dup,
            counted: target.counted,
            shared: target.shared,
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
        })
    }
}

impl Wire for Pubrel {
    type Proto = proto::effect::Pubrel;

    fn to_proto(&self) -> proto::effect::Pubrel {
        proto::effect::Pubrel {
            conn: self.conn.0,
            packet_id: self.packet_id.into(),
        }
    }

    fn from_proto(pubrel: proto::effect::Pubrel) -> Result<Pubrel, Malformed> {
        Ok(Pubrel {
            conn: ConnId(pubrel.conn),
            packet_id: packet_id(pubrel.packet_id)?,
        })
    }
}

impl Wire for Kick {
    type Proto = proto::effect::Kick;

    fn to_proto(&self) -> proto::effect::Kick {
        proto::effect::Kick {
            conn: self.conn.0,
            epoch: self.epoch,
            reason: self.reason.to_proto(),
        }
    }

    fn from_proto(kick: proto::effect::Kick) -> Result<Kick, Malformed> {
        Ok(Kick {
            conn: ConnId(kick.conn),
            epoch: kick.epoch,
            reason: Wire::from_proto(kick.reason)?,
        })
    }
}

impl Wire for AlsoAttach {
    type Proto = proto::effect::AlsoAttach;

    fn to_proto(&self) -> proto::effect::AlsoAttach {
        proto::effect::AlsoAttach {
            conn: self.conn.0,
            shard: self.shard.0.into(),
        }
    }

    fn from_proto(also: proto::effect::AlsoAttach) -> Result<AlsoAttach, Malformed> {
        Ok(AlsoAttach {
            conn: ConnId(also.conn),
            shard: shard(also.shard)?,
        })
    }
}
