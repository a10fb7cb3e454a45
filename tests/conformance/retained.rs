//! Retained messages.

use catena_mqtt::{Version, packet::RetainHandling};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Filter, Message, Options},
    on_shards,
};

use crate::BOTH;

on_shards!(
    a_new_subscription_gets_what_is_retained,
    a_retained_message_is_replaced,
    all_retained_messages_are_sent,
    an_empty_message_clears_and_is_not_stored,
    retain_as_published_keeps_the_flag,
    retain_handling_says_when,
    retained_messages_outlive_the_session,
    without_retain_nothing_is_stored,
);

/// If this fails, a new subscriber waits for a value that the broker has, or takes it for a fresh one.
///
/// v5 [MQTT-3.3.1-5] [MQTT-3.3.1-9]
/// v3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]
fn a_new_subscription_gets_what_is_retained(broker: &Broker) {
    for version in BOTH {
        let base = unique("retained");
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        for qos in [0, 1, 2] {
            let topic = format!("{base}/{qos}");
            publisher.publish(&Message::new(&topic, "kept").qos(qos).retain());
        }
        fence(&mut publisher, &format!("{base}/0"));
        for filter in [
            format!("{base}/0"),
            format!("{base}/1"),
            format!("{base}/2"),
        ] {
            let mut client = Client::open(broker, version, &unique("client"));
            client.subscribe(&filter, 2);
            check(client.receive(), &filter);
        }
        let mut client = Client::open(broker, version, &unique("client"));
        client.subscribe(&format!("{base}/+"), 2);
        let mut all = [0; 3].map(|_| client.receive());
        all.sort_by_key(|message| message.qos);
        for (qos, message) in all.into_iter().enumerate() {
            check(message, &format!("{base}/{qos}"));
        }
    }

    fn check(message: Message, topic: &str) {
        assert_eq!(
            (message.topic.as_str(), message.text().as_str()),
            (topic, "kept")
        );
        assert!(message.retain, "it is sent because of the new subscription");
        assert!(
            topic.ends_with(&message.qos.to_string()),
            "stored with its QoS"
        );
    }
}

/// If this fails, new subscribers get values that are out of date.
///
/// v5 [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-7]
fn a_retained_message_is_replaced(broker: &Broker) {
    for version in BOTH {
        let topic = unique("replaced");
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        for (n, qos) in [2, 1, 0, 2, 0].into_iter().enumerate() {
            publisher.publish(&Message::new(&topic, [n as u8]).qos(qos).retain());
            fence(&mut publisher, &topic);
            let mut client = Client::open(broker, version, &unique("client"));
            client.subscribe(&topic, 2);
            let message = client.receive();
            assert_eq!((message.payload, message.qos), (vec![n as u8], qos));
            client.expect_nothing();
        }
    }
}

/// If this fails, a topic cannot be cleared, or who listens does not learn of it.
///
/// v5 [MQTT-3.3.1-6] [MQTT-3.3.1-7]
/// v3.1.1 [MQTT-3.3.1-10] [MQTT-3.3.1-11]
fn an_empty_message_clears_and_is_not_stored(broker: &Broker) {
    for version in BOTH {
        for qos in [0, 1, 2] {
            let topic = unique("cleared");
            let mut publisher = Client::open(broker, version, &unique("publisher"));
            publisher.publish(&Message::new(&topic, "kept").qos(1).retain());
            let mut listener = Client::open(broker, version, &unique("listener"));
            listener.subscribe(&topic, 2);
            assert_eq!(listener.receive().text(), "kept");
            // Twice: of nothing, nothing is left as well.
            for _ in 0..2 {
                publisher.publish(&Message::new(&topic, "").qos(qos).retain());
                let empty = listener.receive();
                assert_eq!(
                    (empty.payload.len(), empty.qos, empty.retain),
                    (0, qos, false)
                );
                let mut late = Client::open(broker, version, &unique("late"));
                late.subscribe(&topic, 2);
                late.expect_nothing();
            }
        }
    }
}

/// If this fails, passing messages become lasting ones, or destroy them.
///
/// v5 [MQTT-3.3.1-8]
/// v3.1.1 [MQTT-3.3.1-12]
fn without_retain_nothing_is_stored(broker: &Broker) {
    for version in BOTH {
        let (kept, never) = (unique("kept"), unique("never"));
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        publisher.publish(&Message::new(&kept, "kept").qos(1).retain());
        for qos in [1, 2] {
            for text in ["passing", ""] {
                publisher.publish(&Message::new(&kept, text).qos(qos));
                publisher.publish(&Message::new(&never, text).qos(qos));
            }
        }
        let mut client = Client::open(broker, version, &unique("client"));
        client.subscribe(&kept, 2);
        client.subscribe(&never, 2);
        assert_eq!(client.receive().text(), "kept");
        client.expect_nothing();
    }
}

