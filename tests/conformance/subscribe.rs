//! SUBSCRIBE and SUBACK.

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Filter, Message},
    on_shards,
    wire::{Property, packet, properties, string},
};

use crate::BOTH;

on_shards!(
    a_delivery_has_the_lower_qos,
    a_subscribe_without_filters_is_refused,
    a_subscription_is_replaced_by_one_with_its_filter,
    many_filters_are_subscribed_in_their_order,
    no_local_keeps_a_client_from_hearing_itself,
    overlapping_subscriptions_deliver_at_the_highest_qos,
    replacing_a_subscription_loses_nothing,
    reserved_subscription_options_are_refused,
    retained_messages_are_sent_again_when_a_subscription_is_replaced,
    subscription_identifiers_come_with_the_message,
    suback_answers_subscribe,
    wildcards_may_be_subscribed_to,
);

/// If this fails, clients do not know whether, and how well, they are subscribed.
///
/// v5 [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-7] [MQTT-3.9.3-2]
/// v3.1.1 [MQTT-2.3.1-7] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-2]
fn suback_answers_subscribe(broker: &Broker) {
    for version in BOTH {
        let mut client = Client::open(broker, version, &unique("client"));
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        for id in [1, 0x0102, 0xFFFF] {
            let id_bytes = u16::to_be_bytes(id);
            for qos in [0, 1, 2] {
                let topic = unique("suback");
                client.send_subscribe(id, &[Filter::new(&topic, qos)], None);
                client.expect_bytes(&packet(0x90, &[&id_bytes, none, &[qos]].concat()));
                // What was granted is what is delivered.
                client.publish(&Message::new(&topic, "x").qos(2));
                assert_eq!(client.receive().qos, qos);
            }
        }
    }
}

/// If this fails, a client takes the answer to one filter for that to another.
///
/// v5 [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
/// v3.1.1 [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1]
fn many_filters_are_subscribed_in_their_order(broker: &Broker) {
    for version in BOTH {
        let base = unique("many");
        let mut client = Client::open(broker, version, &unique("client"));
        // With and without wildcards, so on one shard and on all; one of them twice.
        let wanted = [
            ("a", 2),
            ("b/+", 0),
            ("c", 1),
            ("d/#", 2),
            ("e", 0),
            ("c", 0),
            ("f/+", 1),
        ];
        let filters = wanted.map(|(end, qos)| Filter::new(&format!("{base}/{end}"), qos));
        let id = client.new_packet_id();
        client.send_subscribe(id, &filters, None);
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let codes = wanted.map(|(_, qos)| qos);
        client.expect_bytes(&packet(0x90, &[&id.to_be_bytes(), none, &codes].concat()));
        client.expect_nothing();
        for (topic, qos) in [
            ("a", 2),
            ("b/1", 0),
            ("c", 0),
            ("d/1/2", 2),
            ("e", 0),
            ("f/1", 1),
        ] {
            client.publish(&Message::new(&format!("{base}/{topic}"), "x").qos(2));
            let message = client.receive();
            assert_eq!(
                (message.topic, message.qos),
                (format!("{base}/{topic}"), qos)
            );
        }
    }
}

/// If this fails, one subscription counts twice, or a client cannot change its mind.
///
/// v5 [MQTT-3.8.4-3]
/// v3.1.1 [MQTT-3.8.4-3]
fn a_subscription_is_replaced_by_one_with_its_filter(broker: &Broker) {
    for version in BOTH {
        for end in ["x", "+"] {
            let base = unique("replaced");
            let (topic, filter) = (format!("{base}/x"), format!("{base}/{end}"));
            let mut client = Client::open(broker, version, &unique("client"));
            for qos in [2, 0, 1] {
                client.subscribe(&filter, qos);
                client.publish(&Message::new(&topic, "x").qos(2));
                assert_eq!(client.receive().qos, qos);
            }
            client.unsubscribe(&[&filter]);
            client.publish(&Message::new(&topic, "x").qos(2));
            client.expect_nothing();
        }
    }
    // All options and the identifier are of the new subscription.
    let topic = unique("replaced");
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    let options = Filter::new(&topic, 1).no_local().retain_as_published();
    client.subscribe_with_id(&[options], Some(5));
    client.publish(&Message::new(&topic, "own"));
    client.subscribe_with_id(&[Filter::new(&topic, 1)], None);
    client.publish(&Message::new(&topic, "x").qos(1).retain());
    let message = client.receive();
    assert_eq!((message.text().as_str(), message.retain), ("x", false));
    assert!(message.subscription_ids.is_empty());
}

