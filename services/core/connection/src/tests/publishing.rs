use catena_mqtt::{Packet, QoS, ReasonCode, Version};
use catena_shard::{
    Op,
    effect::{Held, Released},
};
use catena_slots::ShardId;

use super::fake::{Bench, CONN, ack, connect, publish, topic_of};
use crate::{Input, Settings, input::Effect, outside::Event};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

fn reasons(packets: Vec<Packet>) -> Vec<(u16, ReasonCode)> {
    let reason = |packet| match packet {
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack) => {
            (ack.packet_id.get(), ack.reason)
        }
        other => panic!("{other:?}"),
    };
    packets.into_iter().map(reason).collect()
}

// An acknowledgement before the commit would be a lie; out of order, a riddle. [F-40] [MQTT-4.6.0-2]
#[test]
fn pubacks_leave_at_commit_in_the_order_of_the_publishes() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("a", QOS1, 1);
    bench.publish("a", QOS1, 2);
    let ops = bench.publishes();
    assert_eq!(bench.written(), []);
    bench.answer(&ops[1], ReasonCode::NoMatchingSubscribers);
    assert_eq!(bench.written(), []);
    bench.answer(&ops[0], ReasonCode::Success);
    let expected = [
        (1, ReasonCode::Success),
        (2, ReasonCode::NoMatchingSubscribers),
    ];
    assert_eq!(reasons(bench.written()), expected);
}

// QoS 0 would overtake QoS 1 or be overtaken, between the log and the way past it. [F-41] [MQTT-4.6.0-5]
#[test]
fn a_lane_is_left_only_when_it_is_empty() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("a", QOS0, 0);
    assert_eq!(bench.fake.direct.len(), 1);
    bench.publish("a", QOS1, 1);
    assert_eq!(bench.publishes(), []);
    bench.commit_all();
    assert_eq!(bench.publishes().len(), 1);
    bench.publish("a", QOS0, 0);
    assert_eq!(bench.fake.direct.len(), 1);
    bench.commit_all();
    assert_eq!(bench.fake.direct.len(), 2);
    assert_eq!(bench.fake.direct[1].1.message.counter, 2);
}

// A full window would stop the client's acknowledgements, and its connection. [F-62]
#[test]
fn a_blocked_publish_is_parked_up_to_the_bound() {
    let settings = Settings {
        receive_maximum: 3,
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings);
    bench.fake.room = 0;
    for _ in 0..3 {
        assert!(bench.connection.reads());
        bench.publish("a", QOS0, 0);
    }
    assert!(!bench.connection.reads());
    assert_eq!(bench.fake.awaited.len(), 1, "asked once");
    bench.fake.room = 2;
    bench.commit_all();
    assert!(bench.connection.reads());
    bench.fake.room = usize::MAX;
    bench.commit_all();
    assert_eq!(bench.fake.direct.len(), 3);
}

// A stopped reader would count as a silent client. [F-62]
#[test]
fn keep_alive_stands_still_while_nothing_is_read() {
    let mut connect = connect(Version::V5, 0);
    connect.keep_alive = 10;
    let settings = Settings {
        receive_maximum: 1,
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect, settings);
    bench.fake.room = 0;
    bench.publish("a", QOS0, 0);
    assert!(!bench.connection.reads());
    bench.pass(60_000);
    bench.fake.room = usize::MAX;
    bench.commit_all();
    bench.pass(14_000);
    assert!(bench.connection.is_live());
    bench.pass(2_000);
    assert!(!bench.connection.is_live());
}

// Parked messages would live longer than their publisher said. [F-80] [MQTT-3.3.2-6]
#[test]
fn time_spent_parked_counts_against_the_expiry() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.fake.room = 0;
    let mut publish = publish("a", QOS1, 1);
    publish.message_expiry = Some(10);
    bench.packet(Packet::Publish(publish));
    bench.pass(3_500);
    bench.commit_all();
    bench.pass(600);
    bench.fake.room = 1;
    bench.commit_all();
    assert_eq!(bench.publishes()[0].message.expiry, Some(6));
}

