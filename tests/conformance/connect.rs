//! CONNECT and CONNACK.

use catena_mqtt::{Packet, QoS, ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
    wire::{self, Property, binary, packet, string},
};

use crate::{BOTH, level, refusal};

on_shards!(
    a_client_id_of_zero_bytes_gets_a_unique_one,
    a_client_id_of_zero_bytes_needs_a_clean_session,
    a_good_connect_is_accepted,
    a_missing_client_id_is_refused,
    a_rejected_connect_ends_everything,
    a_reserved_connect_flag_is_refused,
    a_second_connect_closes,
    a_will_without_its_flag_is_refused,
    a_will_within_the_announced_capabilities_is_accepted,
    an_incomplete_will_is_refused,
    an_unknown_protocol_level_is_refused,
    an_unknown_protocol_name_is_refused,
    another_first_packet_closes,
    client_ids_of_digits_and_letters_are_accepted,
    connect_is_read_in_its_order,
    no_response_information_is_sent_unasked,
    the_protocol_alone_is_enough,
    user_name_and_password_follow_their_flags,
    will_qos_3_is_refused,
);

/// If this fails, clients are served that never said who they are.
///
/// v5 [MQTT-3.1.0-1] [MQTT-3.14.0-1]
/// v3.1.1 [MQTT-3.1.0-1]
fn another_first_packet_closes(broker: &Broker) {
    let topic = unique("first");
    let publish = packet(0x30, &[string(&topic), vec![0], b"x".to_vec()].concat());
    for version in BOTH {
        for first in [
            vec![0xC0, 0],
            vec![0xE0, 0],
            publish.clone(),
            vec![0x20, 2, 0, 0],
        ] {
            let mut client = Client::dial(broker.address, version);
            client.send_bytes(&first);
            let answer = client.read_to_close();
            assert!(
                answer.is_empty(),
                "no CONNACK was due, so nothing is, after {first:x?}: {answer:x?}"
            );
        }
    }
}

/// If this fails, a client could change its identity, or its session, under a running connection.
///
/// v5 [MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-3.1.0-2] [MQTT-4.8.0-1]
fn a_second_connect_closes(broker: &Broker) {
    for version in BOTH {
        let id = unique("twice");
        let mut client = Client::open(broker, version, &id);
        client.send(&Packet::Connect(Box::new(
            Options::new(version, &id).connect,
        )));
        client.expect_closed_for(ReasonCode::ProtocolError);
    }
}

/// If this fails, the broker takes other protocols for MQTT.
///
/// v5 [MQTT-3.1.2-1]
/// v3.1.1 [MQTT-3.1.2-1]
fn an_unknown_protocol_name_is_refused(broker: &Broker) {
    for version in BOTH {
        for name in [&b"MQTX"[..], b"mqtt", b"MQT", b"MQTTT", b""] {
            let mut connect = wire::Connect::new(level(version), &unique("name"));
            connect.name = name.to_vec();
            let mut client = Client::dial(broker.address, version);
            client.send_bytes(&connect.bytes());
            let answer = client.read_to_close();
            let told = [vec![], vec![0x20, 2, 0, 1], vec![0x20, 3, 0, 0x84, 0]];
            assert!(told.contains(&answer), "{answer:x?}, to the name {name:x?}");
        }
    }
}

/// If this fails, clients of a version that we do not speak are not told so, or are misunderstood.
///
/// v5 [MQTT-3.1.2-2]
/// v3.1.1 [MQTT-3.1.2-2] [MQTT-3.2.2-5]
fn an_unknown_protocol_level_is_refused(broker: &Broker) {
    for unknown in [0, 1, 2, 6, 9, 127] {
        let mut client = Client::dial(broker.address, Version::V4);
        client.send_bytes(&wire::Connect::new(unknown, &unique("level")).bytes());
        let answer = client.read_to_close();
        // A level above ours may come from a client that reads the form of version 5.
        let later = unknown > 5 && answer == [0x20, 3, 0, 0x84, 0];
        assert!(
            later || answer == [0x20, 2, 0, 1],
            "{answer:x?}, to level {unknown}"
        );
    }
}

/// If this fails, a flag that may get a meaning one day is ignored today.
///
/// v5 [MQTT-3.1.2-3] [MQTT-3.1.4-1]
/// v3.1.1 [MQTT-3.1.2-3] [MQTT-3.1.4-1] [MQTT-3.2.2-6]
fn a_reserved_connect_flag_is_refused(broker: &Broker) {
    for version in BOTH {
        let mut connect = wire::Connect::new(level(version), &unique("flag"));
        connect.flags |= 0x01;
        let told = refusal(broker, version, &connect.bytes());
        assert!(matches!(
            (version, told),
            (Version::V5, None | Some(0x81)) | (Version::V4, None)
        ));
    }
}

