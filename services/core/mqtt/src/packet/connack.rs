//! CONNACK. v5 and v3.1.1 3.2

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::Kind;
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Section, UserProperties},
    qos::QoS,
    reason::ReasonCode,
    version::Version,
};

/// The server's answer to CONNECT. All but the first two fields are of 5 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack {
    /// The server has state of the client. False with a failure, `[MQTT-3.2.2-6]`, and in 3.1.
    pub session_present: bool,
    /// Below 5 written as the return code that comes nearest, see [`ReasonCode::connack_return_code`].
    pub reason: ReasonCode,
    /// Seconds; `None`: what the client asked for.
    pub session_expiry: Option<u32>,
    /// Unacknowledged publishes that the server takes; `None`: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS that the server takes; `None` or QoS 2, which are written alike: QoS 2. v5 3.2.2.3.4
    pub maximum_qos: Option<QoS>,
    /// Whether the server retains messages. True when absent.
    pub retain_available: bool,
    /// Bytes of a whole packet that the server takes, never 0; `None`: no limit.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier that the server gave, where the client had none.
    pub assigned_client_id: Option<ByteString>,
    /// The highest topic alias that the server takes. 0: none.
    pub topic_alias_maximum: u16,
    /// For people to read.
    pub reason_string: Option<ByteString>,
    /// Whether filters may have wildcards. True when absent.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers. True when absent.
    pub subscription_ids_available: bool,
    /// Whether subscriptions may be shared. True when absent.
    pub shared_subscription_available: bool,
    /// Seconds; the keep alive to use in place of the client's own. `[MQTT-3.2.2-21]`
    pub server_keep_alive: Option<u16>,
    /// From which to make response topics.
    pub response_information: Option<ByteString>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// The one of CONNECT.
    pub authentication_method: Option<ByteString>,
    /// Only with a method.
    pub authentication_data: Option<Bytes>,
    /// v5 3.2.2.3.10
    pub user_properties: UserProperties,
}

impl Default for Connack {
    /// Success, no session, and everything else absent.
    fn default() -> Connack {
        Connack {
            session_present: false,
            reason: ReasonCode::Success,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_ids_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::new(),
        }
    }
}

