//! Receive Maximum: how many deliveries may be unacknowledged.

use catena_mqtt::{Packet, QoS, ReasonCode, Version};
use catena_tests::{
    broker::{Broker, Settings, unique},
    client::{Client, Message, Options},
    on_shards,
};

on_shards!(
    only_publishes_wait_for_the_quota,
    the_quota_opens_with_each_last_acknowledgement,
    the_receive_maximum_of_the_client_is_kept,
    the_receive_maximum_of_the_server_is_demanded,
);

/// If this fails, a small device is flooded.
///
/// v5 [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
fn the_receive_maximum_of_the_client_is_kept(broker: &Broker) {
    for persistent in [false, true] {
        for maximum in [1, 3, 20] {
            let base = unique("quota");
            let mut options = Options::new(Version::V5, &unique("subscriber"));
            if persistent {
                options = options.persistent();
            }
            let mut client = options.receive_maximum(maximum).open(broker);
            client.subscribe(&format!("{base}/+"), 2);
            let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
            const ALL: u16 = 60;
            for n in 0..ALL {
                // On as many topics, and so on all shards.
                let message = Message::new(&format!("{base}/{n}"), "x");
                publisher.publish(&message.qos(1 + (n % 2) as u8));
            }
            let mut unanswered: Vec<_> = (0..maximum).map(|_| client.expect_message()).collect();
            client.expect_nothing();
            let mut received = maximum;
            while let Some(message) = unanswered.pop() {
                if message.qos == 1 {
                    client.send_puback(message.packet_id);
                } else {
                    client.send_pubrec(message.packet_id);
                    client.expect_pubrel(message.packet_id);
                    client.send_pubcomp(message.packet_id);
                }
                if received < ALL {
                    unanswered.insert(0, client.expect_message());
                    received += 1;
                }
            }
            client.expect_nothing();
        }
    }
}

/// If this fails, deliveries stop for ever, or exceed the quota in the middle of a handshake.
///
/// v5 [MQTT-4.9.0-2] [MQTT-3.3.4-9]
fn the_quota_opens_with_each_last_acknowledgement(broker: &Broker) {
    let topic = unique("quota");
    let mut client = Options::new(Version::V5, &unique("subscriber"))
        .receive_maximum(1)
        .open(broker);
    client.subscribe(&topic, 2);
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    for (n, qos) in [2, 2, 1, 1, 2].into_iter().enumerate() {
        publisher.publish(&Message::new(&topic, [n as u8]).qos(qos));
    }
    let first = client.expect_message().packet_id;
    client.send_pubrec(first);
    client.expect_pubrel(first);
    // PUBREC frees nothing.
    client.expect_nothing();
    client.send_pubcomp(first);
    let second = client.expect_message();
    assert_eq!(second.payload, [1]);
    // A refusal does.
    client.send_pubrec_with(second.packet_id, ReasonCode::QuotaExceeded);
    let third = client.expect_message();
    assert_eq!(third.payload, [2]);
    client.send_puback_with(third.packet_id, ReasonCode::UnspecifiedError);
    assert_eq!(client.receive().payload, [3]);
    assert_eq!(client.receive().payload, [4]);
}

/// If this fails, a client that is slow with one thing is cut off from everything else.
///
/// v5 [MQTT-3.3.4-10] [MQTT-4.9.0-3]
fn only_publishes_wait_for_the_quota(broker: &Broker) {
    for persistent in [false, true] {
        let (topic, other) = (unique("quota"), unique("other"));
        let mut options = Options::new(Version::V5, &unique("client")).receive_maximum(2);
        if persistent {
            options = options.persistent();
        }
        let mut client = options.open(broker);
        client.subscribe(&topic, 2);
        let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
        for _ in 0..10 {
            publisher.publish(&Message::new(&topic, "waits").qos(2));
        }
        let ids = [0; 2].map(|_| client.expect_message().packet_id);
        client.ping();
        client.subscribe(&other, 0);
        publisher.subscribe(&other, 2);
        for qos in [1, 2] {
            assert_eq!(
                client.publish(&Message::new(&other, "x").qos(qos)),
                ReasonCode::Success
            );
            assert_eq!(publisher.receive().qos, qos);
        }
        assert_eq!(client.unsubscribe(&[&other]), [ReasonCode::Success]);
        for id in ids {
            client.send_pubrec(id);
            client.expect_pubrel(id);
        }
        client.send(&Packet::Pingreq);
        // The handshakes are not over, so neither is the wait.
        let next = client.expect(
            "no PUBLISH of QoS 2, or only the marker",
            |packet| match packet {
                Packet::Publish(p) if p.qos == QoS::ExactlyOnce => Some("waits"),
                Packet::Pingresp => Some("marker"),
                _ => None,
            },
        );
        assert_eq!(next, "marker");
    }
}

/// If this fails, a client can fill the broker's memory with handshakes that it never ends.
///
/// v5 [MQTT-3.3.4-7] [MQTT-3.3.4-8]
fn the_receive_maximum_of_the_server_is_demanded(broker: &Broker) {
    let settings = Settings::shards(broker.shards).config("[clients]\nmax_receive_maximum = 3\n");
    let own = Broker::start(&settings);
    let mut client = Client::open(&own, Version::V5, &unique("client"));
    assert_eq!(client.connack().receive_maximum.map(|m| m.get()), Some(3));
    let topic = unique("quota");
    // Identifiers apart from those of SUBSCRIBE.
    let take = |client: &mut Client, id| {
        client.send_message(&Message::new(&topic, "x").qos(2).packet_id(id));
    };
    for id in 101..=103 {
        take(&mut client, id);
        client.expect_pubrec(id);
    }
    // QoS 0 and other packets are not of the quota.
    client.publish(&Message::new(&topic, "x"));
    client.subscribe(&topic, 1);
    client.send_pubrel(101);
    client.expect_pubcomp(101);
    take(&mut client, 104);
    client.expect_pubrec(104);
    take(&mut client, 105);
    client.expect_closed_for(ReasonCode::ReceiveMaximumExceeded);
}
