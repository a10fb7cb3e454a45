//! Messages: immutable, shared, and never copied on their way.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use catena_mqtt::QoS;
use serde::{Deserialize, Serialize};

use crate::id::{ClientKey, Time};

/// What a publish costs beyond its bytes, in bytes: the bookkeeping of one stored message.
pub const MESSAGE_OVERHEAD_BYTES: usize = 96;

/// A published message as the publisher sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The topic, never an alias.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// The MQTT 5 properties as encoded bytes, without alias, expiry and subscription ids `[F-44]`.
    pub properties: Bytes,
    /// The publisher's QoS.
    pub qos: QoS,
    /// The publisher's RETAIN flag.
    pub retain: bool,
    /// Seconds from the entry that publishes it, already less what it spent in the gateway.
    pub expiry: Option<u32>,
    /// Who published it; No Local compares this `[F-2]`.
    pub publisher: ClientKey,
    /// Counts a connection's QoS 0 messages, so that a shared group can choose without state `[F-70]`.
    pub counter: u32,
}

impl Message {
    /// Bytes that the message weighs in every account.
    pub fn weight(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len() + MESSAGE_OVERHEAD_BYTES
    }

    /// When the message expires if it is published at `at`: by its own expiry, within `bound` seconds; by the bound alone
    /// where it has none; [`Time::NEVER`] with neither.
    pub fn expires_at(&self, at: Time, bound: Option<u32>) -> Time {
        match (self.expiry, bound) {
            (Some(own), Some(bound)) => at.plus_seconds(own.min(bound)),
            (Some(seconds), None) | (None, Some(seconds)) => at.plus_seconds(seconds),
            (None, None) => Time::NEVER,
        }
    }
}

/// A will, kept in the session record at home `[F-20]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// What will be published. Its expiry starts when it is published.
    pub message: Arc<Message>,
    /// Seconds from the end of the connection.
    pub delay: u32,
}

/// Gateways read from clients in pieces of this many bytes; a small message would pin such a piece whole.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// The message in memory of its own, if it may use less than half of the buffer that it came in `[F-45]`.
pub fn compact(message: &Arc<Message>) -> Arc<Message> {
    let (topic, payload, properties) = (
        message.topic.as_bytes(),
        &message.payload,
        &message.properties,
    );
    let used = topic.len() + payload.len() + properties.len();
    if used >= READ_CHUNK_BYTES / 2 {
        return message.clone();
    }
    let mut own = bytes::BytesMut::with_capacity(used);
    own.extend_from_slice(topic);
    own.extend_from_slice(payload);
    own.extend_from_slice(properties);
    let own = own.freeze();
    let slice = |from: usize, len: usize| {
        if len == 0 {
            Bytes::new()
        } else {
            own.slice(from..from + len)
        }
    };
    let topic_end = topic.len();
    Arc::new(Message {
        topic: ByteString::try_from(slice(0, topic_end)).unwrap_or_else(|_| message.topic.clone()),
        payload: slice(topic_end, payload.len()),
        properties: slice(topic_end + payload.len(), properties.len()),
        ..Message::clone(message)
    })
}
