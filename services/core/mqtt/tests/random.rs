//! What holds for all packets and all bytes, tried at random.

mod packets;

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    DecodeError, Packet, Version,
    decode::{Limits, Role, decode, frame_length},
    encode::{encode, encoded_len},
    property,
};
use packets::{packet, version};
use proptest::{collection::vec, prelude::*, sample::select};

const EVERYTHING: Limits = Limits {
    maximum_packet_size: u32::MAX,
    role: Role::Either,
};

fn written(packet: &Packet, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out);
    out.freeze()
}

fn with_version(
    strategy: fn(Version) -> BoxedStrategy<Packet>,
) -> impl Strategy<Value = (Version, Packet)> {
    version().prop_flat_map(move |version| (Just(version), strategy(version)))
}

/// Bytes that look enough like packets to come past the first checks.
fn nearly_a_packet() -> impl Strategy<Value = (Version, Vec<u8>)> {
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (with_version(packet), damage).prop_map(|((version, packet), damage)| {
        let mut bytes = written(&packet, version).to_vec();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        (version, bytes)
    })
}

/// One of each property of a PUBLISH, and of some two.
const PROPERTIES: [&[u8]; 9] = [
    &[1, 1],
    &[2, 0, 0, 0, 60],
    &[3, 0, 1, b'c'],
    &[8, 0, 1, b'r'],
    &[9, 0, 2, 0, 0],
    &[11, 0x80, 0x01],
    &[35, 0, 1],
    &[38, 0, 1, b'k', 0, 1, b'v'],
    &[38, 0, 1, b'k', 0, 0],
];

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Server, Role::Client, Role::Either])
}

/// Decodes everything in `bytes`, and checks what must hold whatever they are.
fn drain(bytes: &[u8], version: Option<Version>, limits: &Limits) {
    let mut buffer = Bytes::copy_from_slice(bytes);
    loop {
        let before = buffer.clone();
        match decode(&mut buffer, version, limits) {
            Ok(Some(packet)) => {
                let length = before.len() - buffer.len();
                assert_eq!(frame_length(&before, limits), Ok(Some(length)));
                within(&packet, &before[..length]);
            }
            Ok(None) | Err(_) => return assert_eq!(buffer, before),
        }
    }
}