/// If this fails, parts of a will are accepted that the client did not announce.
///
/// v5 [MQTT-3.1.2-11] [MQTT-3.1.2-13]
/// v3.1.1 [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15]
fn a_will_without_its_flag_is_refused(broker: &Broker) {
    for version in BOTH {
        for flags in [0x08, 0x10, 0x20] {
            let mut connect = wire::Connect::new(level(version), &unique("no-will"));
            connect.flags |= flags;
            let told = refusal(broker, version, &connect.bytes());
            assert!(version.is_v5() || told.is_none(), "{told:?}");
        }
    }
    // The will's fields without the flag are bytes left over. v3.1.1 [MQTT-3.1.2-11]
    for version in BOTH {
        let mut connect = wire::Connect::new(level(version), &unique("no-will"));
        connect
            .payload
            .extend([string("topic"), binary(b"message")]);
        refusal(broker, version, &connect.bytes());
    }
}

/// If this fails, wills of a QoS that does not exist are accepted.
///
/// v5 [MQTT-3.1.2-12]
/// v3.1.1 [MQTT-3.1.2-14]
fn will_qos_3_is_refused(broker: &Broker) {
    for version in BOTH {
        let mut connect = wire::Connect::new(level(version), &unique("qos-3"));
        connect.flags |= 0x04 | 0x18;
        if version.is_v5() {
            connect.payload.push(vec![0]);
        }
        connect
            .payload
            .extend([string("topic"), binary(b"message")]);
        let told = refusal(broker, version, &connect.bytes());
        assert!(version.is_v5() || told.is_none(), "{told:?}");
    }
}

/// If this fails, the broker makes up parts of a will.
///
/// v5 [MQTT-3.1.2-9]
/// v3.1.1 [MQTT-3.1.2-9]
fn an_incomplete_will_is_refused(broker: &Broker) {
    for version in BOTH {
        let fields = [vec![0], string("topic"), binary(b"message")];
        let fields = if version.is_v5() {
            &fields[..]
        } else {
            &fields[1..]
        };
        for present in 0..fields.len() {
            let mut connect = wire::Connect::new(level(version), &unique("half-will"));
            connect.flags |= 0x04;
            connect.payload.extend(fields[..present].iter().cloned());
            refusal(broker, version, &connect.bytes());
        }
    }
}

/// If this fails, credentials are read that are not there, or rubbish after the payload is accepted.
///
/// v5 [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]
/// v3.1.1 [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.1.2-22]
fn user_name_and_password_follow_their_flags(broker: &Broker) {
    let (user, password) = (string("user"), binary(b"password"));
    for version in BOTH {
        let connect = |flags: u8, fields: &[&Vec<u8>]| {
            let mut connect = wire::Connect::new(level(version), &unique("user"));
            connect.flags |= flags;
            connect
                .payload
                .extend(fields.iter().map(|&field| field.clone()));
            connect.bytes()
        };
        let mut wrong = vec![
            connect(0x00, &[&user]),
            connect(0x80, &[]),
            connect(0x80, &[&user, &password]),
            connect(0xC0, &[&user]),
        ];
        let mut right = vec![connect(0x80, &[&user]), connect(0xC0, &[&user, &password])];
        // A password alone: version 5 allows it.
        let alone = connect(0x40, &[&password]);
        if version.is_v5() {
            right.push(alone)
        } else {
            wrong.push(alone)
        }
        for bytes in wrong {
            refusal(broker, version, &bytes);
        }
        for bytes in right {
            let mut client = Client::dial(broker.address, version);
            client.send_bytes(&bytes);
            assert_eq!(
                client.expect_connack().reason,
                ReasonCode::Success,
                "{bytes:x?}"
            );
        }
    }
}

/// If this fails, the fields of CONNECT are mixed up: the client id, the will and the user's name.
///
/// v5 [MQTT-3.1.3-1] [MQTT-3.1.3-3]
/// v3.1.1 [MQTT-3.1.3-1] [MQTT-3.1.3-3]
fn connect_is_read_in_its_order(broker: &Broker) {
    for version in BOTH {
        let (id, topic) = (unique("order"), unique("order-will"));
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&topic, 0);
        let mut connect = wire::Connect::new(level(version), &id);
        connect.flags |= 0xC4;
        if version.is_v5() {
            connect
                .payload
                .push(wire::properties(&[Property::user("a", "b")]));
        }
        connect.payload.extend([
            string(&topic),
            binary(b"last words"),
            string("user"),
            binary(b"password"),
        ]);
        let mut client = Client::dial(broker.address, version);
        client.send_bytes(&connect.bytes());
        assert_eq!(client.expect_connack().reason, ReasonCode::Success);
        // The first field is the client id: another connection with it takes over.
        let mut successor = Client::open(broker, version, &id);
        client.expect_closed_for(ReasonCode::SessionTakenOver);
        successor.ping();
        assert_eq!(watcher.receive().payload, b"last words");
    }
}

