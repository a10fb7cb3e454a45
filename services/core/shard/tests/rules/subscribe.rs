//! F-30 to F-37: subscriptions and what they match.

use catena_mqtt::{Filter, QoS, ReasonCode, packet::RetainHandling};
use catena_shard::{Effect, Op, op};

use crate::support::*;

fn results(told: &[(catena_shard::Origin, Effect)]) -> Vec<(ReasonCode, bool)> {
    told.iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Subscribed(subscribed) => Some(&subscribed.results),
            _ => None,
        })
        .flatten()
        .map(|result| (result.reason, result.existed))
        .collect()
}

/// A message would miss subscribers that live on another shard than it, or reach them twice [F-30].
#[test]
fn a_filter_lives_where_its_topics_do() {
    let mut world = World::new(3);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    for filter in ["+/+", "x/#", "x/1", "$share/g/x/2"] {
        world.subscribe(&client, who, filter, QoS::AtLeastOnce);
    }
    for (topic, count) in [("x/1", 1), ("x/2", 2), ("y/1", 1), ("x", 1), ("y", 0)] {
        let told = world.publish(&client, who, message(topic, topic, QoS::AtLeastOnce));
        assert_eq!(payloads(&told, &client).len(), count, "{topic}");
    }
}

/// Reason codes would go to the wrong filters of a SUBSCRIBE [F-31].
#[test]
fn a_subscribe_is_answered_filter_by_filter() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    let ask = [
        ("b", QoS::ExactlyOnce),
        ("a", QoS::AtMostOnce),
        ("b", QoS::AtLeastOnce),
    ];
    let subscriptions = ask.map(|(filter, qos)| op::Subscription {
        filter: Filter::parse(filter.to_owned()).unwrap(),
        options: options(qos),
    });
    let subscribe = op::Subscribe {
        who,
        token: 5,
        subscriptions: subscriptions.to_vec(),
    };
    let told = world.op(GATEWAY, 0, Op::Subscribe(Box::new(subscribe)));
    let expected = [
        (ReasonCode::GrantedQos2, false),
        (ReasonCode::Success, false),
        (ReasonCode::GrantedQos1, true),
    ];
    assert_eq!(results(&told), expected);
    let told = world.unsubscribe(&client, who, "b");
    assert!(matches!(&told[0].1, Effect::Unsubscribed(u) if u.existed == [true] && u.token == 8));
    let told = world.unsubscribe(&client, who, "b");
    assert!(matches!(&told[0].1, Effect::Unsubscribed(u) if u.existed == [false]));
    let told = world.publish(&client, who, message("b", "x", QoS::AtLeastOnce));
    assert!(deliveries(&told).is_empty());
}

/// Subscribing again would lose what is queued, or miss what comes meanwhile [F-31].
#[test]
fn replacing_a_subscription_keeps_the_queue() {
    let mut world = World::new(1);
    let client = Client {
        window: 1,
        ..Client::lasting("a", 1)
    };
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    for payload in ["1", "2"] {
        world.publish(&client, who, message("t", payload, QoS::AtLeastOnce));
    }
    world.subscribe(&client, who, "t", QoS::AtMostOnce);
    let told = world.ack(&client, who, 0, 1, op::AckKind::Done);
    assert_eq!(payloads(&told, &client), ["2"]);
    assert_eq!(
        deliveries(&told)[0].2.qos,
        QoS::AtLeastOnce,
        "as granted then"
    );
    let told = world.publish(&client, who, message("t", "3", QoS::AtLeastOnce));
    assert_eq!(deliveries(&told)[0].2.qos, QoS::AtMostOnce);
}

