//! Packets whose content is wrong, one by one. `tests/conformance` asks for the exact answers; here:
//! the connection ends, with an error in MQTT 5, and nobody else notices.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::Client,
    wire::{Connect, Property, binary, packet, properties, string},
};

use crate::watch::Watch;

const PATIENCE: Duration = Duration::from_secs(15);

/// Each of these packets ends its connection: in MQTT 5 with the reason, below without a word.
#[test]
fn wrong_content_ends_the_connection() {
    let watch = Watch::start();
    for version in [Version::V4, Version::V5] {
        for (what, bytes) in wrong_packets(version.is_v5()) {
            let mut client = Client::open(&watch.broker, version, &unique("wrong"));
            client.send_bytes(&bytes);
            println!("{what} in {version:?}");
            let reason = client.expect_close();
            let is_error = reason.is_some_and(|reason: ReasonCode| reason as u8 >= 0x80);
            assert_eq!(
                is_error,
                version.is_v5(),
                "{what} in {version:?}: {reason:?}"
            );
        }
    }
    watch.finish(16);
}

/// Whoever does not begin with a CONNECT gets no answer, or one that refuses, and is closed.
#[test]
fn a_wrong_beginning_ends_the_connection() {
    let watch = Watch::start();
    for (what, bytes) in wrong_beginnings() {
        let mut stream = TcpStream::connect(watch.broker.address).expect("the broker listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        stream.write_all(&bytes).expect("it is read");
        let mut answer = Vec::new();
        // A reset is an end, too.
        let end = stream.read_to_end(&mut answer);
        let timed_out = end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "{what} does not end the connection");
        let refused = answer.first() == Some(&0x20) && answer.get(3).is_some_and(|code| *code != 0);
        assert!(
            answer.is_empty() || refused,
            "{what} is answered by {answer:02x?}"
        );
    }
    watch.finish(16);
}

/// A packet that is cut off anywhere ends with its connection, and nothing waits for the rest.
#[test]
fn a_packet_cut_off_ends_with_its_connection() {
    let watch = Watch::start();
    for level in [4, 5] {
        for packet in crate::samples::packets(level) {
            for length in 1..packet.len() {
                let mut bytes = crate::samples::connect(level, &unique("cut"), false);
                bytes.extend(&packet[..length]);
                let mut stream =
                    TcpStream::connect(watch.broker.address).expect("the broker listens");
                stream
                    .set_read_timeout(Some(PATIENCE))
                    .expect("a TCP socket");
                stream.write_all(&bytes).expect("it is read");
                stream.shutdown(Shutdown::Write).expect("it is open");
                let end = stream.read_to_end(&mut Vec::new());
                let timed_out = end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
                assert!(!timed_out, "still open after {:02x?}", &packet[..length]);
            }
        }
    }
    watch.finish(16);
}

