use std::sync::Arc;

use catena_mqtt::{
    Filter, Packet, QoS, ReasonCode, Version,
    packet::{Unsubscribe, Will},
};
use catena_policy::Policy;
use catena_shard::{
    Op,
    effect::Held,
    op::{AckKind, SubscriptionOptions},
};
use catena_slots::ShardId;

use super::{
    fake::{Bench, connect, message, packet_id, target, topic_of},
    rules::{allow, allow_after_disconnect, deny_all},
};
use crate::{
    Input,
    outside::{Action, Event},
};

fn held(filters: &[&str]) -> Held {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: Default::default(),
        id: None,
    };
    let filters = filters
        .iter()
        .map(|filter| (Filter::parse(*filter).unwrap(), options));
    Held {
        inbound: Vec::new(),
        filters: filters.collect(),
    }
}

fn change(bench: &mut Bench, policy: Arc<Policy>) {
    bench.input(Input::Policy(Some(policy)));
}

fn live(version: Version, policy: Option<Arc<Policy>>) -> Bench {
    let mut bench = Bench::new(1, crate::Settings::default());
    bench.version = version;
    if let Some(policy) = policy {
        change(&mut bench, policy);
    }
    bench.packet(Packet::Connect(Box::new(connect(version, 100))));
    bench.accept(false, Vec::new(), Held::default());
    bench.connack();
    bench.fake.ops.clear();
    bench
}

fn subscribe(bench: &mut Bench, filter: &str) {
    bench.subscribe(1, &[filter]);
    let ops = bench.ops();
    bench.answer_all(&ops, false);
    bench.written();
}

/// The client was sent away for want of rights.
fn assert_sent_away(bench: &mut Bench) {
    match bench.version {
        Version::V5 => assert_eq!(bench.disconnected(), ReasonCode::NotAuthorized),
        _ => {
            assert!(bench.fake.output.is_closing());
            assert_eq!(bench.written(), [], "there is no word for it");
        }
    }
}

// A right that was taken away would last as long as the connection. [F-90]
#[test]
fn who_may_no_longer_connect_is_disconnected() {
    for version in [Version::V4, Version::V5] {
        let mut bench = live(version, Some(allow(&[], &[])));
        change(&mut bench, deny_all());
        assert_sent_away(&mut bench);
        assert!(bench.fake.events.contains(&Event::Denied(Action::Connect)));
    }
    // Also one that is still waiting for CONNACK.
    let mut bench = Bench::strict(1, allow(&[], &[]));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    change(&mut bench, deny_all());
    assert_eq!(bench.connack().reason, ReasonCode::NotAuthorized);
}

// Clients would lose their connections for rules that are not about them, or keep subscriptions that are not granted. [F-90]
#[test]
fn who_holds_what_is_no_longer_granted_is_disconnected() {
    for version in [Version::V4, Version::V5] {
        let mut bench = live(version, Some(allow(&[], &["a/#", "b"])));
        subscribe(&mut bench, "a/+");
        change(&mut bench, allow(&[], &["a/+"]));
        assert!(bench.connection.is_live(), "nothing is lost");
        change(&mut bench, allow(&[], &["a/b", "b"]));
        assert_sent_away(&mut bench);
    }
    // What was unsubscribed does not count.
    let mut bench = live(Version::V5, Some(allow(&[], &["#"])));
    subscribe(&mut bench, "a");
    let unsubscribe = Unsubscribe::new(packet_id(2), vec!["a".into()]);
    bench.packet(Packet::Unsubscribe(unsubscribe));
    let ops = bench.ops();
    bench.answer_all(&ops, true);
    change(&mut bench, allow(&[], &["b"]));
    assert!(bench.connection.is_live());
}

// A SUBSCRIBE that is on its way while the policy changes would be granted by the old one. [F-90]
#[test]
fn a_filter_on_its_way_counts() {
    let mut bench = live(Version::V5, Some(allow(&[], &["a"])));
    bench.subscribe(1, &["a"]);
    change(&mut bench, allow(&[], &["b"]));
    assert_sent_away(&mut bench);
}

