//! Valid packets of every kind and version, to be made invalid.

use catena_tests::wire::{Connect, Property, binary, packet, properties, string};

/// A packet of a version, from its protocol level, with all that it may hold.
pub fn packets(level: u8) -> Vec<Vec<u8>> {
    let v5 = level == 5;
    let with = |list: &[Property]| if v5 { properties(list) } else { Vec::new() };
    let none = || with(&[]);
    let user = Property::user("name", "value");
    let id = [0, 7];
    let message = [
        Property::PayloadFormat(1),
        Property::MessageExpiry(30),
        Property::ContentType(b"text/plain".to_vec()),
        Property::ResponseTopic(b"answer/to".to_vec()),
        Property::CorrelationData(vec![1, 2, 3]),
        Property::TopicAlias(3),
        user.clone(),
    ];

    let mut packets = vec![
        connect(level, "sample", false),
        connect(level, "sample", true),
    ];
    for first in [0x30, 0x31, 0x32, 0x3A, 0x34, 0x3D] {
        let id: &[u8] = if first & 0x06 == 0 { &[] } else { &id };
        for properties in [none(), with(&message)] {
            packets.push(packet(
                first,
                &[&string("sample/a/b"), id, &properties, b"payload"].concat(),
            ));
        }
    }
    // PUBACK, PUBREC, PUBREL, PUBCOMP: short, and with a reason and properties.
    for first in [0x40, 0x50, 0x62, 0x70] {
        packets.push(packet(first, &id));
        if v5 {
            let why = with(&[Property::ReasonString("why".to_owned()), user.clone()]);
            packets.push(packet(first, &[&id[..], &[0x80], &why].concat()));
        }
    }
    let subscription = with(&[Property::SubscriptionId(268_435_455), user.clone()]);
    let options = if v5 { [0x2E, 0x11] } else { [2, 1] };
    packets.push(packet(
        0x82,
        &[
            &id[..],
            &subscription,
            &string("sample/+/b"),
            &options[..1],
            &string("other/#"),
            &options[1..],
        ]
        .concat(),
    ));
    packets.push(packet(
        0x82,
        &[&id[..], &none(), &string("$share/g/sample/#"), &[1]].concat(),
    ));
    packets.push(packet(
        0xA2,
        &[&id[..], &none(), &string("sample/+/b"), &string("other/#")].concat(),
    ));
    packets.extend([packet(0xC0, &[]), packet(0xE0, &[])]);
    // What only a server sends.
    packets.push(packet(0x20, &[&[0, 0][..], &none()].concat()));
    packets.push(packet(0x90, &[&id[..], &none(), &[1, 2]].concat()));
    packets.push(packet(0xB0, &[&id[..], &none()].concat()));
    packets.push(packet(0xD0, &[]));
    if v5 {
        packets.push(packet(
            0xE0,
            &[&[0x04][..], &with(&[Property::SessionExpiry(0), user])].concat(),
        ));
        let method = with(&[
            Property::AuthenticationMethod("method".to_owned()),
            Property::AuthenticationData(vec![9; 9]),
        ]);
        packets.push(packet(0xF0, &[&[0x18][..], &method].concat()));
    }
    packets
}

/// A valid CONNECT; `full`: with a will, a username, a password and, in MQTT 5, properties.
pub fn connect(level: u8, client_id: &str, full: bool) -> Vec<u8> {
    let mut connect = Connect::new(level, client_id);
    if level == 3 {
        connect.name = b"MQIsdp".to_vec();
    }
    if full {
        // Will with QoS 1, username, password, clean start.
        connect.flags = 0b1100_1110;
        let with = |list: &[Property]| {
            if level == 5 {
                vec![properties(list)]
            } else {
                Vec::new()
            }
        };
        connect.payload.extend(with(&[
            Property::WillDelay(1),
            Property::user("name", "value"),
        ]));
        connect.payload.extend([
            string("sample/will"),
            binary(b"gone"),
            string("user"),
            binary(b"secret"),
        ]);
        connect.properties = properties(&[
            Property::SessionExpiry(1),
            Property::ReceiveMaximum(10),
            Property::MaximumPacketSize(100_000),
            Property::TopicAliasMaximum(10),
            Property::RequestProblemInformation(1),
            Property::user("name", "value"),
        ]);
    }
    connect.bytes()
}
