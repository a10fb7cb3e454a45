//! Packets that are not packets: strings, lengths and flags that the standard rules out.

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, unique},
    client::{Client, Message, Options},
    on_shards,
    wire::{self, Property, binary, packet, properties, string},
};

use crate::{BOTH, level, refusal};

on_shards!(
    a_byte_order_mark_is_a_character,
    ill_formed_strings_are_refused,
    ill_formed_strings_in_connect_are_refused,
    lengths_are_in_their_shortest_form,
    properties_that_are_wrong_are_refused,
    reserved_flags_are_refused,
    unknown_packets_are_refused,
    what_is_cut_short_is_refused,
);

/// Text that no UTF-8 string may hold.
const ILL_FORMED: [&[u8]; 9] = [
    b"a\xff",
    b"a\xc3",
    b"\x80a",
    // Surrogates, U+D800 and U+DFFF.
    b"a\xed\xa0\x80",
    b"\xed\xbf\xbfa",
    // In more bytes than needed.
    b"\xc0\x80",
    b"\xe0\x81\xa1",
    // Above U+10FFFF.
    b"\xf4\x90\x80\x80",
    b"a\0b",
];

/// If this fails, text reaches subscribers that breaks their decoders.
///
/// v5 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-3.3.2-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
/// v5 [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2] [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1]
/// v3.1.1 [MQTT-4.7.3-2]
fn ill_formed_strings_are_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let watched = unique("ill-formed");
        let mut watcher = Client::open(broker, version, &unique("watcher"));
        watcher.subscribe(&format!("{watched}/#"), 0);
        for text in ILL_FORMED {
            let name = binary(&[watched.as_bytes(), b"/", text].concat());
            let mut packets = vec![
                packet(0x30, &[&name, none, b"x"].concat()),
                packet(0x82, &[&[0, 7], none, &name, &[0]].concat()),
                packet(0xA2, &[&[0, 7], none, &name].concat()),
            ];
            if version.is_v5() {
                let topic = string(&format!("{watched}/x"));
                for property in [
                    Property::ContentType(text.into()),
                    Property::ResponseTopic(text.into()),
                    Property::User(text.into(), "value".into()),
                    Property::User("name".into(), text.into()),
                ] {
                    let section = properties(&[property]);
                    packets.push(packet(0x30, &[&topic[..], &section, b"x"].concat()));
                }
            }
            for bytes in packets {
                let mut client = Client::open(broker, version, &unique("client"));
                client.send_bytes(&bytes);
                let told = client.expect_close();
                let expected = version.is_v5().then_some(ReasonCode::MalformedPacket);
                assert_eq!(told, expected, "{bytes:x?}");
            }
        }
        watcher.expect_nothing();
    }
}

/// If this fails, clients have names that cannot be written down.
///
/// v5 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.1.4-1]
/// v3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11]
/// v3.1.1 [MQTT-3.1.4-1]
fn ill_formed_strings_in_connect_are_refused(broker: &Broker) {
    for version in BOTH {
        let good = || wire::Connect::new(level(version), &unique("client"));
        for text in ILL_FORMED {
            let mut id = good();
            id.payload = vec![binary(text)];
            let mut user = good();
            user.flags |= 0x80;
            user.payload.push(binary(text));
            let mut will = good();
            will.flags |= 0x04;
            if version.is_v5() {
                will.payload.push(vec![0]);
            }
            will.payload.extend([binary(text), binary(b"message")]);
            for connect in [id, user, will] {
                let told = refusal(broker, version, &connect.bytes());
                let expected = version.is_v5().then_some(ReasonCode::MalformedPacket as u8);
                assert!(
                    told.is_none() || told == expected,
                    "{told:?}, to {connect:x?}"
                );
            }
        }
    }
}

/// If this fails, text changes on its way.
///
/// v5 [MQTT-1.5.4-3]
/// v3.1.1 [MQTT-1.5.3-3]
fn a_byte_order_mark_is_a_character(broker: &Broker) {
    for version in BOTH {
        let plain = unique("bom");
        let id = unique("client");
        let marked = format!("\u{feff}{plain}/\u{feff}x\u{feff}");
        let mut client = Options::new(version, &format!("\u{feff}{id}")).open(broker);
        // Another client id, so nobody is taken over.
        let mut other = Client::open(broker, version, &id);
        other.subscribe(&format!("{plain}/x"), 1);
        client.subscribe(&marked, 1);
        other.publish(&Message::new(&marked, "\u{feff}payload").qos(1));
        let message = client.receive();
        assert_eq!(message.topic.as_bytes(), marked.as_bytes());
        assert_eq!(message.payload, "\u{feff}payload".as_bytes());
        other.expect_nothing();
    }
}

