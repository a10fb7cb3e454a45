//! Wills.

use std::time::{Duration, Instant};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
    wire::Property,
};

use crate::BOTH;

on_shards!(
    a_delayed_will_waits_and_a_return_cancels_it,
    a_delayed_will_does_not_outlive_the_session,
    a_will_has_the_qos_of_its_connect,
    a_will_is_published_once,
    a_will_is_published_when_the_connection_breaks,
    a_will_is_retained_only_if_asked,
    disconnect_discards_the_will,
    disconnect_with_will_publishes_it,
    the_properties_of_a_will_are_forwarded,
    without_the_flag_there_is_no_will,
);

/// If this fails, nobody learns that a device is gone.
///
/// v5 [MQTT-3.1.2-7] [MQTT-3.1.2-8]
/// v3.1.1 [MQTT-3.1.2-8]
fn a_will_is_published_when_the_connection_breaks(broker: &Broker) {
    for version in BOTH {
        let topic = unique("will");
        let mut watcher = watch(broker, version, &topic);
        for persistent in [false, true] {
            let mut options = Options::new(version, &unique("mortal"));
            if persistent {
                options = options.persistent();
            }
            let options = options.will(&Message::new(&topic, "gone").qos(1), 0);
            // A broken network, and a protocol error.
            let client = options.open(broker);
            watcher.expect_nothing();
            client.abort();
            assert_eq!(watcher.receive().text(), "gone");
            let mut client = options.open(broker);
            client.send_bytes(&[0x00, 0x00]);
            client.expect_close();
            assert_eq!(watcher.receive().text(), "gone");
        }
    }
}

/// If this fails, devices that left in order are reported dead.
///
/// v5 [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
/// v3.1.1 [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
fn disconnect_discards_the_will(broker: &Broker) {
    for version in BOTH {
        let topic = unique("will");
        let mut watcher = watch(broker, version, &topic);
        let will = Message::new(&topic, "gone").qos(1);
        let passing = Options::new(version, &unique("orderly")).will(&will, 0);
        let lasting = Options::new(version, &unique("orderly"))
            .persistent()
            .will(&will, 0);
        for options in [passing, lasting] {
            options.open(broker).disconnect();
        }
        watcher.expect_nothing();
    }
}

/// If this fails, a client cannot leave and be reported gone.
///
/// v5 [MQTT-3.1.2-8]
fn disconnect_with_will_publishes_it(broker: &Broker) {
    let topic = unique("will");
    let mut watcher = watch(broker, Version::V5, &topic);
    let will = Message::new(&topic, "gone").qos(1);
    let client = Options::new(Version::V5, &unique("mortal"))
        .will(&will, 0)
        .open(broker);
    client.disconnect_with(ReasonCode::DisconnectWithWill, None);
    assert_eq!(watcher.receive().text(), "gone");
}

/// If this fails, one death is reported twice, or the will of an old connection is used for a new one.
///
/// v5 [MQTT-3.1.2-10]
/// v3.1.1 [MQTT-3.1.2-10]
fn a_will_is_published_once(broker: &Broker) {
    for version in BOTH {
        let topic = unique("will");
        let mut watcher = watch(broker, version, &topic);
        let without = Options::new(version, &unique("mortal")).persistent();
        let will = Message::new(&topic, "gone").qos(1);
        without.clone().will(&will, 0).open(broker).abort();
        assert_eq!(watcher.receive().text(), "gone");
        without.open(broker).abort();
        watcher.expect_nothing();
    }
}

/// If this fails, wills are published that nobody made.
///
/// v3.1.1 [MQTT-3.1.2-12]
fn without_the_flag_there_is_no_will(broker: &Broker) {
    for version in BOTH {
        let topic = unique("will");
        let mut watcher = watch(broker, version, &topic);
        let without = Options::new(version, &unique("mortal")).persistent();
        let will = Message::new(&topic, "gone").qos(1);
        without.clone().will(&will, 0).open(broker).disconnect();
        without.open(broker).abort();
        Client::open(broker, version, &unique("mortal")).abort();
        watcher.expect_nothing();
    }
}

/// If this fails, a will is less safe on its way than its client asked for.
///
/// v5 [MQTT-3.1.2-9] [MQTT-3.1.2-12]
/// v3.1.1 [MQTT-3.1.2-9] [MQTT-3.1.2-14]
fn a_will_has_the_qos_of_its_connect(broker: &Broker) {
    for version in BOTH {
        for qos in [0, 1, 2] {
            let topic = unique("will");
            let mut watcher = watch(broker, version, &topic);
            let will = Message::new(&topic, [0, 1, 254, 255]).qos(qos);
            Options::new(version, &unique("mortal"))
                .will(&will, 0)
                .open(broker)
                .abort();
            let published = watcher.receive();
            assert_eq!(
                Message {
                    packet_id: 0,
                    ..published
                },
                will
            );
        }
    }
}

