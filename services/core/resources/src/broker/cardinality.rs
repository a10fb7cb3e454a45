//! How many of each there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many gateways, shards and replicas there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cardinality {
    /// Gateways, which clients connect to.
    pub frontend: Frontend,
    /// Shards and their replicas.
    pub backend_chain: BackendChain,
}

/// Gateways, which clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Frontend {
    /// How many gateways there are, in Kubernetes.
    #[schemars(range(min = 1, max = 16))]
    pub replicas: u16,
    /// Worker threads of a gateway.
    #[schemars(range(min = 1, max = 16))]
    pub workers: u16,
}

/// Shards and their replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackendChain {
    /// Groups of shards that live on the same nodes. Cannot change once the cluster is laid out.
    #[schemars(range(min = 1, max = 16))]
    pub partitions: u16,
    /// Replicas of each shard, on different nodes.
    #[schemars(range(min = 1, max = 5))]
    pub redundancy_factor: u16,
    /// Shards of each partition. Cannot change once the cluster is laid out.
    #[schemars(range(min = 1, max = 16))]
    pub workers: u16,
}

impl Default for Frontend {
    fn default() -> Frontend {
        Frontend {
            replicas: 1,
            workers: 2,
        }
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
