//! What there is most of, from what was received.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use catena_chain::{Epoch, Generation, Incarnation, Member, Payload, ReplicaId};
use catena_link::Batch;
use catena_mqtt::{QoS, ReasonCode, topic};
use catena_proto::internal::v1 as proto;
use catena_replicated::{Entry, Envelope, FromOrigin, Message as ChainMessage, ToOrigin};
use catena_shard::{
    ClientKey, ConnId, Effect, Message, Op, Origin, SessionId, Time, Who,
    effect::{Deliver, Published, Target},
    op::{Ack, AckItem, AckKind, Credit, Publish, Release},
};
use smallvec::SmallVec;

use super::reader::{Reader, Value};
use crate::wire::{
    Malformed, Wire,
    chain::durable,
    link::{numbered, stamp},
    narrow, number,
    op::{packet_id, subscription_id},
    shard, whole,
};

/// The most things that a list has room for before they were understood: they may be two bytes each.
const ROOM_MAX: usize = 4096;

/// Something that is made of fields.
trait Parse: Sized {
    fn parse(fields: Reader<'_>) -> Result<Self, Malformed>;
}

fn small(what: &'static str, value: u64) -> Result<u32, Malformed> {
    narrow(what, value)
}

/// The number of an enum's variant.
fn variant<T: Wire<Proto = i32>>(what: &'static str, value: u64) -> Result<T, Malformed> {
    T::from_proto(narrow(what, value)?)
}

fn required<T>(what: &'static str, part: Option<T>) -> Result<T, Malformed> {
    part.ok_or(Malformed { what })
}

impl Parse for Who {
    fn parse(mut fields: Reader<'_>) -> Result<Who, Malformed> {
        let (mut high, mut low, mut home, mut generation, mut counter, mut epoch) =
            (0, 0, 0, 0, 0, 0);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Fixed64(value)) => high = value,
                (2, Value::Fixed64(value)) => low = value,
                (3, Value::Varint(value)) => home = small("shard", value)?,
                (4, Value::Varint(value)) => generation = small("generation", value)?,
                (5, Value::Varint(value)) => counter = value,
                (6, Value::Varint(value)) => epoch = value,
                _ => {}
            }
        }
        Ok(Who {
            client: ClientKey(whole(high, low)),
            session: SessionId {
                generation,
                counter,
                home: shard(home)?,
            },
            epoch,
        })
    }
}

impl Parse for Arc<Message> {
    fn parse(mut fields: Reader<'_>) -> Result<Self, Malformed> {
        let (mut topic, mut payload, mut properties) = (Bytes::new(), Bytes::new(), Bytes::new());
        let (mut qos, mut retain, mut expiry, mut counter) = (None, false, None, 0);
        let (mut high, mut low) = (0, 0);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => topic = piece.bytes(),
                (2, Value::Piece(piece)) => payload = piece.bytes(),
                (3, Value::Piece(piece)) => properties = piece.bytes(),
                (4, Value::Varint(value)) => qos = Some(variant("QoS", value)?),
                (5, Value::Varint(value)) => retain = value != 0,
                (6, Value::Varint(value)) => expiry = Some(small("expiry", value)?),
                (7, Value::Fixed64(value)) => high = value,
                (8, Value::Fixed64(value)) => low = value,
                (9, Value::Varint(value)) => counter = small("counter", value)?,
                _ => {}
            }
        }
        let topic: ByteString = narrow("topic", topic)?;
        topic::validate(&topic).map_err(|_| Malformed { what: "topic" })?;
        Ok(Arc::new(Message {
            topic,
            payload,
            properties,
            qos: required("QoS", qos)?,
            retain,
            expiry,
            publisher: ClientKey(whole(high, low)),
            counter,
        }))
    }
}

impl Parse for Publish {
    fn parse(mut fields: Reader<'_>) -> Result<Publish, Malformed> {
        let (mut message, mut who) = (None, None);
        let (mut conn, mut token, mut id, mut dup, mut high_priority) = (0, 0, 0, false, false);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => message = Some(Parse::parse(piece)?),
                (2, Value::Piece(piece)) => who = Some(Parse::parse(piece)?),
                (3, Value::Varint(value)) => conn = value,
                (4, Value::Varint(value)) => token = small("token", value)?,
                (5, Value::Varint(value)) => id = packet_id(small("packet id", value)?)?,
                (6, Value::Varint(value)) => dup = value != 0,
                (7, Value::Varint(value)) => high_priority = value != 0,
                _ => {}
            }
        }
        Ok(Publish {
            who: required("who", who)?,
            conn: ConnId(conn),
            token,
            packet_id: id,
            dup,
            high_priority,
            message: required("message", message)?,
        })
    }
}

