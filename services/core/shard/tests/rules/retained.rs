//! F-34, F-66: retained messages.

use catena_mqtt::{QoS, ReasonCode, packet::RetainHandling};
use catena_shard::{Message, Who, op};

use crate::support::*;

fn retained(topic: &str, payload: &str, qos: QoS) -> Message {
    Message {
        retain: true,
        ..message(topic, payload, qos)
    }
}

/// A world with a publisher, and a client with this window that reads nothing yet.
fn world(window: u32) -> (World, Client, Who, Client, Who) {
    let mut world = World::new(1);
    let sender = Client::new("sender", 1);
    let sending = world.join(&sender);
    let reader = Client {
        window,
        ..Client::lasting("reader", 2)
    };
    let reading = world.join(&reader);
    (world, sender, sending, reader, reading)
}

/// A client would lose retained messages to a full window, or be flooded by them [F-34].
#[test]
fn retained_messages_are_windowed_and_none_is_lost() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut world, sender, sending, reader, reading) = world(10);
        for n in 0..300 {
            world.publish(
                &sender,
                sending,
                retained(&format!("t/{n}"), &n.to_string(), qos),
            );
        }
        let told = world.subscribe(&reader, reading, "t/+", qos);
        let mut got = deliveries(&told);
        assert_eq!(got.len(), 10);
        for at in 0..1_000 {
            let Some((_, _, target)) = got.get(at).cloned() else {
                break;
            };
            assert!(target.retain);
            let told = if qos == QoS::AtMostOnce {
                assert!(target.counted);
                world.credit(&reader, reading, 0, 1)
            } else {
                world.ack(&reader, reading, 0, target.packet_id, op::AckKind::Done)
            };
            got.extend(deliveries(&told));
        }
        let mut payloads: Vec<u32> = got.iter().map(|(_, p, _)| p.parse().unwrap()).collect();
        payloads.sort_unstable();
        assert_eq!(payloads, (0..300).collect::<Vec<_>>(), "{qos:?}");
    }
}

/// One SUBSCRIBE to everything would stop the shard [F-34] [F-60].
#[test]
fn a_step_of_a_cursor_is_small() {
    let (mut world, sender, sending, reader, reading) = world(10_000);
    for n in 0..300 {
        world.publish(
            &sender,
            sending,
            retained(&format!("t/{n}"), "x", QoS::AtLeastOnce),
        );
    }
    let told = world.subscribe(&reader, reading, "#", QoS::AtLeastOnce);
    assert_eq!(deliveries(&told).len(), 64);
    assert!(world.shards[0].has_deferred_work());
    assert_eq!(deliveries(&world.finish()).len(), 236);
}

/// A client would see an old value after a newer one [F-34].
#[test]
fn a_live_publish_moves_the_retained_message_in_front() {
    let (mut world, sender, sending, reader, reading) = world(1);
    for topic in ["a", "b", "c"] {
        world.publish(
            &sender,
            sending,
            retained(topic, &format!("old {topic}"), QoS::AtLeastOnce),
        );
    }
    let told = world.subscribe(&reader, reading, "#", QoS::AtLeastOnce);
    assert_eq!(payloads(&told, &reader), ["old a"]);
    world.publish(&sender, sending, retained("c", "new c", QoS::AtLeastOnce));
    world.publish(&sender, sending, message("b", "live b", QoS::AtLeastOnce));
    let mut got = deliveries(&told);
    for at in 0..10 {
        let Some((_, _, target)) = got.get(at).cloned() else {
            break;
        };
        let told = world.ack(&reader, reading, 0, target.packet_id, op::AckKind::Done);
        got.extend(deliveries(&told));
    }
    let got: Vec<(&str, bool)> = got.iter().map(|(_, p, t)| (&**p, t.retain)).collect();
    let place = |payload, retain| got.iter().position(|one| *one == (payload, retain));
    assert_eq!(got.len(), 5, "nothing twice: {got:?}");
    assert!(place("old c", true).unwrap() < place("new c", false).unwrap());
    assert!(place("old b", true).unwrap() < place("live b", false).unwrap());
}

