//! PUBLISH from clients, and its handshakes.

use std::{thread, time::Duration};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Event, Message, Options, QUIET},
    on_shards,
    wire::{Property, packet, string},
};

use crate::BOTH;

on_shards!(
    a_publish_is_answered_as_its_qos_asks,
    a_qos_1_packet_id_is_free_after_puback,
    a_qos_2_message_is_taken_once,
    a_qos_2_message_is_taken_once_over_a_resume,
    a_refused_qos_2_packet_id_is_free,
    a_subscription_id_from_a_client_is_refused,
    acknowledgements_have_their_reason_codes,
    an_expired_qos_2_message_is_still_acknowledged,
    dup_is_not_forwarded,
    packet_id_0_is_refused,
    publishing_where_nobody_may_is_acknowledged_or_closes,
    qos_0_has_no_packet_id,
    qos_3_is_refused,
    topic_names_are_not_empty,
    topic_names_have_no_wildcards,
    topic_names_may_have_65535_bytes,
);

/// If this fails, publishers do not know whether a message arrived.
///
/// v5 [MQTT-2.2.1-5] [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
/// v3.1.1 [MQTT-2.3.1-6] [MQTT-3.3.4-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
fn a_publish_is_answered_as_its_qos_asks(broker: &Broker) {
    for version in BOTH {
        let topic = unique("answered");
        let mut subscriber = Client::open(broker, version, &unique("subscriber"));
        subscriber.subscribe(&topic, 2);
        let mut client = Client::open(broker, version, &unique("publisher"));
        client.publish(&Message::new(&topic, "qos 0"));
        assert_eq!(subscriber.receive().text(), "qos 0");
        client.expect_nothing();
        for id in [1, 0x0102, 0xFFFF] {
            let [high, low] = u16::to_be_bytes(id);
            client.send_message(&Message::new(&topic, "qos 1").qos(1).packet_id(id));
            client.expect_bytes(&[0x40, 2, high, low]);
            // Acknowledged, and so taken over.
            assert_eq!(subscriber.receive().text(), "qos 1");
            client.send_message(&Message::new(&topic, "qos 2").qos(2).packet_id(id));
            client.expect_bytes(&[0x50, 2, high, low]);
            client.send_pubrel(id);
            client.expect_bytes(&[0x70, 2, high, low]);
            assert_eq!(subscriber.receive().text(), "qos 2");
        }
    }
}

/// If this fails, a message that happens to reuse a packet identifier is taken for a resend and lost.
///
/// v5 [MQTT-4.3.2-5]
/// v3.1.1 [MQTT-4.3.2-2]
fn a_qos_1_packet_id_is_free_after_puback(broker: &Broker) {
    for version in BOTH {
        let topic = unique("again");
        let mut client = Client::open(broker, version, &unique("publisher"));
        client.subscribe(&topic, 1);
        let first = Message::new(&topic, "first").qos(1).packet_id(7);
        client.publish(&first);
        client.publish(&Message::new(&topic, "second").qos(1).packet_id(7));
        client.publish(&first.clone().dup());
        for text in ["first", "second", "first"] {
            assert_eq!(client.receive().text(), text);
        }
    }
}

/// If this fails, QoS 2 is not exactly once.
///
/// v5 [MQTT-4.3.3-10] [MQTT-4.3.3-12]
/// v3.1.1 [MQTT-4.3.3-2]
fn a_qos_2_message_is_taken_once(broker: &Broker) {
    for version in BOTH {
        let topic = unique("once");
        let mut subscriber = Client::open(broker, version, &unique("subscriber"));
        subscriber.subscribe(&topic, 2);
        let mut client = Client::open(broker, version, &unique("publisher"));
        let message = Message::new(&topic, "once").qos(2).packet_id(7);
        client.send_message(&message);
        client.expect_pubrec(7);
        for _ in 0..3 {
            client.send_message(&message.clone().dup());
            client.expect_pubrec(7);
        }
        client.send_pubrel(7);
        client.expect_pubcomp(7);
        client.publish(&Message::new(&topic, "next").qos(2).packet_id(7));
        assert_eq!(subscriber.receive().text(), "once");
        assert_eq!(subscriber.receive().text(), "next");
        subscriber.expect_nothing();
    }
}