/// If this fails, sessions without a name come into being.
///
/// v5 [MQTT-3.1.3-3]
/// v3.1.1 [MQTT-3.1.3-3]
fn a_missing_client_id_is_refused(broker: &Broker) {
    for version in BOTH {
        let mut connect = wire::Connect::new(level(version), "");
        connect.payload.clear();
        refusal(broker, version, &connect.bytes());
    }
}

/// If this fails, client ids are refused that every server accepts.
///
/// v5 [MQTT-3.1.3-5]
/// v3.1.1 [MQTT-3.1.3-5]
fn client_ids_of_digits_and_letters_are_accepted(broker: &Broker) {
    let ids = [
        "7",
        "0123456789abcdefghijklm",
        "nopqrstuvwxyzABCDEFGHIJ",
        "KLMNOPQRSTUVWXYZ",
    ];
    for id in ids {
        // One version after the other: they are the same sessions.
        for version in BOTH {
            Client::open(broker, version, id).disconnect();
        }
    }
}

/// If this fails, two devices without a name share one session, or cannot come back to their own.
///
/// v5 [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
/// v3.1.1 [MQTT-3.1.3-6]
fn a_client_id_of_zero_bytes_gets_a_unique_one(broker: &Broker) {
    for version in BOTH {
        let mut first = Client::open(broker, version, "");
        let mut second = Client::open(broker, version, "");
        second.ping();
        first.ping();
    }
    let nameless = Options::new(Version::V5, "").session_expiry(60);
    let mut first = nameless.open(broker);
    let second = nameless.open(broker);
    let assigned = |client: &Client| client.connack().assigned_client_id.clone();
    let id = assigned(&first).expect("an assigned client id");
    assert!(!id.is_empty());
    assert_ne!(Some(id.clone()), assigned(&second));
    let topic = unique("assigned");
    first.subscribe(&topic, 1);
    first.abort();

    let mut back = Options::new(Version::V5, &id).persistent().open(broker);
    assert!(
        back.connack().session_present,
        "the session has the assigned id"
    );
    assert_eq!(assigned(&back), None, "this time the client sent it");
    assert_eq!(
        back.publish(&Message::new(&topic, "x").qos(1)),
        ReasonCode::Success
    );
    assert_eq!(back.receive().payload, b"x");
}

/// If this fails, a client believes that its session is kept, and nobody can ever find it again.
///
/// v3.1.1 [MQTT-3.1.3-8] [MQTT-3.1.3-9] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
fn a_client_id_of_zero_bytes_needs_a_clean_session(broker: &Broker) {
    let mut connect = wire::Connect::new(4, "");
    connect.flags = 0;
    assert_eq!(refusal(broker, Version::V4, &connect.bytes()), Some(2));
}

/// If this fails, no client can connect, or CONNACK has not the form of the standard.
///
/// v5 [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-1] [MQTT-3.2.2-8] [MQTT-4.12.0-6]
/// v3.1.1 [MQTT-3.1.4-4] [MQTT-3.2.0-1]
fn a_good_connect_is_accepted(broker: &Broker) {
    let mut client = Client::dial(broker.address, Version::V4);
    client.send_bytes(&wire::Connect::new(4, &unique("good")).bytes());
    client.expect_bytes(&[0x20, 2, 0, 0]);

    let mut client = Client::dial(broker.address, Version::V5);
    client.send_bytes(&wire::Connect::new(5, &unique("good")).bytes());
    let connack = client.expect_connack();
    let bytes = client.last_bytes();
    assert_eq!((bytes[0], bytes[2], bytes[3]), (0x20, 0, 0), "{bytes:x?}");
    assert_eq!(connack.authentication_method, None);
    client.expect_nothing();
}

