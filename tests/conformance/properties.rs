//! What a message carries beside topic and payload: properties, expiry, topic aliases.

use std::{collections::HashSet, thread, time::Duration};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
    wire::{Property, packet, properties, string},
};

on_shards!(
    a_response_topic_has_no_wildcards,
    aliases_of_the_server_keep_to_the_maximum,
    aliases_that_were_not_allowed_are_refused,
    all_aliases_that_were_allowed_are_taken,
    an_alias_ends_with_its_connection,
    expired_messages_are_not_delivered,
    properties_are_forwarded_unaltered,
);

/// If this fails, requests cannot be answered and contents cannot be read.
///
/// v5 [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
/// v5 [MQTT-3.3.2-20]
fn properties_are_forwarded_unaltered(broker: &Broker) {
    let base = unique("properties");
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    let mut subscriber = Client::open(broker, Version::V5, &unique("subscriber"));
    let mut by_wildcard = Client::open(broker, Version::V5, &unique("subscriber"));
    by_wildcard.subscribe(&format!("{base}/#"), 2);
    let away = Options::new(Version::V5, &unique("away")).persistent();
    for (n, format) in [0, 1].into_iter().enumerate() {
        for qos in [0, 1, 2] {
            let topic = format!("{base}/{n}/{qos}");
            let message = Message::new(&topic, "text").qos(qos).retain();
            let message = [
                Property::PayloadFormat(format),
                Property::ContentType("text/plain; charset=\u{fc}".into()),
                Property::ResponseTopic("answers/\u{fc}/$here".into()),
                Property::CorrelationData((0..=255).collect()),
                Property::user("zz", "last name first"),
                Property::user("a", "1"),
                Property::user("a", "2"),
                Property::user("a", "1"),
                Property::user("", ""),
                Property::user("\u{feff}", "\u{10fffd}"),
            ]
            .into_iter()
            .fold(message, Message::property);
            subscriber.subscribe(&topic, 2);
            let mut client = away.open(broker);
            client.subscribe(&topic, 2);
            client.disconnect();
            publisher.publish(&message);
            check(&subscriber.receive(), &message);
            check(&by_wildcard.receive(), &message);
            if qos > 0 {
                check(&away.open(broker).receive(), &message);
            }
            // And from the retained message.
            let mut late = Client::open(broker, Version::V5, &unique("late"));
            late.subscribe(&topic, 2);
            check(&late.receive(), &message);
        }
    }

    fn check(received: &Message, sent: &Message) {
        // Only the order of user properties among themselves is told.
        let parts = |message: &Message| -> (Vec<_>, HashSet<_>) {
            let (user, others): (Vec<_>, Vec<_>) = message
                .properties
                .iter()
                .partition(|property| matches!(property, Property::User(..)));
            let bytes = Property::bytes;
            (
                user.into_iter().map(bytes).collect(),
                others.into_iter().map(bytes).collect(),
            )
        };
        assert_eq!(parts(received), parts(sent));
        assert_eq!(received.properties.len(), sent.properties.len());
        assert_eq!(received.payload, sent.payload);
    }
}

/// If this fails, answers are sent to topics that do not exist.
///
/// v5 [MQTT-3.3.2-14]
fn a_response_topic_has_no_wildcards(broker: &Broker) {
    for topic in ["a/+", "#", "a#"] {
        let mut client = Client::open(broker, Version::V5, &unique("client"));
        let section = properties(&[Property::ResponseTopic(topic.into())]);
        client.send_bytes(&packet(
            0x30,
            &[string("t"), section, b"x".to_vec()].concat(),
        ));
        let told = client.expect_close();
        let codes = [ReasonCode::ProtocolError, ReasonCode::TopicNameInvalid];
        let codes = [codes[0], codes[1], ReasonCode::MalformedPacket].map(Some);
        assert!(codes.contains(&told), "{told:?}");
    }
}

/// If this fails, commands are carried out that are long out of date, or seem to be younger than they are.
///
/// v5 [MQTT-3.3.2-5] [MQTT-3.3.2-6]
fn expired_messages_are_not_delivered(broker: &Broker) {
    let base = unique("expiry");
    let away = Options::new(Version::V5, &unique("away")).persistent();
    let mut client = away.open(broker);
    client.subscribe(&format!("{base}/#"), 1);
    client.disconnect();
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    let expiring = |topic: &str, expiry: Option<u32>| {
        let topic = format!("{base}/{topic}");
        Message {
            expiry,
            ..Message::new(&topic, "x").qos(1)
        }
    };
    publisher.publish(&expiring("queued/short", Some(1)));
    publisher.publish(&expiring("queued/long", Some(100)));
    publisher.publish(&expiring("queued/ever", None));
    publisher.publish(&expiring("kept/short", Some(1)).retain());
    publisher.publish(&expiring("kept/long", Some(100)).retain());
    let mut connected = Client::open(broker, Version::V5, &unique("connected"));
    let live = unique("live");
    connected.subscribe(&live, 1);
    publisher.publish(&Message::new(&live, "x").qos(1).expiry(100));
    let live = connected.receive().expiry;
    assert!(
        live.is_some_and(|left| (90..=100).contains(&left)),
        "{live:?}"
    );
    thread::sleep(Duration::from_millis(2200));

    let mut client = away.open(broker);
    let mut queued: Vec<_> = (0..3).map(|_| client.receive()).map(told).collect();
    queued.sort();
    let name = |end: &str| format!("{base}/{end}");
    assert_eq!(queued[1], (name("queued/ever"), None));
    for (at, end) in [(0, "kept/long"), (2, "queued/long")] {
        let (topic, expiry) = &queued[at];
        assert_eq!(*topic, name(end));
        assert!(
            expiry.is_some_and(|left| (90..=98).contains(&left)),
            "{expiry:?}"
        );
    }
    client.expect_nothing();
    let mut late = Client::open(broker, Version::V5, &unique("late"));
    late.subscribe(&format!("{base}/kept/+"), 1);
    let (topic, expiry) = told(late.receive());
    assert_eq!(topic, name("kept/long"));
    assert!(
        expiry.is_some_and(|left| (90..=98).contains(&left)),
        "{expiry:?}"
    );
    late.expect_nothing();

    fn told(message: Message) -> (String, Option<u32>) {
        (message.topic, message.expiry)
    }
}

