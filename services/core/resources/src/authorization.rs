//! The BrokerAuthorization: what a client may do. What no rule allows is denied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{authentication::Attributes, spelled::spelled};

mod rules;

pub(crate) use rules::keys;

/// Rules of the ports that refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerAuthorization {
    /// All that is allowed.
    pub authorization_policies: AuthorizationPolicies,
}

/// All that is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationPolicies {
    /// Whether decisions are remembered for the life of a connection.
    pub cache: Cache,
    /// An empty list denies everything.
    pub rules: Vec<Rule>,
    /// + What a change does to connected clients.
    pub policy_update: PolicyUpdate,
}

/// Who may do what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// Whom it is about: who matches one of these.
    pub principals: Principals,
    /// What they may do with the broker.
    pub broker_resources: Vec<BrokerResource>,
    /// What they may do with the state store.
    pub state_store_resources: Vec<StateStoreResource>,
}

/// Whom a rule is about: who matches one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Principals {
    /// Exact; `*` is everybody.
    pub client_ids: Vec<String>,
    /// Exact; `*` is everybody.
    pub usernames: Vec<String>,
    /// All pairs of an entry must match.
    pub attributes: Vec<Attributes>,
}

/// What may be done with the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerResource {
    /// Connect, publish or subscribe.
    pub method: BrokerMethod,
    /// With Connect: client ids, which may use `*`. Left out or empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_ids: Vec<String>,
    /// With Publish and Subscribe: topics, which may use `+` and `#`. Left out or empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// What may be done with the state store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateStoreResource {
    /// Read, write or both.
    pub method: StateStoreMethod,
    /// How the keys are written.
    pub key_type: KeyType,
    /// The keys; at least one.
    #[schemars(length(min = 1))]
    pub keys: Vec<String>,
}

spelled! {
    /// Whether decisions are remembered.
    #[derive(Default)]
    pub enum Cache {
        /// They are.
        #[default]
        Enabled,
        /// Each is made anew.
        Disabled,
    }
}

spelled! {
    /// What a changed policy does to connected clients.
    #[derive(Default)]
    pub enum PolicyUpdate {
        /// Those that may no longer connect, or hold a subscription that is no longer granted, are disconnected.
        #[default]
        Reevaluate,
        /// All are disconnected.
        Disconnect,
    }
}

spelled! {
    /// What may be done with the broker.
    pub enum BrokerMethod {
        /// Connect, and publish a will where Publish allows it.
        Connect,
        /// Publish.
        Publish,
        /// Subscribe.
        Subscribe,
    }
}

spelled! {
    /// What may be done with the state store.
    pub enum StateStoreMethod {
        /// Get keys, and be notified of them.
        Read,
        /// Set and delete keys.
        Write,
        /// Both.
        ReadWrite,
    }
}

spelled! {
    /// How keys of the state store are written.
    pub enum KeyType {
        /// With `*`, `?` and `[...]`.
        Pattern,
        /// As they are.
        String,
        /// In base64.
        Binary,
    }
}
