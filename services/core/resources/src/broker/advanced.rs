//! What most leave as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Clients;
use crate::{
    certificate::PrivateKey, go_duration::GoDuration, seconds::Seconds, spelled::spelled,
    switch::Switch,
};

const FAILURE_TIMEOUT_DEFAULT: Seconds = Seconds::from_millis(3_000);

/// What most leave as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Advanced {
    /// What clients may ask for.
    pub clients: Clients,
    /// Mutual TLS between gateways, nodes and control plane.
    pub encrypt_internal_traffic: Switch,
    /// The certificates of that traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_certs: Option<InternalCerts>,
    /// + When a silent process counts as lost. Below a tenth of a second a busy machine looks lost.
    #[schemars(range(min = 0.1, max = 60.0))]
    pub failure_timeout_seconds: Seconds,
    /// + Levels of a topic that decide on its shard; 0: all. Cannot change once the cluster is laid out.
    #[schemars(range(min = 0, max = 16))]
    pub shard_key_levels: u8,
    /// + Shared subscriptions.
    pub shared_subscriptions: SharedSubscriptions,
    /// + Limits of retained messages, per shard.
    pub retained: RetainedLimits,
    /// + `host:port` to which a gateway that drains sends its clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_reference: Option<String>,
}

/// Certificates of the traffic between gateways, nodes and control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalCerts {
    /// How long one is valid.
    pub duration: GoDuration,
    /// How long before its end it is renewed; less than duration.
    pub renew_before: GoDuration,
    /// Its key.
    #[serde(default)]
    pub private_key: PrivateKey,
}

/// Shared subscriptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedSubscriptions {
    /// Who of a group gets a message.
    pub strategy: SharedStrategy,
}

/// Limits of retained messages, per shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetainedLimits {
    /// Retained messages. Without it only bytes are the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_messages: Option<u64>,
    /// Bytes of retained messages. By default a quarter of the profile's buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u64>,
}

spelled! {
    /// Who of a group gets a message.
    #[derive(Default)]
    pub enum SharedStrategy {
        /// One after the other.
        #[default]
        RoundRobin = "roundRobin",
        /// Who has the fewest unanswered.
        LeastInflight = "leastInflight",
        /// The same for each message of a topic.
        TopicHash = "topicHash",
    }
}

impl Default for Advanced {
    fn default() -> Advanced {
        Advanced {
            clients: Clients::default(),
            encrypt_internal_traffic: Switch::Enabled,
            internal_certs: None,
            failure_timeout_seconds: FAILURE_TIMEOUT_DEFAULT,
            shard_key_levels: 0,
            shared_subscriptions: SharedSubscriptions::default(),
            retained: RetainedLimits::default(),
            server_reference: None,
        }
    }
}
