//! F-70 to F-73: shared subscriptions.

use std::collections::BTreeMap;

use catena_mqtt::QoS;
use catena_shard::{ConnId, Effect, Origin, SharedStrategy, Who, op::AckKind};

use crate::support::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

struct Group {
    world: World,
    members: Vec<(Client, Who)>,
    sender: (Client, Who),
}

impl Group {
    fn new(filter: &str, members: usize, window: u32, lasting: bool) -> Group {
        Group::with(filter, members, window, lasting, SharedStrategy::RoundRobin)
    }

    fn with(
        filter: &str,
        members: usize,
        window: u32,
        lasting: bool,
        strategy: SharedStrategy,
    ) -> Group {
        let mut world = World::with(1, |settings| settings.shared_strategy = strategy);
        let sender = Client {
            origin: GATEWAY_2,
            ..Client::new("sender", 99)
        };
        let sending = world.join(&sender);
        let mut group = Group {
            world,
            members: vec![],
            sender: (sender, sending),
        };
        for (n, name) in NAMES.into_iter().enumerate().take(members) {
            let client = Client {
                window,
                expiry: if lasting { 60 } else { 0 },
                ..Client::new(name, n as u64 + 1)
            };
            let who = group.world.join(&client);
            group
                .world
                .subscribe(&client, who, filter, QoS::ExactlyOnce);
            group.members.push((client, who));
        }
        group
    }

    fn send(&mut self, topic: &str, payload: &str, qos: QoS) -> Vec<(Origin, Effect)> {
        let (client, who) = &self.sender;
        self.world
            .publish(client, *who, message(topic, payload, qos))
    }

    fn ack(&mut self, member: usize, id: u16, kind: AckKind) -> Vec<(Origin, Effect)> {
        let (client, who) = &self.members[member];
        self.world.ack(client, *who, 0, id, kind)
    }
}

fn counts(told: &[(Origin, Effect)]) -> BTreeMap<ConnId, usize> {
    let mut counts = BTreeMap::new();
    for (conn, ..) in deliveries(told) {
        *counts.entry(conn).or_default() += 1;
    }
    counts
}

/// Every member would get every message, or one all of them [F-70].
#[test]
fn messages_go_by_turn_where_the_filter_has_no_wildcards() {
    let mut group = Group::new("$share/g/t", 3, 100, false);
    let mut told = vec![];
    for n in 0..9 {
        told.extend(group.send("t", &n.to_string(), QoS::AtLeastOnce));
    }
    assert_eq!(counts(&told).into_values().collect::<Vec<_>>(), [3, 3, 3]);
    assert!(
        deliveries(&told)
            .iter()
            .all(|(_, _, t)| t.shared && t.packet_id != 0),
        "tracked [F-50]"
    );
}

/// Messages of one topic would be handled out of order by several members [F-70].
#[test]
fn a_topic_sticks_to_a_member_where_the_filter_has_wildcards() {
    let mut group = Group::new("$share/g/t/+", 3, 1_000, false);
    let mut takers = BTreeMap::<String, Vec<ConnId>>::new();
    for n in 0..300 {
        let topic = format!("t/{}", n % 30);
        for (conn, ..) in deliveries(&group.send(&topic, "x", QoS::AtLeastOnce)) {
            takers.entry(topic.clone()).or_default().push(conn);
        }
    }
    assert!(
        takers
            .values()
            .all(|conns| conns.len() == 10 && conns.iter().all(|c| *c == conns[0]))
    );
    let used: std::collections::BTreeSet<_> = takers.values().map(|conns| conns[0]).collect();
    assert_eq!(used.len(), 3, "and all members work");
}

/// A full member would make the messages of all others wait [F-70].
#[test]
fn a_full_member_holds_only_its_own_messages() {
    let mut group = Group::new("$share/g/t/+", 2, 1, false);
    let mut told = vec![];
    for n in 0..40 {
        told.extend(group.send(&format!("t/{n}"), "x", QoS::AtLeastOnce));
    }
    assert_eq!(counts(&told).into_values().collect::<Vec<_>>(), [1, 1]);
    let (conn, _, target) = deliveries(&told)[0].clone();
    let member = conn.0 as usize - 1;
    let told = group.ack(member, target.packet_id, AckKind::Done);
    assert_eq!(counts(&told), BTreeMap::from([(conn, 1)]));
}