/// If this fails, a message is doubled when its publisher loses the connection in the handshake.
///
/// v5 [MQTT-4.3.3-10] [MQTT-4.3.3-12]
/// v3.1.1 [MQTT-4.3.3-2]
fn a_qos_2_message_is_taken_once_over_a_resume(broker: &Broker) {
    for version in BOTH {
        let topic = unique("once");
        let mut subscriber = Client::open(broker, version, &unique("subscriber"));
        subscriber.subscribe(&topic, 2);
        let options = Options::new(version, &unique("publisher")).persistent();
        let message = Message::new(&topic, "once").qos(2).packet_id(7);
        let mut client = options.open(broker);
        client.send_message(&message);
        client.expect_pubrec(7);
        client.abort();
        let mut client = options.open(broker);
        assert!(client.connack().session_present);
        client.send_message(&message.dup());
        client.expect_pubrec(7);
        client.abort();
        let mut client = options.open(broker);
        client.send_pubrel(7);
        client.expect_pubcomp(7);
        client.publish(&Message::new(&topic, "next").qos(2).packet_id(7));
        assert_eq!(subscriber.receive().text(), "once");
        assert_eq!(subscriber.receive().text(), "next");
        subscriber.expect_nothing();
    }
}

/// If this fails, a message is lost because another one was refused before.
///
/// v5 [MQTT-4.3.3-9]
fn a_refused_qos_2_packet_id_is_free(broker: &Broker) {
    let topic = unique("refused");
    let mut client = Client::open(broker, Version::V5, &unique("publisher"));
    client.subscribe(&topic, 2);
    // Clients may not publish here.
    let forbidden = Message::new(&format!("$SYS/{topic}"), "no")
        .qos(2)
        .packet_id(7);
    assert!(client.publish(&forbidden).is_error());
    client.publish(&Message::new(&topic, "yes").qos(2).packet_id(7));
    assert_eq!(client.receive().text(), "yes");
}

/// If this fails, a client of version 3.1.1 waits for an answer that never comes.
///
/// v3.1.1 [MQTT-3.3.5-2]
fn publishing_where_nobody_may_is_acknowledged_or_closes(broker: &Broker) {
    for qos in [1, 2] {
        let mut client = Client::open(broker, Version::V4, &unique("publisher"));
        client.send_message(&Message::new("$SYS/forbidden", "no").qos(qos).packet_id(7));
        match client.next(catena_tests::client::PATIENCE) {
            Event::Packet(_) => {
                assert_eq!(client.last_bytes()[..], [0x30 + 0x10 * qos, 2, 0, 7]);
                if qos == 2 {
                    client.send_pubrel(7);
                    client.expect_pubcomp(7);
                }
                client.ping();
            }
            event => assert_eq!(event, Event::Closed),
        }
    }
}

/// If this fails, a handshake hangs because its message was too old to deliver.
///
/// v5 [MQTT-4.3.3-13]
fn an_expired_qos_2_message_is_still_acknowledged(broker: &Broker) {
    let topic = unique("expired");
    let away = Options::new(Version::V5, &unique("subscriber")).persistent();
    let mut subscriber = away.open(broker);
    subscriber.subscribe(&topic, 2);
    subscriber.abort();
    let mut client = Client::open(broker, Version::V5, &unique("publisher"));
    client.send_message(&Message::new(&topic, "x").qos(2).expiry(1).packet_id(7));
    assert_eq!(client.expect_pubrec(7).reason, ReasonCode::Success);
    thread::sleep(Duration::from_millis(1300));
    client.send_message(
        &Message::new(&topic, "x")
            .qos(2)
            .expiry(1)
            .packet_id(7)
            .dup(),
    );
    assert_eq!(client.expect_pubrec(7).reason, ReasonCode::Success);
    client.send_pubrel(7);
    assert_eq!(client.expect_pubcomp(7).reason, ReasonCode::Success);
    away.open(broker).expect_nothing();
}

/// If this fails, subscribers take new messages for repeated ones.
///
/// v5 [MQTT-3.3.1-2] [MQTT-3.3.1-3]
/// v3.1.1 [MQTT-3.3.1-2] [MQTT-3.3.1-3]
fn dup_is_not_forwarded(broker: &Broker) {
    for version in BOTH {
        let topic = unique("dup");
        let mut client = Client::open(broker, version, &unique("client"));
        for granted in [0, 1, 2] {
            client.subscribe(&topic, granted);
            for qos in [1, 2] {
                client.publish(&Message::new(&topic, "x").qos(qos).dup());
                let message = client.receive();
                assert_eq!((message.qos, message.dup), (qos.min(granted), false));
            }
        }
    }
}

/// If this fails, QoS 0 messages are misread: two bytes of them are taken for something else.
///
/// v5 [MQTT-2.2.1-2]
/// v3.1.1 [MQTT-2.3.1-5]
fn qos_0_has_no_packet_id(broker: &Broker) {
    for version in BOTH {
        let topic = unique("qos-0");
        let mut client = Client::open(broker, version, &unique("client"));
        client.subscribe(&topic, 2);
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let bytes = packet(0x30, &[&string(&topic), none, &[0, 1, 2]].concat());
        client.send_bytes(&bytes);
        client.expect_bytes(&bytes);
    }
}

