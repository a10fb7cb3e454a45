use bytes::Bytes;
use catena_mqtt::{Packet, QoS, ReasonCode, Version, packet::Ack, packet::Publish};
use catena_shard::{
    Op, Time,
    effect::{Held, Pubrel, Recorded},
    op::{AckItem, AckKind},
};
use catena_slots::ShardId;

use super::fake::{Bench, CONN, SHARD_TIME, ack, connect, message, packet_id, target};
use crate::{Input, Settings, bounds::CREDIT_MESSAGES, input::Effect, output, outside::Event};

const HOME: ShardId = ShardId(0);

fn publishes(bench: &mut Bench) -> Vec<Publish> {
    let publish = |packet| match packet {
        Packet::Publish(publish) => publish,
        other => panic!("{other:?}"),
    };
    bench.written().into_iter().map(publish).collect()
}

fn acked(op: Op) -> Vec<(u16, AckKind)> {
    let Op::Ack(ack) = op else { panic!("{op:?}") };
    ack.items
        .iter()
        .map(|AckItem { packet_id, kind }| (*packet_id, *kind))
        .collect()
}

fn limited(expiry: u32, receive_maximum: u16) -> catena_mqtt::packet::Connect {
    let mut connect = connect(Version::V5, expiry);
    connect.receive_maximum = std::num::NonZeroU16::new(receive_maximum);
    connect
}

// The client would get what nobody sent. [F-36] [MQTT-3.3.4-3]
#[test]
fn a_delivery_carries_what_the_target_says() {
    let mut bench = Bench::live(Version::V5, 0);
    let mut target = target(QoS::AtMostOnce, 0);
    target.retain = true;
    target.subscription_ids = Some([3, 9][..].into());
    let expires = Time(SHARD_TIME + 1_500);
    bench.deliver_until(HOME, &message("a/b", "x"), &target, expires);
    let publish = publishes(&mut bench).remove(0);
    assert_eq!((&*publish.topic, &publish.payload[..]), ("a/b", &b"x"[..]));
    assert!(publish.retain && !publish.dup);
    assert_eq!(publish.subscription_ids[..], [3, 9]);
    assert_eq!(publish.message_expiry, Some(1));
    // Expired, with time spent here counted. [F-54]
    bench.pass(1_500);
    bench.deliver_until(HOME, &message("a/b", "x"), &target, expires);
    assert_eq!(bench.written(), []);
    assert_eq!(bench.fake.events[1..], [Event::Discarded]);
}

// More deliveries than the client can take would be under way, or fewer than it waits for. [F-52] [MQTT-3.3.4-7]
#[test]
fn the_clients_receive_maximum_holds_over_all_shards_in_turn() {
    let mut bench = Bench::live_with(2, limited(0, 2), Settings::default());
    for name in ["a", "b", "c"] {
        for shard in 0..2 {
            let payload = format!("{name}{shard}");
            let target = target(QoS::AtLeastOnce, 0);
            bench.deliver(ShardId(shard), &message("t", payload), &target);
        }
    }
    let mut order = Vec::new();
    loop {
        let written = publishes(&mut bench);
        if written.is_empty() {
            break;
        }
        assert!(written.len() <= 2);
        for publish in written {
            order.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            bench.packet(Packet::Puback(Ack::success(publish.packet_id.unwrap())));
        }
    }
    assert_eq!(order.len(), 6);
    for shard in ["0", "1"] {
        let of_shard: Vec<_> = order.iter().filter(|name| name.ends_with(shard)).collect();
        assert!(of_shard.is_sorted(), "{order:?}");
    }
    assert_ne!(
        order[2].as_bytes()[1],
        order[3].as_bytes()[1],
        "in turn: {order:?}"
    );
}

