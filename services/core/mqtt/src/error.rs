//! Why bytes are not a packet.

use crate::{packet::Kind, reason::ReasonCode};

/// What was wrong with received bytes, and where. Nothing in it is allocated: an attacker who sends
/// rubbish pays more for it than we do.
///
/// All of these are the fault of the sender, and none goes away by trying again: the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not follow the grammar. v5 1.2 "Malformed Packet"
    #[error("malformed {packet}, {field}: {problem}")]
    Malformed {
        /// The packet at whose decoding it happened.
        packet: Kind,
        /// The part of the packet.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The bytes follow the grammar but break a rule. v5 1.2 "Protocol Error"
    #[error("protocol error in {packet}, {field}: {problem}")]
    Protocol {
        /// The packet at whose decoding it happened.
        packet: Kind,
        /// The part of the packet.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The first byte names no packet: its upper four bits are 0. `[MQTT-2.1.2]`
    #[error("malformed packet, type 0 is reserved")]
    UnknownPacket,
    /// The first packet of a connection is not CONNECT. `[MQTT-3.1.0-1]`
    #[error("the first packet is {packet}, not CONNECT")]
    ConnectExpected {
        /// What came in its place.
        packet: Kind,
    },
    /// This packet is not for this end of the connection, at this time or in this version.
    #[error("{packet} is not allowed here")]
    Unexpected {
        /// The packet.
        packet: Kind,
    },
    /// The whole packet would be larger than `decode::Limits::maximum_packet_size`. v5 `[MQTT-3.1.2-24]`, `[MQTT-3.2.2-15]`
    #[error("a packet of {length} bytes is larger than {maximum}")]
    PacketTooLarge {
        /// Bytes of the whole packet, with its fixed header.
        length: usize,
        /// The limit, in bytes.
        maximum: u32,
    },
    /// A protocol name other than `MQTT` and `MQIsdp`. v5 `[MQTT-3.1.2-1]`, v3.1.1 `[MQTT-3.1.2-1]`
    #[error("unknown protocol name")]
    ProtocolName,
    /// A protocol level that its protocol name does not have. v5 `[MQTT-3.1.2-2]`, v3.1.1 `[MQTT-3.1.2-2]`
    #[error("protocol level {level} is not supported")]
    UnsupportedProtocolVersion {
        /// The level that the client asked for.
        level: u8,
    },
    /// A topic name that is empty or has wildcards. v5 `[MQTT-3.3.2-2]`, `[MQTT-4.7.3-1]`
    #[error("invalid topic name in {packet}: {problem}")]
    TopicName {
        /// PUBLISH, or CONNECT for the topic of a will.
        packet: Kind,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A topic alias of 0. v5 `[MQTT-3.3.2-8]`
    #[error("topic alias 0")]
    TopicAlias,
}

impl DecodeError {
    /// The v5 code to send in CONNACK or DISCONNECT before the connection is closed. Versions below 5
    /// have no word for most of these: there the connection is closed silently, except that CONNACK
    /// tells of [`ReasonCode::UnsupportedProtocolVersion`].
    pub const fn reason(&self) -> ReasonCode {
        match self {
            DecodeError::Malformed { .. } | DecodeError::UnknownPacket => {
                ReasonCode::MalformedPacket
            }
            DecodeError::Protocol { .. }
            | DecodeError::ConnectExpected { .. }
            | DecodeError::Unexpected { .. } => ReasonCode::ProtocolError,
            DecodeError::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            DecodeError::ProtocolName | DecodeError::UnsupportedProtocolVersion { .. } => {
                ReasonCode::UnsupportedProtocolVersion
            }
            DecodeError::TopicName { .. } => ReasonCode::TopicNameInvalid,
            DecodeError::TopicAlias => ReasonCode::TopicAliasInvalid,
        }
    }
}
