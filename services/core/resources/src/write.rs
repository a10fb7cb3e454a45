//! Resources as text, with all defaults said. What is written is read again as the same.

use serde::Serialize;

use crate::resource::Resource;

/// Resources as YAML, a document each.
pub fn yaml<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> String {
    let documents = resources.into_iter().map(document);
    documents.collect::<Vec<_>>().join("---\n")
}

/// Anything as a YAML document: a manifest with its status, say.
pub fn document(value: &impl Serialize) -> String {
    // Writing to memory fails only for what is no data; no type of ours is.
    serde_saphyr::to_string(value).unwrap_or_else(|error| format!("# {error}\n"))
}