/// If this fails, messages of clients that save bytes go to wrong topics, or cost them the connection.
///
/// v5 [MQTT-3.3.2-12]
fn all_aliases_that_were_allowed_are_taken(broker: &Broker) {
    let base = unique("alias");
    let mut subscriber = Client::open(broker, Version::V5, &unique("subscriber"));
    subscriber.subscribe(&format!("{base}/#"), 2);
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    let maximum = client.connack().topic_alias_maximum;
    assert_ne!(maximum, 0, "no alias is allowed, so nothing is shown");
    let aliases: HashSet<_> = [1, 2, maximum / 2 + 1, maximum].into_iter().collect();
    for round in ["first", "second"] {
        for &alias in &aliases {
            if alias > maximum {
                continue;
            }
            let topic = format!("{base}/{round}/{alias}");
            client.publish(
                &Message::new(&topic, "named")
                    .alias(alias)
                    .qos((alias % 3) as u8),
            );
            assert_eq!(subscriber.receive().topic, topic);
            for qos in [0, 1, 2] {
                client.publish(&Message::new("", "alias").alias(alias).qos(qos));
                let message = subscriber.receive();
                assert_eq!((message.topic.as_str(), message.qos), (topic.as_str(), qos));
            }
        }
    }
}

/// If this fails, messages go to the topics of another connection.
///
/// v5 [MQTT-3.3.2-7]
fn an_alias_ends_with_its_connection(broker: &Broker) {
    let topic = unique("alias");
    let options = Options::new(Version::V5, &unique("client"))
        .persistent()
        .topic_alias_maximum(10);
    let mut client = options.open(broker);
    client.subscribe(&topic, 1);
    for _ in 0..3 {
        client.publish(&Message::new(&topic, "x").alias(1).qos(1));
        assert_eq!(client.receive().topic, topic);
    }
    client.abort();
    let mut client = options.open(broker);
    // Towards us: the client panics at an alias that this connection has not set.
    client.publish(&Message::new(&topic, "y").qos(1));
    assert_eq!(client.receive().topic, topic);
    // From us.
    client.send_message(&Message::new("", "x").alias(1).qos(1));
    let told = client.expect_close();
    let codes = [ReasonCode::ProtocolError, ReasonCode::TopicAliasInvalid].map(Some);
    assert!(codes.contains(&told), "{told:?}");
}

/// If this fails, an alias means nothing, or the broker keeps more of them than it wants to.
///
/// v5 [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]
fn aliases_that_were_not_allowed_are_refused(broker: &Broker) {
    let topic = unique("alias");
    let mut watcher = Client::open(broker, Version::V5, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let maximum = watcher.connack().topic_alias_maximum;
    for alias in [Some(0), maximum.checked_add(1)].into_iter().flatten() {
        let mut client = Client::open(broker, Version::V5, &unique("client"));
        let section = properties(&[Property::TopicAlias(alias)]);
        client.send_bytes(&packet(
            0x30,
            &[string(&topic), section, b"x".to_vec()].concat(),
        ));
        client.expect_closed_for(ReasonCode::TopicAliasInvalid);
    }
    watcher.expect_nothing();
}

/// If this fails, clients cannot tell what topic a message is of.
///
/// v5 [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-8] [MQTT-3.3.2-11]
fn aliases_of_the_server_keep_to_the_maximum(broker: &Broker) {
    for maximum in [0, 1, 3] {
        let base = unique("alias");
        let mut client = Options::new(Version::V5, &unique("client"))
            .topic_alias_maximum(maximum)
            .open(broker);
        client.subscribe(&format!("{base}/#"), 2);
        let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
        let mut aliases = 0;
        for n in 0..40 {
            // The client panics at an alias above its maximum, and at one without a topic.
            let topic = format!("{base}/{}", n % 6);
            publisher.publish(&Message::new(&topic, [n]).qos(n % 3));
            let message = client.receive();
            aliases += usize::from(message.alias > 0);
            assert_eq!((message.topic, message.payload), (topic, vec![n]));
        }
        assert_eq!(
            aliases > 0,
            maximum > 0,
            "without an alias nothing is shown"
        );
    }
}
