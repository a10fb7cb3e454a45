//! Durable storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClaimSpec;
use crate::{authorization::KeyType, size::Size, spelled::spelled, switch::Switch};

/// Durable storage: sessions always, and of messages what the policies say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Persistence {
    /// How much of the disk of each node; more than 100 MB.
    pub max_size: Size,
    /// In Kubernetes: the volume of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_spec: Option<ClaimSpec>,
    /// + When an entry of the log counts as durable.
    #[serde(default)]
    pub sync: SyncMode,
    /// What is on the disk is encrypted.
    #[serde(default)]
    pub encryption: Encryption,
    /// Which retained messages are durable.
    #[serde(default)]
    pub retain: RetainPolicy,
    /// Whose queues are durable. Sessions themselves always are.
    #[serde(default)]
    pub subscriber_queue: SubscriberQueuePolicy,
    /// Which keys of the state store are durable.
    #[serde(default)]
    pub state_store: StateStorePolicy,
    /// The MQTT 5 user property by which a client asks for durable messages.
    #[serde(default)]
    pub dynamic_settings: DynamicSettings,
}

/// Encryption of what is on the disk, with AES-256-GCM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Encryption {
    /// Whether it is encrypted.
    pub mode: Switch,
    /// + A secret with the key; another key rotates. By default a key is made in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<String>,
}

/// Which retained messages are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetainPolicy {
    /// All, none, or those that retainSettings name.
    pub mode: PersistMode,
    /// With mode Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_settings: Option<RetainSettings>,
}

/// Retained messages that are durable: those of one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetainSettings {
    /// Topics, which may use `+` and `#`.
    pub topics: Vec<String>,
    /// Those whose publisher asks for it.
    pub dynamic: Dynamic,
}

/// Whose queues are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SubscriberQueuePolicy {
    /// All, none, or those that subscriberQueueSettings name.
    pub mode: PersistMode,
    /// With mode Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_queue_settings: Option<SubscriberQueueSettings>,
}

/// Subscribers whose queues are durable: those of one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SubscriberQueueSettings {
    /// Client ids, which may use `*`.
    pub subscriber_client_ids: Vec<String>,
    /// Those who ask for it.
    pub dynamic: Dynamic,
}

/// Which keys of the state store are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateStorePolicy {
    /// All, none, or those that stateStoreSettings name.
    pub mode: PersistMode,
    /// With mode Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_store_settings: Option<StateStoreSettings>,
}

/// Keys that are durable: those of one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateStoreSettings {
    /// Keys by name.
    pub state_store_resources: Vec<StateStoreKeys>,
    /// Those whose client asks for it.
    pub dynamic: Dynamic,
}

/// Keys of the state store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateStoreKeys {
    /// How they are written.
    pub key_type: KeyType,
    /// The keys; at least one.
    #[schemars(length(min = 1))]
    pub keys: Vec<String>,
}

/// Whether clients may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dynamic {
    /// Whether clients may ask, by the user property of dynamicSettings.
    pub mode: Switch,
}

/// The MQTT 5 user property by which a client asks for durable messages, in CONNECT and PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DynamicSettings {
    /// Its name.
    pub user_property_key: String,
    /// What it says.
    pub user_property_value: String,
}

spelled! {
    /// When an entry of the log counts as durable.
    #[derive(Default)]
    pub enum SyncMode {
        /// When the disk says so.
        #[default]
        Always,
        /// When it is written: a loss of power takes what came in a short interval before it.
        Interval,
    }
}

spelled! {
    /// What is durable.
    #[derive(Default)]
    pub enum PersistMode {
        /// Nothing.
        None,
        /// Everything.
        #[default]
        All,
        /// What the settings name.
        Custom,
    }
}

impl Default for Encryption {
    fn default() -> Encryption {
        Encryption {
            mode: Switch::Enabled,
            key_secret_ref: None,
        }
    }
}

impl Default for Dynamic {
    fn default() -> Dynamic {
        Dynamic {
            mode: Switch::Disabled,
        }
    }
}

impl Default for DynamicSettings {
    fn default() -> DynamicSettings {
        DynamicSettings {
            user_property_key: "aio-persistence".to_owned(),
            user_property_value: "true".to_owned(),
        }
    }
}
