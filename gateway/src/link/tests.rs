//! What a link keeps, sends again and gives up.

use bytes::Bytes;
use catena_shard::{ClientKey, Message, SessionId, Who, op::Credit};
use catena_slots::ShardId;

use super::*;

const CLIENT: ConnId = ConnId(1);
const OTHER: ConnId = ConnId(2);

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

fn open() -> Link {
    let mut link = Link::new();
    assert_eq!(link.opened(1, 0, 0, |_| false), Opened::Yes);
    link
}

/// The next message: its kind, and the ops in it.
fn sent(link: &mut Link) -> (u64, Vec<Op>) {
    match link.next() {
        Some(ToShard::Ops { batch, .. }) => (batch.first, batch.ops.clone()),
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
    sent(&mut link);
    assert_eq!(push_publish(&mut link, CLIENT), Err(Full));
    link.await_progress(CLIENT);
    assert_eq!(link.progress(number, 0), [CLIENT]);
    push_publish(&mut link, CLIENT).expect("room again");
}

// Else its second message could arrive whose first does not; both are resent by the client [F-43].
#[test]
fn publishes_of_a_client_that_is_gone_are_given_up_together() {
    let mut link = open();
    push_publish(&mut link, CLIENT).unwrap();
    push_publish(&mut link, OTHER).unwrap();
    sent(&mut link);
    link.closed();
    push_publish(&mut link, CLIENT).unwrap();
    assert_eq!(link.opened(1, 0, 0, |conn| conn == CLIENT), Opened::Yes);
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
}

// What the shard says that it has applied is not sent again; only what is committed is forgotten [C-40].
#[test]
fn what_was_applied_is_not_sent_again() {
    let mut link = open();
    for _ in 0..3 {
        push_control(&mut link);
        sent(&mut link);
    }
    link.closed();
    assert_eq!(link.opened(1, 2, 1, |_| false), Opened::Yes);
    assert_eq!(sent(&mut link).0, 3);
    assert!(link.next().is_none());
    link.closed();
    assert!(matches!(
        link.open(Origin::Gateway {
            incarnation: 1,
            worker: 0
        }),
        ToShard::Open {
            first_uncommitted: 2,
            ..
        }
    ));
}

// A connection that waited for the lane's last word would wait for ever [F-41].
#[test]
fn the_direct_lane_counts_what_a_break_lost() {
    let mut link = open();
    assert_eq!(link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1)), Ok(1));
    assert_eq!(link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1)), Ok(2));
    assert!(matches!(link.next(), Some(ToShard::Direct { publishes, .. }) if publishes.len() == 2));
    link.progress(0, 1);
    assert_eq!(link.direct_through(), 1);
    link.push_direct(publish(CLIENT, QoS::AtMostOnce, 1))
        .unwrap();
    link.closed();
    assert_eq!(link.direct_through(), 2);
    link.opened(1, 0, 0, |_| false);
    assert!(matches!(link.next(), Some(ToShard::Direct { publishes, .. }) if publishes.len() == 1));
    // The new transport counts from 1.
    link.progress(0, 1);
    assert_eq!(link.direct_through(), 3);
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

// Each acknowledgement of its own would be a message more; none would keep the shard's memory [C-44].
#[test]
fn effects_are_acknowledged_by_ops_or_alone() {
    let mut link = open();
    assert_eq!(link.take(1, 10, 100), Ok(0));
    assert!(!link.wants_to_send() && link.has_unacked());
    push_control(&mut link);
    assert!(matches!(
        link.next(),
        Some(ToShard::Ops {
            acked_through: 10,
            ..
        })
    ));
    assert!(!link.has_unacked());
    assert_eq!(link.take(11, ACK_EFFECTS as usize, 0), Ok(0));
    assert!(matches!(
        link.next(),
        Some(ToShard::Acked { through: 266, .. })
    ));
    assert_eq!(link.take(267, 1, ACK_BYTES), Ok(0));
    assert!(matches!(
        link.next(),
        Some(ToShard::Acked { through: 267, .. })
    ));
    assert_eq!(link.take(268, 1, 0), Ok(0));
    link.is_idle = true;
    assert!(matches!(
        link.next(),
        Some(ToShard::Acked { through: 268, .. })
    ));
    // Sent again after a break: taken once [C-41].
    assert_eq!(link.take(267, 3, 0), Ok(2));
    assert!(link.take(271, 1, 0).is_err());
}

// Its numbers begin anew, and ours would make it skip what it has to say [C-2].
#[test]
fn a_shard_that_started_anew_is_asked_anew() {
    let mut link = open();
    link.take(1, 5, 0).unwrap();
    link.closed();
    assert_eq!(link.opened(2, 0, 0, |_| false), Opened::Anew);
    assert!(matches!(
        link.open(Origin::Gateway {
            incarnation: 1,
            worker: 0
        }),
        ToShard::Open {
            effects_through: 0,
            ..
        }
    ));
    assert_eq!(link.opened(2, 0, 0, |_| false), Opened::Yes);
    assert!(link.takes(2) && !link.takes(1));
    assert_eq!(link.take(1, 1, 0), Ok(0));
}