impl Parse for Ack {
    fn parse(mut fields: Reader<'_>) -> Result<Ack, Malformed> {
        let mut who = None;
        let mut ids = SmallVec::<[u16; 8]>::new();
        let mut kinds = SmallVec::<[AckKind; 8]>::new();
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => who = Some(Parse::parse(piece)?),
                (2, Value::Piece(mut piece)) => {
                    while !piece.is_done() {
                        ids.push(packet_id(small("packet id", piece.varint()?)?)?);
                    }
                }
                (3, Value::Piece(mut piece)) => {
                    while !piece.is_done() {
                        kinds.push(variant("outcome", piece.varint()?)?);
                    }
                }
                // One by one: protobuf allows it.
                (2, Value::Varint(value)) => ids.push(packet_id(small("packet id", value)?)?),
                (3, Value::Varint(value)) => kinds.push(variant("outcome", value)?),
                _ => {}
            }
        }
        if ids.len() != kinds.len() {
            return Err(Malformed { what: "outcome" });
        }
        let items = ids.into_iter().zip(kinds);
        Ok(Ack {
            who: required("who", who)?,
            items: items
                .map(|(packet_id, kind)| AckItem { packet_id, kind })
                .collect(),
        })
    }
}

impl Parse for Credit {
    fn parse(mut fields: Reader<'_>) -> Result<Credit, Malformed> {
        let (mut who, mut messages, mut bytes) = (None, 0, 0);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => who = Some(Parse::parse(piece)?),
                (2, Value::Varint(value)) => messages = small("credit", value)?,
                (3, Value::Varint(value)) => bytes = value,
                _ => {}
            }
        }
        Ok(Credit {
            who: required("who", who)?,
            messages,
            bytes,
        })
    }
}

impl Parse for Release {
    fn parse(mut fields: Reader<'_>) -> Result<Release, Malformed> {
        let (mut who, mut conn, mut id) = (None, 0, 0);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => who = Some(Parse::parse(piece)?),
                (2, Value::Varint(value)) => conn = value,
                (3, Value::Varint(value)) => id = packet_id(small("packet id", value)?)?,
                _ => {}
            }
        }
        Ok(Release {
            who: required("who", who)?,
            conn: ConnId(conn),
            packet_id: id,
        })
    }
}

/// The one field of `message`, if it has one alone.
#[inline]
fn only<'a>(message: Reader<'a>) -> Result<Option<(u64, Reader<'a>)>, Malformed> {
    let mut fields = message;
    let first = fields.next()?;
    Ok(match first {
        Some((field, Value::Piece(piece))) if fields.is_done() => Some((field, piece)),
        _ => None,
    })
}

impl Parse for Op {
    fn parse(fields: Reader<'_>) -> Result<Op, Malformed> {
        Ok(match only(fields)? {
            Some((1, publish)) => Op::Publish(Parse::parse(publish)?),
            Some((2, ack)) => Op::Ack(Parse::parse(ack)?),
            Some((3, credit)) => Op::Credit(Parse::parse(credit)?),
            Some((4, release)) => Op::Release(Parse::parse(release)?),
            _ => Wire::from_proto(fields.generated()?)?,
        })
    }
}

impl Parse for Arc<Batch<Op>> {
    fn parse(mut fields: Reader<'_>) -> Result<Self, Malformed> {
        let mut first = 0;
        let mut ops = Vec::with_capacity(count(fields, 2)?);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => first = value,
                (2, Value::Piece(piece)) => ops.push(Parse::parse(piece)?),
                _ => {}
            }
        }
        numbered("batch", first, ops.len())?;
        if ops.is_empty() {
            return Err(Malformed { what: "batch" });
        }
        Ok(Arc::new(Batch { first, ops }))
    }
}

/// How often a field is there, at most [`ROOM_MAX`]: a list that has to grow is copied each time.
fn count(mut fields: Reader<'_>, wanted: u64) -> Result<usize, Malformed> {
    let mut count = 0;
    while let Some((field, _)) = fields.next()? {
        count += usize::from(field == wanted);
        if count == ROOM_MAX {
            break;
        }
    }
    Ok(count)
}

