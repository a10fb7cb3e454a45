//! AUTH, a step of extended authentication (5). v5 3.15, 4.12

use bytes::{Bytes, BytesMut};
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

/// A step of extended authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// `Success` comes from a server only, `ReAuthenticate` from a client only. `[MQTT-3.15.2-1]`
    pub reason: ReasonCode,
    /// The one of CONNECT. Absent only in the short form of `Success`. v5 3.15.2.2.2
    pub method: Option<ByteString>,
    /// What the method says.
    pub data: Option<Bytes>,
    /// For people to read.
    pub reason_string: Option<ByteString>,
    /// v5 3.15.2.2.5
    pub user_properties: UserProperties,
}

impl Auth {
    /// An AUTH without data.
    pub fn new(reason: ReasonCode, method: impl Into<ByteString>) -> Auth {
        Auth {
            reason,
            method: Some(method.into()),
            ..Auth::default()
        }
    }

    /// Appends the packet; nothing below 5.
    ///
    /// # Panics
    ///
    /// As [`encode::encode`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        self.write(version, out);
    }

    pub(crate) fn decode(mut reader: Reader<'_>, role: Role) -> Result<Auth, DecodeError> {
        let mut auth = Auth::default();
        // v5 3.15.2.1
        let omitted = reader.is_empty();
        if !omitted {
            auth.reason = reader.reason()?;
        }
        // v5 table 3-11
        let from_the_wrong_end = match role {
            Role::Server => auth.reason == ReasonCode::Success,
            Role::Client => auth.reason == ReasonCode::ReAuthenticate,
            Role::Either => false,
        };
        if from_the_wrong_end {
            return Err(reader.protocol("reason code", "not one of that sender"));
        }
        if omitted {
            return Ok(auth);
        }
        auth.decode_properties(&mut reader)?;
        reader.end()?;
        Ok(auth)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut section = Section::of(reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::AuthenticationMethod => self.method = Some(section.string()?),
                Identifier::AuthenticationData => self.data = Some(section.binary()?),
                Identifier::ReasonString => self.reason_string = Some(section.string()?),
                Identifier::UserProperty => self.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        // v5 3.15.2.2.2
        if self.method.is_none() {
            return Err(reader.protocol("authentication method", "missing"));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        if !version.is_v5() {
            return;
        }
        encode::frame(Kind::Auth, out, &|out| {
            if *self == Auth::default() {
                return;
            }
            out.u8(self.reason.as_u8());
            encode::section(out, &|out| {
                let method = self.method.as_ref();
                encode::optional_prefixed(Identifier::AuthenticationMethod, method, out);
                let data = self.data.as_ref();
                encode::optional_prefixed(Identifier::AuthenticationData, data, out);
                encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{both_ways, decoded, decoded_by, written},
    };

    #[test]
    fn steps() {
        let mut auth = Auth::new(ReasonCode::ContinueAuthentication, "m");
        auth.data = Some(Bytes::from_static(&[1, 2]));
        let packet = Packet::Auth(Box::new(auth));
        let bytes = [0xF0, 11, 0x18, 9, 21, 0, 1, b'm', 22, 0, 2, 1, 2];
        both_ways(packet.clone(), Version::V5, &bytes);
        // Below 5 there is no such packet.
        written(&packet, Version::V4, &[]);
        assert!(decoded(&bytes, Version::V4).is_err());
    }

    // v5 3.15.2.1: success may say nothing; 3.15.2.2.2: everything else names the method
    #[test]
    fn short_success() {
        both_ways(Packet::Auth(Box::default()), Version::V5, &[0xF0, 0]);
        assert!(decoded(&[0xF0, 2, 0x18, 0], Version::V5).is_err());
        assert!(decoded(&[0xF0, 2, 0x00, 0], Version::V5).is_err());
    }

    // v5 table 3-11
    #[test]
    fn ends_say_what_is_theirs() {
        let again = [0xF0, 6, 0x19, 4, 21, 0, 1, b'm'];
        assert!(decoded_by(&again, Some(Version::V5), Role::Server).is_ok());
        assert!(decoded_by(&again, Some(Version::V5), Role::Client).is_err());
        assert!(decoded_by(&[0xF0, 0], Some(Version::V5), Role::Server).is_err());
    }
}