/// If this fails, who subscribes later does not learn that a device is gone, or believes it for ever.
///
/// v5 [MQTT-3.1.2-14] [MQTT-3.1.2-15]
/// v3.1.1 [MQTT-3.1.2-16] [MQTT-3.1.2-17]
fn a_will_is_retained_only_if_asked(broker: &Broker) {
    for version in BOTH {
        for retain in [false, true] {
            let topic = unique("will");
            let mut watcher = watch(broker, version, &topic);
            let will = Message {
                retain,
                ..Message::new(&topic, "gone").qos(1)
            };
            Options::new(version, &unique("mortal"))
                .will(&will, 0)
                .open(broker)
                .abort();
            let published = watcher.receive();
            assert!(!published.retain, "an established subscription");
            let mut late = watch(broker, version, &topic);
            if retain {
                let kept = late.receive();
                assert_eq!((kept.text().as_str(), kept.retain), ("gone", true));
            } else {
                late.expect_nothing();
            }
        }
    }
}

/// If this fails, devices with a bad network are reported gone at every gap, or never.
///
/// v5 [MQTT-3.1.2-8] [MQTT-3.1.3-9]
fn a_delayed_will_waits_and_a_return_cancels_it(broker: &Broker) {
    let topic = unique("will");
    let mut watcher = watch(broker, Version::V5, &format!("{topic}/+"));
    let mortal = |name: &str| {
        let will = Message::new(&format!("{topic}/{name}"), name).qos(1);
        Options::new(Version::V5, &unique(name))
            .persistent()
            .will(&will, 1)
    };
    let (gone, back) = (mortal("gone"), mortal("back"));
    back.open(broker).abort();
    let mut back = back.open(broker);
    assert!(back.connack().session_present);
    gone.open(broker).abort();
    let left = Instant::now();
    assert_eq!(watcher.receive().text(), "gone");
    let waited = left.elapsed();
    assert!(
        waited >= Duration::from_millis(900),
        "published after {waited:?}"
    );
    // The other one's time was over before.
    watcher.expect_nothing();
    back.ping();
}

/// If this fails, a will is published late, when its session is long over.
///
/// v5 [MQTT-3.1.2-8]
fn a_delayed_will_does_not_outlive_the_session(broker: &Broker) {
    let topic = unique("will");
    let mut watcher = watch(broker, Version::V5, &topic);
    let will = Message::new(&topic, "gone").qos(1);
    // The session ends with the connection, then with a clean start.
    Options::new(Version::V5, &unique("mortal"))
        .will(&will, 3600)
        .open(broker)
        .abort();
    assert_eq!(watcher.receive().text(), "gone");
    let options = Options::new(Version::V5, &unique("mortal")).persistent();
    options.clone().will(&will, 3600).open(broker).abort();
    watcher.expect_nothing();
    options.clean_start(true).open(broker).ping();
    assert_eq!(watcher.receive().text(), "gone");
}

/// If this fails, what a device wanted to say of its death arrives mutilated.
///
/// v5 [MQTT-3.1.3-10] [MQTT-3.1.2-9]
fn the_properties_of_a_will_are_forwarded(broker: &Broker) {
    let topic = unique("will");
    let mut watcher = watch(broker, Version::V5, &topic);
    let will = Message::new(&topic, "gone")
        .qos(1)
        .property(Property::PayloadFormat(1))
        .property(Property::ContentType("text/plain".into()))
        .property(Property::ResponseTopic("answer/here".into()))
        .property(Property::CorrelationData(vec![0, 1, 2]))
        .property(Property::user("b", "1"))
        .property(Property::user("a", "2"))
        .property(Property::user("b", "1"))
        .property(Property::user("", "3"));
    Options::new(Version::V5, &unique("mortal"))
        .will(&will, 0)
        .open(broker)
        .abort();
    let published = watcher.receive();
    let order = |message: &Message| {
        let (user, others): (Vec<_>, Vec<_>) = message
            .properties
            .iter()
            .cloned()
            .partition(|p| matches!(p, Property::User(..)));
        let mut others: Vec<_> = others.iter().map(Property::bytes).collect();
        others.sort();
        (user, others)
    };
    assert_eq!(order(&published), order(&will));
}

/// A client that subscribed to `filter` at QoS 2.
fn watch(broker: &Broker, version: Version, filter: &str) -> Client {
    let mut watcher = Client::open(broker, version, &unique("watcher"));
    watcher.subscribe(filter, 2);
    watcher
}
