//! SUBACK. v5 and v3.1.1 3.9

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

/// The server's answer to SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// The one of SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in their order. v5 `[MQTT-3.9.3-1]`, v3.1.1 `[MQTT-3.8.4-5]`. Every failure is 0x80
    /// below 5.
    pub codes: Vec<ReasonCode>,
    /// For people to read (5).
    pub reason_string: Option<ByteString>,
    /// v5 3.9.2.1.3
    pub user_properties: UserProperties,
}

impl Suback {
    /// A SUBACK without properties.
    pub fn new(packet_id: PacketId, codes: Vec<ReasonCode>) -> Suback {
        Suback {
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

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Suback, DecodeError> {
        let mut suback = Suback::new(reader.packet_id()?, Vec::new());
        let mut section = Section::of(&mut reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::ReasonString => suback.reason_string = Some(section.string()?),
                Identifier::UserProperty => suback.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        if reader.is_empty() {
            return Err(reader.protocol("payload", "no reason code"));
        }
        while !reader.is_empty() {
            let code = if reader.version().is_v5() {
                reader.reason()?
            } else {
                decode_return_code(&mut reader)?
            };
            suback.codes.push(code);
        }
        Ok(suback)
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Suback, out, &|out| {
            out.u16(self.packet_id.get());
            if version.is_v5() {
                encode::section(out, &|out| {
                    encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
                });
            }
            for code in &self.codes {
                // v3.1.1 [MQTT-3.9.3-2]
                let all_failures_alike = !version.is_v5() && code.is_error();
                out.u8(if all_failures_alike {
                    0x80
                } else {
                    code.as_u8()
                });
            }
        });
    }
}

/// v3.1.1 `[MQTT-3.9.3-2]`
fn decode_return_code(reader: &mut Reader<'_>) -> Result<ReasonCode, DecodeError> {
    match reader.u8("return code")? {
        0x00 => Ok(ReasonCode::Success),
        0x01 => Ok(ReasonCode::GrantedQos1),
        0x02 => Ok(ReasonCode::GrantedQos2),
        0x80 => Ok(ReasonCode::UnspecifiedError),
        _ => Err(reader.malformed("return code", "none of 0, 1, 2 and 0x80")),
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
    fn codes_of_5() {
        let codes = vec![
            ReasonCode::GRANTED_QOS_0,
            ReasonCode::GrantedQos2,
            ReasonCode::NotAuthorized,
        ];
        let mut suback = Suback::new(id(3), codes);
        let packet = Packet::Suback(suback.clone());
        both_ways(packet.clone(), Version::V5, &[0x90, 6, 0, 3, 0, 0, 2, 0x87]);
        // v3.1.1 [MQTT-3.9.3-2]
        written(&packet, Version::V4, &[0x90, 5, 0, 3, 0, 2, 0x80]);
        suback.reason_string = Some("no".into());
        let bytes = [0x90, 11, 0, 3, 5, 31, 0, 2, b'n', b'o', 0, 2, 0x87];
        both_ways(Packet::Suback(suback), Version::V5, &bytes);
    }

    #[test]
    fn codes_below_5() {
        let codes = vec![ReasonCode::GrantedQos1, ReasonCode::UnspecifiedError];
        let packet = Packet::Suback(Suback::new(id(3), codes));
        both_ways(packet, Version::V4, &[0x90, 4, 0, 3, 1, 0x80]);
    }
}
