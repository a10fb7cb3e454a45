//! Topic names against topic filters.

use std::time::{Duration, Instant};

use catena_mqtt::{Packet, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Event, Filter, Message, PATIENCE, QUIET},
    on_shards,
};

use crate::BOTH;

on_shards!(
    filters_match_as_the_standard_says,
    malformed_filters_are_refused,
    matching_changes_nothing,
    topics_with_a_dollar_need_to_be_named,
);

/// If this fails, subscribers get the messages of others, or miss their own.
///
/// v5 [MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.1-2]
/// v3.1.1 [MQTT-3.3.2-3] [MQTT-4.7.1-2] [MQTT-4.7.1-3]
fn filters_match_as_the_standard_says(broker: &Broker) {
    let topics = [
        "sport",
        "sport/",
        "sport/tennis",
        "sport/tennis/player1",
        "sport/tennis/player1/ranking",
        "sport/tennis/player2",
        "sport//player1",
        "/finance",
        "finance",
    ];
    let table: &[(&str, &[&str])] = &[
        ("#", &topics),
        ("sport", &["sport"]),
        ("sport/", &["sport/"]),
        ("sport/#", &topics[..7]),
        ("sport/tennis/#", &topics[2..6]),
        ("sport/tennis/player1/#", &topics[3..5]),
        ("+", &["sport", "finance"]),
        ("+/", &["sport/"]),
        ("+/+", &["sport/", "sport/tennis", "/finance"]),
        ("/+", &["/finance"]),
        ("sport/+", &["sport/", "sport/tennis"]),
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/player2"],
        ),
        (
            "sport/+/player1",
            &["sport/tennis/player1", "sport//player1"],
        ),
        (
            "sport/+/player1/#",
            &[
                "sport/tennis/player1",
                "sport/tennis/player1/ranking",
                "sport//player1",
            ],
        ),
        ("+/tennis/#", &topics[2..6]),
        ("+/+/+/+", &["sport/tennis/player1/ranking"]),
        ("sport/tennis/player", &[]),
        ("sport/tennis/player1/ranking/+", &[]),
        ("finance/+", &[]),
    ];
    for version in BOTH {
        let base = unique("match");
        let mut subscribers: Vec<_> = table
            .iter()
            .map(|(filter, _)| {
                let mut client = Client::open(broker, version, &unique("subscriber"));
                client.subscribe(&format!("{base}/{filter}"), 1);
                client
            })
            .collect();
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        for topic in topics {
            publisher.publish(&Message::new(&format!("{base}/{topic}"), topic).qos(1));
        }
        for (client, (filter, expected)) in subscribers.iter_mut().zip(table) {
            let mut matched: Vec<_> = expected.iter().map(|_| client.receive()).collect();
            matched.sort_by_key(|message| topics.iter().position(|t| *t == message.text()));
            for (message, text) in matched.iter().zip(*expected) {
                assert_eq!(message.topic, format!("{base}/{text}"), "{filter}");
            }
        }
        subscribers[0].expect_nothing();
        for (client, (filter, _)) in subscribers.iter_mut().zip(table) {
            assert_eq!(
                client.next(Duration::from_millis(1)),
                Event::Silence,
                "{filter}"
            );
        }
    }
}

