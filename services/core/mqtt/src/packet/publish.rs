//! PUBLISH: the packet that there are most of. v5 and v3.1.1 3.3

use std::num::NonZeroU16;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use super::{Kind, PacketId};
use crate::{
    decode::{Role, reader::Reader},
    encode,
    error::DecodeError,
    property::{Identifier, Kept, Section},
    qos::QoS,
    topic,
    version::Version,
};

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// It may have been sent before. Never with QoS 0. `[MQTT-3.3.1-2]`
    pub dup: bool,
    /// The quality of service of this hop.
    pub qos: QoS,
    /// From a client: keep it for later subscribers. From a server: it was kept, or the subscription asked to be told.
    pub retain: bool,
    /// Empty only with a topic alias (5).
    pub topic: ByteString,
    /// `Some` exactly when `qos` is above 0. `[MQTT-2.2.1-2]`, `[MQTT-2.2.1-4]`
    pub packet_id: Option<PacketId>,
    /// Never `Some(0)` (5). `[MQTT-3.3.2-8]`
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds (5).
    pub message_expiry: Option<u32>,
    /// Each 1 to 268,435,455 (5). Only from a server to a client; a server refuses them from a client. `[MQTT-3.3.4-6]`
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// The other properties (payload format, content type, response topic, correlation data, user
    /// properties) as encoded bytes, validated, without the property length. A slice of the
    /// received buffer where they stand in one piece. See [`crate::property`] to read and make them.
    pub properties: Bytes,
    /// Whatever the application sends. Not checked against the payload format.
    pub payload: Bytes,
}

impl Publish {
    /// A message of QoS 0 without properties.
    pub fn new(topic: impl Into<ByteString>, payload: impl Into<Bytes>) -> Publish {
        Publish {
            topic: topic.into(),
            payload: payload.into(),
            ..Publish::default()
        }
    }

    /// Everything but the payload.
    pub fn header(&self) -> Header<'_> {
        Header {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            topic: &self.topic,
            topic_alias: self.topic_alias,
            message_expiry: self.message_expiry,
            subscription_ids: &self.subscription_ids,
            properties: &self.properties,
        }
    }

    /// Appends the packet.
    ///
    /// # Panics
    ///
    /// As [`Header::encode`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        out.reserve(self.encoded_len(version));
        self.header().encode(version, self.payload.len(), out);
        out.put_slice(&self.payload);
    }

    /// The bytes of the whole packet.
    pub fn encoded_len(&self, version: Version) -> usize {
        self.header().encoded_len(version, self.payload.len())
    }

    #[inline]
    pub(crate) fn decode(
        first: u8,
        mut reader: Reader<'_>,
        role: Role,
    ) -> Result<Publish, DecodeError> {
        let qos = QoS::from_bits(first >> 1 & 0x03)
            .ok_or_else(|| reader.malformed("fixed header", "QoS 3"))?;
        let topic = reader.prefixed("topic name")?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        let section = reader.section()?;
        let properties = if section.is_empty() {
            Properties::default()
        } else {
            Properties::decode(section, role)?
        };
        let topic = decode_topic(topic, properties.topic_alias, &reader)?;
        // All at once, and not field by field over a default: this is the most frequent of packets.
        Ok(Publish {
            dup: first & 0x08 != 0,
            qos,
            retain: first & 0x01 != 0,
            topic,
            packet_id,
            topic_alias: properties.topic_alias,
            message_expiry: properties.message_expiry,
            subscription_ids: properties.subscription_ids,
            properties: properties.encoded,
            payload: reader.remainder(),
        })
    }
}

/// The properties of a PUBLISH.
#[derive(Default)]
struct Properties {
    topic_alias: Option<NonZeroU16>,
    message_expiry: Option<u32>,
    subscription_ids: SmallVec<[u32; 1]>,
    encoded: Bytes,
}

impl Properties {
    fn decode(reader: Reader<'_>, role: Role) -> Result<Properties, DecodeError> {
        let mut properties = Properties::default();
        let mut kept = Kept::new(reader.rest());
        let mut section = Section::over(reader.clone());
        loop {
            let before = section.rest();
            let Some(identifier) = section.next()? else {
                break;
            };
            match identifier {
                Identifier::MessageExpiry => properties.message_expiry = Some(section.u32()?),
                Identifier::TopicAlias => {
                    let alias = NonZeroU16::new(section.u16()?).ok_or(DecodeError::TopicAlias)?;
                    properties.topic_alias = Some(alias);
                }
                // v5 [MQTT-3.3.4-6]
                Identifier::SubscriptionId if role == Role::Server => {
                    return Err(section.misplaced());
                }
                Identifier::SubscriptionId => {
                    properties
                        .subscription_ids
                        .push(section.non_zero_variable()?);
                    section.may_repeat();
                }
                _ => {
                    section.check_message_property()?;
                    kept.keep(before, section.rest());
                }
            }
        }
        properties.encoded = kept.finish(&reader);
        Ok(properties)
    }
}

