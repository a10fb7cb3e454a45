//! Sessions: begun, kept, taken up, taken over, ended.

use std::{
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options, PATIENCE},
    on_shards,
};

use crate::BOTH;

on_shards!(
    a_clean_start_discards_the_session,
    a_message_reaches_all_sessions_that_match,
    a_second_connection_takes_over,
    a_session_ends_when_its_expiry_has_passed,
    a_session_without_expiry_ends_with_its_connection,
    the_client_id_names_the_session,
    what_was_missed_is_sent_at_the_resume,
);

/// If this fails, a client that comes back finds nothing, or not what it left.
///
/// v5 [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.1.4-4] [MQTT-3.2.2-3] [MQTT-4.1.0-1]
/// v3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.4-3] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
/// v3.1.1 [MQTT-4.1.0-1]
fn what_was_missed_is_sent_at_the_resume(broker: &Broker) {
    for version in BOTH {
        let options = Options::new(version, &unique("resumed")).persistent();
        let base = unique("missed");
        let mut publisher = Client::open(broker, version, &unique("publisher"));

        let mut client = options.open(broker);
        assert!(!client.connack().session_present, "there was no session");
        client.subscribe(&format!("{base}/#"), 2);
        client.disconnect();
        for (topic, qos) in [("a", 1), ("b", 2), ("c", 1), ("d", 2)] {
            publisher.publish(&Message::new(&format!("{base}/{topic}"), topic).qos(qos));
        }

        let mut client = options.open(broker);
        assert!(client.connack().session_present, "the session was kept");
        let mut missed: Vec<_> = (0..4).map(|_| client.receive()).collect();
        missed.sort_by_key(Message::text);
        let told: Vec<_> = missed.iter().map(|m| (m.text(), m.qos, m.dup)).collect();
        let texts = [("a", 1), ("b", 2), ("c", 1), ("d", 2)];
        assert_eq!(told, texts.map(|(text, qos)| (text.to_owned(), qos, false)));
        // The subscription itself is there again, too.
        publisher.publish(&Message::new(&format!("{base}/e"), "e").qos(1));
        assert_eq!(client.receive().text(), "e");
    }
}

/// If this fails, a client that wants a new beginning gets old messages, or leaves state behind.
///
/// v5 [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]
/// v3.1.1 [MQTT-3.1.2-6] [MQTT-3.1.4-3] [MQTT-3.2.2-1]
fn a_clean_start_discards_the_session(broker: &Broker) {
    for version in BOTH {
        let id = unique("clean");
        let kept = Options::new(version, &id).persistent();
        let topic = unique("clean");
        let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
        let message = Message::new(&topic, "old").qos(1);

        let mut client = kept.open(broker);
        client.subscribe(&topic, 1);
        client.disconnect();
        assert_eq!(
            publisher.publish(&message),
            ReasonCode::Success,
            "stored for the session"
        );

        let mut client = kept.clone().clean_start(true).open(broker);
        assert!(!client.connack().session_present);
        // Awaited, because the home shard may tell the other shards after it answered.
        until(|| publisher.publish(&message) == ReasonCode::NoMatchingSubscribers);
        client.expect_nothing();
        client.disconnect();

        // In version 5 the new session lasts as long as it asked for; below, as its connection.
        let mut client = kept.open(broker);
        assert_eq!(client.connack().session_present, version.is_v5());
        client.expect_nothing();
    }
}

/// If this fails, sessions that nobody wants are kept.
///
/// v5 [MQTT-4.1.0-2] [MQTT-3.2.2-3]
/// v3.1.1 [MQTT-3.1.2-6]
fn a_session_without_expiry_ends_with_its_connection(broker: &Broker) {
    for version in BOTH {
        let (id, topic) = (unique("passing"), unique("passing"));
        let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
        for end in [Client::disconnect, Client::abort] {
            let mut client = Client::open(broker, version, &id);
            client.subscribe(&topic, 1);
            end(client);
            let message = Message::new(&topic, "x").qos(1);
            until(|| publisher.publish(&message) == ReasonCode::NoMatchingSubscribers);
            let client = Options::new(version, &id).persistent().open(broker);
            assert!(!client.connack().session_present);
        }
    }
}