/// Messages of one partition would go to several members [F-70].
#[test]
fn a_partition_sticks_to_a_member() {
    let mut group = Group::new("$share/g/#", 3, 1_000, false);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut takers = std::collections::BTreeSet::new();
        for n in 0..20 {
            let mut sent = message(&format!("t/{n}"), "x", qos);
            let property = b"\x26\x00\x0a$partition\x00\x017";
            sent.properties = bytes::Bytes::from_static(property);
            sent.counter = n;
            sent.retain = qos == QoS::AtMostOnce;
            let (client, who) = &group.sender;
            let told = group.world.publish(client, *who, sent);
            takers.extend(deliveries(&told).into_iter().map(|(conn, ..)| conn));
        }
        assert_eq!(takers.len(), 1, "{qos:?}");
    }
}

/// The slowest member would be given as much as the fastest [F-70].
#[test]
fn the_member_with_the_fewest_unanswered_is_next() {
    let mut group = Group::with("$share/g/t", 2, 10, false, SharedStrategy::LeastInflight);
    let first = deliveries(&group.send("t", "0", QoS::AtLeastOnce));
    let second = deliveries(&group.send("t", "1", QoS::AtLeastOnce));
    assert_ne!(first[0].0, second[0].0);
    let member = second[0].0.0 as usize - 1;
    group.ack(member, second[0].2.packet_id, AckKind::Done);
    assert_eq!(
        deliveries(&group.send("t", "2", QoS::AtLeastOnce))[0].0,
        second[0].0
    );
}

/// QoS 0 to a group would need state that the direct lane has not [F-70] [F-41].
#[test]
fn qos_0_is_spread_by_topic_and_counter() {
    let group = Group::new("$share/g/t", 3, 10, false);
    let mut out = vec![];
    for n in 0..300 {
        let mut sent = message("t", "x", QoS::AtMostOnce);
        sent.counter = n;
        let publish = publish(&group.sender.0, group.sender.1, sent);
        out.extend(passed_by(&group.world.shards[0], &publish, group.world.now));
    }
    let counts = counts(&out);
    assert_eq!(counts.values().sum::<usize>(), 300);
    assert!(counts.values().all(|count| *count > 30), "{counts:?}");
}

/// A member would hoard messages that another could work on [F-71].
#[test]
fn there_is_no_prefetch() {
    let mut group = Group::new("$share/g/t", 1, 3, true);
    let mut told = vec![];
    for n in 0..6 {
        told.extend(group.send("t", &n.to_string(), QoS::AtLeastOnce));
    }
    assert_eq!(deliveries(&told).len(), 3);
}

/// A message that its member cannot take would wait there, or bounce to and fro [F-71].
#[test]
fn a_returned_message_goes_to_another_member() {
    let mut group = Group::new("$share/g/t", 2, 10, true);
    let first = deliveries(&group.send("t", "0", QoS::AtLeastOnce))[0].clone();
    let slow = first.0.0 as usize - 1;
    group.send("t", "1", QoS::AtLeastOnce);
    let held = deliveries(&group.send("t", "2", QoS::AtLeastOnce))[0].clone();
    assert_eq!(held.0, first.0);
    let told = group.ack(slow, held.2.packet_id, AckKind::Returned);
    let again = deliveries(&told);
    assert_eq!((again[0].1.as_str(), again[0].2.dup), ("2", false));
    assert_ne!(again[0].0, first.0);
    for n in 3..6 {
        assert_ne!(
            deliveries(&group.send("t", &n.to_string(), QoS::AtLeastOnce))[0].0,
            first.0
        );
    }
    group.ack(slow, first.2.packet_id, AckKind::Done);
    let told = group.send("t", "6", QoS::AtLeastOnce);
    assert_eq!(
        deliveries(&told)[0].0,
        first.0,
        "until its next acknowledgement"
    );
}

/// A member with nothing else in flight would be passed over for ever, for no acknowledgement can come [F-71].
#[test]
fn a_member_that_can_acknowledge_nothing_is_not_passed_over() {
    let mut group = Group::new("$share/g/t", 1, 10, false);
    let (client, who) = group.members[0].clone();
    group
        .world
        .subscribe(&client, who, "other", QoS::AtLeastOnce);
    group.send("other", "untracked", QoS::AtLeastOnce);
    let first = deliveries(&group.send("t", "0", QoS::AtLeastOnce))[0].clone();
    let told = group.ack(0, first.2.packet_id, AckKind::Returned);
    assert_eq!(deliveries(&told).len(), 1, "offered again at once");
}