/// The topic name; in one walk for all characters that it may not have, and one for its being UTF-8.
#[inline]
fn decode_topic<'a>(
    topic: &'a [u8],
    alias: Option<NonZeroU16>,
    reader: &Reader<'a>,
) -> Result<ByteString, DecodeError> {
    // v5 [MQTT-3.3.2-1], v3.1.1 [MQTT-3.3.2-1]
    let topic = ByteString::try_from(reader.share(topic))
        .map_err(|_| reader.malformed("topic name", "not well-formed UTF-8"))?;
    let problem = match topic::validate(&topic) {
        Ok(()) => return Ok(topic),
        Err(topic::Error::Empty) if alias.is_some() => return Ok(ByteString::new()),
        // v5 3.3.2.1
        Err(topic::Error::Empty) if reader.version().is_v5() => {
            return Err(reader.protocol("topic name", "empty without a topic alias"));
        }
        // v5 [MQTT-1.5.4-2], v3.1.1 [MQTT-1.5.3-2]
        Err(topic::Error::Null) => {
            return Err(reader.malformed("topic name", "contains the character U+0000"));
        }
        Err(topic::Error::Empty) => "empty",
        // v5 and v3.1.1 [MQTT-3.3.2-2]
        Err(_) => "contains a wildcard",
    };
    Err(DecodeError::TopicName {
        packet: Kind::Publish,
        problem,
    })
}

/// Everything of a PUBLISH but its payload, borrowed: what the senders of many messages fill in
/// without building a [`Publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header<'a> {
    /// As in [`Publish`].
    pub dup: bool,
    /// As in [`Publish`].
    pub qos: QoS,
    /// As in [`Publish`].
    pub retain: bool,
    /// `Some` exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// Empty only with a topic alias, and so only in 5.
    pub topic: &'a str,
    /// Left out below 5.
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds. Left out below 5.
    pub message_expiry: Option<u32>,
    /// Each 1 to 268,435,455. Left out below 5.
    pub subscription_ids: &'a [u32],
    /// The other properties, encoded and valid. Left out below 5.
    pub properties: &'a [u8],
}

impl Header<'_> {
    /// The bytes of the whole packet, with its fixed header and a payload of `payload_len` bytes.
    #[inline]
    pub fn encoded_len(&self, version: Version, payload_len: usize) -> usize {
        let remaining = self.remaining(version, self.properties_len(), payload_len);
        1 + encode::variable_len(remaining) + remaining
    }

    /// Appends everything but the payload, whose `payload_len` bytes must follow: by copy, or from
    /// where they are.
    ///
    /// # Panics
    ///
    /// When the topic is longer than 65,535 bytes or the whole longer than [`encode::PACKET_SIZE_MAX`]. A message
    /// that came in may be longer than that on its way out, by its subscription identifiers: ask
    /// [`Header::encoded_len`] before.
    #[inline]
    pub fn encode(&self, version: Version, payload_len: usize, out: &mut BytesMut) {
        debug_assert_eq!(self.packet_id.is_some(), self.qos != QoS::AtMostOnce);
        let properties_len = self.properties_len();
        let remaining = self.remaining(version, properties_len, payload_len);
        // Not for the payload, which may go another way.
        out.reserve(5 + remaining - payload_len);
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.put_u8(Kind::Publish.first_byte() | flags);
        put_variable(out, remaining);
        let topic_len =
            u16::try_from(self.topic.len()).expect("a topic name has at most 65,535 bytes");
        out.put_u16(topic_len);
        out.put_slice(self.topic.as_bytes());
        if let Some(packet_id) = self.packet_id {
            out.put_u16(packet_id.get());
        }
        if version.is_v5() {
            put_variable(out, properties_len);
            self.put_properties(out);
        }
    }

    #[inline]
    fn put_properties(&self, out: &mut BytesMut) {
        if let Some(alias) = self.topic_alias {
            out.put_u8(Identifier::TopicAlias as u8);
            out.put_u16(alias.get());
        }
        if let Some(seconds) = self.message_expiry {
            out.put_u8(Identifier::MessageExpiry as u8);
            out.put_u32(seconds);
        }
        for &id in self.subscription_ids {
            out.put_u8(Identifier::SubscriptionId as u8);
            put_variable(out, id as usize);
        }
        out.put_slice(self.properties);
    }

    #[inline]
    fn properties_len(&self) -> usize {
        let ids = self
            .subscription_ids
            .iter()
            .map(|&id| 1 + encode::variable_len(id as usize));
        self.topic_alias.map_or(0, |_| 3)
            + self.message_expiry.map_or(0, |_| 5)
            + ids.sum::<usize>()
            + self.properties.len()
    }

    #[inline]
    fn remaining(&self, version: Version, properties_len: usize, payload_len: usize) -> usize {
        let section = if version.is_v5() {
            encode::variable_len(properties_len) + properties_len
        } else {
            0
        };
        2 + self.topic.len() + self.packet_id.map_or(0, |_| 2) + section + payload_len
    }
}

