use std::sync::Arc;

use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{Connect, Will},
};
use catena_policy::Policy;
use catena_shard::{Op, effect::Held};

use super::{
    fake::{Bench, ack, connect, packet_id},
    rules::{allow, deny_all},
};
use crate::{
    Input,
    outside::{Action, Event},
};

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// A live client of a port with a policy.
fn live(version: Version, expiry: u32, policy: Arc<Policy>) -> Bench {
    let mut bench = Bench::strict(1, policy);
    bench.version = version;
    bench.packet(Packet::Connect(Box::new(connect(version, expiry))));
    bench.accept(false, Vec::new(), Held::default());
    assert_eq!(bench.connack().reason, ReasonCode::Success);
    bench.fake.ops.clear();
    bench.fake.events.clear();
    bench
}

fn refused(policy: Arc<Policy>, connect: Connect) -> Bench {
    let mut bench = Bench::strict(1, policy);
    bench.version = connect.version;
    bench.packet(Packet::Connect(Box::new(connect)));
    assert!(bench.connection.finished() && bench.fake.output.is_closing());
    assert_eq!(bench.ops(), [], "no shard hears of it");
    bench
}

fn with_will(version: Version, topic: &'static str) -> Connect {
    let mut connect = connect(version, 0);
    connect.will = Some(Will {
        topic: topic.into(),
        ..Will::default()
    });
    connect
}

// Anybody could come in who has proved anything at all.
#[test]
fn who_may_not_connect_is_refused() {
    for version in VERSIONS {
        let mut bench = refused(deny_all(), connect(version, 0));
        assert_eq!(bench.connack().reason, ReasonCode::NotAuthorized);
        let events = [
            Event::Denied(Action::Connect),
            Event::Refused(ReasonCode::NotAuthorized),
        ];
        assert_eq!(bench.fake.events, events);
        assert_eq!(bench.fake.denials, [(Action::Connect, String::new())]);
    }
}

// A will could say what its client may not. [F-20]
#[test]
fn a_will_is_a_publish() {
    for version in VERSIONS {
        let mut bench = refused(allow(&["a"], &[]), with_will(version, "b"));
        assert_eq!(bench.connack().reason, ReasonCode::NotAuthorized);
        assert_eq!(bench.fake.denials, [(Action::Publish, "b".to_owned())]);
        let mut bench = Bench::strict(1, allow(&["a"], &[]));
        bench.packet(Packet::Connect(Box::new(with_will(version, "a"))));
        assert!(matches!(bench.op(), Op::Connect(op) if op.will.is_some()));
    }
}

// What nobody may say would be said, or the client would wait for an acknowledgement for ever.
#[test]
fn a_publish_that_is_denied_goes_to_no_shard() {
    for version in VERSIONS {
        let mut bench = live(version, 0, allow(&["a"], &[]));
        let told = match version {
            Version::V5 => ReasonCode::NotAuthorized,
            _ => ReasonCode::Success,
        };
        bench.publish("b", QoS::AtMostOnce, 0);
        assert_eq!(bench.written(), []);
        bench.publish("b", QoS::AtLeastOnce, 1);
        match &bench.written()[..] {
            [Packet::Puback(ack)] => assert_eq!(ack.reason, told),
            other => panic!("{other:?} in place of PUBACK"),
        }
        // And once more, as a client does that has lost the answer.
        for _ in 0..2 {
            bench.publish("b", QoS::ExactlyOnce, 2);
            match &bench.written()[..] {
                [Packet::Pubrec(ack)] => assert_eq!(ack.reason, told),
                other => panic!("{other:?} in place of PUBREC"),
            }
        }
        if version != Version::V5 {
            // For the client it goes on, and what it was told holds when the policy changes.
            bench.input(Input::Policy(Some(allow(&["b"], &[]))));
            bench.publish("b", QoS::ExactlyOnce, 2);
            assert!(matches!(&bench.written()[..], [Packet::Pubrec(_)]));
            bench.packet(Packet::Pubrel(ack(2)));
            assert!(matches!(&bench.written()[..], [Packet::Pubcomp(_)]));
            bench.input(Input::Policy(Some(allow(&["a"], &[]))));
        }
        assert!(bench.ops().is_empty() && bench.fake.direct.is_empty());
        // Below 5 a resend is known as one.
        let denials = if version == Version::V5 { 4 } else { 3 };
        assert_eq!(
            bench.fake.events,
            vec![Event::Denied(Action::Publish); denials]
        );
        bench.publish("a", QoS::ExactlyOnce, 2);
        assert_eq!(bench.publishes().len(), 1, "the id is free");
        assert!(bench.connection.is_live());
    }
}

