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
    let mut ack = Ack::success(reader.packet_id()?);
    if reader.is_empty() {
        return Ok(ack);
    }
    if !reader.version().is_v5() {
        reader.end()?;
    }
    ack.reason = reader.reason()?;
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