/// Messages that were told to vanish would come back, or hold memory for ever [F-34] [F-66].
#[test]
fn expired_retained_messages_are_not_sent_and_are_forgotten() {
    let (mut world, sender, sending, reader, reading) = world(10);
    let before = world.shards[0].stats().bytes;
    let mut short = retained("t", "x", QoS::AtLeastOnce);
    short.expiry = Some(5);
    world.publish(&sender, sending, short.clone());
    world.publish(&sender, sending, short);
    world.now = world.now.plus_seconds(6);
    let told = world.subscribe(&reader, reading, "t", QoS::AtLeastOnce);
    assert!(deliveries(&told).is_empty());
    world.unsubscribe(&reader, reading, "t");
    world.pass(100);
    let stats = world.shards[0].stats();
    assert_eq!(
        (stats.retained_messages, stats.stored_messages, stats.bytes),
        (0, 0, before)
    );
}

/// A group would get retained messages, one member at random [F-34].
#[test]
fn shared_subscriptions_get_no_retained_messages() {
    let (mut world, sender, sending, reader, reading) = world(10);
    world.publish(&sender, sending, retained("t", "x", QoS::AtLeastOnce));
    let told = world.subscribe(&reader, reading, "$share/g/t", QoS::AtLeastOnce);
    assert!(deliveries(&told).is_empty());
}

/// Retain handling would be ignored, or a second SUBSCRIBE would cut what the first is owed [F-34].
#[test]
fn retain_handling_decides() {
    let (mut world, sender, sending, reader, reading) = world(1);
    for topic in ["a", "b"] {
        world.publish(&sender, sending, retained(topic, topic, QoS::AtLeastOnce));
    }
    let with = |retain_handling| op::SubscriptionOptions {
        retain_handling,
        ..options(QoS::AtLeastOnce)
    };
    let told = world.subscribe_with(&reader, reading, "#", with(RetainHandling::DoNotSend));
    assert!(deliveries(&told).is_empty());
    world.unsubscribe(&reader, reading, "#");
    let told = world.subscribe_with(&reader, reading, "#", with(RetainHandling::SendIfNew));
    assert_eq!(payloads(&told, &reader), ["a"]);
    let told = world.subscribe_with(&reader, reading, "#", with(RetainHandling::SendIfNew));
    assert!(deliveries(&told).is_empty());
    let told = world.ack(&reader, reading, 0, 1, op::AckKind::Done);
    assert_eq!(payloads(&told, &reader), ["b"], "still owed to the first");
    world.ack(&reader, reading, 0, 2, op::AckKind::Done);
    let told = world.subscribe_with(&reader, reading, "#", with(RetainHandling::Send));
    assert_eq!(payloads(&told, &reader), ["a"], "and anew");
}

/// Retained messages could fill the memory, or could no longer be cleared once they did [F-66] [F-63].
#[test]
fn retained_messages_have_limits_of_their_own() {
    let mut world = World::with(1, |settings| {
        settings.retained_messages_max = Some(2);
        settings.retained_bytes_max = 1_000;
    });
    let client = Client::new("a", 1);
    let who = world.join(&client);
    let mut put = |topic: &str, payload: &str| {
        published(&world.publish(&client, who, retained(topic, payload, QoS::AtLeastOnce)))[0]
    };
    let (stored, refused) = (ReasonCode::NoMatchingSubscribers, ReasonCode::QuotaExceeded);
    assert_eq!(put("a", "x"), stored);
    assert_eq!(put("b", "x"), stored);
    assert_eq!(put("c", "x"), refused, "too many");
    assert_eq!(put("a", "y"), stored, "replacing fits");
    assert_eq!(put("a", &"y".repeat(1_000)), refused, "too large");
    assert_eq!(put("b", ""), stored, "clearing always works");
    assert_eq!(put("c", "x"), stored);
    assert_eq!(world.shards[0].stats().retained_messages, 2);
}
