//! Any bytes, to either end, in every version: decoding never panics, and what is understood can be
//! said again and is understood alike.
//!
//! The first byte of the input chooses the version and the role; the rest is what was received.

#![no_main]

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    Filter, Packet, Version,
    decode::{Limits, Role, decode, frame_length},
    encode::{encode, encoded_len},
    filter, property,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, received)) = input.split_first() else {
        return;
    };
    let version = match choice & 0x03 {
        0 => None,
        1 => Some(Version::V3),
        2 => Some(Version::V4),
        _ => Some(Version::V5),
    };
    let role = match choice >> 2 & 0x03 {
        0 => Role::Server,
        1 => Role::Client,
        _ => Role::Either,
    };
    let limits = Limits {
        maximum_packet_size: u32::MAX,
        role,
    };
    let mut buffer = Bytes::copy_from_slice(received);
    loop {
        let before = buffer.clone();
        match decode(&mut buffer, version, &limits) {
            Ok(Some(packet)) => {
                let length = before.len() - buffer.len();
                assert_eq!(frame_length(&before, &limits), Ok(Some(length)));
                check(packet, version, &limits);
            }
            Ok(None) => return assert_eq!(buffer, before),
            Err(error) => {
                assert_eq!(buffer, before);
                assert!(error.reason().is_error());
                return;
            }
        }
    }
});

fn check(packet: Packet, version: Option<Version>, limits: &Limits) {
    let own = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version.expect("only CONNECT comes before the version is known"),
    };
    let mut out = BytesMut::new();
    encode(&packet, own, &mut out);
    assert_eq!(encoded_len(&packet, own), out.len());
    read(&packet);
    let again = decode(&mut out.freeze(), version, limits);
    assert_eq!(again, Ok(Some(packet)));
}

/// What a receiver does with the parts of a packet.
fn read(packet: &Packet) {
    match packet {
        Packet::Publish(publish) => {
            assert_eq!(property::validate(&publish.properties), Ok(()));
            let pairs = property::user_properties(&publish.properties).count();
            let shared = property::UserProperties::from_encoded(&publish.properties);
            assert_eq!(pairs, shared.len());
            if let Some((name, value)) = property::user_properties(&publish.properties).next() {
                assert_eq!(
                    property::find_user_property(&publish.properties, name),
                    Some(value)
                );
            }
        }
        Packet::Subscribe(subscribe) => {
            for requested in &subscribe.filters {
                if let Ok(filter) = Filter::parse(requested.filter.clone()) {
                    // A name is its own filter; no topic name under $ is for a leading wildcard.
                    let itself = filter.matches(filter.filter());
                    assert!(itself || filter.has_wildcards());
                    assert!(!filter::matches("#", "$SYS"));
                }
            }
        }
        _ => {}
    }
}