/// A client would get one message once per filter, or without ids that it asked for [F-36].
#[test]
fn overlapping_filters_are_merged() {
    let mut world = World::new(1);
    let (client, other) = (Client::lasting("a", 1), Client::new("b", 2));
    let (who, others) = (world.join(&client), world.join(&other));
    let with = |qos, id, no_local, retain_as_published| op::SubscriptionOptions {
        id,
        no_local,
        retain_as_published,
        ..options(qos)
    };
    world.subscribe_with(
        &client,
        who,
        "t/#",
        with(QoS::AtMostOnce, Some(9), false, true),
    );
    world.subscribe_with(
        &client,
        who,
        "t/x",
        with(QoS::AtLeastOnce, Some(3), false, false),
    );
    world.subscribe_with(
        &client,
        who,
        "+/x",
        with(QoS::AtMostOnce, Some(9), false, false),
    );
    world.subscribe_with(
        &client,
        who,
        "#",
        with(QoS::ExactlyOnce, Some(5), true, false),
    );
    let mut sent = message("t/x", "x", QoS::ExactlyOnce);
    sent.retain = true;
    let told = world.publish(&other, others, sent.clone());
    let [(_, _, target)] = &deliveries(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!((target.qos, target.retain), (QoS::ExactlyOnce, true));
    assert_eq!(target.subscription_ids.as_deref(), Some(&[3, 5, 9][..]));
    let told = world.publish(&client, who, sent);
    let [(_, _, target)] = &deliveries(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        target.qos,
        QoS::AtLeastOnce,
        "No Local takes its filter out"
    );
    assert_eq!(target.subscription_ids.as_deref(), Some(&[3, 9][..]));
}

/// A queued message would be sent with what matches today [F-36].
#[test]
fn a_queued_message_keeps_what_matched_then() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    let with_id = |id| op::SubscriptionOptions {
        id: Some(id),
        ..options(QoS::AtLeastOnce)
    };
    world.subscribe_with(&client, who, "t", with_id(1));
    world.leave(&client, who, false);
    let other = Client::new("b", 2);
    let others = world.join(&other);
    world.publish(&other, others, message("t", "x", QoS::AtLeastOnce));
    let late = Client {
        window: 0,
        ..Client::lasting("a", 3)
    };
    let who = world.join(&late);
    world.subscribe_with(&late, who, "t", with_id(2));
    world.leave(&late, who, false);
    let again = Client::lasting("a", 4);
    let (_, told) = world.connect(&again);
    assert_eq!(
        deliveries(&told)[0].2.subscription_ids.as_deref(),
        Some(&[1][..])
    );
}

/// A `#` would show `$SYS` and the broker's own probe to everyone [F-37].
#[test]
fn wildcards_do_not_reach_hidden_topics_live_or_retained() {
    let mut world = World::new(1);
    let client = Client::new("a", 1);
    let who = world.join(&client);
    let probe = "azedge/dmqtt/selftest/1";
    for topic in ["$SYS/x", probe, "plain/x"] {
        let mut retained = message(topic, topic, QoS::AtMostOnce);
        retained.retain = true;
        world.publish(&client, who, retained);
    }
    for (filter, expected) in [
        ("#", &["plain/x"][..]),
        ("+/x", &["plain/x"]),
        ("$SYS/#", &["$SYS/x"]),
        ("azedge/dmqtt/#", &[]),
        ("azedge/dmqtt/selftest/#", &[probe]),
    ] {
        let told = world.subscribe(&client, who, filter, QoS::AtMostOnce);
        assert_eq!(payloads(&told, &client), expected, "retained, {filter}");
        let mut live = vec![];
        for topic in ["$SYS/x", probe, "plain/x"] {
            let mut sent = message(topic, topic, QoS::AtMostOnce);
            sent.retain = true;
            live.extend(payloads(&world.publish(&client, who, sent), &client));
        }
        assert_eq!(live, expected, "live, {filter}");
        world.unsubscribe(&client, who, filter);
    }
}

/// Retain handling 1 would count a subscription as old because one of its shards had it [F-35].
#[test]
fn replay_sends_retained_messages_of_a_filter_that_existed_here_only() {
    let mut world = World::new(1);
    let client = Client::new("a", 1);
    let who = world.join(&client);
    let mut retained = message("t/1", "x", QoS::AtLeastOnce);
    retained.retain = true;
    world.publish(&client, who, retained);
    let if_new = op::SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..options(QoS::AtLeastOnce)
    };
    let told = world.subscribe_with(&client, who, "t/#", if_new);
    assert_eq!(payloads(&told, &client), ["x"]);
    let told = world.subscribe_with(&client, who, "t/#", if_new);
    assert_eq!(results(&told), [(ReasonCode::GrantedQos1, true)]);
    assert!(deliveries(&told).is_empty());
    let replay = op::Replay {
        who,
        filters: vec![Filter::parse("t/#").unwrap()],
    };
    let told = world.op(GATEWAY, 0, Op::Replay(Box::new(replay)));
    assert_eq!(payloads(&told, &client), ["x"]);
    assert!(deliveries(&told)[0].2.retain);
}

/// UNSUBACK would never come for a filter that nobody subscribed to, on a shard that the connection never came to [F-33].
#[test]
fn an_unsubscribe_is_answered_without_an_attach() {
    let mut world = World::new(2);
    let client = Client::new("a", 1);
    let (accepted, _) = world.connect(&client);
    let who = client.who(&accepted);
    let answers = world.unsubscribe(&client, who, "never/+");
    let existed = answers.iter().map(|(_, effect)| match effect {
        Effect::Unsubscribed(unsubscribed) => unsubscribed.existed.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(existed.collect::<Vec<_>>(), [[false], [false]]);
}
