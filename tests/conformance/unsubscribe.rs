//! UNSUBSCRIBE and UNSUBACK.

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
    wire::packet,
};

use crate::BOTH;

on_shards!(
    a_delivery_that_began_is_finished,
    an_unsubscribe_without_filters_is_refused,
    filters_are_compared_character_by_character,
    many_filters_are_unsubscribed_in_their_order,
    nothing_new_comes_after_unsubscribe,
    unsuback_answers_unsubscribe,
);

/// If this fails, clients wait for the end of a subscription for ever.
///
/// v5 [MQTT-2.2.1-6] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2]
/// v3.1.1 [MQTT-2.3.1-7] [MQTT-3.10.4-4] [MQTT-3.10.4-5]
fn unsuback_answers_unsubscribe(broker: &Broker) {
    for version in BOTH {
        let topic = unique("unsuback");
        let mut client = Client::open(broker, version, &unique("client"));
        let answer = |id: u16, code| {
            let codes: &[u8] = if version.is_v5() { &[0, code] } else { &[] };
            packet(0xB0, &[&id.to_be_bytes(), codes].concat())
        };
        for id in [1, 0x0102, 0xFFFF] {
            client.subscribe(&topic, 1);
            client.send_unsubscribe(id, &[&topic]);
            client.expect_bytes(&answer(id, 0x00));
            // Nothing is left to delete.
            client.send_unsubscribe(id, &[&topic]);
            client.expect_bytes(&answer(id, 0x11));
            client.send_unsubscribe(id, &[&format!("{topic}/+/never")]);
            client.expect_bytes(&answer(id, 0x11));
        }
    }
}

/// If this fails, a client takes the answer to one filter for that to another.
///
/// v5 [MQTT-3.10.4-6] [MQTT-3.11.3-1]
/// v3.1.1 [MQTT-3.10.4-6]
fn many_filters_are_unsubscribed_in_their_order(broker: &Broker) {
    for version in BOTH {
        let base = unique("many");
        let filters = ["a", "b/+", "c", "d/#", "e"].map(|end| format!("{base}/{end}"));
        let mut client = Client::open(broker, version, &unique("client"));
        for filter in [&filters[0], &filters[1], &filters[3], &filters[4]] {
            client.subscribe(filter, 1);
        }
        let id = client.new_packet_id();
        // One was never there, and one goes twice.
        let gone = [&filters[0], &filters[2], &filters[3], &filters[0]].map(String::as_str);
        client.send_unsubscribe(id, &gone);
        let codes: &[u8] = if version.is_v5() {
            &[0, 0x00, 0x11, 0x00, 0x11]
        } else {
            &[]
        };
        client.expect_bytes(&packet(0xB0, &[&id.to_be_bytes(), codes].concat()));
        client.expect_nothing();
        for topic in ["a", "d/1", "b/1", "e"] {
            client.publish(&Message::new(&format!("{base}/{topic}"), topic).qos(1));
        }
        let mut left = [0; 2].map(|_| client.receive().text());
        left.sort();
        assert_eq!(left, ["b/1", "e"]);
        client.expect_nothing();
    }
}