// A reader without credit waits for ever. [F-50]
#[test]
fn credit_comes_back_in_portions_and_never_stays_away() {
    let mut bench = Bench::live(Version::V5, 0);
    let message = message("t", "x");
    for n in 1..=CREDIT_MESSAGES {
        bench.deliver(HOME, &message, &target(QoS::AtLeastOnce, 0));
        assert_eq!(bench.fake.ops.is_empty(), n < CREDIT_MESSAGES);
    }
    let Op::Credit(credit) = bench.op() else {
        panic!()
    };
    assert_eq!(credit.messages, CREDIT_MESSAGES);
    assert_eq!(
        credit.bytes,
        u64::from(CREDIT_MESSAGES) * message.weight() as u64
    );
    bench.deliver(HOME, &message, &target(QoS::AtLeastOnce, 0));
    assert_eq!(bench.ops(), []);
    bench.pass(500);
    assert!(matches!(bench.op(), Op::Credit(credit) if credit.messages == 1));
    bench.pass(5_000);
    assert_eq!(bench.ops(), []);
}

// QoS 2 would be less than exactly once, or never end. [MQTT-4.3.3-1]
#[test]
fn an_ephemeral_qos2_delivery_is_the_gateways() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.deliver(HOME, &message("t", "x"), &target(QoS::ExactlyOnce, 0));
    let id = publishes(&mut bench)[0].packet_id.unwrap().get();
    bench.packet(Packet::Pubrec(ack(id)));
    assert_eq!(bench.written(), [Packet::Pubrel(ack(id))]);
    bench.packet(Packet::Pubrec(ack(id)));
    assert_eq!(bench.written(), [Packet::Pubrel(ack(id))]);
    bench.packet(Packet::Pubcomp(ack(id)));
    bench.packet(Packet::Pubcomp(ack(id)));
    assert_eq!(bench.written(), []);
    assert_eq!(bench.connection.unacknowledged, 0);
}

// A PUBREL before the record would let a crash deliver twice. [F-51] [F-56]
#[test]
fn a_persistent_delivery_keeps_the_shards_id_and_waits_for_its_record() {
    let mut bench = Bench::live(Version::V5, 100);
    bench.deliver(HOME, &message("t", "x"), &target(QoS::ExactlyOnce, 700));
    assert_eq!(publishes(&mut bench)[0].packet_id, Some(packet_id(700)));
    bench.packet(Packet::Pubrec(ack(700)));
    assert_eq!(bench.written(), []);
    assert_eq!(acked(bench.op()), [(700, AckKind::Received)]);
    bench.effect(
        HOME,
        Effect::Recorded(Recorded {
            conn: CONN,
            packet_id: 700,
        }),
    );
    assert_eq!(bench.written(), [Packet::Pubrel(ack(700))]);
    bench.packet(Packet::Pubcomp(ack(700)));
    assert_eq!(acked(bench.op()), [(700, AckKind::Done)]);
}

// Two deliveries would have one id at the client. [F-51]
#[test]
fn a_tracked_delivery_to_an_ephemeral_session_has_two_ids() {
    let mut bench = Bench::live(Version::V5, 0);
    let mut tracked = target(QoS::ExactlyOnce, 1);
    tracked.shared = true;
    bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, 0));
    bench.deliver(HOME, &message("t", "x"), &tracked);
    let ids: Vec<_> = publishes(&mut bench)
        .iter()
        .map(|publish| publish.packet_id.unwrap().get())
        .collect();
    assert_ne!(ids[0], ids[1]);
    bench.packet(Packet::Pubrec(ack(ids[1])));
    assert_eq!(acked(bench.op()), [(1, AckKind::Received)]);
    bench.effect(
        HOME,
        Effect::Recorded(Recorded {
            conn: CONN,
            packet_id: 1,
        }),
    );
    assert_eq!(bench.written(), [Packet::Pubrel(ack(ids[1]))]);
    bench.packet(Packet::Pubcomp(ack(ids[1])));
    assert_eq!(acked(bench.op()), [(1, AckKind::Done)]);
}

