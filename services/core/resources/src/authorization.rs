//! The BrokerAuthorization: what a client may do. What no rule allows is denied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{authentication::Attributes, spelled::spelled};

/// Rules of the ports that refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerAuthorization {
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
    pub principals: Principals,
    pub broker_resources: Vec<BrokerResource>,
    pub state_store_resources: Vec<StateStoreResource>,
}

/// Whom a rule is about: who matches one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Principals {
    /// Exact; `*` is everybody.
    pub client_ids: Vec<String>,
    /// Exact; `*` is everybody who has a username.
    pub usernames: Vec<String>,
    /// All pairs of an entry must match.
    pub attributes: Vec<Attributes>,
}

/// What may be done with the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerResource {
    pub method: BrokerMethod,
    /// With Connect: client ids, which may use `*`. Left out: any.
    #[serde(default)]
    pub client_ids: Vec<String>,
    /// With Publish and Subscribe: topics, which may use `+` and `#`. Left out: any.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// What may be done with the state store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateStoreResource {
    pub method: StateStoreMethod,
    pub key_type: KeyType,
    pub keys: Vec<String>,
}

spelled! {
    /// Whether decisions are remembered.
    #[derive(Default)]
    pub enum Cache {
        #[default]
        Enabled,
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
        Connect,
        Publish,
        Subscribe,
    }
}

spelled! {
    /// What may be done with the state store.
    pub enum StateStoreMethod {
        Read,
        Write,
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