/// Nothing that a packet holds is from beyond its bytes, and its lists are in proportion to them.
fn within(packet: &Packet, bytes: &[u8]) {
    let range = bytes.as_ptr_range();
    let inside = |part: &[u8]| {
        let part = part.as_ptr_range();
        assert!(part.start == part.end || range.start <= part.start && part.end <= range.end);
    };
    match packet {
        Packet::Publish(publish) => {
            inside(publish.topic.as_bytes());
            inside(&publish.payload);
            assert!(publish.properties.len() <= bytes.len());
        }
        // Three bytes at least for a filter; a vector doubles, from four.
        Packet::Subscribe(subscribe) => {
            subscribe
                .filters
                .iter()
                .for_each(|filter| inside(filter.filter.as_bytes()));
            assert!(subscribe.filters.capacity() <= 4.max(bytes.len()));
        }
        Packet::Unsubscribe(unsubscribe) => {
            unsubscribe
                .filters
                .iter()
                .for_each(|filter| inside(filter.as_bytes()));
            assert!(unsubscribe.filters.capacity() <= 4.max(bytes.len()));
        }
        Packet::Suback(suback) => assert!(suback.codes.capacity() <= 8.max(2 * bytes.len())),
        Packet::Unsuback(unsuback) => assert!(unsuback.codes.capacity() <= 8.max(2 * bytes.len())),
        Packet::Connect(connect) => {
            inside(connect.client_id.as_bytes());
            assert!(connect.user_properties.len() <= bytes.len() / 5);
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    // Every packet comes back from its bytes, whose number is known before.
    #[test]
    fn round_trip((version, packet) in with_version(packet)) {
        let bytes = written(&packet, version);
        prop_assert_eq!(encoded_len(&packet, version), bytes.len());
        prop_assert_eq!(frame_length(&bytes, &EVERYTHING), Ok(Some(bytes.len())));
        let mut buffer = bytes.clone();
        prop_assert_eq!(decode(&mut buffer, Some(version), &EVERYTHING), Ok(Some(packet)));
        prop_assert!(buffer.is_empty());
    }

    // Properties may come in any order: those that count are found, the others kept in theirs.
    #[test]
    fn properties_in_any_order(chunks in Just(PROPERTIES).prop_shuffle(), drop in 0..PROPERTIES.len()) {
        let chunks = &chunks[drop..];
        let section = chunks.concat();
        let length = u8::try_from(4 + section.len()).unwrap();
        let mut bytes = vec![0x30, length, 0, 1, b't', length - 4];
        bytes.extend_from_slice(&section);
        let Ok(Some(Packet::Publish(publish))) = decode(&mut bytes.into(), Some(Version::V5), &EVERYTHING)
        else { panic!("a valid packet") };
        let has = |first| chunks.iter().any(|chunk| chunk[0] == first);
        prop_assert_eq!(publish.topic_alias.is_some(), has(35));
        prop_assert_eq!(publish.message_expiry.is_some(), has(2));
        prop_assert_eq!(publish.subscription_ids.is_empty(), !has(11));
        let kept = |chunk: &&&[u8]| !matches!(chunk[0], 2 | 11 | 35);
        let expected: Vec<u8> = chunks.iter().filter(kept).copied().flatten().copied().collect();
        prop_assert_eq!(&publish.properties[..], &expected[..]);
        prop_assert_eq!(property::validate(&publish.properties), Ok(()));
    }

    // What is not all there is waited for or refused; and what is refused would be refused in the end.
    #[test]
    fn split_anywhere((version, bytes) in nearly_a_packet(), role in role()) {
        let limits = Limits { maximum_packet_size: 200, role };
        let whole = decode(&mut Bytes::copy_from_slice(&bytes), Some(version), &limits);
        for length in 0..bytes.len() {
            match decode(&mut Bytes::copy_from_slice(&bytes[..length]), Some(version), &limits) {
                Ok(None) => {}
                // The damage made the first packet shorter.
                Ok(Some(packet)) => prop_assert_eq!(Ok(Some(packet)), whole.clone()),
                Err(error) => prop_assert_eq!(Err::<Option<Packet>, _>(error), whole.clone()),
            }
        }
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..60), version in proptest::option::of(version()), role in role()) {
        drain(&bytes, version, &Limits { maximum_packet_size: 1_000, role });
    }

    #[test]
    fn damaged_packets((version, bytes) in nearly_a_packet(), role in role(), first in any::<bool>()) {
        let version = if first { None } else { Some(version) };
        drain(&bytes, version, &Limits { maximum_packet_size: u32::MAX, role });
    }

    // Whatever is understood can be said again, and is understood alike.
    #[test]
    fn damaged_packets_round_trip((version, bytes) in nearly_a_packet()) {
        let packet = decode(&mut Bytes::from(bytes), Some(version), &EVERYTHING);
        if let Ok(Some(packet)) = packet {
            let own = match &packet {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let mut again = written(&packet, own);
            prop_assert_eq!(decode(&mut again, Some(version), &EVERYTHING), Ok(Some(packet)));
        }
    }

    // Readers of encoded properties take any bytes.
    #[test]
    fn property_readers_take_any_bytes(bytes in vec(any::<u8>(), 0..40)) {
        let _ = property::find_user_property(&bytes, "a");
        let _ = (property::content_type(&bytes), property::response_topic(&bytes));
        let _ = (property::correlation_data(&bytes), property::payload_format_is_utf8(&bytes));
        prop_assert!(property::user_properties(&bytes).count() <= bytes.len() / 5);
    }
}

// A length that is only announced must cost nothing: it is refused, or waited for, as it stands.
#[test]
fn announced_lengths_are_not_believed() {
    let limits = Limits {
        maximum_packet_size: 1_000_000,
        role: Role::Server,
    };
    // A string of 65,535 bytes in a packet of 6.
    let string = [0x30, 4, 0xFF, 0xFF, b'a', b'b'];
    let error = decode(
        &mut Bytes::copy_from_slice(&string),
        Some(Version::V4),
        &limits,
    );
    assert!(matches!(
        error,
        Err(DecodeError::Malformed {
            field: "topic name",
            ..
        })
    ));
    // Properties of 256 MB in a packet of 9.
    let properties = [0x30, 7, 0, 1, b'a', 0xFF, 0xFF, 0xFF, 0x7F];
    let error = decode(
        &mut Bytes::copy_from_slice(&properties),
        Some(Version::V5),
        &limits,
    );
    assert!(matches!(
        error,
        Err(DecodeError::Malformed {
            field: "properties",
            ..
        })
    ));
    // A packet of 256 MB, of which the header is enough.
    let header = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    let error = frame_length(&header, &limits);
    assert_eq!(
        error,
        Err(DecodeError::PacketTooLarge {
            length: 268_435_460,
            maximum: 1_000_000
        })
    );
    // Before CONNECT, the first byte is.
    let error = decode(&mut Bytes::copy_from_slice(&header[..1]), None, &limits);
    assert!(matches!(error, Err(DecodeError::ConnectExpected { .. })));
}