/// If this fails, clients get retained messages that they did not want, or miss those that they did.
///
/// v5 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
fn retain_handling_says_when(broker: &Broker) {
    use RetainHandling::{DoNotSend, Send, SendIfNew};
    for filter in ["x", "+", "#"] {
        let base = unique("handling");
        let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
        publisher.publish(&Message::new(&format!("{base}/x"), "kept").qos(1).retain());
        let filter = format!("{base}/{filter}");
        let options = Options::new(Version::V5, &unique("client")).persistent();
        let mut client = options.open(broker);
        let subscribe = |client: &mut Client, handling| {
            client.subscribe_to(&[Filter::new(&filter, 1).retain_handling(handling)]);
        };
        // Of a new subscription, of one that exists, and of one that a resume found.
        subscribe(&mut client, DoNotSend);
        client.expect_nothing();
        client.unsubscribe(&[&filter]);
        subscribe(&mut client, SendIfNew);
        assert_eq!(client.receive().text(), "kept");
        subscribe(&mut client, SendIfNew);
        subscribe(&mut client, DoNotSend);
        client.expect_nothing();
        subscribe(&mut client, Send);
        assert_eq!(client.receive().text(), "kept");
        client.ping();
        client.abort();
        let mut client = options.open(broker);
        subscribe(&mut client, SendIfNew);
        client.expect_nothing();
        subscribe(&mut client, Send);
        assert_eq!(client.receive().text(), "kept");
    }
}

/// If this fails, bridges cannot tell lasting messages from passing ones, or others mistake them.
///
/// v5 [MQTT-3.3.1-12] [MQTT-3.3.1-13]
/// v3.1.1 [MQTT-3.3.1-9]
fn retain_as_published_keeps_the_flag(broker: &Broker) {
    let topic = unique("flag");
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    let mut keeping = Client::open(broker, Version::V5, &unique("keeping"));
    keeping.subscribe_to(&[Filter::new(&topic, 2).retain_as_published()]);
    let mut others = BOTH.map(|version| {
        let mut client = Client::open(broker, version, &unique("other"));
        client.subscribe(&topic, 2);
        client
    });
    for qos in [0, 1, 2] {
        for retain in [true, false] {
            let message = Message {
                retain,
                ..Message::new(&topic, "x").qos(qos)
            };
            publisher.publish(&message);
            assert_eq!(keeping.receive().retain, retain);
            for other in &mut others {
                assert!(!other.receive().retain);
            }
        }
    }
}

/// If this fails, what is retained vanishes with the client that published it.
///
/// v3.1.1 [MQTT-3.1.2-7]
fn retained_messages_outlive_the_session(broker: &Broker) {
    for version in BOTH {
        let topic = unique("outlives");
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        publisher.subscribe(&topic, 1);
        publisher.publish(&Message::new(&topic, "kept").qos(1).retain());
        publisher.receive();
        publisher.disconnect();
        let mut client = Client::open(broker, version, &unique("client"));
        client.subscribe(&topic, 1);
        assert_eq!(client.receive().text(), "kept");
    }
}

/// If this fails, a new subscriber sees a part of the world.
///
/// v5 [MQTT-3.3.1-9]
/// v3.1.1 [MQTT-3.3.1-6]
fn all_retained_messages_are_sent(broker: &Broker) {
    for version in BOTH {
        let base = unique("many");
        const ALL: usize = 300;
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        let send =
            |n| publisher.send_message(&Message::new(&format!("{base}/{n}"), "x").qos(1).retain());
        let ids: Vec<_> = (0..ALL).map(send).collect();
        for id in ids {
            publisher.expect_puback(id);
        }
        let mut options = Options::new(version, &unique("client"));
        if version.is_v5() {
            options = options.receive_maximum(5);
        }
        let mut client = options.open(broker);
        client.subscribe(&format!("{base}/#"), 2);
        let mut topics: Vec<_> = (0..ALL).map(|_| client.receive().topic).collect();
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), ALL);
        client.expect_nothing();
    }
}

/// Waits until the messages that `publisher` sent to `topic` were processed, at any QoS.
fn fence(publisher: &mut Client, topic: &str) {
    let marker = unique("fence");
    publisher.subscribe_to(&[Filter::new(topic, 1)]);
    publisher.publish(&Message::new(topic, &marker).qos(1));
    while publisher.receive().text() != marker {}
    publisher.unsubscribe(&[topic]);
}