// Acknowledgements would overtake each other where some are answered here and some by the shard. [MQTT-4.6.0-2]
#[test]
fn denials_wait_for_the_answers_before_them() {
    let mut bench = live(Version::V5, 0, allow(&["a"], &[]));
    bench.publish("a", QoS::AtLeastOnce, 1);
    bench.publish("b", QoS::AtLeastOnce, 2);
    assert_eq!(bench.written(), []);
    let publish = bench.publishes().remove(0);
    bench.answer(&publish, ReasonCode::Success);
    let written = bench.written();
    assert!(
        matches!(&written[..], [Packet::Puback(first), Packet::Puback(second)]
        if first.packet_id == packet_id(1) && second.reason == ReasonCode::NotAuthorized)
    );
}

// A message that was taken would be told as refused, so that the client sends it elsewhere too. [F-42]
#[test]
fn a_resend_of_what_was_allowed_is_no_new_publish() {
    for version in [Version::V4, Version::V5] {
        let mut bench = live(version, 0, allow(&["a"], &[]));
        bench.publish("a", QoS::ExactlyOnce, 1);
        let publish = bench.publishes().remove(0);
        bench.answer(&publish, ReasonCode::Success);
        bench.written();
        bench.input(Input::Policy(Some(allow(&["b"], &[]))));
        bench.publish("a", QoS::ExactlyOnce, 1);
        match &bench.written()[..] {
            [Packet::Pubrec(ack)] => assert_eq!(ack.reason, ReasonCode::Success),
            other => panic!("{other:?} in place of PUBREC"),
        }
        bench.packet(Packet::Pubrel(ack(1)));
        assert!(matches!(&bench.written()[..], [Packet::Pubcomp(_)]));
        assert!(bench.publishes().is_empty());
        assert!(bench.fake.denials.is_empty());
    }
}

// A client would read what it may not, or lose the filters that it may have beside it. [F-31]
#[test]
fn each_filter_is_judged_by_itself() {
    for version in VERSIONS {
        let mut bench = live(version, 0, allow(&[], &["a/#"]));
        bench.subscribe(1, &["b", "a/+", "#", "$share/g/a/b", "$share/g/b"]);
        let ops = bench.ops();
        let asked: Vec<_> = ops
            .iter()
            .filter_map(|(_, op)| match op {
                Op::Subscribe(op) => Some(&op.subscriptions),
                _ => None,
            })
            .flatten()
            .map(|subscription| subscription.filter.full().to_string())
            .collect();
        assert_eq!(asked, ["a/+", "$share/g/a/b"]);
        bench.answer_all(&ops, false);
        let told = match version {
            Version::V5 => ReasonCode::NotAuthorized,
            _ => ReasonCode::UnspecifiedError,
        };
        let granted = ReasonCode::GrantedQos1;
        match &bench.written()[..] {
            [Packet::Suback(suback)] => {
                assert_eq!(suback.codes, [told, granted, told, granted, told]);
            }
            other => panic!("{other:?} in place of SUBACK"),
        }
        assert_eq!(bench.fake.events, [Event::Denied(Action::Subscribe); 3]);
    }
}

// A SUBSCRIBE with nothing to ask of a shard would never be answered.
#[test]
fn a_subscribe_that_is_denied_whole_is_answered_at_once() {
    let mut bench = live(Version::V4, 0, allow(&[], &[]));
    bench.subscribe(1, &["a", "b"]);
    assert!(bench.ops().is_empty());
    assert!(matches!(&bench.written()[..], [Packet::Suback(suback)]
        if suback.codes == [ReasonCode::UnspecifiedError; 2]));
}

// Anonymous clients of a port without a policy would be asked for rules.
#[test]
fn without_a_policy_everything_is_allowed() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.publish("a", QoS::AtLeastOnce, 1);
    bench.subscribe(2, &["#"]);
    assert!(bench.connection.guard.is_none(), "it would take memory");
    assert!(bench.fake.denials.is_empty());
}