// What may be published would be remembered from the old policy.
#[test]
fn decisions_of_the_old_policy_are_forgotten() {
    let mut bench = live(Version::V5, Some(allow(&["a"], &[])));
    bench.publish("a", QoS::AtLeastOnce, 1);
    assert_eq!(bench.publishes().len(), 1);
    change(&mut bench, allow(&["b"], &[]));
    bench.publish("a", QoS::AtLeastOnce, 2);
    assert_eq!(bench.publishes().len(), 0);
    bench.input(Input::Policy(None));
    bench.publish("a", QoS::AtLeastOnce, 3);
    assert_eq!(bench.publishes().len(), 1);
}

// Operators who count on clients being disconnected would wait for it.
#[test]
fn all_are_disconnected_where_the_policy_says_so() {
    let mut bench = live(Version::V5, Some(allow(&["a"], &[])));
    change(&mut bench, allow_after_disconnect(&["a"], &[]));
    assert_eq!(bench.disconnected(), ReasonCode::AdministrativeAction);
    // Who is still coming in does so under the new policy.
    let mut bench = Bench::strict(1, allow(&["a"], &[]));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    change(&mut bench, allow_after_disconnect(&["a"], &[]));
    bench.accept(false, Vec::new(), Held::default());
    assert_eq!(bench.connack().reason, ReasonCode::Success);
    // Telling the same once more is no change.
    let policy = allow_after_disconnect(&["a"], &[]);
    let mut bench = live(Version::V5, Some(policy.clone()));
    change(&mut bench, policy);
    assert!(bench.connection.is_live());
}

// A policy that a port gets later would not know what its clients hold. [F-90]
#[test]
fn the_first_policy_asks_the_shards_what_is_held() {
    for (granted, stays) in [("a", true), ("b", false)] {
        let mut bench = live(Version::V5, None);
        subscribe(&mut bench, "a");
        change(&mut bench, allow(&[], &[granted]));
        assert!(bench.connection.is_live());
        assert!(matches!(bench.op(), Op::Attach(_)));
        let home = bench.home();
        bench.attached(home, held(&["a"]));
        assert_eq!(bench.connection.is_live(), stays);
        if stays {
            change(&mut bench, allow(&[], &["b"]));
            assert!(
                bench
                    .ops()
                    .iter()
                    .all(|(_, op)| !matches!(op, Op::Attach(_)))
            );
        }
        assert_sent_away(&mut bench);
    }
}

// The will of a client would say what the client may no longer. [F-20]
#[test]
fn a_will_that_is_no_longer_allowed_is_not_published() {
    for (before, after, published) in [
        (Some(allow(&["w"], &[])), allow(&["x"], &[]), false),
        (None, allow(&["x"], &[]), false),
        (None, allow(&["w"], &[]), true),
    ] {
        let mut connect = connect(Version::V5, 100);
        connect.will = Some(Will {
            topic: "w".into(),
            ..Will::default()
        });
        let mut bench = Bench::new(1, crate::Settings::default());
        bench.input(Input::Policy(before));
        bench.packet(Packet::Connect(Box::new(connect)));
        bench.accept(false, Vec::new(), Held::default());
        change(&mut bench, after);
        assert!(bench.connection.is_live());
        bench.input(Input::Closed);
        let ops = bench.ops();
        assert!(matches!(&ops.last().unwrap().1, Op::Disconnect(last) if last.will == published));
    }
}

