//! PUBLISH to clients: its handshakes, what is sent again, and the order.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
};

use crate::BOTH;

on_shards!(
    a_delivery_that_began_does_not_expire,
    a_refused_delivery_is_not_repeated,
    deliveries_have_free_packet_ids,
    each_topic_is_in_order,
    nothing_is_repeated_while_connected,
    qos_2_is_delivered_in_four_steps,
    repeated_deliveries_are_in_order,
    what_was_not_acknowledged_is_repeated,
);

/// If this fails, an acknowledgement of one message is taken for that of another.
///
/// v5 [MQTT-2.2.1-4] [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]
/// v3.1.1 [MQTT-2.3.1-4] [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
fn deliveries_have_free_packet_ids(broker: &Broker) {
    for version in BOTH {
        for persistent in [false, true] {
            let base = unique("ids");
            let mut options = Options::new(version, &unique("subscriber"));
            if persistent {
                options = options.persistent();
            }
            let mut subscriber = options.open(broker);
            subscriber.subscribe(&format!("{base}/+"), 2);
            let mut publisher = Client::open(broker, version, &unique("publisher"));
            for n in 0..60 {
                publisher.publish(&Message::new(&format!("{base}/{n}"), "x").qos(n % 3));
            }
            let mut used = HashSet::new();
            let mut by_qos = [0; 3];
            for _ in 0..60 {
                let message = subscriber.expect_message();
                assert!(!message.dup);
                by_qos[usize::from(message.qos)] += 1;
                if message.qos > 0 {
                    assert!(
                        used.insert(message.packet_id),
                        "{} twice",
                        message.packet_id
                    );
                }
            }
            assert_eq!(by_qos, [20, 20, 20]);
        }
    }
}

/// If this fails, QoS 2 deliveries hang, or arrive twice.
///
/// v5 [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-2.2.1-5]
/// v3.1.1 [MQTT-4.3.3-1] [MQTT-2.3.1-6]
fn qos_2_is_delivered_in_four_steps(broker: &Broker) {
    for version in BOTH {
        let topic = unique("steps");
        let mut client = Client::open(broker, version, &unique("client"));
        client.subscribe(&topic, 2);
        client.publish(&Message::new(&topic, "x").qos(2));
        let id = client.expect_message().packet_id;
        // No PUBREL before the PUBREC.
        client.expect_nothing();
        client.send_pubrec(id);
        let [high, low] = id.to_be_bytes();
        client.expect_bytes(&[0x62, 2, high, low]);
        client.send_pubcomp(id);
        client.expect_nothing();
    }
}