/// If this fails, a client that knows only the standard, and this by the byte, cannot work with us.
///
/// v5 [MQTT-2.2.2-1] [MQTT-4.2.0-1]
/// v3.1.1 [MQTT-7.0.0-2] [MQTT-7.1.1-1]
fn the_protocol_alone_is_enough(broker: &Broker) {
    for version in BOTH {
        // The property length of the packets in version 5.
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let topic = string(&unique("bytes"));
        let mut client = Client::dial(broker.address, version);
        client.send_bytes(&wire::Connect::new(level(version), &unique("bytes")).bytes());
        client.expect_connack();

        let subscribe = [&[0, 7], none, &topic, &[1]].concat();
        client.send_bytes(&packet(0x82, &subscribe));
        client.expect_bytes(&packet(0x90, &[&[0, 7], none, &[1]].concat()));

        let publish = [&topic, none, b"payload"].concat();
        client.send_bytes(&packet(0x30, &publish));
        client.expect_bytes(&packet(0x30, &publish));

        let unsubscribe = [&[0, 8], none, &topic].concat();
        client.send_bytes(&packet(0xA2, &unsubscribe));
        let codes: &[u8] = if version.is_v5() { &[0] } else { &[] };
        client.expect_bytes(&packet(0xB0, &[&[0, 8], none, codes].concat()));

        client.send_bytes(&[0xC0, 0]);
        client.expect_bytes(&[0xD0, 0]);
        // One byte at a time, and two packets at once: the transport is a stream.
        for byte in [0xC0, 0, 0xC0, 0] {
            client.send_bytes(&[byte]);
        }
        client.expect_bytes(&[0xD0, 0, 0xD0, 0]);
        client.send_bytes(&[0xC0, 0, 0xC0, 0, 0xE0, 0]);
        client.expect_bytes(&[0xD0, 0, 0xD0, 0]);
        assert!(client.read_to_close().is_empty());
    }
}

/// If this fails, a client that was turned away acts nevertheless, or is left hanging.
///
/// v5 [MQTT-3.1.4-2] [MQTT-3.1.4-6] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-4.12.0-1] [MQTT-4.12.0-4]
/// v5 [MQTT-4.13.2-1]
/// v3.1.1 [MQTT-3.1.4-5] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
fn a_rejected_connect_ends_everything(broker: &Broker) {
    for version in BOTH {
        let (topic, id) = (unique("rejected"), unique("rejected"));
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&topic, 0);
        let (connect, code) = if version.is_v5() {
            let mut connect = wire::Connect::new(5, &id);
            connect.properties = wire::properties(&[Property::AuthenticationMethod("none".into())]);
            (connect, 0x8C)
        } else {
            let mut connect = wire::Connect::new(4, "");
            connect.flags = 0;
            (connect, 2)
        };
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let publish = packet(0x31, &[&string(&topic), none, b"rejected"].concat());
        let told = refusal(broker, version, &[connect.bytes(), publish].concat());
        assert_eq!(told, Some(code));

        watcher.publish(&Message::new(&topic, "accepted"));
        assert_eq!(watcher.receive().payload, b"accepted");
        let mut late = Client::open(broker, version, &unique("late"));
        late.subscribe(&topic, 0);
        late.expect_nothing();
    }
}

/// If this fails, clients hold back features that we have, or use some that we have not.
///
/// v5 [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-12] [MQTT-3.2.2-13]
fn a_will_within_the_announced_capabilities_is_accepted(broker: &Broker) {
    let topic = unique("capable");
    let will = Message::new(&topic, "will").qos(2).retain();
    let client = Options::new(Version::V5, &unique("capable"))
        .will(&will, 0)
        .open(broker);
    let connack = client.connack();
    assert!(
        connack
            .maximum_qos
            .is_none_or(|qos| qos == QoS::ExactlyOnce),
        "{connack:?}"
    );
    assert!(connack.retain_available, "{connack:?}");
    let mut watcher = Client::open(broker, Version::V5, &unique("watcher"));
    for qos in [0, 1, 2] {
        watcher.subscribe(&topic, qos);
    }
    client.abort();
    let published = watcher.receive();
    assert_eq!((published.qos, published.payload), (2, b"will".to_vec()));
    let mut late = Client::open(broker, Version::V5, &unique("late"));
    late.subscribe(&topic, 2);
    assert!(late.receive().retain);
}

/// If this fails, CONNACK tells what the client did not ask for.
///
/// v5 [MQTT-3.1.2-28]
fn no_response_information_is_sent_unasked(broker: &Broker) {
    for properties in [vec![], vec![Property::RequestResponseInformation(0)]] {
        let mut connect = wire::Connect::new(5, &unique("response"));
        connect.properties = wire::properties(&properties);
        let mut client = Client::dial(broker.address, Version::V5);
        client.send_bytes(&connect.bytes());
        assert_eq!(client.expect_connack().response_information, None);
    }
}