/// If this fails, who listens to everything is flooded by the broker's own topics.
///
/// v5 [MQTT-4.7.2-1]
/// v3.1.1 [MQTT-4.7.2-1]
fn topics_with_a_dollar_need_to_be_named(broker: &Broker) {
    for version in BOTH {
        let base = unique("dollar");
        let topic = format!("$dollar/{base}");
        let mut anything = Client::open(broker, version, &unique("anything"));
        anything.subscribe("#", 1);
        anything.subscribe(&format!("+/{base}"), 1);
        anything.subscribe("+/+", 1);
        let mut named = Client::open(broker, version, &unique("named"));
        named.subscribe("$dollar/#", 1);
        named.subscribe(&format!("$dollar/{base}/+"), 1);
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        publisher.publish(&Message::new(&topic, &base).qos(1).retain());
        publisher.publish(&Message::new(&format!("dollar/{base}"), &base).qos(1));
        loop {
            // Other tests publish here, too.
            let message = named.receive();
            if message.text() == base {
                assert_eq!(message.topic, topic);
                break;
            }
        }
        // The retained one is no exception.
        anything.subscribe(&format!("+/{base}"), 1);
        let mut quiet_until = None;
        let ours = |packet: &Packet| match packet {
            Packet::Publish(p) if p.payload == base.as_bytes() => Some(p.topic.to_string()),
            _ => None,
        };
        while quiet_until.is_none_or(|end| Instant::now() < end) {
            match anything.next(if quiet_until.is_none() {
                PATIENCE
            } else {
                Duration::from_millis(50)
            }) {
                Event::Packet(packet) => {
                    if let Some(topic) = ours(&packet) {
                        assert_eq!(topic, format!("dollar/{base}"));
                        quiet_until = Some(Instant::now() + QUIET);
                    }
                }
                Event::Silence => assert!(quiet_until.is_some(), "the other topic matches"),
                Event::Closed => panic!("closed"),
            }
        }
        publisher.publish(&Message::new(&topic, "").qos(1).retain());
    }
}

/// If this fails, topics that only look alike are taken for the same.
///
/// v5 [MQTT-4.7.3-4] [MQTT-1.5.4-3]
/// v3.1.1 [MQTT-4.7.3-4] [MQTT-1.5.3-3]
fn matching_changes_nothing(broker: &Broker) {
    let alike = [
        "accent/\u{e9}",
        "accent/e\u{301}",
        "ACCENT/\u{e9}",
        "accent/\u{e9}/",
        "accent//\u{e9}",
        "accent/\u{e9} ",
        "\u{feff}accent/\u{e9}",
        "accent/\u{feff}\u{e9}",
        "accent/%C3%A9",
        "accent/\u{fffd}",
        "accent/.",
        "accent/x/../\u{e9}",
    ];
    for version in BOTH {
        let base = unique("alike");
        // With wildcards at the end, the other way to match.
        for end in ["", "/+"] {
            let mut subscribers = alike.map(|name| {
                let mut client = Client::open(broker, version, &unique("subscriber"));
                client.subscribe(&format!("{base}/{name}{end}"), 1);
                client
            });
            let mut publisher = Client::open(broker, version, &unique("publisher"));
            let last = end.replace('+', "z");
            for name in alike {
                publisher.publish(&Message::new(&format!("{base}/{name}{last}"), name).qos(1));
            }
            for (client, name) in subscribers.iter_mut().zip(alike) {
                let message = client.receive();
                assert_eq!(
                    message.topic.as_bytes(),
                    format!("{base}/{name}{last}").as_bytes()
                );
                assert_eq!(message.text(), name);
            }
            Client::expect_nothing_on(&mut subscribers);
        }
    }
}

/// If this fails, clients believe that they are subscribed to something, and nobody knows to what.
///
/// v5 [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
/// v3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]
fn malformed_filters_are_refused(broker: &Broker) {
    for version in BOTH {
        for filter in [
            "", "a/#/b", "a#", "#a", "#/a", "##", "a+", "+a", "a/+b/c", "++", "+#", "a/+#",
        ] {
            let mut client = Client::open(broker, version, &unique("client"));
            client.send_subscribe(7, &[Filter::new(filter, 1)], None);
            assert!(refused(&mut client, version), "{filter:?}");
        }
    }
}

/// Whether a SUBSCRIBE is answered by a failure, or by closing the connection.
pub fn refused(client: &mut Client, version: Version) -> bool {
    match client.next(PATIENCE) {
        Event::Packet(Packet::Suback(suback)) => suback.codes.iter().all(|code| code.is_error()),
        Event::Packet(Packet::Disconnect(disconnect)) => {
            assert_eq!(client.expect_close(), None);
            disconnect.reason.is_error()
        }
        Event::Closed => !version.is_v5(),
        _ => false,
    }
}
