//! The Broker: how large the cluster is, how much memory it may take, and what clients may ask for.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    problem::{Invalid, Problems},
    seconds::Seconds,
    spelled::spelled,
};

const PARTITIONS_MAX: u16 = 16;
const WORKERS_MAX: u16 = 16;
const REDUNDANCY_MAX: u16 = 5;
const PACKET_BYTES_MAX: u32 = 256 * MIB as u32;
const MIB: u64 = 1024 * 1024;
/// Shortest time-out: below it a busy machine looks lost. `+`
const FAILURE_TIMEOUT_MIN: Seconds = Seconds::from_millis(100);
const FAILURE_TIMEOUT_MAX: Seconds = Seconds::from_millis(60_000);
const FAILURE_TIMEOUT_DEFAULT: Seconds = Seconds::from_millis(3_000);
const SESSION_EXPIRY_DEFAULT: u32 = 3_600;

/// The one resource that every cluster has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Broker {
    pub cardinality: Cardinality,
    pub memory_profile: MemoryProfile,
    pub advanced: Advanced,
}

/// How many of each there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cardinality {
    pub backend_chain: BackendChain,
}

/// Shards and their replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackendChain {
    /// Groups of shards that live on the same nodes: 1 to 16.
    pub partitions: u16,
    /// Replicas of each shard: 1 to 5.
    pub redundancy_factor: u16,
    /// Shards of each partition: 1 to 16.
    pub workers: u16,
}

spelled! {
/// How much memory messages may take, and the largest packet.
#[derive(Default)]
pub enum MemoryProfile {
    Tiny,
    Low,
    #[default]
    Medium,
    High,
}}

/// What most leave as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Advanced {
    pub clients: Clients,
    /// + When a silent process counts as lost: 0.1 to 60 seconds.
    pub failure_timeout_seconds: Seconds,
}

/// What clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Clients {
    /// Upper bound of the session expiry, and that of 3.1.1 sessions with clean session 0. At least 1.
    pub max_session_expiry_seconds: u32,
    /// Upper bound of the message expiry, and that of messages without one. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_expiry_seconds: Option<u32>,
    /// The largest packet of a client, up to 256 MiB; by the memory profile when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packet_size_bytes: Option<u32>,
    /// Upper bound of the Receive Maximum that a client asks for, and our own. At least 1.
    pub max_receive_maximum: u16,
    /// Upper bound of the keep alive.
    pub max_keep_alive_seconds: u16,
    pub subscriber_queue_limit: SubscriberQueueLimit,
}

/// Queued messages per subscriber and shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SubscriberQueueLimit {
    /// At least 1; without it only memory is the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    pub strategy: QueueStrategy,
}

spelled! {
    /// What happens beyond the length of a queue.
    #[derive(Default)]
    pub enum QueueStrategy {
        #[default]
        None,
        DropOldest,
    }
}

impl Default for BackendChain {
    fn default() -> BackendChain {
        BackendChain {
            partitions: 1,
            redundancy_factor: 1,
            workers: 1,
        }
    }
}

impl Default for Advanced {
    fn default() -> Advanced {
        Advanced {
            clients: Clients::default(),
            failure_timeout_seconds: FAILURE_TIMEOUT_DEFAULT,
        }
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
        }
    }
}

impl MemoryProfile {
    /// The incoming publish buffer of one shard, in bytes.
    pub const fn buffer_bytes(self) -> u64 {
        MIB * match self {
            MemoryProfile::Tiny => 16,
            MemoryProfile::Low => 64,
            MemoryProfile::Medium => 576,
            MemoryProfile::High => 2_048,
        }
    }

    /// The largest packet of a client, in bytes.
    pub const fn packet_bytes(self) -> u32 {
        MIB as u32
            * match self {
                MemoryProfile::Tiny => 4,
                MemoryProfile::Low => 16,
                MemoryProfile::Medium => 64,
                MemoryProfile::High => 256,
            }
    }
}

