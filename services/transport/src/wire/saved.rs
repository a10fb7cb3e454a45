//! What a backup holds of shards.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::topic;
use catena_proto::internal::v1 as proto;
use catena_shard::{
    ClientKey, Restore, Saved, SessionId, Time,
    query::Named,
    saved::{Body, Delivery, SavedSession, SharedId, THINGS_MAX},
};
use proto::{
    saved::{self as thing, Thing},
    shard_command as change,
};

use super::{
    Malformed, Wire, all, each, halves, narrow,
    op::{packet_id, subscription_id},
    required, shard, whole,
};

/// The highest number of a restore and of a part of it.
const NUMBER_MAX: u64 = i64::MAX as u64;

impl Wire for Restore {
    type Proto = change::Restore;

    fn to_proto(&self) -> change::Restore {
        change::Restore {
            id: self.id,
            number: self.number,
            clear: self.is_clearing,
            last: self.is_last,
            things: each(&self.things),
        }
    }

    fn from_proto(restore: change::Restore) -> Result<Restore, Malformed> {
        if restore.things.len() > THINGS_MAX
            || restore.id > NUMBER_MAX
            || restore.number > NUMBER_MAX
        {
            return Err(Malformed { what: "restore" });
        }
        Ok(Restore {
            id: restore.id,
            number: restore.number,
            is_clearing: restore.clear,
            is_last: restore.last,
            things: all(restore.things)?,
        })
    }
}

fn of(named: Named) -> thing::Of {
    let (client_high, client_low) = halves(named.client.0);
    thing::Of {
        client_high,
        client_low,
        home: named.session.home.0.into(),
        generation: named.session.generation,
        counter: named.session.counter,
    }
}

fn named(of: Option<thing::Of>) -> Result<Named, Malformed> {
    let of = of.ok_or(Malformed { what: "session" })?;
    Ok(Named {
        client: ClientKey(whole(of.client_high, of.client_low)),
        session: SessionId {
            generation: of.generation,
            counter: of.counter,
            home: shard(of.home)?,
        },
    })
}

fn moment(time: Time) -> Option<u64> {
    (time != Time::NEVER).then_some(time.0)
}

fn time(moment: Option<u64>) -> Time {
    moment.map_or(Time::NEVER, Time)
}

impl Wire for SharedId {
    type Proto = thing::SharedId;

    fn to_proto(&self) -> thing::SharedId {
        thing::SharedId {
            shard: self.shard.0.into(),
            number: self.number,
        }
    }

    fn from_proto(id: thing::SharedId) -> Result<SharedId, Malformed> {
        Ok(SharedId {
            shard: shard(id.shard)?,
            number: id.number,
        })
    }
}

impl Wire for Body {
    type Proto = thing::Body;

    fn to_proto(&self) -> thing::Body {
        match self {
            Body::Whole {
                message,
                expires_at,
            } => thing::Body {
                message: Some(message.to_proto()),
                expires_at: moment(*expires_at),
                ..thing::Body::default()
            },
            Body::Shared { id, topic } => thing::Body {
                id: Some(id.to_proto()),
                topic: topic.to_string(),
                ..thing::Body::default()
            },
        }
    }

    fn from_proto(body: thing::Body) -> Result<Body, Malformed> {
        if let Some(id) = body.id {
            topic::validate(&body.topic).map_err(|_| Malformed { what: "topic" })?;
            return Ok(Body::Shared {
                id: Wire::from_proto(id)?,
                topic: body.topic.into(),
            });
        }
        Ok(Body::Whole {
            message: Arc::new(required("message", body.message)?),
            expires_at: time(body.expires_at),
        })
    }
}

impl Wire for Delivery {
    type Proto = thing::Delivery;

    fn to_proto(&self) -> thing::Delivery {
        thing::Delivery {
            body: Some(self.body.to_proto()),
            qos: self.qos.to_proto(),
            retain: self.retain,
            subscription_ids: self.subscription_ids.clone(),
        }
    }

    fn from_proto(delivery: thing::Delivery) -> Result<Delivery, Malformed> {
        let ids = delivery.subscription_ids.into_iter().map(subscription_id);
        Ok(Delivery {
            body: required("body", delivery.body)?,
            qos: Wire::from_proto(delivery.qos)?,
            retain: delivery.retain,
            subscription_ids: ids.collect::<Result<_, _>>()?,
        })
    }
}

impl Wire for SavedSession {
    type Proto = thing::Session;