// An entry per acknowledgement would be most of the log. [F-55]
#[test]
fn acknowledgements_of_a_wake_up_are_one_op() {
    let mut bench = Bench::live(Version::V5, 100);
    for id in 1..=3 {
        bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, id));
    }
    let now = bench.now();
    for id in [2, 1, 3] {
        bench
            .connection
            .handle(Input::Packet(Packet::Puback(ack(id))), now, &mut bench.fake);
    }
    assert_eq!(bench.ops(), []);
    bench.connection.flush(&mut bench.fake);
    let done = [(2, AckKind::Done), (1, AckKind::Done), (3, AckKind::Done)];
    assert_eq!(acked(bench.op()), done);
}

// A PUBREL could wait behind the very publishes that it makes room for. [F-52] [MQTT-3.3.4-10]
#[test]
fn a_resumed_pubrel_never_waits() {
    let mut bench = Bench::live_with(1, limited(100, 1), Settings::default());
    let mut resent = target(QoS::AtLeastOnce, 1);
    resent.dup = true;
    bench.deliver_until(HOME, &message("t", "x"), &resent, Time(0));
    assert!(
        publishes(&mut bench)[0].dup,
        "in-flight messages do not expire"
    );
    bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, 2));
    bench.effect(
        HOME,
        Effect::Pubrel(Pubrel {
            conn: CONN,
            packet_id: 3,
        }),
    );
    assert_eq!(bench.written(), [Packet::Pubrel(ack(3))]);
    bench.packet(Packet::Pubcomp(ack(3)));
    assert_eq!(
        bench.written(),
        [],
        "it did not count against the Receive Maximum"
    );
    bench.packet(Packet::Puback(ack(1)));
    assert_eq!(publishes(&mut bench).len(), 1);
}

// A session that is resumed to end with its connection would get other packet ids than it knows. [MQTT-4.4.0-1]
#[test]
fn a_resumed_session_keeps_its_ids() {
    let mut bench = Bench::new(1, Settings::default());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    bench.accept(true, Vec::new(), Held::default());
    bench.connack();
    bench.ops();
    bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, 77));
    assert_eq!(publishes(&mut bench)[0].packet_id, Some(packet_id(77)));
    bench.packet(Packet::Puback(ack(77)));
    assert_eq!(acked(bench.op()), [(77, AckKind::Done)]);
}

// A delivery would be settled by an answer to another. [F-57]
#[test]
fn acknowledgements_must_fit() {
    let unknown = Ack::new(packet_id(9), ReasonCode::PacketIdentifierNotFound);
    let mut bench = Bench::live(Version::V5, 0);
    bench.packet(Packet::Puback(ack(9)));
    bench.packet(Packet::Pubcomp(ack(9)));
    assert_eq!(bench.written(), []);
    bench.packet(Packet::Pubrec(ack(9)));
    assert_eq!(bench.written(), [Packet::Pubrel(unknown)]);
    type Make = fn(Ack) -> Packet;
    let wrong: [(QoS, Make); 4] = [
        (QoS::AtLeastOnce, Packet::Pubrec),
        (QoS::AtLeastOnce, Packet::Pubcomp),
        (QoS::ExactlyOnce, Packet::Puback),
        (QoS::ExactlyOnce, Packet::Pubcomp),
    ];
    for (qos, packet) in wrong {
        let mut bench = Bench::live(Version::V5, 0);
        bench.deliver(HOME, &message("t", "x"), &target(qos, 0));
        let id = publishes(&mut bench)[0].packet_id.unwrap();
        bench.packet(packet(Ack::success(id)));
        assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
    }
}

// A client that refuses a message would be asked to release it. [MQTT-4.3.3-4]
#[test]
fn a_pubrec_that_refuses_ends_the_delivery() {
    let mut bench = Bench::live(Version::V5, 100);
    bench.deliver(HOME, &message("t", "x"), &target(QoS::ExactlyOnce, 1));
    bench.written();
    let refusal = Ack::new(packet_id(1), ReasonCode::QuotaExceeded);
    bench.packet(Packet::Pubrec(refusal));
    assert_eq!(bench.written(), []);
    assert_eq!(acked(bench.op()), [(1, AckKind::Done)]);
}