impl Parse for Target {
    fn parse(mut fields: Reader<'_>) -> Result<Target, Malformed> {
        let mut target = Target {
            conn: ConnId(0),
            packet_id: 0,
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            counted: false,
            shared: false,
            subscription_ids: None,
        };
        let mut qos = None;
        let mut ids = SmallVec::<[u32; 4]>::new();
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => target.conn = ConnId(value),
                (2, Value::Varint(value)) => qos = Some(variant("QoS", value)?),
                (3, Value::Varint(value)) => {
                    target.packet_id = packet_id(small("packet id", value)?)?;
                }
                (4, Value::Varint(value)) => target.retain = value != 0,
                (5, Value::Varint(value)) => target.dup = value != 0,
                (6, Value::Varint(value)) => target.counted = value != 0,
                (7, Value::Varint(value)) => target.shared = value != 0,
                (8, Value::Piece(mut piece)) => {
                    while !piece.is_done() {
                        let id = small("subscription identifier", piece.varint()?)?;
                        ids.push(subscription_id(id)?);
                    }
                }
                (8, Value::Varint(value)) => {
                    ids.push(subscription_id(small("subscription identifier", value)?)?);
                }
                _ => {}
            }
        }
        target.qos = required("QoS", qos)?;
        target.subscription_ids = (!ids.is_empty()).then(|| ids.as_slice().into());
        Ok(target)
    }
}

impl Parse for Deliver {
    fn parse(mut fields: Reader<'_>) -> Result<Deliver, Malformed> {
        let (mut message, mut expires_at) = (None, Time::NEVER);
        let mut targets = SmallVec::new();
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Piece(piece)) => message = Some(Parse::parse(piece)?),
                (2, Value::Varint(value)) => expires_at = Time(value),
                (3, Value::Piece(piece)) => targets.push(Parse::parse(piece)?),
                _ => {}
            }
        }
        Ok(Deliver {
            message: required("message", message)?,
            expires_at,
            targets,
        })
    }
}

impl Parse for Published {
    fn parse(mut fields: Reader<'_>) -> Result<Published, Malformed> {
        let (mut conn, mut token, mut reason) = (0, 0, ReasonCode::Success);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => conn = value,
                (2, Value::Varint(value)) => token = small("token", value)?,
                (3, Value::Varint(value)) => reason = Wire::from_proto(small("reason", value)?)?,
                _ => {}
            }
        }
        Ok(Published {
            conn: ConnId(conn),
            token,
            reason,
        })
    }
}

impl Parse for Effect {
    fn parse(fields: Reader<'_>) -> Result<Effect, Malformed> {
        Ok(match only(fields)? {
            Some((1, deliver)) => Effect::Deliver(Parse::parse(deliver)?),
            Some((2, published)) => Effect::Published(Parse::parse(published)?),
            _ => Wire::from_proto(fields.generated()?)?,
        })
    }
}

/// What an origin says, if it is one of these.
pub(in crate::wire) fn from_origin(received: &Bytes) -> Result<Option<FromOrigin>, Malformed> {
    Ok(match only(Reader::new(received))? {
        Some((2, fields)) => Some(ops(fields)?),
        Some((4, fields)) => Some(direct(fields)?),
        _ => None,
    })
}

fn ops(mut fields: Reader<'_>) -> Result<FromOrigin, Malformed> {
    let (mut generation, mut acked_through, mut batch) = (0, 0, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => generation = small("generation", value)?,
            (2, Value::Varint(value)) => acked_through = number("last effect taken", value)?,
            (3, Value::Piece(piece)) => batch = Some(Parse::parse(piece)?),
            _ => {}
        }
    }
    Ok(FromOrigin::Ops {
        generation: Generation(generation),
        acked_through,
        batch: required("batch", batch)?,
    })
}

fn direct(mut fields: Reader<'_>) -> Result<FromOrigin, Malformed> {
    let mut generation = 0;
    let mut publishes = Vec::with_capacity(count(fields, 2)?);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => generation = small("generation", value)?,
            (2, Value::Piece(piece)) => publishes.push(Parse::parse(piece)?),
            _ => {}
        }
    }
    Ok(FromOrigin::Direct {
        generation: Generation(generation),
        publishes,
    })
}

