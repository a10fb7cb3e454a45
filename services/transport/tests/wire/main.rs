//! Whatever the core can say comes back as it was; whatever else arrives is refused.

mod arbitrary;
mod questions;

use std::sync::Arc;

use bytes::Bytes;
use catena_chain::{Generation, Payload};
use catena_link::Batch;
use catena_proto::internal::v1 as proto;
use catena_replicated::{Entry, Envelope, FromOrigin, Message as ChainMessage, ToOrigin};
use catena_shard::{Message, op::Publish};
use catena_slots::ShardId;
use catena_transport::wire::{
    Malformed, Wire, decode_envelope, decode_from_origin, decode_to_origin, encode_envelope,
    encode_from_origin, encode_to_origin,
};
use proptest::{prelude::*, sample::Index};
use prost::Message as _;

fn said_by_origin(shard: ShardId, message: &FromOrigin) -> Bytes {
    let mut bytes = Vec::new();
    encode_from_origin(shard, message, &mut bytes);
    bytes.into()
}

fn said_to_origin(message: &ToOrigin) -> Bytes {
    let mut bytes = Vec::new();
    encode_to_origin(message, &mut bytes);
    bytes.into()
}

fn said_by_replica(envelope: Envelope) -> Bytes {
    let mut bytes = Vec::new();
    encode_envelope(envelope, &mut bytes);
    bytes.into()
}

/// What is in an envelope that is not shown in full as text.
fn batches(envelope: &Envelope) -> Vec<Arc<Batch<catena_shard::Op>>> {
    let ChainMessage::Append { entries, .. } = &envelope.message else {
        return vec![];
    };
    let batch = |entry: &Arc<Entry>| match &entry.payload {
        Payload::Ops { batch, .. } => Some(batch.clone()),
        _ => None,
    };
    entries.iter().filter_map(batch).collect()
}

