//! Packets to bytes.
//!
//! A packet describes its bytes once, to a sink: one sink counts, the other writes, so that a length
//! and the bytes it counts cannot disagree.

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use crate::{
    packet::{Kind, Packet, ack, ping},
    property::{Identifier, UserProperties},
    version::Version,
};

/// The largest number that a variable byte integer can carry, and so the longest rest of a packet
/// after its fixed header, in bytes. v5 1.5.5
pub const VARIABLE_MAX: u32 = 268_435_455;

/// The largest whole packet, in bytes, that the protocol can express: what holds for a client that
/// names no maximum packet size.
pub const PACKET_SIZE_MAX: u32 = VARIABLE_MAX + 5;

/// Appends `packet` in the form of `version`. Of a CONNECT its own version counts.
///
/// What a version cannot say is left out: properties and reason codes below 5. AUTH exists only in 5;
/// below, nothing is appended.
///
/// # Panics
///
/// When a string or binary field is longer than 65,535 bytes or the whole longer than
/// [`PACKET_SIZE_MAX`]: no decoded field is, and what we make ourselves must not be.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) {
    if let Packet::Publish(publish) = packet {
        return publish.encode(version, out);
    }
    write(packet, version, out);
}

/// The bytes that [`encode`] would append, to be held against a client's maximum packet size.
pub fn encoded_len(packet: &Packet, version: Version) -> usize {
    match packet {
        Packet::Publish(publish) => publish.encoded_len(version),
        _ => counted(&|out| write(packet, version, out)),
    }
}

fn write(packet: &Packet, version: Version, out: &mut dyn Sink) {
    match packet {
        Packet::Connect(connect) => connect.write(out),
        Packet::Connack(connack) => connack.write(version, out),
        Packet::Publish(_) => unreachable!("written by its own encode"),
        Packet::Puback(ack) => ack.write(ack::Kind::Puback, version, out),
        Packet::Pubrec(ack) => ack.write(ack::Kind::Pubrec, version, out),
        Packet::Pubrel(ack) => ack.write(ack::Kind::Pubrel, version, out),
        Packet::Pubcomp(ack) => ack.write(ack::Kind::Pubcomp, version, out),
        Packet::Subscribe(subscribe) => subscribe.write(version, out),
        Packet::Suback(suback) => suback.write(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.write(version, out),
        Packet::Unsuback(unsuback) => unsuback.write(version, out),
        Packet::Pingreq => out.bytes(&ping::REQUEST),
        Packet::Pingresp => out.bytes(&ping::RESPONSE),
        Packet::Disconnect(disconnect) => disconnect.write(version, out),
        Packet::Auth(auth) => auth.write(version, out),
    }
}

/// Takes the bytes of a packet.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    /// That many bytes are about to come.
    fn reserve(&mut self, _additional: usize) {}

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    fn variable(&mut self, value: usize) {
        let (bytes, length) = variable(value);
        self.bytes(&bytes[..length]);
    }

    /// Two bytes of length, then the bytes: the form of strings and binary data. v5 1.5.4, 1.5.6
    fn prefixed(&mut self, bytes: &[u8]) {
        self.u16(
            u16::try_from(bytes.len()).expect("a string or binary field has at most 65,535 bytes"),
        );
        self.bytes(bytes);
    }
}

impl Sink for BytesMut {
    fn bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn reserve(&mut self, additional: usize) {
        BytesMut::reserve(self, additional);
    }
}

/// A sink that only counts.
struct Length(usize);

impl Sink for Length {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// How many bytes `write` writes.
pub(crate) fn counted(write: &dyn Fn(&mut dyn Sink)) -> usize {
    let mut length = Length(0);
    write(&mut length);
    length.0
}

/// A whole packet: the fixed header, then what `body` writes.
pub(crate) fn frame(kind: Kind, out: &mut dyn Sink, body: &dyn Fn(&mut dyn Sink)) {
    let length = counted(body);
    out.reserve(5 + length);
    out.u8(kind.first_byte());
    out.variable(length);
    body(out);
}

/// A section of properties: its length, then what `properties` writes. v5 2.2.2
pub(crate) fn section(out: &mut dyn Sink, properties: &dyn Fn(&mut dyn Sink)) {
    out.variable(counted(properties));
    properties(out);
}

/// The property `identifier` with a string or binary value, if there is one.
pub(crate) fn optional_prefixed(
    identifier: Identifier,
    value: Option<impl AsRef<[u8]>>,
    out: &mut dyn Sink,
) {
    if let Some(value) = value {
        out.u8(identifier as u8);
        out.prefixed(value.as_ref());
    }
}

/// The property `identifier` with a four byte value, if there is one.
pub(crate) fn optional_u32(identifier: Identifier, value: Option<u32>, out: &mut dyn Sink) {
    if let Some(value) = value {
        out.u8(identifier as u8);
        out.u32(value);
    }
}

/// The property `identifier` with a two byte value, if there is one.
pub(crate) fn optional_u16(identifier: Identifier, value: Option<u16>, out: &mut dyn Sink) {
    if let Some(value) = value {
        out.u8(identifier as u8);
        out.u16(value);
    }
}

/// The property `identifier` with a one byte value, if it is not what its absence means.
pub(crate) fn boolean_unless(
    absent: bool,
    identifier: Identifier,
    value: bool,
    out: &mut dyn Sink,
) {
    if value != absent {
        out.u8(identifier as u8);
        out.u8(u8::from(value));
    }
}

/// The two properties that nearly every packet may carry.
pub(crate) fn reason_string_and_user(
    reason_string: &Option<ByteString>,
    user_properties: &UserProperties,
    out: &mut dyn Sink,
) {
    optional_prefixed(Identifier::ReasonString, reason_string.as_ref(), out);
    user_properties.write(out);
}

/// `value` as a variable byte integer, in the first bytes of an array, with their number. v5 `[MQTT-1.5.5-1]`
pub(crate) fn variable(mut value: usize) -> ([u8; 4], usize) {
    assert!(
        value <= VARIABLE_MAX as usize,
        "a packet has at most 268,435,455 bytes after its fixed header"
    );
    let mut bytes = [0; 4];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7F) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            return (bytes, length);
        }
        bytes[length - 1] |= 0x80;
    }
}

/// The bytes that `value` takes as a variable byte integer: 1 to 4, or 5 for what has no such form.
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        0x20_0000..=0xFFF_FFFF => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_of_the_specification() {
        // v5 table 1-1
        let rows: [(usize, &[u8]); 8] = [
            (0, &[0x00]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, expected) in rows {
            let (bytes, length) = variable(value);
            assert_eq!(&bytes[..length], expected);
            assert_eq!(variable_len(value), length);
        }
    }
}