fn wrong_packets(v5: bool) -> Vec<(&'static str, Vec<u8>)> {
    let with = |list: &[Property]| if v5 { properties(list) } else { Vec::new() };
    let none = with(&[]);
    let publish = |first, topic: &[u8], id: &[u8]| {
        packet(first, &[&binary(topic), id, &none, b"payload"].concat())
    };
    let subscribe = |id: [u8; 2], filter: &[u8], options| {
        packet(
            0x82,
            &[&id[..], &none, &binary(filter), &[options]].concat(),
        )
    };
    let mut wrong = vec![
        ("packet id 0 in PUBLISH", publish(0x32, b"a", &[0, 0])),
        ("packet id 0 in SUBSCRIBE", subscribe([0, 0], b"a", 0)),
        (
            "packet id 0 in UNSUBSCRIBE",
            packet(0xA2, &[&[0, 0][..], &none, &string("a")].concat()),
        ),
        ("packet id 0 in PUBREL", packet(0x62, &[0, 0])),
        ("QoS 3", publish(0x36, b"a", &[0, 1])),
        ("DUP at QoS 0", publish(0x38, b"a", &[])),
        (
            "half a UTF-8 character in a topic",
            publish(0x30, b"a\xC3", &[]),
        ),
        (
            "a surrogate in a topic",
            publish(0x30, b"a\xED\xA0\x80", &[]),
        ),
        (
            "an overlong encoding in a topic",
            publish(0x30, b"a\xC0\xAF", &[]),
        ),
        (
            "a code point above the last one in a topic",
            publish(0x30, b"\xF5\x80\x80\x80", &[]),
        ),
        ("NUL in a topic", publish(0x30, b"a\0b", &[])),
        ("no topic", publish(0x30, b"", &[])),
        ("+ in a topic", publish(0x30, b"a/+", &[])),
        ("# in a topic", publish(0x30, b"#", &[])),
        ("invalid UTF-8 in a filter", subscribe([0, 1], b"a\xFF", 0)),
        ("QoS 3 in SUBSCRIBE", subscribe([0, 1], b"a", 3)),
        (
            "reserved options in SUBSCRIBE",
            subscribe([0, 1], b"a", 0x40),
        ),
        (
            "SUBSCRIBE to nothing",
            packet(0x82, &[&[0, 1][..], &none].concat()),
        ),
        (
            "UNSUBSCRIBE from nothing",
            packet(0xA2, &[&[0, 1][..], &none].concat()),
        ),
        (
            "reserved flags of SUBSCRIBE",
            packet(0x80, &[&[0, 1][..], &none, &string("a"), &[0]].concat()),
        ),
        ("reserved flags of PUBREL", packet(0x60, &[0, 1])),
        (
            "a string longer than its packet",
            packet(0x30, &[0xFF, 0xFF, b'a']),
        ),
        ("a PUBLISH without content", packet(0x30, &[])),
        ("a PINGREQ with content", packet(0xC0, b"ping")),
        (
            "a length that does not end",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        ),
        ("packet type 0", packet(0x00, &[])),
        (
            "a second CONNECT",
            crate::samples::connect(if v5 { 5 } else { 4 }, "second", false),
        ),
        (
            "CONNACK from a client",
            packet(0x20, &[&[0, 0][..], &none].concat()),
        ),
        (
            "SUBACK from a client",
            packet(0x90, &[&[0, 1][..], &none, &[0]].concat()),
        ),
        ("PINGRESP from a client", packet(0xD0, &[])),
    ];
    if v5 {
        let publish = |section: &[u8]| packet(0x30, &[&string("a"), section, b"payload"].concat());
        let subscribe =
            |section: &[u8]| packet(0x82, &[&[0, 1][..], section, &string("a"), &[0]].concat());
        wrong.extend([
            ("an unknown property", publish(&[2, 0x7F, 0])),
            (
                "a property of another packet",
                publish(&with(&[Property::ReceiveMaximum(1)])),
            ),
            (
                "a property twice",
                publish(&with(&[
                    Property::PayloadFormat(0),
                    Property::PayloadFormat(0),
                ])),
            ),
            ("properties longer than the packet", publish(&[0x7F])),
            (
                "a property cut off by the section's end",
                publish(&[2, 0x02, 0]),
            ),
            ("topic alias 0", publish(&with(&[Property::TopicAlias(0)]))),
            (
                "a topic alias above the maximum",
                publish(&with(&[Property::TopicAlias(65_535)])),
            ),
            (
                "a subscription identifier in PUBLISH",
                publish(&with(&[Property::SubscriptionId(1)])),
            ),
            (
                "a wildcard in a response topic",
                publish(&with(&[Property::ResponseTopic(b"a/#".to_vec())])),
            ),
            (
                "invalid UTF-8 in a user property",
                publish(&with(&[Property::User(vec![0xFF], vec![])])),
            ),
            (
                "a payload format that does not exist",
                publish(&with(&[Property::PayloadFormat(2)])),
            ),
            (
                "subscription identifier 0",
                subscribe(&with(&[Property::SubscriptionId(0)])),
            ),
            (
                "No Local on a shared subscription",
                packet(
                    0x82,
                    &[&[0, 1, 0][..], &string("$share/g/a"), &[0x04]].concat(),
                ),
            ),
            (
                "an unknown alias without topic",
                packet(
                    0x30,
                    &[&string(""), &with(&[Property::TopicAlias(9)])[..]].concat(),
                ),
            ),
            (
                "AUTH without a method agreed on",
                packet(
                    0xF0,
                    &[
                        &[0x18][..],
                        &with(&[Property::AuthenticationMethod("m".to_owned())]),
                    ]
                    .concat(),
                ),
            ),
            ("DISCONNECT with reserved flags", packet(0xE1, &[])),
        ]);
    }
    wrong
}

fn wrong_beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let connect = |change: fn(&mut Connect)| {
        let mut connect = Connect::new(5, "wrong");
        change(&mut connect);
        connect.bytes()
    };
    vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec()),
        (
            "TLS",
            [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 600]].concat(),
        ),
        ("zeros", vec![0; 1000]),
        (
            "a PUBLISH",
            packet(0x30, &[&string("a")[..], &[0]].concat()),
        ),
        ("a PINGREQ", packet(0xC0, &[])),
        ("a DISCONNECT", packet(0xE0, &[])),
        ("an AUTH", packet(0xF0, &[])),
        (
            "another protocol's name",
            connect(|connect| connect.name = b"AMQP".to_vec()),
        ),
        (
            "a protocol's name of 60,000 bytes",
            connect(|connect| connect.name = vec![b'M'; 60_000]),
        ),
        ("protocol level 9", connect(|connect| connect.level = 9)),
        (
            "the reserved connect flag",
            connect(|connect| connect.flags |= 1),
        ),
        ("will QoS 3", connect(|connect| connect.flags |= 0x1C)),
        (
            "a will flag without a will",
            connect(|connect| connect.flags |= 0x04),
        ),
        (
            "a password flag without a password",
            connect(|connect| connect.flags |= 0xC0),
        ),
        (
            "invalid UTF-8 in the client id",
            connect(|connect| connect.payload = vec![binary(b"\xFF\xFE")]),
        ),
        (
            "bytes after the client id",
            connect(|connect| connect.payload.push(vec![1, 2, 3])),
        ),
        (
            "Receive Maximum 0",
            connect(|connect| connect.properties = properties(&[Property::ReceiveMaximum(0)])),
        ),
        (
            "Maximum Packet Size 0",
            connect(|connect| connect.properties = properties(&[Property::MaximumPacketSize(0)])),
        ),
        (
            "authentication data without a method",
            connect(|connect| {
                connect.properties = properties(&[Property::AuthenticationData(vec![1])])
            }),
        ),
        ("no client id", connect(|connect| connect.payload.clear())),
    ]
}