/// If this fails, who subscribes again to see the present state does not see it.
///
/// v5 [MQTT-3.8.4-4]
/// v3.1.1 [MQTT-3.8.4-3]
fn retained_messages_are_sent_again_when_a_subscription_is_replaced(broker: &Broker) {
    for version in BOTH {
        for end in ["x", "+"] {
            let base = unique("again");
            let mut client = Client::open(broker, version, &unique("client"));
            client.publish(&Message::new(&format!("{base}/x"), "kept").qos(1).retain());
            for qos in [1, 1, 0] {
                client.subscribe(&format!("{base}/{end}"), qos);
                let message = client.receive();
                let seen = (message.text(), message.qos, message.retain);
                assert_eq!(seen, ("kept".to_owned(), qos, true));
            }
            client.expect_nothing();
        }
    }
}

/// If this fails, messages fall into the gap between an old subscription and the new one.
///
/// v5 [MQTT-3.8.4-4]
/// v3.1.1 [MQTT-3.8.4-3]
fn replacing_a_subscription_loses_nothing(broker: &Broker) {
    for version in BOTH {
        let base = unique("gap");
        let mut subscriber = Client::open(broker, version, &unique("subscriber"));
        subscriber.subscribe(&format!("{base}/+"), 1);
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        const ROUNDS: u16 = 40;
        for n in 0..ROUNDS {
            let id = subscriber.new_packet_id();
            subscriber.send_subscribe(id, &[Filter::new(&format!("{base}/+"), 1)], None);
            for topic in ["a", "b", "c"] {
                let message = Message::new(&format!("{base}/{topic}"), n.to_be_bytes());
                publisher.send_message(&message.qos(1));
            }
            subscriber.expect_suback(id);
        }
        let mut seen: Vec<_> = (0..3 * ROUNDS)
            .map(|_| subscriber.receive())
            .map(|message| (message.topic, message.payload))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), usize::from(3 * ROUNDS));
        subscriber.expect_nothing();
    }
}

/// If this fails, deliveries are less safe, or more laborious, than both sides agreed.
///
/// v5 [MQTT-3.8.4-8]
/// v3.1.1 [MQTT-3.8.4-6]
fn a_delivery_has_the_lower_qos(broker: &Broker) {
    for version in BOTH {
        for granted in [0, 1, 2] {
            let topic = unique("lower");
            let mut client = Client::open(broker, version, &unique("client"));
            client.subscribe(&topic, granted);
            for published in [0, 1, 2] {
                client.publish(&Message::new(&topic, "x").qos(published));
                assert_eq!(client.receive().qos, granted.min(published));
            }
        }
    }
}

/// If this fails, overlapping filters multiply messages or weaken them.
///
/// v5 [MQTT-3.3.4-2]
/// v3.1.1 [MQTT-3.3.5-1]
fn overlapping_subscriptions_deliver_at_the_highest_qos(broker: &Broker) {
    for version in BOTH {
        let base = unique("overlap");
        let topic = format!("{base}/a/b");
        let mut client = Client::open(broker, version, &unique("client"));
        for (end, qos) in [("#", 0), ("a/b", 1), ("+/b", 2), ("a/+", 0)] {
            client.subscribe(&format!("{base}/{end}"), qos);
        }
        for qos in [2, 1, 0] {
            client.publish(&Message::new(&topic, "x").qos(qos));
            assert_eq!(client.receive().qos, qos);
        }
        // One copy: several would be allowed, but are not what we promise.
        client.expect_nothing();
    }
}

/// If this fails, a client cannot tell which of its subscriptions a message belongs to.
///
/// v5 [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]
fn subscription_identifiers_come_with_the_message(broker: &Broker) {
    let base = unique("sub-id");
    let topic = format!("{base}/a/b");
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    let filters = [
        ("#", Some(268_435_455)),
        ("a/b", Some(1)),
        ("+/b", None),
        ("a/+", Some(128)),
    ];
    for (end, id) in filters {
        client.subscribe_with_id(&[Filter::new(&format!("{base}/{end}"), 1)], id);
    }
    // Two filters under one identifier.
    let pair = ["a/#", "c"].map(|end| Filter::new(&format!("{base}/{end}"), 0));
    client.subscribe_with_id(&pair, Some(300));
    for (topic, ids) in [
        (topic.clone(), &[1, 128, 300, 268_435_455][..]),
        (format!("{base}/x/b"), &[268_435_455]),
        (format!("{base}/c"), &[300, 268_435_455]),
    ] {
        client.publish(&Message::new(&topic, "x").qos(1));
        // Either one copy with all identifiers, or one copy for each subscription.
        let mut found = client.receive().subscription_ids;
        while found.len() < ids.len() {
            found.extend(client.receive().subscription_ids);
        }
        found.sort_unstable();
        assert_eq!(found, ids, "{topic}");
    }
    client.expect_nothing();
}

