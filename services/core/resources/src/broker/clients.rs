//! What clients may ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spelled::spelled;

const SESSION_EXPIRY_DEFAULT: u32 = 3_600;
const SUBSCRIPTIONS_DEFAULT: u32 = 100_000;

/// What clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Clients {
    /// Upper bound of the session expiry, and that of 3.1.1 sessions with clean session 0.
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub max_session_expiry_seconds: u32,
    /// Upper bound of the message expiry, and that of messages without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub max_message_expiry_seconds: Option<u32>,
    /// The largest packet of a client; by the memory profile when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 268435456))]
    pub max_packet_size_bytes: Option<u32>,
    /// Upper bound of the Receive Maximum that a client asks for, and our own.
    #[schemars(range(min = 1, max = 65535))]
    pub max_receive_maximum: u16,
    /// Upper bound of the keep alive; a lower one is told to the client.
    #[schemars(range(min = 0, max = 65535))]
    pub max_keep_alive_seconds: u16,
    /// Queued messages per subscriber and shard.
    pub subscriber_queue_limit: SubscriberQueueLimit,
    /// + Subscriptions of a session.
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub max_subscriptions: u32,
    /// + Publishes of a client in a second. Without it there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub max_publish_rate: Option<u32>,
    /// + Bytes of publishes of a client in a second. Without it there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_publish_bytes_rate: Option<u64>,
}

/// Queued messages per subscriber and shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SubscriberQueueLimit {
    /// How many; without it only memory is the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub length: Option<u64>,
    /// What happens beyond it.
    pub strategy: QueueStrategy,
}

spelled! {
    /// What happens beyond the length of a queue.
    #[derive(Default)]
    pub enum QueueStrategy {
        /// Nothing: the length binds nothing, and memory is the limit.
        #[default]
        None,
        /// The oldest message is dropped.
        DropOldest,
    }
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            max_session_expiry_seconds: SESSION_EXPIRY_DEFAULT,
            max_message_expiry_seconds: None,
            max_packet_size_bytes: None,
            max_receive_maximum: u16::MAX,
            max_keep_alive_seconds: u16::MAX,
            subscriber_queue_limit: SubscriberQueueLimit::default(),
            max_subscriptions: SUBSCRIPTIONS_DEFAULT,
            max_publish_rate: None,
            max_publish_bytes_rate: None,
        }
    }
}