/// If this fails, an UNSUBSCRIBE ends the subscriptions of others, or does not end its own.
///
/// v5 [MQTT-3.10.4-1] [MQTT-4.7.3-4]
/// v3.1.1 [MQTT-3.10.4-1] [MQTT-4.7.3-4]
fn filters_are_compared_character_by_character(broker: &Broker) {
    for version in BOTH {
        let base = unique("compared");
        let filters = [
            "a/b",
            "a/+",
            "a/#",
            "+/b",
            "#",
            "A/b",
            "a/b/",
            "/a/b",
            "a//b",
            "a\u{301}/b",
        ]
        .map(|end| format!("{base}/{end}"));
        let mut client = Client::open(broker, version, &unique("client"));
        let mut bystander = Client::open(broker, version, &unique("bystander"));
        bystander.subscribe(&filters[0], 1);
        for gone in &filters {
            let others = filters.iter().filter(|filter| *filter != gone);
            for filter in others.clone() {
                client.subscribe(filter, 0);
            }
            let codes = client.unsubscribe(&[gone]);
            let none_existed = [ReasonCode::NoSubscriptionExisted];
            assert_eq!(
                codes,
                if version.is_v5() {
                    &none_existed[..]
                } else {
                    &[]
                },
                "{gone}"
            );
            for filter in others {
                let codes = client.unsubscribe(&[filter]);
                let existed = [ReasonCode::Success];
                assert_eq!(
                    codes,
                    if version.is_v5() { &existed[..] } else { &[] },
                    "{filter}"
                );
            }
        }
        client.publish(&Message::new(&filters[0], "x").qos(1));
        assert_eq!(bystander.receive().text(), "x");
        client.expect_nothing();
    }
    // Below version 5 the codes are not told: what still arrives tells.
    let base = unique("compared");
    let mut client = Client::open(broker, Version::V4, &unique("client"));
    client.subscribe(&format!("{base}/+"), 1);
    client.subscribe(&format!("{base}/x"), 1);
    for (gone, left) in [("x", true), ("#", true), ("X", true), ("+", false)] {
        client.unsubscribe(&[&format!("{base}/{gone}")]);
        client.publish(&Message::new(&format!("{base}/x"), gone).qos(1));
        if left {
            assert_eq!(client.receive().text(), gone);
        }
    }
    client.expect_nothing();
}

/// If this fails, who unsubscribed is sent messages nevertheless.
///
/// v5 [MQTT-3.10.4-2]
/// v3.1.1 [MQTT-3.10.4-2]
fn nothing_new_comes_after_unsubscribe(broker: &Broker) {
    for version in BOTH {
        for end in ["x", "+", "#"] {
            let base = unique("after");
            let filter = format!("{base}/{end}");
            let options = Options::new(version, &unique("client")).persistent();
            let mut client = options.open(broker);
            client.subscribe(&filter, 2);
            client.publish(&Message::new(&format!("{base}/x"), "before").qos(1));
            assert_eq!(client.receive().text(), "before");
            client.unsubscribe(&[&filter]);
            for qos in [0, 1, 2] {
                client.publish(&Message::new(&format!("{base}/x"), "after").qos(qos));
            }
            client.expect_nothing();
            client.abort();
            let mut publisher = Client::open(broker, version, &unique("publisher"));
            publisher.publish(&Message::new(&format!("{base}/x"), "after").qos(1));
            options.open(broker).expect_nothing();
        }
    }
}

/// If this fails, an UNSUBSCRIBE leaves handshakes unfinished, or messages half delivered.
///
/// v5 [MQTT-3.10.4-3]
/// v3.1.1 [MQTT-3.10.4-3]
fn a_delivery_that_began_is_finished(broker: &Broker) {
    for version in BOTH {
        let topic = unique("begun");
        let options = Options::new(version, &unique("client")).persistent();
        let mut client = options.open(broker);
        client.subscribe(&topic, 2);
        for (text, qos) in [("1", 1), ("2", 2), ("3", 2)] {
            client.publish(&Message::new(&topic, text).qos(qos));
        }
        let [one, two, three] = [0; 3].map(|_| client.expect_message().packet_id);
        client.unsubscribe(&[&topic]);
        client.send_pubrec(two);
        client.expect_pubrel(two);
        client.send_pubcomp(two);
        client.ping();
        client.abort();
        let mut client = options.open(broker);
        assert_eq!(client.receive().packet_id, one);
        assert_eq!(client.receive().packet_id, three);
        client.expect_nothing();
    }
}

/// If this fails, an UNSUBSCRIBE of nothing is answered, or worse.
///
/// v5 [MQTT-3.10.3-2]
/// v3.1.1 [MQTT-3.10.3-2]
fn an_unsubscribe_without_filters_is_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let mut client = Client::open(broker, version, &unique("client"));
        client.send_bytes(&packet(0xA2, &[&[0, 7], none].concat()));
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