// A client could make the gateway hold more than it announced. [MQTT-3.3.4-9]
#[test]
fn more_than_the_receive_maximum_ends_the_connection() {
    let settings = Settings {
        receive_maximum: 2,
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings);
    bench.publish("a", QOS1, 1);
    bench.publish("a", QOS2, 2);
    // A resend is not one more. [MQTT-4.3.3-10]
    bench.publish("a", QOS2, 2);
    assert!(bench.connection.is_live());
    bench.publish("a", QOS1, 3);
    assert_eq!(bench.disconnected(), ReasonCode::ReceiveMaximumExceeded);
}

// Clients could speak in the broker's name. [F-37]
#[test]
fn forbidden_topics_are_refused_where_there_is_a_word_for_it() {
    let refused = Event::PublishRefused(ReasonCode::TopicNameInvalid);
    for (version, reason) in [
        (Version::V5, ReasonCode::TopicNameInvalid),
        (Version::V4, ReasonCode::Success),
    ] {
        let mut bench = Bench::live(version, 0);
        bench.publish("$SYS/a", QOS1, 1);
        bench.publish("$share/a", QOS2, 2);
        bench.publish("$SYS/a", QOS0, 0);
        assert_eq!(reasons(bench.written()), [(1, reason), (2, reason)]);
        assert_eq!(bench.ops(), []);
        assert!(bench.fake.direct.is_empty());
        assert_eq!(bench.fake.events[1..], [refused; 3]);
    }
}

// Two publishes under one id could not be told apart. [MQTT-2.2.1-4]
#[test]
fn an_id_in_use_is_refused() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("a", QOS1, 1);
    bench.publish("b", QOS1, 1);
    bench.publish("b", QOS2, 1);
    let ops = bench.publishes();
    assert_eq!(ops.len(), 1);
    assert_eq!(
        reasons(bench.written()),
        [(1, ReasonCode::PacketIdentifierInUse)]
    );
    bench.answer(&ops[0], ReasonCode::Success);
    let expected = [
        (1, ReasonCode::Success),
        (1, ReasonCode::PacketIdentifierInUse),
    ];
    assert_eq!(reasons(bench.written()), expected);
    bench.publish("a", QOS1, 1);
    assert_eq!(bench.publishes().len(), 1);
}

// A message would be published twice, or its PUBREC be lost. [F-42] [MQTT-4.3.3-10]
#[test]
fn a_resent_qos2_publish_is_answered_from_the_map() {
    for expiry in [0, 100] {
        let mut bench = Bench::live(Version::V5, expiry);
        bench.publish("a", QOS2, 5);
        bench.publish("a", QOS2, 5);
        let ops = bench.publishes();
        assert_eq!(ops.len(), 1);
        assert_eq!(ops[0].packet_id, if expiry > 0 { 5 } else { 0 });
        bench.answer(&ops[0], ReasonCode::Success);
        assert_eq!(reasons(bench.written()), [(5, ReasonCode::Success)]);
        bench.publish("a", QOS2, 5);
        assert_eq!(bench.publishes(), []);
        assert_eq!(reasons(bench.written()), [(5, ReasonCode::Success)]);
        bench.packet(Packet::Pubrel(ack(5)));
        if expiry > 0 {
            assert_eq!(
                bench.written(),
                [],
                "the shard has not forgotten the id yet"
            );
            let Op::Release(release) = bench.op() else {
                panic!()
            };
            let released = Released {
                conn: CONN,
                packet_id: release.packet_id,
                found: true,
            };
            bench.effect(ShardId(0), Effect::Released(released));
        }
        assert_eq!(bench.written(), [Packet::Pubcomp(ack(5))]);
        bench.publish("a", QOS2, 5);
        assert_eq!(bench.publishes().len(), 1);
    }
}

