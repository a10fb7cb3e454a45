//! The Broker: how large the cluster is, how much memory it may take, and what clients may ask for.
//!
//! Start reading at [`Broker`]; each of its fields has a file of its own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{spelled::spelled, switch::Switch};

mod advanced;
mod buffer;
mod cardinality;
mod clients;
mod diagnostics;
mod persistence;
mod rules;

pub use advanced::{Advanced, InternalCerts, RetainedLimits, SharedStrategy, SharedSubscriptions};
pub use buffer::{ClaimSpec, DiskBackedMessageBuffer};
pub use cardinality::{BackendChain, Cardinality, Frontend};
pub use clients::{Clients, QueueStrategy, SubscriberQueueLimit};
pub use diagnostics::{
    Diagnostics, Logs, Metrics, OpenTelemetry, OtlpProtocol, SelfCheck, SelfTracing, Traces,
};
pub use persistence::{
    Dynamic, DynamicSettings, Encryption, PersistMode, Persistence, RetainPolicy, RetainSettings,
    StateStoreKeys, StateStorePolicy, StateStoreSettings, SubscriberQueuePolicy,
    SubscriberQueueSettings, SyncMode,
};

const MIB: u64 = 1024 * 1024;

/// How large the cluster is, how much memory it may take, and what clients may ask for. Every cluster has exactly one, named
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Broker {
    /// How many gateways, shards and replicas there are.
    pub cardinality: Cardinality,
    /// How much memory messages may take, and the largest packet.
    pub memory_profile: MemoryProfile,
    /// What most leave as it is.
    pub advanced: Advanced,
    /// Logs, metrics, traces and the probe.
    pub diagnostics: Diagnostics,
    /// Long queues go to a disk when memory is short. Not durable. Off when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_backed_message_buffer: Option<DiskBackedMessageBuffer>,
    /// Durable storage. Off when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Whether Kubernetes is asked to limit processors.
    pub generate_resource_limits: GenerateResourceLimits,
}

/// Whether Kubernetes is asked for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenerateResourceLimits {
    /// Of processors, by the number of workers.
    pub cpu: Switch,
}

spelled! {
/// How much memory messages may take, and the largest packet.
#[derive(Default)]
pub enum MemoryProfile {
    /// 16 MiB of messages a shard, packets up to 4 MiB.
    Tiny,
    /// 64 MiB of messages a shard, packets up to 16 MiB.
    Low,
    /// 576 MiB of messages a shard, packets up to 64 MiB.
    #[default]
    Medium,
    /// 2 GiB of messages a shard, packets up to 256 MiB.
    High,
}}

impl Default for GenerateResourceLimits {
    fn default() -> GenerateResourceLimits {
        GenerateResourceLimits {
            cpu: Switch::Enabled,
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

    /// The memory of one gateway, in bytes.
    pub const fn gateway_bytes(self) -> u64 {
        MIB * match self {
            MemoryProfile::Tiny => 99,
            MemoryProfile::Low => 387,
            MemoryProfile::Medium => 1_945,
            MemoryProfile::High => 5_017,
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

    /// Bytes of retained messages that a shard may hold `[F-66]`.
    pub fn retained_bytes_max(&self) -> u64 {
        let by_profile = self.memory_profile.buffer_bytes() / 4;
        self.advanced.retained.max_bytes.unwrap_or(by_profile)
    }
}
