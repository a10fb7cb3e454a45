use catena_mqtt::{Packet, QoS, ReasonCode, Version, packet::Disconnect};
use catena_shard::{
    Op,
    effect::{AlsoAttach, Held, Kick},
};
use catena_slots::ShardId;

use super::fake::{Bench, CONN, connect, message, target};
use crate::{Input, Settings, input::Effect, outside::Event};

fn leave(bench: &mut Bench, reason: ReasonCode, expiry: Option<u32>) {
    let mut disconnect = Disconnect::new(reason);
    disconnect.session_expiry = expiry;
    bench.packet(Packet::Disconnect(Box::new(disconnect)));
}

fn kick(bench: &mut Bench, reason: ReasonCode) {
    let home = bench.home();
    bench.effect(
        home,
        Effect::Kick(Kick {
            conn: CONN,
            epoch: 1,
            reason,
        }),
    );
}

/// The last op to the home shard: Disconnect, after Detach everywhere.
fn last_op(bench: &mut Bench) -> catena_shard::op::Disconnect {
    let mut ops = bench.ops();
    let Some((_, Op::Disconnect(last))) = ops.pop() else {
        panic!("{ops:?}")
    };
    assert!(
        ops.iter().all(|(_, op)| matches!(op, Op::Detach(_))),
        "{ops:?}"
    );
    assert!(bench.connection.finished());
    last
}

// A will would be published for a client that said good-bye, or be swallowed for one that did not. [F-20]
#[test]
fn the_will_is_dropped_by_a_normal_disconnect_alone() {
    for (version, reason, will) in [
        (Version::V5, ReasonCode::Success, false),
        (Version::V5, ReasonCode::DisconnectWithWill, true),
        (Version::V5, ReasonCode::UnspecifiedError, true),
        (Version::V4, ReasonCode::Success, false),
    ] {
        let mut bench = Bench::live(version, 100);
        leave(&mut bench, reason, None);
        assert!(bench.fake.output.is_closing());
        assert_eq!(bench.written(), []);
        assert_eq!(last_op(&mut bench).will, will);
    }
    let mut bench = Bench::live(Version::V5, 100);
    bench.input(Input::Closed);
    assert!(last_op(&mut bench).will);
    assert_eq!(
        bench.fake.events[1..],
        [Event::Disconnected(ReasonCode::UnspecifiedError)]
    );
}

// A shard that was told first that the client left would drop what the client said before. [F-41]
#[test]
fn publishes_past_the_log_are_handled_before_the_client_leaves() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("t", QoS::AtMostOnce, 0);
    leave(&mut bench, ReasonCode::Success, None);
    assert_eq!(bench.ops(), []);
    let home = bench.home();
    bench.fake.direct_through[home.index()] = 1;
    bench.input(Input::Progress(home));
    assert!(!last_op(&mut bench).will);
}

// A session would be kept for ever, or one that no shard has kept be promised. [F-14] [MQTT-3.14.2-2]
#[test]
fn the_expiry_may_change_at_disconnect_but_not_from_zero() {
    let mut bench = Bench::live(Version::V5, 100);
    leave(&mut bench, ReasonCode::Success, Some(u32::MAX));
    assert_eq!(last_op(&mut bench).expiry, Some(3600));
    let mut bench = Bench::live(Version::V5, 0);
    leave(&mut bench, ReasonCode::Success, Some(1));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
    assert!(last_op(&mut bench).will);
}

// An op that comes after the end would belong to nobody. [F-14]
#[test]
fn the_end_waits_for_answers_but_not_for_ever() {
    let mut bench = Bench::live(Version::V5, 100);
    bench.publish("a", QoS::AtLeastOnce, 1);
    let op = bench.publishes().remove(0);
    bench.input(Input::Closed);
    assert_eq!(bench.ops(), []);
    bench.answer(&op, ReasonCode::Success);
    last_op(&mut bench);

    let mut bench = Bench::live(Version::V5, 100);
    bench.publish("a", QoS::AtLeastOnce, 1);
    bench.ops();
    bench.input(Input::Closed);
    bench.pass(4_999);
    assert_eq!(bench.ops(), []);
    bench.pass(1);
    last_op(&mut bench);
}