// The old id would stay on its shard and swallow a later publish. [F-42]
#[test]
fn a_known_id_with_another_topic_is_released_first() {
    let mut bench = Bench::live_with(2, connect(Version::V5, 100), Settings::default());
    let [first, second] = [0, 1].map(|shard| topic_of(&bench.fake.slots, ShardId(shard)));
    bench.publish(first, QOS2, 5);
    let op = bench.publishes().remove(0);
    bench.answer(&op, ReasonCode::Success);
    bench.written();
    bench.publish(second, QOS2, 5);
    let ops = bench.ops();
    assert!(
        matches!(&ops[..], [(ShardId(0), Op::Release(_))]),
        "{ops:?}"
    );
    let released = Released {
        conn: CONN,
        packet_id: 5,
        found: true,
    };
    bench.effect(ShardId(0), Effect::Released(released));
    let op = bench.publishes().remove(0);
    assert_eq!(op.message.topic, second);
    bench.answer(&op, ReasonCode::Success);
    assert_eq!(reasons(bench.written()), [(5, ReasonCode::Success)]);
}

// Sessions that resume would publish twice, or never get PUBCOMP. [F-42]
#[test]
fn ids_of_earlier_connections_are_known_once_all_shards_have_answered() {
    let mut bench = Bench::new(3, Settings::default());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    let home = bench.home();
    let others: Vec<_> = bench
        .fake
        .slots
        .shards()
        .filter(|shard| *shard != home)
        .collect();
    bench.accept(
        true,
        others.clone(),
        Held {
            inbound: vec![1],
            filters: Vec::new(),
        },
    );
    assert!(bench.connack().session_present);
    let ops = bench.ops();
    assert_eq!(
        ops.iter()
            .filter(|(_, op)| matches!(op, Op::Attach(_)))
            .count(),
        2
    );
    bench.packet(Packet::Pubrel(ack(1)));
    bench.packet(Packet::Pubrel(ack(2)));
    bench.packet(Packet::Pubrel(ack(3)));
    assert!(matches!(bench.op(), Op::Release(release) if release.packet_id == 1));
    let topic = topic_of(&bench.fake.slots, others[1]);
    bench.publish(topic, QOS2, 4);
    assert_eq!(bench.ops(), [], "another shard may know the id");
    bench.attached(
        others[0],
        Held {
            inbound: vec![2, 4],
            filters: Vec::new(),
        },
    );
    assert!(matches!(bench.op(), Op::Release(release) if release.packet_id == 4));
    bench.attached(others[1], Held::default());
    assert!(matches!(bench.op(), Op::Release(release) if release.packet_id == 2));
    assert_eq!(
        reasons(bench.written()),
        [(3, ReasonCode::PacketIdentifierNotFound)]
    );
    let released = Released {
        conn: CONN,
        packet_id: 4,
        found: true,
    };
    bench.effect(others[0], Effect::Released(released));
    assert_eq!(bench.publishes().len(), 1);
    let released = Released {
        conn: CONN,
        packet_id: 2,
        found: true,
    };
    bench.effect(others[0], Effect::Released(released));
    assert_eq!(bench.written(), [Packet::Pubcomp(ack(2))]);
}

// A refused publish would be lost in silence, or the client come back at once. [F-63]
#[test]
fn a_full_broker_is_told_or_the_client_is_held() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("a", QOS2, 1);
    let op = bench.publishes().remove(0);
    bench.answer(&op, ReasonCode::QuotaExceeded);
    assert_eq!(reasons(bench.written()), [(1, ReasonCode::QuotaExceeded)]);
    bench.publish("a", QOS2, 1);
    assert_eq!(bench.publishes().len(), 1, "the id is free again");

    let mut bench = Bench::live(Version::V4, 0);
    bench.publish("a", QOS1, 1);
    let op = bench.publishes().remove(0);
    bench.answer(&op, ReasonCode::QuotaExceeded);
    assert!(!bench.connection.reads());
    bench.pass(9_999);
    assert!(bench.connection.is_live());
    bench.pass(1);
    assert!(!bench.connection.is_live() && bench.fake.output.is_closing());
    assert_eq!(bench.written(), []);
}