/// If this fails, bridges send messages round in circles.
///
/// v5 [MQTT-3.8.3-3]
fn no_local_keeps_a_client_from_hearing_itself(broker: &Broker) {
    for end in ["x", "+", "#"] {
        let base = unique("local");
        let topic = format!("{base}/x");
        let id = unique("client");
        let mut client = Client::open(broker, Version::V5, &id);
        let mut other = Client::open(broker, Version::V5, &unique("other"));
        client.subscribe_to(&[Filter::new(&format!("{base}/{end}"), 2).no_local()]);
        other.subscribe(&topic, 2);
        for qos in [0, 1, 2] {
            client.publish(&Message::new(&topic, "own").qos(qos));
            assert_eq!(other.receive().text(), "own");
            other.publish(&Message::new(&topic, "foreign").qos(qos));
            assert_eq!(other.receive().text(), "foreign");
            assert_eq!(client.receive().text(), "foreign");
        }
        client.expect_nothing();
        // The client id counts, not the connection.
        client.publish(&Message::new(&topic, "kept").qos(1).retain());
        client.disconnect();
        let mut client = Client::open(broker, Version::V5, &id);
        client.subscribe_to(&[Filter::new(&format!("{base}/{end}"), 2).no_local()]);
        client.expect_nothing();
    }
}

/// If this fails, a SUBSCRIBE that asks for nothing is answered, or worse.
///
/// v5 [MQTT-3.8.3-2]
/// v3.1.1 [MQTT-3.8.3-3]
fn a_subscribe_without_filters_is_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        for body in [
            [&[0, 7][..], none].concat(),
            [&[0, 7], none, &string("t")].concat(),
        ] {
            let mut client = Client::open(broker, version, &unique("client"));
            client.send_bytes(&packet(0x82, &body));
            let told = client.expect_close();
            let codes = [
                Some(ReasonCode::ProtocolError),
                Some(ReasonCode::MalformedPacket),
            ];
            assert!(
                if version.is_v5() {
                    codes.contains(&told)
                } else {
                    told.is_none()
                },
                "{told:?}"
            );
        }
    }
}

/// If this fails, options that do not exist yet are ignored today.
///
/// v5 [MQTT-3.8.3-5]
/// v3.1.1 [MQTT-3.8.3-4]
fn reserved_subscription_options_are_refused(broker: &Broker) {
    for version in BOTH {
        let (none, wrong): (&[u8], &[u8]) = if version.is_v5() {
            // Reserved bits; QoS 3; retain handling 3.
            (&[0], &[0x40, 0x80, 0xC1, 0x03, 0x30])
        } else {
            (&[], &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03])
        };
        for &options in wrong {
            let mut client = Client::open(broker, version, &unique("client"));
            let body = [&[0, 7], none, &string("t"), &[options]].concat();
            client.send_bytes(&packet(0x82, &body));
            let told = client.expect_close();
            let codes = [
                Some(ReasonCode::MalformedPacket),
                Some(ReasonCode::ProtocolError),
            ];
            assert!(
                if version.is_v5() {
                    codes.contains(&told)
                } else {
                    told.is_none()
                },
                "{told:?}"
            );
        }
    }
    // A subscription identifier of 0 is one as well.
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    let section = properties(&[Property::SubscriptionId(0)]);
    client.send_bytes(&packet(
        0x82,
        &[&[0, 7], &section[..], &string("t"), &[0]].concat(),
    ));
    client.expect_closed_for(ReasonCode::ProtocolError);
}

/// If this fails, a broker that promises wildcards refuses them.
///
/// v3.1.1 [MQTT-3.8.3-2]
fn wildcards_may_be_subscribed_to(broker: &Broker) {
    for version in BOTH {
        let base = unique("wild");
        let mut client = Client::open(broker, version, &unique("client"));
        for (filter, topic) in [("+", "a"), ("#", "b/c"), ("+/d/#", "e/d/f/g")] {
            client.subscribe(&format!("{base}/{filter}"), 1);
            client.publish(&Message::new(&format!("{base}/{topic}"), "x").qos(1));
            assert_eq!(client.receive().topic, format!("{base}/{topic}"));
        }
    }
}