/// What a dead member had would be lost to the group, or come back out of order [F-72].
#[test]
fn qos_1_returns_to_the_group_in_log_order() {
    for lasting in [true, false] {
        let mut group = Group::new("$share/g/t", 2, 3, lasting);
        let mut told = vec![];
        for n in 0..8 {
            told.extend(group.send("t", &n.to_string(), QoS::AtLeastOnce));
        }
        let (gone, who) = group.members[0].clone();
        let (other, _) = group.members[1].clone();
        let mut pending: Vec<u32> = payloads(&told, &gone)
            .iter()
            .map(|p| p.parse().unwrap())
            .collect();
        pending.extend([6, 7]);
        let held = deliveries(&told);
        let mut got = group.world.leave(&gone, who, false);
        let ids: Vec<u16> = held
            .iter()
            .filter(|d| d.0 == other.conn)
            .map(|d| d.2.packet_id)
            .collect();
        for id in ids {
            got.extend(group.ack(1, id, AckKind::Done));
        }
        for at in 0..10 {
            let Some((conn, _, target)) = deliveries(&got).get(at).cloned() else {
                break;
            };
            assert_eq!((conn, target.dup), (other.conn, false));
            got.extend(group.ack(1, target.packet_id, AckKind::Done));
        }
        let got: Vec<u32> = payloads(&got, &other)
            .iter()
            .map(|p| p.parse().unwrap())
            .collect();
        assert_eq!(got, pending, "lasting: {lasting}");
    }
}

/// What comes back from one who had left the group before would wait until somebody else publishes [F-72].
#[test]
fn what_one_who_unsubscribed_had_goes_to_the_others() {
    for lasting in [true, false] {
        let mut group = Group::new("$share/g/t", 2, 3, lasting);
        let told = group.send("t", "x", QoS::AtLeastOnce);
        let member = deliveries(&told)[0].0.0 as usize - 1;
        let (gone, who) = group.members[member].clone();
        let (other, _) = group.members[1 - member].clone();
        group.world.unsubscribe(&gone, who, "$share/g/t");
        let mut told = group.world.leave(&gone, who, false);
        told.extend(group.world.pass(200));
        assert_eq!(payloads(&told, &other), ["x"], "lasting: {lasting}");
    }
}

/// QoS 2 that may have been written would be handled twice by two members [F-72].
#[test]
fn qos_2_stays_with_its_session_once_written() {
    let mut group = Group::new("$share/g/t", 2, 10, true);
    let told = group.send("t", "x", QoS::ExactlyOnce);
    let (conn, _, target) = deliveries(&told)[0].clone();
    let member = conn.0 as usize - 1;
    let (client, who) = group.members[member].clone();
    assert!(deliveries(&group.world.leave(&client, who, false)).is_empty());
    let again = Client {
        conn: ConnId(50),
        ..client.clone()
    };
    let (_, told) = group.world.connect(&again);
    let resent = deliveries(&told);
    assert_eq!(
        (resent[0].2.packet_id, resent[0].2.dup),
        (target.packet_id, true)
    );
    // The session ends: it is discarded.
    let clean = Client {
        clean_start: true,
        conn: ConnId(51),
        ..client
    };
    group.world.ask(&clean);
    let told = group.world.pass(1_100);
    assert!(deliveries(&told).is_empty());
    assert_eq!(group.world.shards[0].stats().stored_messages, 0);
}

/// What was never written would be stuck with a session that is away [F-72].
#[test]
fn unwritten_qos_2_returns() {
    let mut group = Group::new("$share/g/t", 2, 10, true);
    let told = group.send("t", "x", QoS::ExactlyOnce);
    let (conn, _, target) = deliveries(&told)[0].clone();
    let (client, who) = group.members[conn.0 as usize - 1].clone();
    let told = group.world.detach(&client, who, 0, &[target.packet_id]);
    assert_eq!(deliveries(&told).len(), 1);
    assert_ne!(deliveries(&told)[0].0, conn);
}

/// A refusal would bounce a poisonous message from member to member [F-72].
#[test]
fn an_answer_of_any_kind_ends_it() {
    let mut group = Group::new("$share/g/t", 2, 10, true);
    let told = group.send("t", "x", QoS::AtLeastOnce);
    let (conn, _, target) = deliveries(&told)[0].clone();
    group.ack(conn.0 as usize - 1, target.packet_id, AckKind::Done);
    assert_eq!(group.world.shards[0].stats().stored_messages, 0);
}

/// A group whose members are away would lose its messages, or keep them after the last has left [F-73].
#[test]
fn the_queue_lives_as_long_as_a_member() {
    let mut group = Group::new("$share/g/t", 2, 10, true);
    for (client, who) in group.members.clone() {
        group.world.leave(&client, who, false);
    }
    for n in 0..3 {
        group.send("t", &n.to_string(), QoS::AtLeastOnce);
    }
    assert_eq!(group.world.shards[0].stats().stored_messages, 3);
    let again = Client {
        conn: ConnId(60),
        ..group.members[0].0.clone()
    };
    let (accepted, told) = group.world.connect(&again);
    assert_eq!(payloads(&told, &again), ["0", "1", "2"]);
    group.world.leave(&again, again.who(&accepted), false);
    group.world.pass(61_000);
    assert_eq!(group.world.shards[0].stats().stored_messages, 0);
}