impl Connack {
    /// The answer that the client is not let in.
    pub fn refused(reason: ReasonCode) -> Connack {
        Connack {
            reason,
            ..Connack::default()
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

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Connack, DecodeError> {
        let mut connack = Connack::default();
        let flags = reader.u8("acknowledge flags")?;
        // v5 and v3.1.1 [MQTT-3.2.2-1]; 3.1 gives the byte no meaning
        if reader.version() != Version::V3 {
            if flags > 1 {
                return Err(reader.malformed("acknowledge flags", "a reserved flag is set"));
            }
            connack.session_present = flags == 1;
        }
        connack.reason = if reader.version().is_v5() {
            reader.reason()?
        } else {
            ReasonCode::from_connack_return_code(reader.u8("return code")?)
                .ok_or_else(|| reader.malformed("return code", "above 5"))?
        };
        // v5 [MQTT-3.2.2-6], v3.1.1 [MQTT-3.2.2-4]
        if connack.session_present && connack.reason.is_error() {
            return Err(reader.protocol("session present", "set with a failure"));
        }
        connack.decode_properties(&mut reader)?;
        reader.end()?;
        Ok(connack)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        use Identifier as Id;
        let mut section = Section::of(reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Id::SessionExpiry => self.session_expiry = Some(section.u32()?),
                Id::ReceiveMaximum => self.receive_maximum = Some(section.non_zero_u16()?),
                Id::MaximumQos => {
                    let limited = section.boolean()?;
                    self.maximum_qos = QoS::from_bits(u8::from(limited));
                }
                Id::RetainAvailable => self.retain_available = section.boolean()?,
                Id::MaximumPacketSize => self.maximum_packet_size = Some(section.non_zero_u32()?),
                Id::AssignedClientId => self.assigned_client_id = Some(section.string()?),
                Id::TopicAliasMaximum => self.topic_alias_maximum = section.u16()?,
                Id::ReasonString => self.reason_string = Some(section.string()?),
                Id::WildcardSubscriptionAvailable => {
                    self.wildcard_subscription_available = section.boolean()?;
                }
                Id::SubscriptionIdsAvailable => {
                    self.subscription_ids_available = section.boolean()?;
                }
                Id::SharedSubscriptionAvailable => {
                    self.shared_subscription_available = section.boolean()?;
                }
                Id::ServerKeepAlive => self.server_keep_alive = Some(section.u16()?),
                Id::ResponseInformation => self.response_information = Some(section.string()?),
                Id::ServerReference => self.server_reference = Some(section.string()?),
                Id::AuthenticationMethod => self.authentication_method = Some(section.string()?),
                Id::AuthenticationData => self.authentication_data = Some(section.binary()?),
                Id::UserProperty => self.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(reader.protocol("authentication data", "without a method"));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Connack, out, &|out| {
            let present = self.session_present && !self.reason.is_error() && version != Version::V3;
            out.u8(u8::from(present));
            if version.is_v5() {
                out.u8(self.reason.as_u8());
                encode::section(out, &|out| self.write_properties(out));
            } else {
                out.u8(self.reason.connack_return_code());
            }
        });
    }

    fn write_properties(&self, out: &mut dyn Sink) {
        use Identifier as Id;
        encode::optional_u32(Id::SessionExpiry, self.session_expiry, out);
        encode::optional_u16(
            Id::ReceiveMaximum,
            self.receive_maximum.map(NonZeroU16::get),
            out,
        );
        if let Some(qos @ (QoS::AtMostOnce | QoS::AtLeastOnce)) = self.maximum_qos {
            out.u8(Id::MaximumQos as u8);
            out.u8(qos as u8);
        }
        encode::boolean_unless(true, Id::RetainAvailable, self.retain_available, out);
        encode::optional_u32(Id::MaximumPacketSize, self.maximum_packet_size, out);
        encode::optional_prefixed(Id::AssignedClientId, self.assigned_client_id.as_ref(), out);
        let alias_maximum = Some(self.topic_alias_maximum).filter(|&maximum| maximum > 0);
        encode::optional_u16(Id::TopicAliasMaximum, alias_maximum, out);
        let wildcard = self.wildcard_subscription_available;
        encode::boolean_unless(true, Id::WildcardSubscriptionAvailable, wildcard, out);
        let ids = self.subscription_ids_available;
        encode::boolean_unless(true, Id::SubscriptionIdsAvailable, ids, out);
        let shared = self.shared_subscription_available;
        encode::boolean_unless(true, Id::SharedSubscriptionAvailable, shared, out);
        encode::optional_u16(Id::ServerKeepAlive, self.server_keep_alive, out);
        encode::optional_prefixed(
            Id::ResponseInformation,
            self.response_information.as_ref(),
            out,
        );
        encode::optional_prefixed(Id::ServerReference, self.server_reference.as_ref(), out);
        let method = self.authentication_method.as_ref();
        encode::optional_prefixed(Id::AuthenticationMethod, method, out);
        let data = self.authentication_data.as_ref();
        encode::optional_prefixed(Id::AuthenticationData, data, out);
        encode::reason_string_and_user(&self.reason_string, &self.user_properties, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{both_ways, decoded, written},
    };

    fn packet(connack: Connack) -> Packet {
        Packet::Connack(Box::new(connack))
    }

    #[test]
    fn success() {
        let present = Connack {
            session_present: true,
            ..Connack::default()
        };
        both_ways(packet(present.clone()), Version::V4, &[0x20, 2, 1, 0]);
        both_ways(packet(present.clone()), Version::V5, &[0x20, 3, 1, 0, 0]);
        // 3.1 cannot say it.
        written(&packet(present), Version::V3, &[0x20, 2, 0, 0]);
        both_ways(packet(Connack::default()), Version::V3, &[0x20, 2, 0, 0]);
    }

    #[test]
    fn failures_have_older_words() {
        let rows = [
            (ReasonCode::UnsupportedProtocolVersion, 0x84, 1),
            (ReasonCode::ClientIdentifierNotValid, 0x85, 2),
            (ReasonCode::ServerUnavailable, 0x88, 3),
            (ReasonCode::BadUserNameOrPassword, 0x86, 4),
            (ReasonCode::NotAuthorized, 0x87, 5),
        ];
        for (reason, code, return_code) in rows {
            both_ways(
                packet(Connack::refused(reason)),
                Version::V5,
                &[0x20, 3, 0, code, 0],
            );
            both_ways(
                packet(Connack::refused(reason)),
                Version::V4,
                &[0x20, 2, 0, return_code],
            );
        }
        let quota = packet(Connack::refused(ReasonCode::QuotaExceeded));
        written(&quota, Version::V4, &[0x20, 2, 0, 3]);
        let banned = packet(Connack::refused(ReasonCode::Banned));
        written(&banned, Version::V4, &[0x20, 2, 0, 5]);
    }

    // v5 [MQTT-3.2.2-6], v3.1.1 [MQTT-3.2.2-4]
    #[test]
    fn no_session_with_a_failure() {
        let connack = Connack {
            session_present: true,
            ..Connack::refused(ReasonCode::Banned)
        };
        written(&packet(connack), Version::V5, &[0x20, 3, 0, 0x8A, 0]);
        assert!(decoded(&[0x20, 3, 1, 0x8A, 0], Version::V5).is_err());
        assert!(decoded(&[0x20, 2, 1, 5], Version::V4).is_err());
    }

    #[test]
    fn everything_that_5_knows() {
        let mut connack = Connack {
            session_expiry: Some(10),
            receive_maximum: NonZeroU16::new(3),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: false,
            maximum_packet_size: Some(256),
            assigned_client_id: Some("i".into()),
            topic_alias_maximum: 2,
            wildcard_subscription_available: false,
            subscription_ids_available: false,
            shared_subscription_available: false,
            server_keep_alive: Some(30),
            response_information: Some("r".into()),
            server_reference: Some("s".into()),
            authentication_method: Some("m".into()),
            authentication_data: Some(Bytes::from_static(b"d")),
            reason_string: Some("w".into()),
            ..Connack::default()
        };
        connack.user_properties.push("k", "v");
        #[rustfmt::skip]
        let bytes = [
            0x20, 63, 0, 0, 60,
            17, 0, 0, 0, 10, 33, 0, 3, 36, 1, 37, 0, 39, 0, 0, 1, 0, 18, 0, 1, b'i', 34, 0, 2,
            40, 0, 41, 0, 42, 0, 19, 0, 30, 26, 0, 1, b'r', 28, 0, 1, b's', 21, 0, 1, b'm',
            22, 0, 1, b'd', 31, 0, 1, b'w', 38, 0, 1, b'k', 0, 1, b'v',
        ];
        both_ways(packet(connack.clone()), Version::V5, &bytes);
        written(&packet(connack), Version::V4, &[0x20, 2, 0, 0]);
    }
}