// What was never written would come back as a duplicate, or not at all. [F-53]
#[test]
fn detach_names_what_was_never_written() {
    let mut connect = connect(Version::V5, 100);
    connect.receive_maximum = std::num::NonZeroU16::new(1);
    let mut bench = Bench::live_with(1, connect, Settings::default());
    for id in [4, 2, 3] {
        bench.deliver(
            ShardId(0),
            &message("t", "x"),
            &target(QoS::AtLeastOnce, id),
        );
    }
    bench.publish("a", QoS::AtLeastOnce, 1);
    let op = bench.publishes().remove(0);
    bench.input(Input::Closed);
    bench.deliver(ShardId(0), &message("t", "x"), &target(QoS::AtLeastOnce, 1));
    bench.answer(&op, ReasonCode::Success);
    let ops = bench.ops();
    let [(_, Op::Detach(detach)), (_, Op::Disconnect(_))] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!(detach.unsent, [2, 3, 1]);
    assert_eq!(detach.taken, super::fake::EFFECTS_THROUGH);
}

// The next connection would find the shards before this one has left them. [F-12]
#[test]
fn a_takeover_answers_kicked_after_everything_else() {
    let mut bench = Bench::live(Version::V5, 100);
    bench.publish("a", QoS::AtLeastOnce, 1);
    let op = bench.publishes().remove(0);
    kick(&mut bench, ReasonCode::SessionTakenOver);
    assert_eq!(bench.disconnected(), ReasonCode::SessionTakenOver);
    assert!(!bench.connection.reads());
    assert_eq!(bench.ops(), []);
    bench.answer(&op, ReasonCode::Success);
    assert!(matches!(bench.op(), Op::Detach(_)));
    assert!(!bench.connection.finished());
    bench.commit_all();
    assert!(matches!(bench.op(), Op::Kicked(op) if op.will));
    assert!(bench.connection.finished());
}

// A takeover would hang on a shard that is away. [F-12]
#[test]
fn a_takeover_does_not_wait_for_ever() {
    let mut bench = Bench::live(Version::V5, 100);
    kick(&mut bench, ReasonCode::SessionTakenOver);
    bench.ops();
    bench.pass(1_000);
    assert!(matches!(bench.op(), Op::Kicked(_)));
}

// A late kick would end the connection that came after. [F-3]
#[test]
fn a_kick_of_another_epoch_is_ignored() {
    let mut bench = Bench::live(Version::V5, 100);
    let home = bench.home();
    let reason = ReasonCode::SessionTakenOver;
    bench.effect(
        home,
        Effect::Kick(Kick {
            conn: CONN,
            epoch: 0,
            reason,
        }),
    );
    assert!(bench.connection.is_live());
}

// Clients would not know that they were sent away for good reason. [F-25] [F-26]
#[test]
fn other_kicks_and_drains_say_why() {
    for reason in [
        ReasonCode::ImplementationSpecificError,
        ReasonCode::AdministrativeAction,
    ] {
        let mut bench = Bench::live(Version::V5, 100);
        kick(&mut bench, reason);
        assert_eq!(bench.disconnected(), reason);
        assert!(last_op(&mut bench).will);
    }
    let settings = Settings {
        server_reference: Some("other:1883".into()),
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings);
    bench.input(Input::Drain(ReasonCode::UseAnotherServer));
    let Some(Packet::Disconnect(disconnect)) = bench.written().pop() else {
        panic!()
    };
    assert_eq!(disconnect.server_reference.as_deref(), Some("other:1883"));
    assert!(last_op(&mut bench).will);
}

// A shard that came to hold something of the session would never deliver it. [F-22]
#[test]
fn shards_that_are_named_later_are_attached_once() {
    let mut bench = Bench::live_with(3, connect(Version::V5, 100), Settings::default());
    let home = bench.home();
    let shard = bench
        .fake
        .slots
        .shards()
        .find(|shard| *shard != home)
        .unwrap();
    for _ in 0..2 {
        bench.effect(home, Effect::AlsoAttach(AlsoAttach { conn: CONN, shard }));
    }
    assert!(matches!(bench.op(), Op::Attach(_)));
    bench.attached(shard, Held::default());
    bench.input(Input::Closed);
    let ops = bench.ops();
    assert_eq!(
        ops.iter()
            .filter(|(_, op)| matches!(op, Op::Detach(_)))
            .count(),
        2
    );
    assert!(matches!(ops.last(), Some((last, Op::Disconnect(_))) if *last == home));
}

// A text in DISCONNECT could be more than the client takes. [MQTT-3.14.2-3]
#[test]
fn disconnect_fits_the_clients_maximum_packet_size() {
    let mut connect = connect(Version::V5, 0);
    connect.maximum_packet_size = Some(20);
    let mut bench = Bench::live_with(1, connect, Settings::default());
    bench.input(Input::Packet(Packet::Pingresp));
    let written = bench.written();
    let [Packet::Disconnect(disconnect)] = &written[..] else {
        panic!("{written:?}")
    };
    assert_eq!(disconnect.reason_string, None);
}