impl Broker {
    /// Names every field that is out of its range.
    ///
    /// # Errors
    /// [`Invalid`] with all of them.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut problems = Problems::default();
        let chain = &self.cardinality.backend_chain;
        problems.range(
            "cardinality.backendChain.partitions",
            chain.partitions,
            1,
            PARTITIONS_MAX,
        );
        problems.range(
            "cardinality.backendChain.redundancyFactor",
            chain.redundancy_factor,
            1,
            REDUNDANCY_MAX,
        );
        problems.range(
            "cardinality.backendChain.workers",
            chain.workers,
            1,
            WORKERS_MAX,
        );
        problems.range(
            "advanced.failureTimeoutSeconds",
            self.advanced.failure_timeout_seconds,
            FAILURE_TIMEOUT_MIN,
            FAILURE_TIMEOUT_MAX,
        );
        let clients = &self.advanced.clients;
        problems.range(
            "advanced.clients.maxSessionExpirySeconds",
            clients.max_session_expiry_seconds,
            1,
            u32::MAX,
        );
        problems.range(
            "advanced.clients.maxMessageExpirySeconds",
            clients.max_message_expiry_seconds.unwrap_or(1),
            1,
            u32::MAX,
        );
        problems.range(
            "advanced.clients.maxPacketSizeBytes",
            clients.max_packet_size_bytes.unwrap_or(1),
            1,
            PACKET_BYTES_MAX,
        );
        problems.range(
            "advanced.clients.maxReceiveMaximum",
            clients.max_receive_maximum,
            1,
            u16::MAX,
        );
        problems.range(
            "advanced.clients.subscriberQueueLimit.length",
            clients.subscriber_queue_limit.length.unwrap_or(1),
            1,
            u64::MAX,
        );
        problems.end()
    }

    /// When a silent process counts as lost.
    pub fn failure_timeout(&self) -> Duration {
        self.advanced.failure_timeout_seconds.duration()
    }

    /// The largest packet of a client, in bytes.
    pub fn packet_bytes_max(&self) -> u32 {
        let by_profile = self.memory_profile.packet_bytes();
        self.advanced
            .clients
            .max_packet_size_bytes
            .unwrap_or(by_profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // An export that does not apply again is no export.
    #[test]
    fn what_is_written_is_read_again() {
        let mut broker = Broker {
            memory_profile: MemoryProfile::Low,
            ..Broker::default()
        };
        broker.advanced.failure_timeout_seconds = Seconds::from_millis(1_500);
        broker.advanced.clients.max_message_expiry_seconds = Some(7);
        let text = serde_json::to_string(&broker).unwrap();
        assert!(text.contains("\"failureTimeoutSeconds\":1.5"), "{text}");
        assert_eq!(serde_json::from_str::<Broker>(&text).unwrap(), broker);
    }

    // Manifests of the schema that we follow spell in their own way, and leave out what has a default.
    #[test]
    fn fields_may_be_left_out_and_are_spelled_in_any_case() {
        let text = r#"{"memoryProfile":"tiny","cardinality":{"backendChain":{"workers":4}},
            "advanced":{"failureTimeoutSeconds":2,"clients":{"subscriberQueueLimit":{"strategy":"dropoldest"}}}}"#;
        let broker: Broker = serde_json::from_str(text).unwrap();
        assert_eq!(broker.memory_profile, MemoryProfile::Tiny);
        assert_eq!(broker.cardinality.backend_chain.workers, 4);
        assert_eq!(broker.cardinality.backend_chain.partitions, 1);
        assert_eq!(broker.failure_timeout(), Duration::from_secs(2));
        assert_eq!(broker.packet_bytes_max(), 4 << 20);
        let limit = broker.advanced.clients.subscriber_queue_limit;
        assert_eq!(limit.strategy, QueueStrategy::DropOldest);
        assert_eq!(broker.validate(), Ok(()));
    }

    // One at a time, an administrator would apply five times to find five mistakes.
    #[test]
    fn every_field_out_of_range_is_named_and_unknown_ones_are_refused() {
        let mut broker = Broker::default();
        broker.cardinality.backend_chain = BackendChain {
            partitions: 17,
            redundancy_factor: 6,
            workers: 0,
        };
        broker.advanced.failure_timeout_seconds = Seconds::from_millis(61_000);
        broker.advanced.clients = Clients {
            max_session_expiry_seconds: 0,
            max_message_expiry_seconds: Some(0),
            max_packet_size_bytes: Some(0),
            max_receive_maximum: 0,
            max_keep_alive_seconds: 0,
            subscriber_queue_limit: SubscriberQueueLimit {
                length: Some(0),
                strategy: QueueStrategy::None,
            },
        };
        let Invalid(problems) = broker.validate().unwrap_err();
        assert_eq!(problems.len(), 9, "{problems:?}");
        assert!(
            Invalid(problems)
                .to_string()
                .starts_with("cardinality.backendChain.partitions: 17: must be from 1 to 16; ")
        );
        let error = serde_json::from_str::<Broker>(r#"{"memoryProfil":"Tiny"}"#).unwrap_err();
        assert!(error.to_string().contains("memoryProfil"), "{error}");
    }
}
