//! DISCONNECT. v5 and v3.1.1 3.14

use bytes::BytesMut;
use bytestring::ByteString;

use super::Kind;
use crate::{
    decode::{Role, reader::Reader},
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Section, UserProperties},
    reason::ReasonCode,
    version::Version,
};

/// The last packet of a connection. Below 5 it comes from clients only, and says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why (5).
    pub reason: ReasonCode,
    /// Seconds, in place of what CONNECT asked for (5). Only from a client. `[MQTT-3.14.2-2]`
    pub session_expiry: Option<u32>,
    /// For people to read (5).
    pub reason_string: Option<ByteString>,
    /// v5 3.14.2.2.4
    pub user_properties: UserProperties,
    /// Another server to use (5). Only from a server.
    pub server_reference: Option<ByteString>,
}

impl Disconnect {
    /// A DISCONNECT without properties.
    pub fn new(reason: ReasonCode) -> Disconnect {
        Disconnect {
            reason,
            ..Disconnect::default()
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

    pub(crate) fn decode(mut reader: Reader<'_>, role: Role) -> Result<Disconnect, DecodeError> {
        if !reader.version().is_v5() {
            reader.end()?;
        }
        let mut disconnect = Disconnect::default();
        if reader.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason = reader.reason()?;
        if !may_come_to(role, disconnect.reason) {
            return Err(reader.protocol("reason code", "not one of that sender"));
        }
        // v5 3.14.2.2.1: no property length where it would be all that follows
        if !reader.is_empty() {
            disconnect.decode_properties(&mut reader, role)?;
            reader.end()?;
        }
        Ok(disconnect)
    }

    fn decode_properties(
        &mut self,
        reader: &mut Reader<'_>,
        role: Role,
    ) -> Result<(), DecodeError> {
        let mut section = Section::of(reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                // v5 [MQTT-3.14.2-2]
                Identifier::SessionExpiry if role != Role::Client => {
                    self.session_expiry = Some(section.u32()?);
                }
                Identifier::ServerReference if role != Role::Server => {
                    self.server_reference = Some(section.string()?);
                }
                Identifier::ReasonString => self.reason_string = Some(section.string()?),
                Identifier::UserProperty => self.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        Ok(())
    }

    fn has_properties(&self) -> bool {
        self.session_expiry.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Disconnect, out, &|out| {
            let silent = self.reason == ReasonCode::Success && !self.has_properties();
            if silent || !version.is_v5() {
                return;
            }
            out.u8(self.reason.as_u8());
            if self.has_properties() {
                encode::section(out, &|out| self.write_properties(out));
            }
        });
    }

    fn write_properties(&self, out: &mut dyn Sink) {
        encode::optional_u32(Identifier::SessionExpiry, self.session_expiry, out);
        let reference = self.server_reference.as_ref();
        encode::optional_prefixed(Identifier::ServerReference, reference, out);
        encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
    }
}

/// Who may say what. v5 table 3-10. Servers that say 0x00, which is a client's word, are common, and understood.
fn may_come_to(role: Role, reason: ReasonCode) -> bool {
    match role {
        Role::Either => true,
        Role::Client => reason != ReasonCode::DisconnectWithWill,
        Role::Server => matches!(
            reason.as_u8(),
            0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{VERSIONS, both_ways, decoded, decoded_by, written},
    };

    fn packet(disconnect: Disconnect) -> Packet {
        Packet::Disconnect(Box::new(disconnect))
    }

    #[test]
    fn normal_is_short() {
        for version in VERSIONS {
            both_ways(packet(Disconnect::default()), version, &[0xE0, 0]);
        }
        let long = decoded(&[0xE0, 2, 0, 0], Version::V5);
        assert_eq!(long, Ok(packet(Disconnect::default())));
    }

    #[test]
    fn reason_and_properties() {
        let mut disconnect = Disconnect::new(ReasonCode::DisconnectWithWill);
        both_ways(packet(disconnect.clone()), Version::V5, &[0xE0, 1, 4]);
        written(&packet(disconnect.clone()), Version::V4, &[0xE0, 0]);
        disconnect.session_expiry = Some(1);
        let bytes = [0xE0, 7, 4, 5, 17, 0, 0, 0, 1];
        both_ways(packet(disconnect), Version::V5, &bytes);
        // v5 [MQTT-3.14.2-2]
        assert!(decoded_by(&bytes, Some(Version::V5), Role::Server).is_ok());
        assert!(decoded_by(&bytes, Some(Version::V5), Role::Client).is_err());
    }

    // v5 table 3-10
    #[test]
    fn a_server_does_not_believe_what_only_servers_say() {
        let taken_over = [0xE0, 1, 0x8E];
        assert!(decoded_by(&taken_over, Some(Version::V5), Role::Client).is_ok());
        assert!(decoded_by(&taken_over, Some(Version::V5), Role::Server).is_err());
        assert!(decoded_by(&[0xE0, 1, 4], Some(Version::V5), Role::Client).is_err());
        assert!(decoded_by(&[0xE0, 0], Some(Version::V4), Role::Client).is_err());
    }
}