/// If this fails, one packet has several forms, and some readers know only one.
///
/// v5 [MQTT-1.5.5-1]
fn lengths_are_in_their_shortest_form(broker: &Broker) {
    // From us: the client panics at a length that could be shorter.
    let topic = unique("length");
    let mut client = Client::open(broker, Version::V5, &unique("client"));
    client.subscribe(&topic, 0);
    let around = 2 + topic.len() + 1;
    for length in [127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        client.publish(&Message::new(&topic, vec![b'x'; length - around]));
        let message = client.receive();
        assert_eq!(message.payload.len(), length - around);
        let shortest = wire::variable(length);
        assert_eq!(client.last_bytes()[1..][..shortest.len()], shortest);
    }
    // To us: PINGREQ with a length of 0 in two bytes, and a property length likewise.
    let long_property_length = [&string(&topic)[..], &[0x80, 0], b"x"].concat();
    for bytes in [vec![0xC0, 0x80, 0x00], packet(0x30, &long_property_length)] {
        let mut client = Client::open(broker, Version::V5, &unique("client"));
        client.send_bytes(&bytes);
        client.expect_closed_for(ReasonCode::MalformedPacket);
    }
    // No packet is longer than four bytes can say.
    for version in BOTH {
        let mut client = Client::open(broker, version, &unique("client"));
        client.send_bytes(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        client.expect_closed_for(ReasonCode::MalformedPacket);
    }
}

/// If this fails, bits that may get a meaning one day are ignored today.
///
/// v5 [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
/// v5 [MQTT-3.15.1-1]
/// v3.1.1 [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
/// v3.1.1 [MQTT-3.14.1-1]
fn reserved_flags_are_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let subscribe = [&[0, 7], none, &string("t"), &[0]].concat();
        let unsubscribe = [&[0, 7], none, &string("t")].concat();
        let mut packets = vec![
            (0x40, vec![0, 7]),
            (0x50, vec![0, 7]),
            (0x62, vec![0, 7]),
            (0x70, vec![0, 7]),
            (0x82, subscribe),
            (0xA2, unsubscribe),
            (0xC0, vec![]),
            (0xE0, vec![]),
        ];
        if version.is_v5() {
            packets.push((0xF0, vec![0x18, 0]));
        }
        for (right, body) in packets {
            for flags in 0..16 {
                let first = right & 0xF0 | flags;
                if first != right {
                    let mut client = Client::open(broker, version, &unique("client"));
                    client.send_bytes(&packet(first, &body));
                    client.expect_closed_for(ReasonCode::MalformedPacket);
                }
            }
        }
        // CONNECT has flags, too.
        let connect = wire::Connect::new(level(version), &unique("client")).bytes();
        for flags in [1, 2, 4, 8] {
            refusal(broker, version, &[&[0x10 | flags], &connect[1..]].concat());
        }
    }
}

/// If this fails, what a client sends by mistake is taken for something else.
///
/// v5 [MQTT-4.13.1-1] [MQTT-4.13.2-1]
/// v3.1.1 [MQTT-4.8.0-1]
fn unknown_packets_are_refused(broker: &Broker) {
    for version in BOTH {
        // Type 0, and packets that only a server sends.
        let mut packets = vec![
            vec![0x00, 0],
            vec![0xD0, 0],
            packet(0x20, &[0, 0]),
            packet(0x90, &[0, 7, 0]),
            packet(0xB0, &[0, 7]),
        ];
        if !version.is_v5() {
            packets.push(vec![0xF0, 0]);
        }
        for bytes in packets {
            let mut client = Client::open(broker, version, &unique("client"));
            client.send_bytes(&bytes);
            let told = client.expect_close();
            let codes = [ReasonCode::MalformedPacket, ReasonCode::ProtocolError].map(Some);
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

/// If this fails, a packet takes bytes from the next one, or leaves some for it.
///
/// v5 [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
fn what_is_cut_short_is_refused(broker: &Broker) {
    for version in BOTH {
        let none: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let subscribe = [&[0, 7], none, &string("topic"), &[0]].concat();
        let mut packets: Vec<_> = (0..subscribe.len())
            .map(|length| packet(0x82, &subscribe[..length]))
            .collect();
        packets.extend([
            packet(0x30, &[0]),
            packet(0x30, b"\0\x05topi"),
            packet(0x32, b"\0\x05topic\0"),
            packet(0x40, &[0]),
            packet(0x62, &[]),
            packet(0xA2, b"\0\x07\0\0\x05topi"),
            packet(0xC0, &[0]),
            // A string that ends beyond its packet.
            packet(0x30, b"\xff\xfftopic"),
        ]);
        for bytes in packets {
            let mut client = Client::open(broker, version, &unique("client"));
            // What follows must not be taken for the rest.
            client.send_bytes(&[&bytes[..], &[0xC0, 0, 0xC0, 0]].concat());
            let told = client.expect_close();
            assert_eq!(told.is_some(), version.is_v5(), "{told:?}, to {bytes:x?}");
        }
    }
}

/// If this fails, clients believe that a property works where it has no meaning.
///
/// v5 [MQTT-4.13.1-1]
fn properties_that_are_wrong_are_refused(broker: &Broker) {
    let publish = |section: &[u8]| packet(0x30, &[&string("t")[..], section, b"x"].concat());
    let expiry = Property::MessageExpiry(1);
    for bytes in [
        // Twice, of another packet, of none, of a wrong value, and longer than they say.
        publish(&properties(&[expiry.clone(), expiry.clone()])),
        publish(&properties(&[Property::WillDelay(1)])),
        publish(&[1, 0x7F]),
        publish(&properties(&[Property::PayloadFormat(2)])),
        publish(&[&[4][..], &expiry.bytes()].concat()),
        publish(&[0x7F]),
        packet(
            0x40,
            &[&[0, 7, 0][..], &properties(std::slice::from_ref(&expiry))].concat(),
        ),
    ] {
        let mut client = Client::open(broker, Version::V5, &unique("client"));
        client.send_bytes(&bytes);
        let told = client.expect_close();
        let codes = [ReasonCode::MalformedPacket, ReasonCode::ProtocolError].map(Some);
        assert!(codes.contains(&told), "{told:?}, to {bytes:x?}");
    }
    for list in [
        vec![Property::ReceiveMaximum(0)],
        vec![Property::MaximumPacketSize(0)],
        vec![Property::SessionExpiry(1), Property::SessionExpiry(1)],
        vec![Property::RequestProblemInformation(2)],
        vec![Property::AuthenticationData(b"without a method".to_vec())],
    ] {
        let mut connect = wire::Connect::new(5, &unique("client"));
        connect.properties = properties(&list);
        refusal(broker, Version::V5, &connect.bytes());
    }
}
