//! The packets. One file each, holding the type with its decoding and encoding for all versions.

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod ping;
pub mod publish;
pub mod suback;
pub mod subscribe;
pub mod unsuback;
pub mod unsubscribe;

mod kind;

#[cfg(test)]
mod check;

use std::num::NonZeroU16;

pub use self::{
    ack::Ack,
    auth::Auth,
    connack::Connack,
    connect::{Connect, Will},
    disconnect::Disconnect,
    kind::Kind,
    publish::Publish,
    suback::Suback,
    subscribe::{RetainHandling, Subscribe, SubscribeFilter},
    unsuback::Unsuback,
    unsubscribe::Unsubscribe,
};
pub(crate) use kind::wrong_flags;

/// A packet identifier: 1 to 65,535. v5 `[MQTT-2.2.1-3]`, v3.1.1 `[MQTT-2.3.1-1]`
pub type PacketId = NonZeroU16;

/// Any packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client: let me in.
    Connect(Box<Connect>),
    /// Server: the answer to CONNECT.
    Connack(Box<Connack>),
    /// A message.
    Publish(Publish),
    /// The answer to a PUBLISH of QoS 1.
    Puback(Ack),
    /// QoS 2, the answer to PUBLISH.
    Pubrec(Ack),
    /// QoS 2, the answer to PUBREC.
    Pubrel(Ack),
    /// QoS 2, the answer to PUBREL.
    Pubcomp(Ack),
    /// Client: send me what matches.
    Subscribe(Subscribe),
    /// Server: the answer to SUBSCRIBE.
    Suback(Suback),
    /// Client: send me no more of this.
    Unsubscribe(Unsubscribe),
    /// Server: the answer to UNSUBSCRIBE.
    Unsuback(Unsuback),
    /// Client: are you there.
    Pingreq,
    /// Server: the answer to PINGREQ.
    Pingresp,
    /// The connection ends. From a server only in 5.
    Disconnect(Box<Disconnect>),
    /// A step of authentication (5).
    Auth(Box<Auth>),
}

impl Packet {
    /// Which packet it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Packet::Connect(_) => Kind::Connect,
            Packet::Connack(_) => Kind::Connack,
            Packet::Publish(_) => Kind::Publish,
            Packet::Puback(_) => Kind::Puback,
            Packet::Pubrec(_) => Kind::Pubrec,
            Packet::Pubrel(_) => Kind::Pubrel,
            Packet::Pubcomp(_) => Kind::Pubcomp,
            Packet::Subscribe(_) => Kind::Subscribe,
            Packet::Suback(_) => Kind::Suback,
            Packet::Unsubscribe(_) => Kind::Unsubscribe,
            Packet::Unsuback(_) => Kind::Unsuback,
            Packet::Pingreq => Kind::Pingreq,
            Packet::Pingresp => Kind::Pingresp,
            Packet::Disconnect(_) => Kind::Disconnect,
            Packet::Auth(_) => Kind::Auth,
        }
    }
}
