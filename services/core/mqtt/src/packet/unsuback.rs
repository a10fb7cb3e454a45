//! UNSUBACK. v5 and v3.1.1 3.11

use bytes::BytesMut;
use bytestring::ByteString;

use super::{Kind, PacketId};
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Section, UserProperties},
    reason::ReasonCode,
    version::Version,
};

/// The server's answer to UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback {
    /// The one of UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in their order. v5 `[MQTT-3.11.3-1]`. Below 5 there are none.
    pub codes: Vec<ReasonCode>,
    /// For people to read (5).
    pub reason_string: Option<ByteString>,
    /// v5 3.11.2.1.3
    pub user_properties: UserProperties,
}

impl Unsuback {
    /// An UNSUBACK without properties.
    pub fn new(packet_id: PacketId, codes: Vec<ReasonCode>) -> Unsuback {
        Unsuback {
            packet_id,
            codes,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }

    /// Appends the packet.
    ///
    /// # Panics
    ///
    /// As [`encode::encode`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        self.write(version, out);
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Unsuback, DecodeError> {
        let mut unsuback = Unsuback::new(reader.packet_id()?, Vec::new());
        if !reader.version().is_v5() {
            reader.end()?;
            return Ok(unsuback);
        }
        let mut section = Section::of(&mut reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::ReasonString => unsuback.reason_string = Some(section.string()?),
                Identifier::UserProperty => unsuback.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        if reader.is_empty() {
            return Err(reader.protocol("payload", "no reason code"));
        }
        while !reader.is_empty() {
            unsuback.codes.push(reader.reason()?);
        }
        Ok(unsuback)
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Unsuback, out, &|out| {
            out.u16(self.packet_id.get());
            if !version.is_v5() {
                return;
            }
            encode::section(out, &|out| {
                encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
            });
            for code in &self.codes {
                out.u8(code.as_u8());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{both_ways, id, written},
    };

    #[test]
    fn codes_are_of_5_only() {
        let codes = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        let packet = Packet::Unsuback(Unsuback::new(id(4), codes));
        both_ways(packet.clone(), Version::V5, &[0xB0, 5, 0, 4, 0, 0, 0x11]);
        written(&packet, Version::V4, &[0xB0, 2, 0, 4]);
        let packet = Packet::Unsuback(Unsuback::new(id(4), Vec::new()));
        both_ways(packet, Version::V4, &[0xB0, 2, 0, 4]);
    }
}
