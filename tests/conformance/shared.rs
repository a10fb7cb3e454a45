//! Shared subscriptions.

use std::time::Duration;

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Event, Filter, Message, Options},
    on_shards,
};

use crate::{BOTH, matching};

/// For whom messages are is not known before: each member is asked in turn.
const A_MOMENT: Duration = Duration::from_millis(5);

on_shards!(
    a_message_goes_to_one_member,
    a_qos_2_message_that_began_is_completed_by_its_member,
    a_qos_2_message_that_began_ends_with_its_session,
    a_refused_message_goes_to_nobody_else,
    malformed_shared_filters_are_refused,
    no_local_is_refused,
    the_qos_of_the_member_counts,
);

/// If this fails, a group does its work twice, or not at all.
///
/// v5 [MQTT-4.8.2-1] [MQTT-4.8.2-2]
fn a_message_goes_to_one_member(broker: &Broker) {
    for version in BOTH {
        for end in ["work", "+", "#"] {
            let base = unique("shared");
            let group = |name: &str| format!("$share/{name}/{base}/{end}");
            let mut members = ["one", "two", "two"].map(|name| {
                let mut client = Client::open(broker, version, &unique("member"));
                client.subscribe(&group(name), 1);
                client
            });
            let mut publisher = Client::open(broker, version, &unique("publisher"));
            const ALL: usize = 30;
            for n in 0..ALL {
                publisher.publish(&Message::new(&format!("{base}/work"), [n as u8]).qos(1));
            }
            let mut seen = [Vec::new(), Vec::new(), Vec::new()];
            while seen.iter().map(Vec::len).sum::<usize>() < 2 * ALL {
                for (member, seen) in members.iter_mut().zip(&mut seen) {
                    if let Event::Packet(Packet::Publish(publish)) = member.next(A_MOMENT) {
                        member.send_puback(publish.packet_id.expect("QoS 1").get());
                        seen.push(publish.payload[0]);
                    }
                }
            }
            Client::expect_nothing_on(&mut members);
            let [mut alone, first, second] = seen;
            let mut together = [first, second].concat();
            for all in [&mut alone, &mut together] {
                all.sort_unstable();
                assert_eq!(*all, (0..ALL as u8).collect::<Vec<_>>());
            }
        }
    }
}

/// If this fails, a member gets messages at a QoS that it did not ask for.
///
/// v5 [MQTT-4.8.2-3]
fn the_qos_of_the_member_counts(broker: &Broker) {
    for granted in [0, 1, 2] {
        let topic = unique("shared");
        let mut member = Client::open(broker, Version::V5, &unique("member"));
        member.subscribe(&format!("$share/group/{topic}"), granted);
        for published in [0, 1, 2] {
            member.publish(&Message::new(&topic, "x").qos(published));
            assert_eq!(member.receive().qos, granted.min(published));
        }
    }
}

/// If this fails, messages vanish, or are done twice, when a member loses its connection.
///
/// v5 [MQTT-4.8.2-4]
fn a_qos_2_message_that_began_is_completed_by_its_member(broker: &Broker) {
    let (mut publisher, options, mut first, mut second, topic) = pair(broker);
    publisher.publish(&Message::new(&topic, "sent").qos(2));
    publisher.publish(&Message::new(&topic, "released").qos(2));
    let [sent, released] = [0; 2].map(|_| first.expect_message().packet_id);
    first.send_pubrec(released);
    first.expect_pubrel(released);
    second.subscribe(&format!("$share/group/{topic}"), 2);
    first.abort();
    second.expect_nothing();
    let mut first = options.open(broker);
    assert!(first.connack().session_present);
    first.expect_pubrel(released);
    first.send_pubcomp(released);
    let message = first.receive();
    assert_eq!((message.packet_id, message.dup), (sent, true));
    second.expect_nothing();
}

/// If this fails, a message that one member may have acted on is acted on again by another.
///
/// v5 [MQTT-4.8.2-5]
fn a_qos_2_message_that_began_ends_with_its_session(broker: &Broker) {
    let (mut publisher, options, mut first, mut second, topic) = pair(broker);
    publisher.publish(&Message::new(&topic, "sent").qos(2));
    first.expect_message();
    second.subscribe(&format!("$share/group/{topic}"), 2);
    first.abort();
    let first = options.clean_start(true).open(broker);
    assert!(!first.connack().session_present);
    second.expect_nothing();
    // The group itself goes on.
    publisher.publish(&Message::new(&topic, "next").qos(2));
    assert_eq!(second.receive().text(), "next");
}

/// If this fails, a message that breaks one member breaks them all.
///
/// v5 [MQTT-4.8.2-6]
fn a_refused_message_goes_to_nobody_else(broker: &Broker) {
    let (mut publisher, options, mut first, mut second, topic) = pair(broker);
    publisher.publish(&Message::new(&topic, "one").qos(1));
    publisher.publish(&Message::new(&topic, "two").qos(2));
    let [one, two] = [0; 2].map(|_| first.expect_message().packet_id);
    second.subscribe(&format!("$share/group/{topic}"), 2);
    first.send_puback_with(one, ReasonCode::ImplementationSpecificError);
    first.send_pubrec_with(two, ReasonCode::PayloadFormatInvalid);
    first.ping();
    second.expect_nothing();
    first.abort();
    second.expect_nothing();
    options.open(broker).expect_nothing();
}

/// If this fails, clients believe that they share a subscription, and nobody knows which.
///
/// v5 [MQTT-4.8.2-1] [MQTT-4.8.2-2]
fn malformed_shared_filters_are_refused(broker: &Broker) {
    for filter in [
        "$share/",
        "$share/a",
        "$share/a/",
        "$share//x",
        "$share/a+/x",
    ] {
        refuse(broker, filter);
    }
    for filter in [
        "$share/a#/x",
        "$share/+/x",
        "$share/#",
        "$share/a/x#",
        "$share/a/#/x",
    ] {
        refuse(broker, filter);
    }

    fn refuse(broker: &Broker, filter: &str) {
        let mut client = Client::open(broker, Version::V5, &unique("client"));
        client.send_subscribe(7, &[Filter::new(filter, 1)], None);
        assert!(matching::refused(&mut client, Version::V5), "{filter:?}");
    }
}

/// If this fails, a message could be for a member that must not have it.
///
/// v5 [MQTT-3.8.3-4]
fn no_local_is_refused(broker: &Broker) {
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    let filter = format!("$share/group/{}", unique("shared"));
    client.send_subscribe(7, &[Filter::new(&filter, 1).no_local()], None);
    client.expect_closed_for(ReasonCode::ProtocolError);
}

/// A publisher, the options of a member with a lasting session, that member, subscribed alone to the
/// group of a topic, another client that may join it, and the topic.
fn pair(broker: &Broker) -> (Client, Options, Client, Client, String) {
    let topic = unique("shared");
    let options = Options::new(Version::V5, &unique("first")).persistent();
    let mut first = options.open(broker);
    first.subscribe(&format!("$share/group/{topic}"), 2);
    let second = Client::open(broker, Version::V5, &unique("second"));
    let publisher = Client::open(broker, Version::V5, &unique("publisher"));
    (publisher, options, first, second, topic)
}