/// A gateway that is gone would keep its members' share of the messages [F-70] [F-24].
#[test]
fn members_of_a_lost_gateway_are_not_chosen() {
    let mut group = Group::new("$share/g/t/+", 2, 1_000, true);
    let other = Client {
        origin: GATEWAY_2,
        ..Client::new("other", 30)
    };
    let who = group.world.join(&other);
    group
        .world
        .subscribe(&other, who, "$share/g/t/+", QoS::AtLeastOnce);
    for n in 0..20 {
        group.send(&format!("t/{n}"), "x", QoS::AtLeastOnce);
    }
    group.world.gateways(2, &[2]);
    let mut told = vec![];
    for n in 0..20 {
        let qos_0 = publish(
            &group.sender.0,
            group.sender.1,
            message(&format!("t/{n}"), "z", QoS::AtMostOnce),
        );
        told.extend(passed_by(&group.world.shards[0], &qos_0, group.world.now));
    }
    assert_eq!(payloads(&told, &other).len(), 20, "at once");
    for n in 0..20 {
        told.extend(group.send(&format!("t/{n}"), "y", QoS::AtLeastOnce));
    }
    told.extend(group.world.finish());
    let got = payloads(&told, &other);
    assert_eq!(got.iter().filter(|p| *p == "y").count(), 20);
}

/// A member whose session is being ended, step by step, would keep its share of the messages [F-70] [F-60].
#[test]
fn a_member_that_is_being_ended_is_not_chosen() {
    let mut group = Group::new("$share/g/t/+", 2, 1_000, true);
    for n in 0..20 {
        for (conn, _, target) in deliveries(&group.send(&format!("t/{n}"), "x", QoS::AtLeastOnce)) {
            group.ack(conn.0 as usize - 1, target.packet_id, AckKind::Done);
        }
    }
    let (gone, who) = group.members[0].clone();
    group.world.subscribe(&gone, who, "!long", QoS::AtLeastOnce);
    for _ in 0..3_000 {
        group.send("!long", "x", QoS::AtLeastOnce);
    }
    let end = catena_shard::op::EndSession {
        client: who.client,
        session: who.session,
    };
    group
        .world
        .op(GATEWAY, 0, catena_shard::Op::EndSession(end));
    assert!(group.world.shards[0].has_deferred_work());
    for n in 0..20 {
        let told = group.send(&format!("t/{n}"), "y", QoS::AtLeastOnce);
        assert_eq!(payloads(&told, &group.members[1].0), ["y"], "t/{n}");
    }
}

/// A group with more waiting than one entry may send would stop there [F-60] [F-73].
#[test]
fn a_long_queue_is_sent_in_steps() {
    let mut group = Group::new("$share/g/t", 1, 5_000, true);
    let (client, who) = group.members[0].clone();
    group.world.leave(&client, who, false);
    for n in 0..2_500 {
        group.send("t", &n.to_string(), QoS::AtLeastOnce);
    }
    let again = Client {
        conn: ConnId(60),
        ..client
    };
    let (_, mut told) = group.world.connect(&again);
    assert!(deliveries(&told).len() <= 1_000);
    told.extend(group.world.finish());
    let got = payloads(&told, &again);
    assert!(got.iter().map(|p| p.parse::<u32>().unwrap()).eq(0..2_500));
}

/// Messages of a group whose member's gateway did not drain would wait for the next one [F-64] [F-70].
#[test]
fn a_group_is_served_once_its_members_gateway_drains() {
    for filter in ["$share/g/t", "$share/g/t/#"] {
        let mut group = Group::new(filter, 1, 10, true);
        let (member, who) = group.members[0].clone();
        group.world.subscribe(&member, who, "big", QoS::AtMostOnce);
        group.world.acknowledges = false;
        for _ in 0..20 {
            group.send("big", &"x".repeat(1 << 20), QoS::AtLeastOnce);
        }
        assert!(deliveries(&group.send("t", "waits", QoS::AtLeastOnce)).is_empty());
        let through = group.world.shards[0].outbox(&GATEWAY).unwrap().last();
        let acked = catena_shard::Input::Acked {
            origin: GATEWAY,
            through,
        };
        group.world.apply(0, acked);
        assert_eq!(
            payloads(&group.world.finish(), &member),
            ["waits"],
            "{filter}"
        );
    }
}