// A client would have to close on a packet that it said it cannot take. [F-54] [MQTT-3.1.2-24]
#[test]
fn too_large_deliveries_are_discarded() {
    let mut connect = connect(Version::V5, 100);
    connect.maximum_packet_size = Some(50);
    let mut bench = Bench::live_with(1, connect, Settings::default());
    let large = message("t", vec![0; 50]);
    bench.deliver(HOME, &large, &target(QoS::AtLeastOnce, 1));
    assert_eq!(acked(bench.op()), [(1, AckKind::Discarded)]);
    assert_eq!(bench.written(), []);
    bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, 1));
    assert_eq!(publishes(&mut bench).len(), 1);
}

// A slow client would fill the gateway's memory. [F-59]
#[test]
fn a_full_output_drops_qos0_and_holds_the_rest() {
    let mut bench = Bench::live(Version::V5, 100);
    let large = message("t", Bytes::from(vec![0; output::HIGH_WATER_BYTES]));
    bench.deliver(HOME, &large, &target(QoS::AtMostOnce, 0));
    bench.deliver(HOME, &large, &target(QoS::AtMostOnce, 0));
    bench.deliver(HOME, &message("t", "x"), &target(QoS::AtLeastOnce, 1));
    let mut retained = target(QoS::AtMostOnce, 0);
    (retained.counted, retained.retain) = (true, true);
    bench.deliver(HOME, &message("t", "x"), &retained);
    assert_eq!(bench.fake.events[1..], [Event::DroppedOutgoing]);
    assert_eq!(publishes(&mut bench).len(), 1);
    bench.input(Input::Drained);
    assert_eq!(publishes(&mut bench).len(), 2);
}

// A client that never reads its answers would fill the gateway's memory.
#[test]
fn reading_stops_when_answers_are_not_taken() {
    let mut bench = Bench::live(Version::V5, 0);
    let mut pings = 0;
    while bench.connection.reads() {
        bench.packet(Packet::Pingreq);
        pings += 1;
        assert!(pings < 10_000_000);
    }
    bench.written();
    bench.input(Input::Drained);
    assert!(bench.connection.reads());
}

// A message would wait at a busy member of its group while others are idle. [F-71]
#[test]
fn shared_deliveries_that_wait_are_returned() {
    let mut bench = Bench::live_with(1, limited(100, 1), Settings::default());
    let mut shared = target(QoS::AtLeastOnce, 1);
    shared.shared = true;
    bench.deliver(HOME, &message("t", "x"), &shared);
    assert_eq!(publishes(&mut bench).len(), 1);
    shared.packet_id = 2;
    bench.deliver(HOME, &message("t", "x"), &shared);
    bench.pass(50);
    shared.packet_id = 3;
    bench.deliver(HOME, &message("t", "x"), &shared);
    bench.pass(50);
    assert_eq!(acked(bench.op()), [(2, AckKind::Returned)]);
    bench.pass(50);
    assert_eq!(acked(bench.op()), [(3, AckKind::Returned)]);
    bench.packet(Packet::Puback(ack(1)));
    assert_eq!(bench.written(), []);
}

// A client would be given more aliases than it can keep, or topics that it does not know. [F-44] [MQTT-3.1.2-26]
#[test]
fn aliases_are_given_at_write_time() {
    let mut connect = connect(Version::V5, 0);
    connect.topic_alias_maximum = 1;
    let mut bench = Bench::live_with(1, connect, Settings::default());
    for topic in ["a", "b", "a", "b"] {
        bench.deliver(HOME, &message(topic, "x"), &target(QoS::AtMostOnce, 0));
    }
    let said: Vec<_> = publishes(&mut bench)
        .iter()
        .map(|publish| {
            (
                publish.topic.to_string(),
                publish.topic_alias.map(|alias| alias.get()),
            )
        })
        .collect();
    let expected = [("a", Some(1)), ("b", None), ("", Some(1)), ("b", None)];
    assert_eq!(
        said,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}