/// If this fails, messages of a QoS that does not exist are accepted.
///
/// v5 [MQTT-3.3.1-4]
/// v3.1.1 [MQTT-3.3.1-4]
fn qos_3_is_refused(broker: &Broker) {
    for version in BOTH {
        let mut client = Client::open(broker, version, &unique("qos-3"));
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        client.send_bytes(&packet(
            0x36,
            &[&string("t")[..], &[0, 1], none, b"x"].concat(),
        ));
        client.expect_closed_for(ReasonCode::MalformedPacket);
    }
}

/// If this fails, packets are acknowledged by an identifier that does not exist.
///
/// v5 [MQTT-2.2.1-3]
/// v3.1.1 [MQTT-2.3.1-1] [MQTT-4.8.0-1]
fn packet_id_0_is_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let topic = string("t");
        for bytes in [
            packet(0x32, &[&topic[..], &[0, 0], none, b"x"].concat()),
            packet(0x34, &[&topic[..], &[0, 0], none, b"x"].concat()),
            packet(0x82, &[&[0, 0], none, &topic, &[0]].concat()),
            packet(0xA2, &[&[0, 0], none, &topic].concat()),
        ] {
            let mut client = Client::open(broker, version, &unique("zero"));
            client.send_bytes(&bytes);
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

/// If this fails, one message could address many topics.
///
/// v5 [MQTT-3.3.2-2] [MQTT-4.7.0-1]
/// v3.1.1 [MQTT-3.3.2-2] [MQTT-4.7.1-1]
fn topic_names_have_no_wildcards(broker: &Broker) {
    for version in BOTH {
        let base = unique("wild");
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&format!("{base}/#"), 0);
        for end in ["#", "+", "a/+/b", "a#", "+a"] {
            for qos in [0, 1, 2] {
                let mut client = Client::open(broker, version, &unique("wild"));
                let topic = format!("{base}/{end}");
                client.send_message(&Message::new(&topic, "x").qos(qos));
                client.expect_close();
            }
        }
        watcher.expect_nothing();
    }
}

/// If this fails, messages without a topic are accepted.
///
/// v5 [MQTT-4.7.3-1]
/// v3.1.1 [MQTT-4.7.3-1]
fn topic_names_are_not_empty(broker: &Broker) {
    for version in BOTH {
        let mut client = Client::open(broker, version, &unique("empty"));
        client.send_message(&Message::new("", "x"));
        client.expect_close();
    }
}

/// If this fails, long topics are cut off or refused.
///
/// v5 [MQTT-4.7.3-3]
/// v3.1.1 [MQTT-4.7.3-3]
fn topic_names_may_have_65535_bytes(broker: &Broker) {
    for version in BOTH {
        let base = unique("long");
        let rest = 65_535 - base.len() - 1;
        let topic = format!("{base}/{}", "x".repeat(rest));
        let mut client = Client::open(broker, version, &unique("long"));
        for filter in [&topic, &format!("{base}/+")] {
            client.subscribe(filter, 1);
            client.publish(&Message::new(&topic, "x").qos(1));
            let message = client.receive();
            assert_eq!(message.topic.len(), 65_535);
            assert_eq!(message.topic, topic);
            client.unsubscribe(&[filter]);
        }
    }
}

/// If this fails, a client could make subscribers believe that a subscription of theirs matched.
///
/// v5 [MQTT-3.3.4-6]
fn a_subscription_id_from_a_client_is_refused(broker: &Broker) {
    let mut client = Client::open(broker, Version::V5, &unique("sub-id"));
    let properties = catena_tests::wire::properties(&[Property::SubscriptionId(1)]);
    client.send_bytes(&packet(
        0x30,
        &[string("t"), properties, b"x".to_vec()].concat(),
    ));
    client.expect_closed_for(ReasonCode::ProtocolError);
}

/// If this fails, clients get acknowledgements that they cannot read, or that say the wrong thing.
///
/// v5 [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
fn acknowledgements_have_their_reason_codes(broker: &Broker) {
    let topic = unique("reasons");
    let nobody = unique("nobody");
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    client.subscribe(&topic, 2);
    // The client panics at a code that the packet has not.
    for qos in [1, 2] {
        let heard = Message::new(&topic, "x").qos(qos);
        assert_eq!(client.publish(&heard), ReasonCode::Success);
        assert_eq!(client.receive().qos, qos);
        let unheard = Message::new(&nobody, "x").qos(qos);
        assert_eq!(client.publish(&unheard), ReasonCode::NoMatchingSubscribers);
        let forbidden = Message::new("$SYS/forbidden", "x").qos(qos);
        assert!(client.publish(&forbidden).is_error());
    }
    client.send_pubrel(0x0707);
    assert_eq!(
        client.expect_pubcomp(0x0707).reason,
        ReasonCode::PacketIdentifierNotFound
    );
    client.send_pubrec(0x0808);
    assert_eq!(
        client.expect_pubrel(0x0808).reason,
        ReasonCode::PacketIdentifierNotFound
    );
    assert_eq!(client.next(QUIET), Event::Silence);
}
