//! What a link keeps, sends again and gives up, for the clients of a gateway.

use std::sync::Arc;

use bytes::Bytes;
use catena_chain::{Epoch, Generation, Incarnation, Member, Now as ChainNow, ReplicaId, Stamp};
use catena_replicated::FromOrigin;
use catena_shard::{ClientKey, Message, SessionId, Who, op::Credit};
use catena_slots::ShardId;

use super::*;

const CLIENT: ConnId = ConnId(1);
const OTHER: ConnId = ConnId(2);
const GENERATION: Generation = Generation(1);

fn who() -> Who {
    let session = SessionId {
        generation: 1,
        counter: 1,
        home: ShardId(0),
    };
    Who {
        client: ClientKey(1),
        session,
        epoch: 1,
    }
}

fn publish(conn: ConnId, qos: QoS, bytes: usize) -> Publish {
    Publish {
        who: who(),
        conn,
        token: 0,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: Arc::new(Message {
            topic: "t".into(),
            payload: vec![0; bytes].into(),
            properties: Bytes::new(),
            qos,
            retain: false,
            expiry: None,
            publisher: ClientKey(1),
            counter: 0,
        }),
    }
}

fn push_publish(link: &mut Link, conn: ConnId) -> Result<u64, Full> {
    let publish = publish(conn, QoS::AtLeastOnce, 10);
    link.push(
        Class::Publish(publish.message.weight() as u32),
        Op::Publish(publish),
    )
}

fn push_control(link: &mut Link) -> u64 {
    let credit = Credit {
        who: who(),
        messages: 1,
        bytes: 1,
    };
    link.push(Class::Control, Op::Credit(credit))
        .expect("it is never refused")
}

fn configuration(epoch: u64) -> Configuration {
    let member = Member {
        id: ReplicaId(1),
        incarnation: Incarnation(1),
    };
    Configuration::founded(ShardId(0), Epoch(epoch), GENERATION, member)
}

/// A link that has heard of its shard.
fn known() -> Link {
    let origin = Origin::Gateway {
        incarnation: 1,
        worker: 0,
    };
    let mut link = Link::new(origin);
    link.uplink.adopt(configuration(1), &mut Vec::new());
    link
}

/// A shard that answers: where its link goes on is `applied_through`, and whose clients are gone is `is_closed`.
fn answer(link: &mut Link, applied_through: u64, is_closed: impl Fn(ConnId) -> bool) {
    let wanted = link.uplink.wanted(ChainNow::default());
    let is_ops = |wanted: &catena_chain::Wanted| wanted.lane == Lane::Ops;
    let ops = wanted.iter().find(|(wanted, _)| is_ops(wanted));
    let (ops, _) = ops.expect("the lane of ops is closed");
    let opened = ToOrigin::OpsOpened {
        generation: GENERATION,
        applied_through,
        now: Stamp(0),
    };
    let actions = &mut Vec::new();
    link.receive(
        ChainNow::default(),
        ops.connection,
        opened,
        is_closed,
        actions,
    );
    assert!(
        matches!(actions[..], [Action::Opened { .. }]),
        "{actions:?}"
    );
}

fn open() -> Link {
    let mut link = known();
    answer(&mut link, 0, |_| false);
    link
}

/// The lane of ops breaks.
fn break_ops(link: &mut Link) {
    let ops = link.uplink.opened(Lane::Ops).expect("it is open");
    link.uplink.lost(ops, ChainNow::default(), &mut Vec::new());
}

/// The next message of the lane of ops: the number of its first op, and all.
fn sent(link: &mut Link) -> (u64, Vec<Op>) {
    let ops = link.uplink.opened(Lane::Ops).expect("it is open");
    match link.uplink.next(ops) {
        Some(FromOrigin::Ops { batch, .. }) => (batch.first, batch.ops.clone()),
        other => panic!("{other:?}"),
    }
}

// If acks waited behind publishes, memory that only an ack frees would never be freed [F-61].
#[test]
fn a_full_window_stops_publishes_alone() {
    let mut link = open();
    for _ in 0..LINK_PUBLISHES {
        push_publish(&mut link, CLIENT).expect("room");
    }
    assert_eq!(push_publish(&mut link, CLIENT), Err(Full));
    let number = push_control(&mut link);
    assert_eq!(number, LINK_PUBLISHES as u64 + 1);
}

// Else its second message could arrive whose first does not; both are resent by the client [F-43].
#[test]
fn publishes_of_a_client_that_is_gone_are_given_up_together() {
    let mut link = open();
    push_publish(&mut link, CLIENT).unwrap();
    push_publish(&mut link, OTHER).unwrap();
    sent(&mut link);
    break_ops(&mut link);
    push_publish(&mut link, CLIENT).unwrap();
    answer(&mut link, 0, |conn| conn == CLIENT);
    let (first, ops) = sent(&mut link);
    assert!(
        matches!((first, &ops[..]), (1, [Op::Noop, Op::Publish(_)])),
        "{ops:?}"
    );
    assert!(matches!(sent(&mut link), (3, ops) if ops == [Op::Noop]));
    push_publish(&mut link, CLIENT).unwrap();
    push_publish(&mut link, OTHER).unwrap();
    let (first, ops) = sent(&mut link);
    assert!(
        matches!((first, &ops[..]), (4, [Op::Noop, Op::Publish(_)])),
        "{ops:?}"
    );
    link.forget(CLIENT);
    push_publish(&mut link, CLIENT).unwrap();
    assert!(matches!(&sent(&mut link).1[..], [Op::Publish(_)]));
}

// What the shard has applied is answered by it, so that nothing of that client is to be held back [C-40] [F-43].
#[test]
fn what_is_not_sent_again_is_not_given_up() {
    let mut link = open();
    for _ in 0..3 {
        push_publish(&mut link, CLIENT).unwrap();
        sent(&mut link);
    }
    break_ops(&mut link);
    answer(&mut link, 3, |conn| conn == CLIENT);
    push_publish(&mut link, CLIENT).unwrap();
    assert!(matches!(&sent(&mut link), (4, ops) if matches!(&ops[..], [Op::Publish(_)])));
}

#[test]
fn a_full_direct_lane_refuses() {
    let mut link = open();
    for _ in 0..DIRECT_PUBLISHES {
        link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1))
            .unwrap();
    }
    assert_eq!(
        link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1)),
        Err(Full)
    );
    let mut link = open();
    link.push_direct(publish(CLIENT, QoS::AtMostOnce, 2 * DIRECT_BYTES))
        .expect("one always fits");
    assert_eq!(
        link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1)),
        Err(Full)
    );
}

// The control plane may tell the same again with each change of anything, and late what a replica has told already.
#[test]
fn only_a_higher_epoch_is_news() {
    let mut link = known();
    link.learn(&configuration(1));
    assert!(link.news.is_none());
    link.learn(&configuration(3));
    link.learn(&configuration(2));
    assert_eq!(link.news, Some(configuration(3)));
}
