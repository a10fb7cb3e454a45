//! Resources as they are shown: as YAML, and without what only the control plane says.

use anyhow::Context;
use catena_proto::admin::v1 as proto;
use catena_resources::write::document;
use serde_json::Value;

/// The manifest with its status.
///
/// # Errors
/// What no control plane of ours sends.
pub fn value(resource: &proto::Resource) -> anyhow::Result<Value> {
    serde_json::from_str(&resource.manifest).context("a manifest that is no JSON")
}

/// The manifest as someone would write it: without version and status.
///
/// # Errors
/// What no control plane of ours sends.
pub fn written(resource: &proto::Resource) -> anyhow::Result<String> {
    let mut value = value(resource)?;
    if let Some(manifest) = value.as_object_mut() {
        manifest.remove("status");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(document(&value))
}

/// `BrokerListener/default`.
pub fn name(id: &proto::ResourceId) -> String {
    format!("{}/{}", id.kind, id.name)
}
