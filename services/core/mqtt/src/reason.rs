//! Reason codes.

use serde::{Deserialize, Serialize};

use crate::{packet::Kind, qos::QoS};

/// A reason code of v5 2.4. Below 0x80: success; from 0x80 on: failure.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[repr(u8)]
pub enum ReasonCode {
    /// Success; in DISCONNECT normal disconnection, in SUBACK granted QoS 0.
    #[default]
    Success = 0x00,
    /// Granted QoS 1.
    GrantedQos1 = 0x01,
    /// Granted QoS 2.
    GrantedQos2 = 0x02,
    /// The client leaves and wants its will to be published.
    DisconnectWithWill = 0x04,
    /// The message was taken, but nobody subscribes to its topic.
    NoMatchingSubscribers = 0x10,
    /// Nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11,
    /// Authentication goes on with another step.
    ContinueAuthentication = 0x18,
    /// The client starts to authenticate anew.
    ReAuthenticate = 0x19,
    /// An error that is not to be told, or that no other code describes.
    UnspecifiedError = 0x80,
    /// The bytes do not follow the grammar.
    MalformedPacket = 0x81,
    /// The bytes follow the grammar but break a rule.
    ProtocolError = 0x82,
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83,
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is valid but not allowed.
    ClientIdentifierNotValid = 0x85,
    /// The user name or password is not accepted.
    BadUserNameOrPassword = 0x86,
    /// Not authorized.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The server is busy; try again later.
    ServerBusy = 0x89,
    /// Banned by administrative action.
    Banned = 0x8A,
    /// The server is shutting down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported, or not the one of the start.
    BadAuthenticationMethod = 0x8C,
    /// Nothing came for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E,
    /// The topic filter is well formed but not accepted.
    TopicFilterInvalid = 0x8F,
    /// The topic name is well formed but not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is already in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged publishes than the receive maximum.
    ReceiveMaximumExceeded = 0x93,
    /// A topic alias that is 0 or above the maximum.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the maximum packet size.
    PacketTooLarge = 0x95,
    /// Too many messages in too short a time.
    MessageRateTooHigh = 0x96,
    /// A quota or limit has been reached.
    QuotaExceeded = 0x97,
    /// Closed by administrative action.
    AdministrativeAction = 0x98,
    /// The payload is not of the announced format.
    PayloadFormatInvalid = 0x99,
    /// The server does not retain messages.
    RetainNotSupported = 0x9A,
    /// The QoS is above the server's maximum.
    QosNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server for good.
    ServerMoved = 0x9D,
    /// The server does not share subscriptions.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connections in too short a time.
    ConnectionRateExceeded = 0x9F,
    /// The longest time allowed for this connection is over.
    MaximumConnectTime = 0xA0,
    /// The server does not take subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// The server does not take filters with wildcards.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The name of 0x00 in DISCONNECT.
    pub const NORMAL_DISCONNECTION: ReasonCode = ReasonCode::Success;
    /// The name of 0x00 in SUBACK.
    pub const GRANTED_QOS_0: ReasonCode = ReasonCode::Success;

    /// The code of the byte `code`, in whatever packet; `None` where the specification knows none.
    pub const fn from_u8(code: u8) -> Option<ReasonCode> {
        Some(match code {
            0x00 => ReasonCode::Success,
            0x01 => ReasonCode::GrantedQos1,
            0x02 => ReasonCode::GrantedQos2,
            0x04 => ReasonCode::DisconnectWithWill,
            0x10 => ReasonCode::NoMatchingSubscribers,
            0x11 => ReasonCode::NoSubscriptionExisted,
            0x18 => ReasonCode::ContinueAuthentication,
            0x19 => ReasonCode::ReAuthenticate,
            0x80 => ReasonCode::UnspecifiedError,
            0x81 => ReasonCode::MalformedPacket,
            0x82 => ReasonCode::ProtocolError,
            0x83 => ReasonCode::ImplementationSpecificError,
            0x84 => ReasonCode::UnsupportedProtocolVersion,
            0x85 => ReasonCode::ClientIdentifierNotValid,
            0x86 => ReasonCode::BadUserNameOrPassword,
            0x87 => ReasonCode::NotAuthorized,
            0x88 => ReasonCode::ServerUnavailable,
            0x89 => ReasonCode::ServerBusy,
            0x8A => ReasonCode::Banned,
            0x8B => ReasonCode::ServerShuttingDown,
            0x8C => ReasonCode::BadAuthenticationMethod,
            0x8D => ReasonCode::KeepAliveTimeout,
            0x8E => ReasonCode::SessionTakenOver,
            0x8F => ReasonCode::TopicFilterInvalid,
            0x90 => ReasonCode::TopicNameInvalid,
            0x91 => ReasonCode::PacketIdentifierInUse,
            0x92 => ReasonCode::PacketIdentifierNotFound,
            0x93 => ReasonCode::ReceiveMaximumExceeded,
            0x94 => ReasonCode::TopicAliasInvalid,
            0x95 => ReasonCode::PacketTooLarge,
            0x96 => ReasonCode::MessageRateTooHigh,
            0x97 => ReasonCode::QuotaExceeded,
            0x98 => ReasonCode::AdministrativeAction,
            0x99 => ReasonCode::PayloadFormatInvalid,
            0x9A => ReasonCode::RetainNotSupported,
            0x9B => ReasonCode::QosNotSupported,
            0x9C => ReasonCode::UseAnotherServer,
            0x9D => ReasonCode::ServerMoved,
            0x9E => ReasonCode::SharedSubscriptionsNotSupported,
            0x9F => ReasonCode::ConnectionRateExceeded,
            0xA0 => ReasonCode::MaximumConnectTime,
            0xA1 => ReasonCode::SubscriptionIdentifiersNotSupported,
            0xA2 => ReasonCode::WildcardSubscriptionsNotSupported,
            _ => return None,
        })
    }

