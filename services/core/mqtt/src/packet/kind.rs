//! The types of packets, and the first byte.

use std::fmt;

use crate::{decode::Role, error::DecodeError};

/// The type of a packet, with its number on the wire. v5 and v3.1.1 2.1.2
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names say it; `Packet` explains them.
pub enum Kind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    /// The type that `first` names; its flags are checked too. v5 `[MQTT-2.1.3-1]`, v3.1.1 `[MQTT-2.2.2-2]`
    ///
    /// The flag by which 3.1 marks a packet as sent again is let through, since the version is not known here.
    #[inline]
    pub(crate) fn from_first_byte(first: u8) -> Result<Kind, DecodeError> {
        let kind = match first >> 4 {
            1 => Kind::Connect,
            2 => Kind::Connack,
            3 => Kind::Publish,
            4 => Kind::Puback,
            5 => Kind::Pubrec,
            6 => Kind::Pubrel,
            7 => Kind::Pubcomp,
            8 => Kind::Subscribe,
            9 => Kind::Suback,
            10 => Kind::Unsubscribe,
            11 => Kind::Unsuback,
            12 => Kind::Pingreq,
            13 => Kind::Pingresp,
            14 => Kind::Disconnect,
            15 => Kind::Auth,
            _ => return Err(DecodeError::UnknownPacket),
        };
        let flags = first & 0x0F;
        let right = match kind {
            // v5 and v3.1.1 [MQTT-3.3.1-4]: no QoS 3; [MQTT-3.3.1-2]: no DUP with QoS 0
            Kind::Publish => flags & 0x06 != 0x06 && flags & 0x0E != 0x08,
            // [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => flags & 0x07 == 0x02,
            _ => flags == 0,
        };
        if right {
            Ok(kind)
        } else {
            Err(wrong_flags(kind))
        }
    }

    /// The first byte of every packet of this type; of PUBLISH, without its flags.
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => 0x02,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// Whether the other end ever sends it, in whatever version.
    #[inline]
    pub(crate) const fn may_come_to(self, role: Role) -> bool {
        match self {
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq => {
                !matches!(role, Role::Client)
            }
            Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => {
                !matches!(role, Role::Server)
            }
            _ => true,
        }
    }
}

#[cold]
pub(crate) fn wrong_flags(kind: Kind) -> DecodeError {
    DecodeError::Malformed {
        packet: kind,
        field: "fixed header",
        problem: "wrong flags",
    }
}

impl fmt::Display for Kind {
    /// The name as the specification writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Connect => "CONNECT",
            Kind::Connack => "CONNACK",
            Kind::Publish => "PUBLISH",
            Kind::Puback => "PUBACK",
            Kind::Pubrec => "PUBREC",
            Kind::Pubrel => "PUBREL",
            Kind::Pubcomp => "PUBCOMP",
            Kind::Subscribe => "SUBSCRIBE",
            Kind::Suback => "SUBACK",
            Kind::Unsubscribe => "UNSUBSCRIBE",
            Kind::Unsuback => "UNSUBACK",
            Kind::Pingreq => "PINGREQ",
            Kind::Pingresp => "PINGRESP",
            Kind::Disconnect => "DISCONNECT",
            Kind::Auth => "AUTH",
        })
    }
}
