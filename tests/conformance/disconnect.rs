//! DISCONNECT, AUTH, PINGREQ and keep alive: how connections live and end.

use std::time::{Duration, Instant};

use catena_mqtt::{Packet, ReasonCode, Version, packet::Auth};
use catena_tests::{
    broker::{Broker, Settings, unique},
    client::{Client, Event, Message, Options},
    on_shards,
    wire::{packet, string},
};

use crate::BOTH;

on_shards!(
    a_disconnect_of_the_server_is_its_last_word,
    a_silent_client_is_closed,
    an_authentication_method_is_needed_for_auth,
    disconnect_ends_the_connection,
    ping_is_answered,
    reserved_bits_of_disconnect_are_refused,
    the_keep_alive_of_the_server_counts,
);

/// If this fails, clients take a living connection for a dead one.
///
/// v5 [MQTT-3.12.4-1]
/// v3.1.1 [MQTT-3.12.4-1]
fn ping_is_answered(broker: &Broker) {
    for version in BOTH {
        let mut client = Client::open(broker, version, &unique("ping"));
        client.send_bytes(&[0xC0, 0]);
        client.expect_bytes(&[0xD0, 0]);
    }
}

/// If this fails, dead clients are never noticed, or living ones are closed.
///
/// v5 [MQTT-3.1.2-22] [MQTT-3.2.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
fn a_silent_client_is_closed(broker: &Broker) {
    let topic = unique("silent");
    let mut watcher = Client::open(broker, Version::V5, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let open = |version: Version, name: &str, seconds| {
        Options::new(version, &unique(name))
            .keep_alive(seconds)
            .will(&Message::new(&topic, name), 0)
            .open(broker)
    };
    let mut silent = BOTH.map(|version| open(version, "silent", 1));
    let mut lively = BOTH.map(|version| open(version, "lively", 2));
    let mut unwatched = BOTH.map(|version| open(version, "unwatched", 0));
    let opened = Instant::now();
    let closed = loop {
        // A PINGREQ in time, as the client's side of the contract.
        for client in &mut lively {
            client.ping();
        }
        if silent[0].next(Duration::from_millis(200)) == Event::Closed {
            break opened.elapsed();
        }
    };
    assert!(
        (1400..3000).contains(&closed.as_millis()),
        "closed after {closed:?}"
    );
    silent[1].expect_closed_for(ReasonCode::KeepAliveTimeout);
    for client in lively.iter_mut().chain(&mut unwatched) {
        client.ping();
    }
    // As if the network had failed: with the will.
    assert_eq!(watcher.receive().text(), "silent");
    assert_eq!(watcher.receive().text(), "silent");
    watcher.expect_nothing();
}

/// If this fails, a client is held to a keep alive that it was not told.
///
/// v5 [MQTT-3.1.2-21] [MQTT-3.2.2-21]
fn the_keep_alive_of_the_server_counts(broker: &Broker) {
    let settings =
        Settings::shards(broker.shards).config("[clients]\nmax_keep_alive_seconds = 1\n");
    let own = Broker::start(&settings);
    for asked in [0, 1, 600] {
        let mut client = Options::new(Version::V5, &unique("lowered"))
            .keep_alive(asked)
            .open(&own);
        let told = client.connack().server_keep_alive;
        assert_eq!(told, (asked != 1).then_some(1), "asked for {asked}");
        if asked == 600 {
            client.expect_closed_for(ReasonCode::KeepAliveTimeout);
        }
    }
}

/// If this fails, connections stay open that their clients have left.
///
/// v5 [MQTT-3.14.4-2]
/// v3.1.1 [MQTT-3.14.4-1] [MQTT-3.14.4-2]
fn disconnect_ends_the_connection(broker: &Broker) {
    for version in BOTH {
        let topic = unique("after");
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&topic, 0);
        let mut client = Client::open(broker, version, &unique("leaving"));
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let publish = packet(0x30, &[&string(&topic), none, b"late"].concat());
        // What follows DISCONNECT is not processed, and not answered.
        client.send_bytes(&[&[0xE0, 0][..], &publish, &[0xC0, 0]].concat());
        assert!(client.read_to_close().is_empty());
        watcher.publish(&Message::new(&topic, "marker"));
        assert_eq!(watcher.receive().text(), "marker");
        watcher.expect_nothing();
    }
}

/// If this fails, bits that may get a meaning one day are ignored today.
///
/// v5 [MQTT-3.14.1-1]
/// v3.1.1 [MQTT-3.14.1-1]
fn reserved_bits_of_disconnect_are_refused(broker: &Broker) {
    for version in BOTH {
        let topic = unique("flags");
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&topic, 0);
        for flags in [1, 2, 4, 8, 15] {
            let will = Message::new(&topic, "not in order");
            let mut client = Options::new(version, &unique("flags"))
                .will(&will, 0)
                .open(broker);
            client.send_bytes(&[0xE0 | flags, 0]);
            client.expect_closed_for(ReasonCode::MalformedPacket);
            assert_eq!(watcher.receive().text(), "not in order");
        }
    }
}

/// If this fails, clients cannot tell why, or that, the broker has closed their connection.
///
/// v5 [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]
fn a_disconnect_of_the_server_is_its_last_word(broker: &Broker) {
    let id = unique("last");
    let topic = unique("last");
    let mut client = Options::new(Version::V5, &id)
        .session_expiry(60)
        .open(broker);
    client.subscribe(&topic, 1);
    let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
    publisher.publish(&Message::new(&topic, "before").qos(1));
    let successor = Options::new(Version::V5, &id)
        .session_expiry(60)
        .open(broker);
    for _ in 0..20 {
        publisher.publish(&Message::new(&topic, "after").qos(1));
    }
    // The client panics at a packet after DISCONNECT, and at a code that DISCONNECT has not.
    let disconnect = client.expect("DISCONNECT", |packet| match packet {
        Packet::Disconnect(disconnect) => Some(disconnect.clone()),
        _ => None,
    });
    assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
    assert_eq!(disconnect.session_expiry, None);
    assert_eq!(client.last_bytes()[0], 0xE0);
    assert_eq!(client.expect_close(), None);
    drop(successor);
}

/// If this fails, the broker takes part in an authentication that nobody began.
///
/// v5 [MQTT-4.12.0-6] [MQTT-4.12.0-7]
fn an_authentication_method_is_needed_for_auth(broker: &Broker) {
    for reason in [
        ReasonCode::ContinueAuthentication,
        ReasonCode::ReAuthenticate,
    ] {
        let mut client = Client::open(broker, Version::V5, &unique("auth"));
        assert_eq!(client.connack().authentication_method, None);
        client.send(&Packet::Auth(Box::new(Auth::new(reason, "method"))));
        client.expect_closed_for(ReasonCode::ProtocolError);
    }
    // Below version 5 there is no such packet.
    let mut client = Client::open(broker, Version::V4, &unique("auth"));
    client.send_bytes(&[0xF0, 0]);
    assert_eq!(client.expect_close(), None);
}
