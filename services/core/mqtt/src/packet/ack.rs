//! PUBACK, PUBREC, PUBREL and PUBCOMP. v5 and v3.1.1 3.4 to 3.7

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::PacketId;
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    packet,
    property::{Identifier, Section, UserProperties},
    reason::ReasonCode,
    version::Version,
};

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The answer to a PUBLISH of QoS 1.
    Puback,
    /// QoS 2, the answer to PUBLISH.
    Pubrec,
    /// QoS 2, the answer to PUBREC.
    Pubrel,
    /// QoS 2, the answer to PUBREL.
    Pubcomp,
}

impl Kind {
    const fn packet(self) -> packet::Kind {
        match self {
            Kind::Puback => packet::Kind::Puback,
            Kind::Pubrec => packet::Kind::Pubrec,
            Kind::Pubrel => packet::Kind::Pubrel,
            Kind::Pubcomp => packet::Kind::Pubcomp,
        }
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, which have one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The one of the PUBLISH.
    pub packet_id: PacketId,
    /// Below 5 always `Success`.
    pub reason: ReasonCode,
    /// For people to read (5). v5 3.4.2.2.2
    pub reason_string: Option<ByteString>,
    /// v5 3.4.2.2.3
    pub user_properties: UserProperties,
}

impl Ack {
    /// An answer without properties.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Ack {
        Ack {
            packet_id,
            reason,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }

    /// The answer that all is well.
    pub const fn success(packet_id: PacketId) -> Ack {
        Ack::new(packet_id, ReasonCode::Success)
    }

    /// Appends the packet `kind`.
    pub fn encode(&self, kind: Kind, version: Version, out: &mut BytesMut) {
        if self.is_short() {
            encode_short(kind, self.packet_id, self.reason, version, out);
        } else {
            self.write(kind, version, out);
        }
    }

    /// The bytes of the whole packet, the same for each kind.
    pub fn encoded_len(&self, version: Version) -> usize {
        encode::counted(&|out| self.write(Kind::Puback, version, out))
    }

    fn is_short(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }

    pub(crate) fn write(&self, kind: Kind, version: Version, out: &mut dyn Sink) {
        encode::frame(kind.packet(), out, &|out| {
            out.u16(self.packet_id.get());
            // v5 3.4.2.1: code and properties may be left out where they say nothing
            if !version.is_v5() || self.is_short() && self.reason == ReasonCode::Success {
                return;
            }
            out.u8(self.reason.as_u8());
            if !self.is_short() {
                encode::section(out, &|out| {
                    encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
                });
            }
        });
    }
}

/// Appends a packet without properties. Below 5 the reason is left out.
#[inline]
pub fn encode_short(
    kind: Kind,
    packet_id: PacketId,
    reason: ReasonCode,
    version: Version,
    out: &mut BytesMut,
) {
    let first = kind.packet().first_byte();
    let [high, low] = packet_id.get().to_be_bytes();
    if version.is_v5() && reason != ReasonCode::Success {
        out.put_slice(&[first, 3, high, low, reason.as_u8()]);
    } else {
        out.put_slice(&[first, 2, high, low]);
    }
}

#[inline]
pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Ack, DecodeError> {
    let packet_id = reader.packet_id()?;
    if reader.is_empty() {
        Ok(Ack::success(packet_id))
    } else {
        decode_long(packet_id, reader)
    }
}

/// The form that has more than the packet identifier.
fn decode_long(packet_id: PacketId, mut reader: Reader<'_>) -> Result<Ack, DecodeError> {
    if !reader.version().is_v5() {
        reader.end()?;
    }
    let mut ack = Ack::new(packet_id, reader.reason()?);
    // v5 3.4.2.2.1: no property length where it would be all that follows
    if !reader.is_empty() {
        let mut section = Section::of(&mut reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::ReasonString => ack.reason_string = Some(section.string()?),
                Identifier::UserProperty => ack.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        reader.end()?;
    }
    Ok(ack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{VERSIONS, both_ways, decoded, id, written},
    };

    // An answer that all is well has four bytes in every version.
    #[test]
    fn success_is_short() {
        for version in VERSIONS {
            both_ways(
                Packet::Puback(Ack::success(id(258))),
                version,
                &[0x40, 2, 1, 2],
            );
            both_ways(
                Packet::Pubrec(Ack::success(id(258))),
                version,
                &[0x50, 2, 1, 2],
            );
            both_ways(
                Packet::Pubrel(Ack::success(id(258))),
                version,
                &[0x62, 2, 1, 2],
            );
            both_ways(
                Packet::Pubcomp(Ack::success(id(258))),
                version,
                &[0x70, 2, 1, 2],
            );
        }
    }

    // v5 3.4.2.1: the reason alone, without a property length
    #[test]
    fn reasons_are_of_5_only() {
        let puback = Packet::Puback(Ack::new(id(1), ReasonCode::NotAuthorized));
        both_ways(puback.clone(), Version::V5, &[0x40, 3, 0, 1, 0x87]);
        written(&puback, Version::V4, &[0x40, 2, 0, 1]);
        assert!(decoded(&[0x40, 3, 0, 1, 0x87], Version::V4).is_err());
        let pubrel = Packet::Pubrel(Ack::new(id(1), ReasonCode::PacketIdentifierNotFound));
        both_ways(pubrel, Version::V5, &[0x62, 3, 0, 1, 0x92]);
    }

    #[test]
    fn properties_force_the_long_form() {
        let mut ack = Ack::success(id(1));
        ack.reason_string = Some("ok".into());
        ack.user_properties.push("a", "b");
        let packet = Packet::Pubcomp(ack);
        let bytes = [
            0x70, 16, 0, 1, 0, 12, 31, 0, 2, b'o', b'k', 38, 0, 1, b'a', 0, 1, b'b',
        ];
        both_ways(packet.clone(), Version::V5, &bytes);
        written(&packet, Version::V3, &[0x70, 2, 0, 1]);
    }

    // v5 3.4.2.2.1: an empty section is as good as none
    #[test]
    fn an_empty_section_is_read() {
        let expected = Packet::Puback(Ack::new(id(1), ReasonCode::Success));
        assert_eq!(decoded(&[0x40, 4, 0, 1, 0, 0], Version::V5), Ok(expected));
    }

    // A client of 3.1 marks a PUBREL that it sends again.
    #[test]
    fn only_3_1_knows_a_duplicate_pubrel() {
        let expected = Packet::Pubrel(Ack::success(id(1)));
        assert_eq!(decoded(&[0x6A, 2, 0, 1], Version::V3), Ok(expected));
        assert!(decoded(&[0x6A, 2, 0, 1], Version::V4).is_err());
        assert!(decoded(&[0x6A, 2, 0, 1], Version::V5).is_err());
    }
}
