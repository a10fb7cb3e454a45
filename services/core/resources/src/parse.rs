//! Manifests, as people write them.

use serde::de::Error as _;

use crate::{
    problem::{Invalid, Problem},
    resource::{API_VERSION, Resource},
};

/// API versions that mean the same.
const SYNONYMS: &[&str] = &[
    "mqttbroker.iotoperations.azure.com/v1",
    "mqttbroker.iotoperations.azure.com/v1beta1",
];

/// Reads manifests: YAML, one or more documents, or JSON.
///
/// # Errors
/// [`Invalid`] with all that is wrong with any of them.
pub fn parse(text: &str) -> Result<Vec<Resource>, Invalid> {
    let problem = |reason: String| Problem {
        resource: String::new(),
        path: String::new(),
        reason,
    };
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Invalid(vec![problem(error.to_string())]))?;
    let (mut resources, mut problems) = (Vec::new(), Vec::new());
    for document in documents {
        match resource(document) {
            Ok(resource) => resources.push(resource),
            Err(error) => problems.push(problem(error.to_string())),
        }
    }
    if problems.is_empty() {
        Ok(resources)
    } else {
        Err(Invalid(problems))
    }
}

fn resource(document: serde_json::Value) -> Result<Resource, serde_json::Error> {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    if version != API_VERSION && !SYNONYMS.contains(&version) {
        return Err(serde_json::Error::custom(format!(
            "apiVersion: {version:?}: must be {API_VERSION}"
        )));
    }
    serde_json::from_value(document)
}
