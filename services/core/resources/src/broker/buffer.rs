//! Long queues on a disk.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::Size;

/// What a Kubernetes volume claim asks for: a `PersistentVolumeClaimSpec`, which is handed on as it is.
pub type ClaimSpec = BTreeMap<String, serde_json::Value>;

/// Long queues go to a disk when memory is short. Not durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskBackedMessageBuffer {
    /// How much of the disk.
    pub max_size: Size,
    /// In Kubernetes: a volume that lives as long as its pod. Without either claim it is an emptyDir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_volume_claim_spec: Option<ClaimSpec>,
    /// In Kubernetes: a volume that outlives its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_spec: Option<ClaimSpec>,
}