    /// The byte on the wire (5).
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether the code tells of a failure: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The code by which SUBACK grants `qos`.
    pub const fn granted(qos: QoS) -> ReasonCode {
        match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQos1,
            QoS::ExactlyOnce => ReasonCode::GrantedQos2,
        }
    }

    /// Whether a packet `kind` may carry this code, whoever sends it.
    /// v5 `[MQTT-3.2.2-8]`, `[MQTT-3.4.2-1]`, `[MQTT-3.5.2-1]`, `[MQTT-3.6.2-1]`, `[MQTT-3.7.2-1]`,
    /// `[MQTT-3.9.3-2]`, `[MQTT-3.11.3-2]`, `[MQTT-3.14.2-1]`, `[MQTT-3.15.2-1]`
    pub const fn is_valid_in(self, kind: Kind) -> bool {
        let code = self as u8;
        match kind {
            Kind::Connack => {
                matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            Kind::Puback | Kind::Pubrec => {
                matches!(
                    code,
                    0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
                )
            }
            Kind::Pubrel | Kind::Pubcomp => matches!(code, 0x00 | 0x92),
            Kind::Suback => {
                matches!(
                    code,
                    0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
                )
            }
            Kind::Unsuback => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            Kind::Disconnect => {
                matches!(
                    code,
                    0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
                )
            }
            Kind::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }

    /// The return code of a 3.1 or 3.1.1 CONNACK that comes nearest: 0 to 5.
    /// v3.1.1 table 3.1; what it has no word for is "server unavailable".
    pub const fn connack_return_code(self) -> u8 {
        match self {
            code if !code.is_error() => 0,
            ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::UnsupportedProtocolVersion => 1,
            ReasonCode::ClientIdentifierNotValid => 2,
            ReasonCode::BadUserNameOrPassword => 4,
            // Nothing that trying again would change.
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }

    /// The code that a 3.1 or 3.1.1 CONNACK means by `return_code`; `None` for the reserved ones above 5.
    pub const fn from_connack_return_code(return_code: u8) -> Option<ReasonCode> {
        Some(match return_code {
            0 => ReasonCode::Success,
            1 => ReasonCode::UnsupportedProtocolVersion,
            2 => ReasonCode::ClientIdentifierNotValid,
            3 => ReasonCode::ServerUnavailable,
            4 => ReasonCode::BadUserNameOrPassword,
            5 => ReasonCode::NotAuthorized,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every byte that is a code is that code again.
    #[test]
    fn bytes_and_codes_agree() {
        let known = (0..=u8::MAX).filter_map(|byte| Some((byte, ReasonCode::from_u8(byte)?)));
        assert_eq!(known.clone().count(), 43);
        for (byte, code) in known {
            assert_eq!(code.as_u8(), byte);
            assert_eq!(code.is_error(), byte >= 0x80);
        }
    }

    #[test]
    fn old_return_codes_come_back() {
        for return_code in 0..=5 {
            let code = ReasonCode::from_connack_return_code(return_code).unwrap();
            assert_eq!(code.connack_return_code(), return_code);
            assert!(code.is_valid_in(Kind::Connack));
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), None);
        assert_eq!(ReasonCode::QuotaExceeded.connack_return_code(), 3);
        assert_eq!(ReasonCode::MalformedPacket.connack_return_code(), 1);
    }
}