/// If this fails, sessions stay for ever, or end too early, or under a client that is connected.
///
/// v5 [MQTT-3.1.2-23] [MQTT-4.1.0-1] [MQTT-4.1.0-2]
/// v3.1.1 [MQTT-4.1.0-2]
fn a_session_ends_when_its_expiry_has_passed(broker: &Broker) {
    let base = unique("expiry");
    let (away, here) = (format!("{base}/away"), format!("{base}/here"));
    let short = Options::new(Version::V5, &unique("away"))
        .clean_start(false)
        .session_expiry(1);
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    let mut connected = Options::new(Version::V5, &unique("here"))
        .clean_start(false)
        .session_expiry(1)
        .open(broker);
    let mut clean = Client::open(broker, Version::V4, &unique("here"));
    connected.subscribe(&here, 1);
    clean.subscribe(&here, 1);
    let mut client = short.open(broker);
    client.subscribe(&away, 1);
    client.abort();
    let left = Instant::now();

    let message = Message::new(&away, "x").qos(1);
    until(|| publisher.publish(&message) == ReasonCode::NoMatchingSubscribers);
    assert!(
        left.elapsed() >= Duration::from_millis(900),
        "ended after {:?}",
        left.elapsed()
    );
    assert!(!short.open(broker).connack().session_present);

    // Those that are connected live on.
    assert_eq!(
        publisher.publish(&Message::new(&here, "y").qos(1)),
        ReasonCode::Success
    );
    assert_eq!(connected.receive().text(), "y");
    assert_eq!(clean.receive().text(), "y");
}

/// If this fails, clients get the sessions of others.
///
/// v5 [MQTT-3.1.3-2]
/// v3.1.1 [MQTT-3.1.3-2]
fn the_client_id_names_the_session(broker: &Broker) {
    for version in BOTH {
        let base = unique("named");
        // Ids that differ by letter case and by what a careless comparison would drop.
        let ids = ["a", "A", "a ", "a\u{301}", "\u{e1}", "a/b"].map(|id| format!("{base}{id}"));
        let options = |id: &str| Options::new(version, id).persistent();
        for id in &ids {
            let mut client = options(id).open(broker);
            assert!(!client.connack().session_present, "{id:?}");
            client.subscribe(&format!("{base}/{}", id.len()), 1);
            client.subscribe(&format!("to/{id}"), 1);
            client.disconnect();
        }
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        for id in &ids {
            publisher.publish(&Message::new(&format!("to/{id}"), id).qos(1));
        }
        for id in &ids {
            let mut client = options(id).open(broker);
            assert!(client.connack().session_present, "{id:?}");
            assert_eq!(client.receive().text(), *id);
        }
    }
}

/// If this fails, two connections act as one client, or the old one keeps the new one out.
///
/// v5 [MQTT-3.1.4-3]
/// v3.1.1 [MQTT-3.1.4-2]
fn a_second_connection_takes_over(broker: &Broker) {
    for version in BOTH {
        let (id, topic) = (unique("taken"), unique("taken"));
        let options = Options::new(version, &id).persistent();
        let mut first = options.open(broker);
        first.subscribe(&topic, 1);
        let mut second = options.open(broker);
        first.expect_closed_for(ReasonCode::SessionTakenOver);
        assert!(second.connack().session_present);
        second.publish(&Message::new(&topic, "x").qos(1));
        assert_eq!(second.receive().text(), "x");
    }
}

/// If this fails, subscribers miss messages that were acknowledged to their publisher.
///
/// v5 [MQTT-4.5.0-1]
/// v3.1.1 [MQTT-4.5.0-1]
fn a_message_reaches_all_sessions_that_match(broker: &Broker) {
    for version in BOTH {
        let base = unique("all");
        let filters = ["/x", "/+", "/#"].map(|end| format!("{base}{end}"));
        let mut connected = Vec::new();
        let mut away = Vec::new();
        for filter in &filters {
            let mut client = Client::open(broker, version, &unique("here"));
            client.subscribe(filter, 1);
            connected.push(client);
            let options = Options::new(version, &unique("away")).persistent();
            let mut client = options.open(broker);
            client.subscribe(filter, 1);
            client.abort();
            away.push(options);
        }
        let mut publisher = Client::open(broker, version, &unique("publisher"));
        publisher.publish(&Message::new(&format!("{base}/x"), "for all").qos(1));
        let back = away.iter().map(|options| options.open(broker));
        for mut client in connected.into_iter().chain(back) {
            assert_eq!(client.receive().text(), "for all");
        }
    }
}

/// Tries until `done`.
fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(20));
    }
}