/// Whether the generated types read these bytes and write the same: the bytes are what the `.proto` files say.
fn is_generated<P: prost::Message + Default>(bytes: &Bytes) -> bool {
    P::decode(bytes.clone()).is_ok_and(|read| read.encode_to_vec() == bytes[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    // An op or effect that changed on its way would make replicas differ.
    #[test]
    fn ops_come_back(op in arbitrary::op()) {
        prop_assert_eq!(Wire::from_proto(op.to_proto()), Ok(op));
    }

    #[test]
    fn effects_come_back(effect in arbitrary::effect()) {
        prop_assert_eq!(Wire::from_proto(effect.to_proto()), Ok(effect));
    }

    #[test]
    fn configurations_and_settings_come_back(
        configuration in arbitrary::configuration(),
        settings in arbitrary::settings(),
    ) {
        prop_assert_eq!(Wire::from_proto(configuration.to_proto()), Ok(configuration));
        prop_assert_eq!(Wire::from_proto(settings.to_proto()), Ok(settings));
    }

    #[test]
    fn what_origins_say_comes_back(message in arbitrary::from_origin(), to in 0..256u16) {
        let bytes = said_by_origin(ShardId(to), &message);
        prop_assert!(is_generated::<proto::FromOrigin>(&bytes));
        let (shard, back) = decode_from_origin(bytes).unwrap();
        match (&message, &back) {
            (FromOrigin::Open { .. }, _) => prop_assert_eq!(shard, Some(ShardId(to))),
            (FromOrigin::Ops { batch: a, .. }, FromOrigin::Ops { batch: b, .. }) => prop_assert_eq!(a, b),
            (FromOrigin::Direct { publishes: a, .. }, FromOrigin::Direct { publishes: b, .. }) => {
                prop_assert_eq!(a, b);
            }
            _ => {}
        }
        prop_assert_eq!(format!("{message:?}"), format!("{back:?}"));
    }

    #[test]
    fn what_shards_answer_comes_back(message in arbitrary::to_origin()) {
        let bytes = said_to_origin(&message);
        prop_assert!(is_generated::<proto::ToOrigin>(&bytes));
        let back = decode_to_origin(bytes).unwrap();
        if let (
            ToOrigin::Effects { effects: a, direct: c, .. },
            ToOrigin::Effects { effects: b, direct: d, .. },
        ) = (&message, &back)
        {
            prop_assert_eq!(a, b);
            prop_assert_eq!(c, d);
        }
        prop_assert_eq!(format!("{message:?}"), format!("{back:?}"));
    }

    #[test]
    fn what_replicas_say_comes_back(envelope in arbitrary::envelope()) {
        let (text, ops) = (format!("{envelope:?}"), batches(&envelope));
        let bytes = said_by_replica(envelope);
        prop_assert!(is_generated::<proto::Envelope>(&bytes));
        let back = decode_envelope(bytes).unwrap();
        prop_assert_eq!(ops, batches(&back));
        prop_assert_eq!(text, format!("{back:?}"));
    }

    // An administrator would see something else than there is, or another client's session.
    #[test]
    fn questions_and_their_answers_come_back(query in questions::query(), answer in questions::answer()) {
        let asked = proto::QueryRequest {
            shard: 7,
            query: Some(query.to_proto()),
        };
        let back = proto::QueryRequest::decode(&*asked.encode_to_vec()).unwrap();
        prop_assert_eq!(Wire::from_proto(back.query.unwrap()), Ok(query));
        let told = proto::QueryResponse {
            generation: 7,
            now: 7,
            answer: Some(answer.to_proto()),
        };
        let back = proto::QueryResponse::decode(&*told.encode_to_vec()).unwrap();
        prop_assert_eq!(Wire::from_proto(back.answer.unwrap()), Ok(answer));
    }

    // A process that ends over what another has sent takes its shards with it.
    #[test]
    fn mutated_bytes_never_panic(
        from_origin in arbitrary::from_origin(),
        to_origin in arbitrary::to_origin(),
        envelope in arbitrary::envelope(),
        places in prop::collection::vec((any::<Index>(), any::<u8>(), 0..4u8), 1..6),
        random in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let samples = [
            said_by_origin(ShardId(3), &from_origin),
            said_to_origin(&to_origin),
            said_by_replica(envelope),
            random.into(),
        ];
        for sample in samples {
            let mut bytes = sample.to_vec();
            for (place, value, how) in &places {
                if bytes.is_empty() {
                    break;
                }
                let at = place.index(bytes.len());
                match how {
                    0 => bytes[at] = *value,
                    1 => bytes.insert(at, *value),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
            let bytes = Bytes::from(bytes);
            // What is understood nevertheless is within all bounds, so that it can be said again.
            if let Ok((shard, message)) = decode_from_origin(bytes.clone()) {
                said_by_origin(shard.unwrap_or(ShardId(0)), &message);
            }
            if let Ok(message) = decode_to_origin(bytes.clone()) {
                said_to_origin(&message);
            }
            if let Ok(envelope) = decode_envelope(bytes) {
                said_by_replica(envelope);
            }
        }
    }
}

fn refused(op: proto::Op) -> &'static str {
    let Malformed { what } = <catena_shard::Op as Wire>::from_proto(op).unwrap_err();
    what
}

fn published(change: impl FnOnce(&mut proto::Publish)) -> proto::Op {
    let mut publish = proto::Publish {
        message: Some(proto::Message {
            topic: Bytes::from_static(b"a"),
            qos: 1,
            ..Default::default()
        }),
        who: Some(proto::Who::default()),
        ..Default::default()
    };
    change(&mut publish);
    proto::Op {
        kind: Some(proto::op::Kind::Publish(publish)),
    }
}

// What is missing is said, and no default stands in for it.
#[test]
fn what_is_missing_or_out_of_range_is_named() {
    assert_eq!(refused(proto::Op { kind: None }), "op");
    assert_eq!(refused(published(|op| op.who = None)), "who");
    assert_eq!(refused(published(|op| op.message = None)), "message");
    assert_eq!(refused(published(|op| op.packet_id = 65_536)), "packet id");
    let message = |change: fn(&mut proto::Message)| {
        refused(published(|op| change(op.message.as_mut().unwrap())))
    };
    assert_eq!(message(|message| message.qos = 0), "QoS");
    assert_eq!(message(|message| message.qos = 4), "QoS");
    assert_eq!(message(|message| message.topic = Bytes::new()), "topic");
    assert_eq!(
        message(|message| message.topic = Bytes::from_static(b"a/#")),
        "topic"
    );
    assert_eq!(
        message(|message| message.topic = Bytes::from_static(b"\xff")),
        "topic"
    );
    let far = refused(published(|op| op.who.as_mut().unwrap().home = 256));
    assert_eq!(far, "shard");
}

/// A number from which counting on would overflow ends a process that counts on from it.
#[test]
fn numbers_leave_room_to_count_on() {
    let acked = |through| {
        let message = FromOrigin::Acked {
            generation: Generation(1),
            through,
        };
        decode_from_origin(said_by_origin(ShardId(0), &message)).map(drop)
    };
    assert_eq!(acked(i64::MAX as u64), Ok(()));
    assert!(acked(1 << 63).is_err());
    let batch = |first, ops| {
        let batch = proto::Batch { first, ops };
        <Arc<Batch<catena_shard::Op>> as Wire>::from_proto(batch).map(drop)
    };
    let noop = catena_shard::Op::Noop.to_proto();
    assert_eq!(batch(1, vec![noop.clone()]), Ok(()));
    assert!(batch(0, vec![noop.clone()]).is_err());
    assert!(batch(u64::MAX, vec![noop]).is_err());
    assert!(batch(1, vec![]).is_err());
}

/// A copy of each payload would cost more than all the rest of the way.
#[test]
fn payloads_are_slices_of_what_was_received() {
    let publish = Publish {
        who: Wire::from_proto(proto::Who::default()).unwrap(),
        conn: catena_shard::ConnId(1),
        token: 1,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: Arc::new(Message {
            topic: "a/b".into(),
            payload: Bytes::from(vec![7; 1000]),
            properties: Bytes::from(vec![8; 10]),
            qos: catena_mqtt::QoS::AtMostOnce,
            retain: false,
            expiry: None,
            publisher: catena_shard::ClientKey(0),
            counter: 0,
        }),
    };
    let message = FromOrigin::Direct {
        generation: Generation(1),
        publishes: vec![publish],
    };
    let bytes = said_by_origin(ShardId(0), &message);
    let whole = bytes.as_ptr_range();
    let Ok((None, FromOrigin::Direct { publishes, .. })) = decode_from_origin(bytes) else {
        panic!("it was Direct");
    };
    let message = &publishes[0].message;
    for part in [
        &message.payload,
        &message.properties,
        message.topic.as_bytes(),
    ] {
        assert!(whole.contains(&part.as_ptr()));
    }
}
