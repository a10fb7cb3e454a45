//! The packets. One file each, holding the type with its decoding and encoding for all versions.

use bytes::Bytes;
use bytestring::ByteString;
use std::num::NonZeroU16;

use crate::{property::UserProperties, qos::QoS, reason::ReasonCode, version::Version};

/// A packet identifier: 1 to 65,535. `[MQTT-2.2.1-3]`
pub type PacketId = NonZeroU16;

/// Any packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    Connack(Box<Connack>),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Subscribe(Subscribe),
    Suback(Suback),
    Unsubscribe(Unsubscribe),
    Unsuback(Unsuback),
    Pingreq,
    Pingresp,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}

pub struct Connect {
    pub version: Version,
    /// Clean Session (3.1.1) or Clean Start (5).
    pub clean_start: bool,
    /// Seconds; 0 turns keep alive off.
    pub keep_alive: u16,
    pub client_id: ByteString,
    pub will: Option<Will>,
    pub username: Option<ByteString>,
    pub password: Option<Bytes>,
    /// Seconds (5). `None`: absent. `u32::MAX`: never expires.
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of a whole packet; never 0.
    pub maximum_packet_size: Option<u32>,
    pub topic_alias_maximum: u16,
    pub request_response_information: bool,
    /// True when absent.
    pub request_problem_information: bool,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
    pub user_properties: UserProperties,
}

pub struct Will {
    pub topic: ByteString,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// Seconds (5).
    pub delay: u32,
    /// Seconds (5).
    pub message_expiry: Option<u32>,
    /// The other properties of a publish as encoded bytes, without the length: validated, in the form of `Publish::properties`.
    pub properties: Bytes,
}

pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty only with a topic alias (5).
    pub topic: ByteString,
    /// `Some` exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// Never `Some(0)`. `[MQTT-3.3.2-8]`
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds.
    pub message_expiry: Option<u32>,
    /// Only from a server to a client; a server refuses them from a client. `[MQTT-3.3.4-6]`
    pub subscription_ids: smallvec::SmallVec<[u32; 1]>,
    /// The other properties (payload format, content type, response topic, correlation data, user
    /// properties) as encoded bytes, validated, without the property length. A slice of the
    /// received buffer where they stand in one piece.
    pub properties: Bytes,
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, which have one form.
pub struct Ack {
    pub packet_id: PacketId,
    pub reason: ReasonCode,
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
}

pub struct Subscribe {
    pub packet_id: PacketId,
    pub subscription_id: Option<u32>,
    pub user_properties: UserProperties,
    /// At least one. `[MQTT-3.8.3-2]`
    pub filters: Vec<SubscribeFilter>,
}

pub struct SubscribeFilter {
    /// Valid UTF-8; whether it is a valid *filter* is checked by the receiver with `Filter::parse`.
    pub filter: ByteString,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

pub enum RetainHandling { Send = 0, SendIfNew = 1, DoNotSend = 2 }