// Publishes would go to a topic that the client did not name. [MQTT-3.3.2-9]
#[test]
fn topic_aliases_stand_for_topics() {
    let mut bench = Bench::live(Version::V5, 0);
    let mut named = publish("a", QOS0, 0);
    named.topic_alias = std::num::NonZeroU16::new(1);
    bench.packet(Packet::Publish(named.clone()));
    named.topic = "".into();
    bench.packet(Packet::Publish(named.clone()));
    let topics: Vec<_> = bench
        .fake
        .direct
        .iter()
        .map(|(_, p)| &*p.message.topic)
        .collect();
    assert_eq!(topics, ["a", "a"]);
    named.topic_alias = std::num::NonZeroU16::new(33);
    bench.packet(Packet::Publish(named));
    assert_eq!(bench.disconnected(), ReasonCode::TopicAliasInvalid);
}

// [MQTT-3.3.4-6]: a publisher could pretend to know the subscriptions of others.
#[test]
fn a_subscription_id_from_a_client_is_a_protocol_error() {
    let mut bench = Bench::live(Version::V5, 0);
    let mut publish = publish("a", QOS0, 0);
    publish.subscription_ids.push(1);
    bench.packet(Packet::Publish(publish));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
}

// What a client sends right before DISCONNECT would be lost when its lane has to wait. [F-14]
#[test]
fn parked_publishes_go_out_after_disconnect() {
    let mut bench = Bench::live(Version::V4, 0);
    bench.publish("a", QOS1, 1);
    bench.publish("a", QOS0, 0);
    let ops = bench.publishes();
    bench.input(Input::Closed);
    bench.answer(&ops[0], ReasonCode::Success);
    assert!(!bench.connection.finished());
    bench.commit_all();
    assert_eq!(bench.fake.direct.len(), 1);
    let shard = bench.fake.direct[0].0;
    bench.fake.direct_through[shard.index()] = 1;
    bench.input(Input::Progress(shard));
    assert!(bench.connection.finished());
}

// Without the bound one device could fill the broker's memory for all; were it kept by refusing, messages would be lost, and were
// reading stopped at once, the client's acknowledgements would wait behind its publishes.
#[test]
fn what_comes_too_fast_waits_and_then_reading_does() {
    let settings = Settings {
        receive_maximum: 3,
        publish_rate_max: Some(2),
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings);
    // A second's worth goes at once, and the one that passes it.
    for id in 1..=3 {
        bench.publish("a", QOS1, id);
    }
    let ops = bench.publishes();
    assert_eq!(ops.len(), 3);
    for op in &ops {
        bench.answer(op, ReasonCode::Success);
    }
    for id in 4..=5 {
        bench.publish("a", QOS1, id);
        assert!(bench.connection.reads(), "as long as there is room");
    }
    bench.publish("a", QOS0, 0);
    assert!(!bench.connection.reads());
    assert_eq!(bench.publishes(), []);
    let slowed = |event: &&Event| **event == Event::Slowed;
    assert_eq!(bench.fake.events.iter().filter(slowed).count(), 1);
    bench.pass(500);
    assert_eq!(bench.publishes().len(), 1);
    assert!(bench.connection.reads());
    bench.pass(500);
    assert_eq!(bench.publishes().len(), 1);
    assert_eq!(bench.fake.direct.len(), 0);
    bench.pass(500);
    bench.commit_all();
    assert_eq!(bench.fake.direct.len(), 1, "and in their order");
}

// A bound on messages alone lets a client fill memory with few large ones.
#[test]
fn bytes_have_a_rate_of_their_own() {
    let settings = Settings {
        publish_bytes_rate_max: Some(1),
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings);
    let payload = publish("a", QOS1, 1).payload.len() as u64;
    for id in 1..=3 {
        bench.publish("a", QOS1, id);
    }
    let at_once = bench.publishes().len();
    assert!((1..3).contains(&at_once), "{at_once}");
    bench.pass(3_000 * (payload + 1));
    assert_eq!(bench.publishes().len(), 3 - at_once);
}