/// What a shard answers, if it is Effects.
pub(in crate::wire) fn to_origin(received: &Bytes) -> Result<Option<ToOrigin>, Malformed> {
    let Some((1, mut fields)) = only(Reader::new(received))? else {
        return Ok(None);
    };
    let (mut generation, mut epoch, mut first, mut committed) = (0, 0, 0, 0);
    let (mut direct_through, mut now) = (0, 0);
    let mut effects = Vec::with_capacity(count(fields, 4)?);
    let mut direct = Vec::with_capacity(count(fields, 6)?);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => generation = small("generation", value)?,
            (2, Value::Varint(value)) => epoch = number("epoch", value)?,
            (3, Value::Varint(value)) => first = value,
            (4, Value::Piece(piece)) => effects.push(Parse::parse(piece)?),
            (5, Value::Varint(value)) => committed = number("last op committed", value)?,
            (6, Value::Piece(piece)) => direct.push(Parse::parse(piece)?),
            (7, Value::Varint(value)) => direct_through = number("last direct publish", value)?,
            (8, Value::Varint(value)) => now = value,
            _ => {}
        }
    }
    numbered("first effect", first, effects.len())?;
    Ok(Some(ToOrigin::Effects {
        generation: Generation(generation),
        epoch: Epoch(epoch),
        first,
        effects,
        committed,
        direct,
        direct_through,
        now: stamp(now)?,
    }))
}

/// What a replica says to another, if it is Append.
pub(in crate::wire) fn envelope(received: &Bytes) -> Result<Option<Envelope>, Malformed> {
    let mut fields = Reader::new(received);
    let (mut from, mut to, mut message) = (Member::default(), 0, None);
    let (mut of, mut epoch, mut generation) = (0, 0, 0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => of = small("shard", value)?,
            (2, Value::Varint(value)) => epoch = number("epoch", value)?,
            (3, Value::Varint(value)) => generation = small("generation", value)?,
            (4, Value::Varint(value)) => from.id = ReplicaId(value),
            (5, Value::Varint(value)) => from.incarnation = Incarnation(value),
            (6, Value::Varint(value)) => to = value,
            (7, Value::Piece(piece)) if fields.is_done() => message = Some(append(piece)?),
            _ => return Ok(None),
        }
    }
    let Some(message) = message else {
        return Ok(None);
    };
    Ok(Some(Envelope {
        shard: shard(of)?,
        epoch: Epoch(epoch),
        generation: Generation(generation),
        from,
        to: ReplicaId(to),
        message,
    }))
}

fn append(mut fields: Reader<'_>) -> Result<ChainMessage, Malformed> {
    let (mut nonce, mut last, mut not_durable_from) = (0, 0, 0);
    let mut entries = Vec::with_capacity(count(fields, 2)?);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => nonce = value,
            (2, Value::Piece(piece)) => entries.push(Parse::parse(piece)?),
            (3, Value::Varint(value)) => last = number("last entry", value)?,
            (4, Value::Varint(value)) => not_durable_from = value,
            _ => {}
        }
    }
    Ok(ChainMessage::Append {
        nonce,
        entries,
        last,
        durable: durable(not_durable_from)?,
    })
}

/// An entry alone.
pub(in crate::wire) fn entry(bytes: &Bytes) -> Result<Arc<Entry>, Malformed> {
    Parse::parse(Reader::new(bytes))
}

impl Parse for Arc<Entry> {
    fn parse(all: Reader<'_>) -> Result<Self, Malformed> {
        let mut fields = all;
        let (mut index, mut epoch, mut at, mut payload) = (0, 0, 0, None);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => index = number("index", value)?,
                (2, Value::Varint(value)) => epoch = number("epoch", value)?,
                (3, Value::Varint(value)) => at = value,
                (4, Value::Piece(piece)) if fields.is_done() => payload = Some(entry_ops(piece)?),
                _ => return Wire::from_proto(all.generated()?),
            }
        }
        Ok(Arc::new(Entry {
            index,
            epoch: Epoch(epoch),
            at: stamp(at)?,
            payload: required("payload", payload)?,
        }))
    }
}

fn entry_ops(mut fields: Reader<'_>) -> Result<Payload<catena_replicated::Replicated>, Malformed> {
    let (mut origin, mut acked_through, mut batch) = (None, 0, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Piece(piece)) => {
                let named = Origin::from_proto(piece.generated::<proto::Origin>()?)?;
                origin = Some(named);
            }
            (2, Value::Varint(value)) => acked_through = number("last effect taken", value)?,
            (3, Value::Piece(piece)) => batch = Some(Parse::parse(piece)?),
            _ => {}
        }
    }
    Ok(Payload::Ops {
        origin: required("origin", origin)?,
        acked_through,
        batch: required("batch", batch)?,
    })
}