    fn to_proto(&self) -> thing::Session {
        let client = ClientKey::of(&self.client_id);
        let session = self.id;
        thing::Session {
            client_id: self.client_id.to_string(),
            id: Some(of(Named { client, session })),
            principal: self.principal.as_ref().map(ByteString::to_string),
            expiry: self.expiry,
            protocol: self.protocol.into(),
            left: self.left,
        }
    }

    fn from_proto(saved: thing::Session) -> Result<SavedSession, Malformed> {
        let id = named(saved.id)?;
        if id.client != ClientKey::of(&saved.client_id) {
            return Err(Malformed { what: "client id" });
        }
        Ok(SavedSession {
            client_id: saved.client_id.into(),
            id: id.session,
            principal: saved.principal.map(ByteString::from),
            expiry: saved.expiry,
            protocol: narrow("protocol", saved.protocol)?,
            left: saved.left,
        })
    }
}

impl Wire for Saved {
    type Proto = proto::Saved;

    fn to_proto(&self) -> proto::Saved {
        let thing = match self {
            Saved::Message {
                id,
                message,
                expires_at,
            } => Thing::Message(thing::SharedMessage {
                id: Some(id.to_proto()),
                message: Some(message.to_proto()),
                expires_at: moment(*expires_at),
            }),
            Saved::Retained(body) => Thing::Retained(body.to_proto()),
            Saved::Session(session) => Thing::Session(session.to_proto()),
            Saved::Subscription {
                of: named,
                subscription,
                is_owed,
            } => Thing::Subscription(thing::Subscribed {
                of: Some(of(*named)),
                subscription: Some(subscription.to_proto()),
                owed: *is_owed,
            }),
            Saved::InFlight {
                of: named,
                packet_id,
                delivery,
            } => Thing::InFlight(thing::InFlight {
                of: Some(of(*named)),
                packet_id: (*packet_id).into(),
                delivery: delivery.as_ref().map(Wire::to_proto),
            }),
            Saved::Queued {
                of: named,
                delivery,
            } => Thing::Queued(thing::Queued {
                of: Some(of(*named)),
                delivery: Some(delivery.to_proto()),
            }),
            Saved::Inbound {
                of: named,
                shard,
                packet_id,
            } => Thing::Inbound(thing::Inbound {
                of: Some(of(*named)),
                shard: shard.0.into(),
                packet_id: (*packet_id).into(),
            }),
            Saved::Grouped { filter, body } => Thing::Grouped(thing::Grouped {
                filter: filter.to_proto(),
                body: Some(body.to_proto()),
            }),
            Saved::Will {
                client_id,
                will,
                left,
            } => Thing::Will(thing::LastWill {
                client_id: client_id.to_string(),
                will: Some(will.to_proto()),
                left: *left,
            }),
        };
        proto::Saved { thing: Some(thing) }
    }

    fn from_proto(saved: proto::Saved) -> Result<Saved, Malformed> {
        let thing = saved.thing.ok_or(Malformed { what: "thing" })?;
        Ok(match thing {
            Thing::Message(saved) => Saved::Message {
                id: required("id", saved.id)?,
                message: Arc::new(required("message", saved.message)?),
                expires_at: time(saved.expires_at),
            },
            Thing::Retained(body) => Saved::Retained(Wire::from_proto(body)?),
            Thing::Session(session) => Saved::Session(Box::new(Wire::from_proto(session)?)),
            Thing::Subscription(saved) => Saved::Subscription {
                of: named(saved.of)?,
                subscription: required("subscription", saved.subscription)?,
                is_owed: saved.owed,
            },
            Thing::InFlight(saved) => Saved::InFlight {
                of: named(saved.of)?,
                packet_id: packet_id(saved.packet_id)?,
                delivery: saved.delivery.map(Wire::from_proto).transpose()?,
            },
            Thing::Queued(saved) => Saved::Queued {
                of: named(saved.of)?,
                delivery: required("delivery", saved.delivery)?,
            },
            Thing::Inbound(saved) => Saved::Inbound {
                of: named(saved.of)?,
                shard: shard(saved.shard)?,
                packet_id: packet_id(saved.packet_id)?,
            },
            Thing::Grouped(saved) => Saved::Grouped {
                filter: Wire::from_proto(saved.filter)?,
                body: required("body", saved.body)?,
            },
            Thing::Will(saved) => Saved::Will {
                client_id: saved.client_id.into(),
                will: required("will", saved.will)?,
                left: saved.left,
            },
        })
    }
}