/// If this fails, messages are lost when a connection breaks, or sent as if they were new.
///
/// v5 [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-3.3.1-1] [MQTT-2.3.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1]
fn what_was_not_acknowledged_is_repeated(broker: &Broker) {
    for version in BOTH {
        let base = unique("repeated");
        let options = Options::new(version, &unique("subscriber")).persistent();
        let mut client = options.open(broker);
        client.subscribe(&format!("{base}/+"), 2);
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        let steps = [
            ("acked", 1),
            ("sent", 1),
            ("done", 2),
            ("published", 2),
            ("released", 2),
        ];
        let mut ids = Vec::new();
        for (name, qos) in steps {
            publisher.publish(&Message::new(&format!("{base}/{name}"), name).qos(qos));
            let message = client.expect_message();
            assert_eq!((message.text().as_str(), message.dup), (name, false));
            ids.push(message.packet_id);
        }
        let [acked, sent, done, published, released] = ids[..] else {
            unreachable!()
        };
        client.send_puback(acked);
        for id in [done, released] {
            client.send_pubrec(id);
            client.expect_pubrel(id);
        }
        client.send_pubcomp(done);
        // An answer means that what was sent before it was read, too.
        client.ping();
        client.abort();

        // Twice, because what was repeated is no less unacknowledged than before.
        for _ in 0..2 {
            let mut client = options.open(broker);
            assert!(client.connack().session_present);
            let mut repeated = HashSet::new();
            for _ in 0..3 {
                match client.expect_packet() {
                    Packet::Publish(p) => {
                        let id = p.packet_id.expect("above QoS 0").get();
                        assert!(p.dup, "{id} is sent again");
                        repeated.insert(("publish", id));
                    }
                    Packet::Pubrel(ack) => {
                        repeated.insert(("release", ack.packet_id.get()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let expected = [
                ("publish", sent),
                ("publish", published),
                ("release", released),
            ];
            assert_eq!(repeated, HashSet::from(expected));
            client.expect_nothing();
            client.abort();
        }

        let mut client = options.open(broker);
        for _ in 0..3 {
            client.expect_packet();
        }
        client.send_puback(sent);
        client.send_pubrec(published);
        client.expect_pubrel(published);
        client.send_pubcomp(published);
        client.send_pubcomp(released);
        client.ping();
        client.abort();
        options.open(broker).expect_nothing();
    }
}

/// If this fails, a slow client gets its messages again and again.
///
/// v5 [MQTT-4.4.0-1]
fn nothing_is_repeated_while_connected(broker: &Broker) {
    let topic = unique("patient");
    let mut client = Options::new(Version::V5, &unique("client"))
        .persistent()
        .keep_alive(1)
        .open(broker);
    client.subscribe(&topic, 2);
    for qos in [1, 2, 2] {
        client.publish(&Message::new(&topic, "x").qos(qos));
    }
    let ids = [0; 3].map(|_| client.expect_message().packet_id);
    client.send_pubrec(ids[2]);
    client.expect_pubrel(ids[2]);
    // Longer than any timer of the connection runs.
    let end = Instant::now() + Duration::from_millis(1600);
    while Instant::now() < end {
        client.ping();
        client.expect_nothing();
    }
}

/// If this fails, a client is offered over and over what it has refused.
///
/// v5 [MQTT-4.4.0-2]
fn a_refused_delivery_is_not_repeated(broker: &Broker) {
    let topic = unique("refused");
    let options = Options::new(Version::V5, &unique("client")).persistent();
    let mut client = options.open(broker);
    client.subscribe(&topic, 2);
    client.publish(&Message::new(&topic, "one").qos(1));
    client.publish(&Message::new(&topic, "two").qos(2));
    let id = client.expect_message().packet_id;
    client.send_puback_with(id, ReasonCode::UnspecifiedError);
    let id = client.expect_message().packet_id;
    client.send_pubrec_with(id, ReasonCode::QuotaExceeded);
    // No PUBREL follows.
    client.expect_nothing();
    client.ping();
    client.abort();
    options.open(broker).expect_nothing();
}

/// If this fails, a message that a client may have seen is never completed.
///
/// v5 [MQTT-4.3.3-7]
fn a_delivery_that_began_does_not_expire(broker: &Broker) {
    let topic = unique("begun");
    let options = Options::new(Version::V5, &unique("client")).persistent();
    let mut client = options.open(broker);
    client.subscribe(&topic, 2);
    client.publish(&Message::new(&topic, "x").qos(2).expiry(1));
    let id = client.expect_message().packet_id;
    client.abort();
    thread::sleep(Duration::from_millis(1500));
    let mut client = options.open(broker);
    let message = client.receive();
    assert_eq!((message.packet_id, message.dup), (id, true));
}

/// If this fails, the newest value of a topic is overwritten by an older one.
///
/// v5 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
/// v3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
fn each_topic_is_in_order(broker: &Broker) {
    for version in BOTH {
        let base = unique("order");
        let topics = ["a", "b", "c", "d"].map(|topic| format!("{base}/{topic}"));
        let mut subscriber = Client::open(broker, version, &unique("subscriber"));
        subscriber.subscribe(&format!("{base}/+"), 2);
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        // All at once: nothing is awaited between two messages.
        const EACH: u32 = 50;
        let mut ids = Vec::new();
        for n in 0..EACH {
            for topic in &topics {
                for qos in 0..3 {
                    let message = Message::new(topic, n.to_be_bytes()).qos(qos);
                    ids.push((qos, publisher.send_message(&message)));
                }
            }
        }
        for (_, id) in ids.into_iter().filter(|(qos, _)| *qos == 2) {
            publisher.expect_pubrec(id);
            publisher.send_pubrel(id);
        }
        let mut next = [[0; 3]; 4];
        for _ in 0..EACH * 4 * 3 {
            let message = subscriber.receive();
            let topic = topics
                .iter()
                .position(|topic| *topic == message.topic)
                .expect("ours");
            let expected = &mut next[topic][usize::from(message.qos)];
            let number = u32::from_be_bytes(message.payload.try_into().expect("four bytes"));
            assert_eq!(
                number, *expected,
                "{} at QoS {}",
                message.topic, message.qos
            );
            *expected += 1;
        }
        assert_eq!(next, [[EACH; 3]; 4]);
    }
}

/// If this fails, messages change their order when a connection breaks.
///
/// v3.1.1 [MQTT-4.6.0-6]
fn repeated_deliveries_are_in_order(broker: &Broker) {
    for version in BOTH {
        let topic = unique("order");
        let options = Options::new(version, &unique("subscriber")).persistent();
        let mut client = options.open(broker);
        client.subscribe(&topic, 2);
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        let mut sent = Vec::new();
        for n in 0..30 {
            publisher.publish(&Message::new(&topic, [n]).qos(1 + n % 2));
            let message = client.expect_message();
            sent.push((message.payload, message.packet_id));
        }
        // Acknowledged out of order, and not all.
        for (payload, id) in &sent {
            if payload[0] % 10 == 0 {
                client.send_puback(*id);
            }
        }
        sent.retain(|(payload, _)| payload[0] % 10 != 0);
        client.ping();
        client.abort();
        let mut client = options.open(broker);
        for expected in sent {
            let message = client.expect_message();
            assert_eq!((message.payload, message.packet_id), expected);
            assert!(message.dup);
        }
    }
}