// A session would go on with what was granted to it under another policy, or by other attributes. [F-90]
#[test]
fn a_resumed_session_loses_what_is_no_longer_granted() {
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::strict(2, allow(&[], &["a", "c/#"]));
        bench.version = version;
        bench.packet(Packet::Connect(Box::new(connect(version, 100))));
        let home = bench.home();
        let other = ShardId(1 - home.0);
        bench.ops();
        bench.accept(true, vec![other], held(&["a", "b/#", "c/+"]));
        let ops = bench.ops();
        let unsubscribed: Vec<_> = ops
            .iter()
            .filter_map(|(shard, op)| match op {
                Op::Unsubscribe(op) => Some((*shard, op.token, op.filters.clone())),
                _ => None,
            })
            .collect();
        let revoked = vec![Filter::parse("b/#").unwrap()];
        assert_eq!(unsubscribed, [(home, 0, revoked.clone())]);
        bench.attached(other, held(&["b/#", "c/+"]));
        assert!(matches!(bench.op(), Op::Unsubscribe(op) if op.filters == revoked));
        assert!(bench.connection.is_live(), "it goes on with the rest");
        let denied = Event::Denied(Action::Subscribe);
        assert_eq!(
            bench
                .fake
                .events
                .iter()
                .filter(|event| **event == denied)
                .count(),
            2
        );
        bench.written();

        // What was queued for it meanwhile is not passed on, and does not stay queued.
        bench.deliver(
            home,
            &message("b/x", "secret"),
            &target(QoS::AtLeastOnce, 3),
        );
        bench.deliver(home, &message("b/x", "secret"), &target(QoS::AtMostOnce, 0));
        assert_eq!(bench.written(), []);
        let Op::Ack(ack) = bench.op() else { panic!() };
        assert_eq!(
            (ack.items[0].packet_id, ack.items[0].kind),
            (3, AckKind::Discarded)
        );
        bench.deliver(home, &message("c/x", "open"), &target(QoS::AtMostOnce, 0));
        assert!(matches!(&bench.written()[..], [Packet::Publish(_)]));
    }
}

// A filter that is granted again would stay deaf.
#[test]
fn what_is_granted_again_is_delivered_again() {
    let mut bench = Bench::strict(1, allow(&[], &["a"]));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.accept(true, Vec::new(), held(&["a", "b"]));
    bench.ops();
    change(&mut bench, allow(&[], &["a", "b"]));
    bench.written();
    let home = bench.home();
    bench.deliver(home, &message("b", "x"), &target(QoS::AtMostOnce, 0));
    assert_eq!(bench.written(), [], "it is not subscribed to");
    subscribe(&mut bench, "b");
    bench.deliver(home, &message("b", "x"), &target(QoS::AtMostOnce, 0));
    assert!(matches!(&bench.written()[..], [Packet::Publish(_)]));
}

// A session that lost thousands of filters would make each delivery slow.
#[test]
fn what_is_watched_for_is_bounded() {
    let filters: Vec<String> = (0..=crate::bounds::REVOKED_FILTERS_MAX)
        .map(|index| format!("b/{index}"))
        .collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let mut bench = Bench::strict(1, allow(&[], &["a"]));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.ops();
    bench.accept(true, Vec::new(), held(&filters));
    let ops = bench.ops();
    let Some((_, Op::Unsubscribe(op))) = ops.first() else {
        panic!("{ops:?}")
    };
    assert_eq!(
        op.filters.len(),
        filters.len(),
        "the next connection finds none of them"
    );
    assert!(
        matches!(&bench.written()[..], [Packet::Connack(_), Packet::Disconnect(last)]
        if last.reason == ReasonCode::NotAuthorized)
    );
}

// Too many filters to keep would be granted for ever. [F-90]
#[test]
fn filters_beyond_the_bound_are_asked_for() {
    let filters: Vec<String> = (0..=crate::bounds::HELD_FILTERS_MAX)
        .map(|index| format!("a/{index}"))
        .collect();
    let mut names: Vec<&str> = filters.iter().map(String::as_str).collect();
    names.push("b");
    let mut bench = Bench::strict(1, allow(&[], &["a/+", "b"]));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.accept(true, Vec::new(), held(&names));
    bench.written();
    bench.ops();
    change(&mut bench, allow(&[], &["a/+"]));
    assert!(matches!(bench.op(), Op::Attach(_)));
    let home = bench.home();
    bench.attached(home, held(&names));
    assert_sent_away(&mut bench);
}

// Shards of a session that are attached later would be left out.
#[test]
fn shards_met_by_subscribing_are_asked_too() {
    let mut bench = Bench::new(2, crate::Settings::default());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.accept(false, Vec::new(), Held::default());
    let other = ShardId(1 - bench.home().0);
    let topic = topic_of(&bench.fake.slots, other);
    bench.ops();
    subscribe(&mut bench, topic);
    change(&mut bench, allow(&[], &["nothing"]));
    let asked: Vec<ShardId> = bench.ops().into_iter().map(|(shard, _)| shard).collect();
    assert_eq!(asked, [bench.home(), other]);
    bench.attached(other, held(&[topic]));
    assert_sent_away(&mut bench);
}