#[inline]
fn put_variable(out: &mut BytesMut, value: usize) {
    let (bytes, length) = encode::variable(value);
    out.put_slice(&bytes[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{VERSIONS, both_ways, decoded, decoded_by, id, written},
    };

    #[test]
    fn qos_0_below_5() {
        let packet = Packet::Publish(Publish::new("a/b", "hi"));
        for version in [Version::V3, Version::V4] {
            both_ways(
                packet.clone(),
                version,
                &[0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'],
            );
        }
        both_ways(
            packet,
            Version::V5,
            &[0x30, 8, 0, 3, b'a', b'/', b'b', 0, b'h', b'i'],
        );
    }

    #[test]
    fn flags_and_packet_identifier() {
        let publish = Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id: Some(id(10)),
            ..Publish::new("t", "")
        };
        both_ways(
            Packet::Publish(publish),
            Version::V4,
            &[0x3D, 5, 0, 1, b't', 0, 10],
        );
    }

    #[test]
    fn properties_that_count_and_those_that_are_handed_on() {
        let publish = Publish {
            topic_alias: NonZeroU16::new(5),
            message_expiry: Some(60),
            subscription_ids: SmallVec::from_slice(&[1, 200]),
            properties: Bytes::from_static(&[1, 1, 38, 0, 1, b'k', 0, 1, b'v']),
            ..Publish::new("", "x")
        };
        let packet = Packet::Publish(publish);
        #[rustfmt::skip]
        let bytes = [
            0x30, 26, 0, 0, 22,
            35, 0, 5,
            2, 0, 0, 0, 60,
            11, 1, 11, 0xC8, 0x01,
            1, 1, 38, 0, 1, b'k', 0, 1, b'v',
            b'x',
        ];
        both_ways(packet.clone(), Version::V5, &bytes);
        written(&packet, Version::V4, &[0x30, 3, 0, 0, b'x']);
        // v5 [MQTT-3.3.4-6]
        let refused = decoded_by(&bytes, Some(Version::V5), Role::Server).unwrap_err();
        assert_eq!(refused.reason(), crate::ReasonCode::ProtocolError);
    }

    // What stands in one piece is not copied, wherever that piece is; and the rest never is.
    #[test]
    fn what_is_long_is_a_slice_of_the_buffer() {
        #[rustfmt::skip]
        let bytes = [
            0x30, 24, 0, 1, b't', 19,
            2, 0, 0, 0, 60,
            3, 0, 1, b'c', 38, 0, 1, b'k', 0, 1, b'v',
            35, 0, 5,
            b'x',
        ];
        let buffer = Bytes::copy_from_slice(&bytes);
        let inside = buffer.as_ptr_range();
        let limits = crate::decode::Limits {
            maximum_packet_size: 100,
            role: Role::Server,
        };
        let packet = crate::decode::decode(&mut buffer.clone(), Some(Version::V5), &limits);
        let Ok(Some(Packet::Publish(publish))) = packet else {
            panic!("{packet:?}")
        };
        assert_eq!(publish.properties[..], bytes[11..22]);
        assert_eq!(publish.message_expiry, Some(60));
        for part in [
            publish.topic.as_bytes(),
            &publish.properties,
            &publish.payload,
        ] {
            assert!(inside.contains(&part.as_ptr()));
        }
    }

    // v5 2.2.2.2: properties come in any order
    #[test]
    fn scattered_properties_are_put_together() {
        #[rustfmt::skip]
        let bytes = [
            0x30, 22, 0, 1, b't', 18,
            3, 0, 1, b'c',
            2, 0, 0, 0, 60,
            1, 0,
            38, 0, 1, b'k', 0, 1, b'v',
        ];
        let Ok(Packet::Publish(publish)) = decoded(&bytes, Version::V5) else {
            panic!()
        };
        assert_eq!(
            publish.properties[..],
            [&bytes[6..10], &bytes[15..]].concat()
        );
    }

    // The header and a payload that follows it by another way are the packet.
    #[test]
    fn header_and_payload_may_part() {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            packet_id: Some(id(7)),
            message_expiry: Some(1),
            ..Publish::new("topic", vec![b'x'; 300])
        };
        for version in VERSIONS {
            let mut whole = BytesMut::new();
            publish.encode(version, &mut whole);
            let mut parts = BytesMut::new();
            publish
                .header()
                .encode(version, publish.payload.len(), &mut parts);
            parts.extend_from_slice(&publish.payload);
            assert_eq!(whole, parts);
            assert_eq!(whole.len(), publish.header().encoded_len(version, 300));
        }
    }
}
