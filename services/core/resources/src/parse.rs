//! Manifests, as people write them.
//!
//! A text becomes documents, a document is compared with the shape of its kind, and what fits is read into the types, whose
//! rules are then checked. Each step goes on after a problem, so that one look shows all of them.

use std::{
    collections::{BTreeMap, btree_map},
    sync::LazyLock,
};

use serde_json::Value;

use crate::{
    authentication::BrokerAuthentication,
    authorization::BrokerAuthorization,
    broker::Broker,
    compare::{compare, nearest, unknown_field},
    document::{Node, documents},
    form,
    listener::BrokerListener,
    noticed,
    problem::{Invalid, PROBLEMS_MAX, Problem, Problems},
    resource::{API_VERSION, BROKER_NAME, Kind, Metadata, Resource, ResourceId, Spec},
    rules::Rules,
    shape::Shape,
};

/// API versions that mean the same as ours.
pub const API_VERSION_SYNONYMS: &[&str] = &[
    "mqttbroker.iotoperations.azure.com/v1",
    "mqttbroker.iotoperations.azure.com/v1beta1",
];
/// Several manifests in one, as `kubectl get -o yaml` prints them.
const LIST: &str = "List";
/// Fields of a manifest. Its status is what the broker says, not what is asked of it.
const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
/// What Kubernetes adds to the metadata of its own. An export applies as it is.
const OF_KUBERNETES: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

static METADATA: LazyLock<Shape> = LazyLock::new(Shape::of::<Metadata>);
static SPECS: LazyLock<[Shape; 4]> = LazyLock::new(|| {
    [
        Shape::of::<Broker>(),
        Shape::of::<BrokerListener>(),
        Shape::of::<BrokerAuthentication>(),
        Shape::of::<BrokerAuthorization>(),
    ]
});

/// What was read of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    pub resources: Vec<Resource>,
    /// What is as it may be, and perhaps not as it was meant; [`PROBLEMS_MAX`] at most.
    pub warnings: Vec<Problem>,
    /// Whether a Broker among them says nothing of `cardinality.backendChain.workers`.
    pub leaves_out_workers: bool,
}

/// Reads manifests: YAML, of one document or several, or JSON. Several may also be in a `kind: List`. A text without any
/// gives none.
///
/// # Errors
/// [`Invalid`] with all that is wrong with any of them.
pub fn parse(text: &str) -> Result<Vec<Resource>, Invalid> {
    read(text).map(|read| read.resources)
}

/// Reads manifests, as [`parse`], and tells what is noticed of them.
///
/// # Errors
/// [`Invalid`] with all that is wrong with any of them.
pub fn read(text: &str) -> Result<Manifests, Invalid> {
    let documents = documents(text).map_err(|reason| {
        Invalid(vec![Problem {
            resource: String::new(),
            path: String::new(),
            reason,
        }])
    })?;
    let mut reader = Reader::default();
    let many = documents.len() > 1;
    for (index, document) in documents.into_iter().enumerate() {
        let place = if many {
            format!("document {}", index + 1)
        } else {
            String::new()
        };
        reader.document(document, &place);
    }
    Invalid::unless_none(reader.problems)?;
    Ok(reader.read)
}

/// The shape of a kind's spec.
pub(crate) fn spec_shape(kind: Kind) -> &'static Shape {
    match kind {
        Kind::Broker => &SPECS[0],
        Kind::BrokerListener => &SPECS[1],
        Kind::BrokerAuthentication => &SPECS[2],
        Kind::BrokerAuthorization => &SPECS[3],
    }
}

impl Resource {
    /// Checks a resource that was made and not read.
    ///
    /// # Errors
    /// [`Invalid`] with all that is wrong with it.
    pub fn validate(&self) -> Result<(), Invalid> {
        let written = serde_json::to_value(self).map_or(Node::Null, Node::from);
        let mut reader = Reader::default();
        reader.document(written, "");
        Invalid::unless_none(reader.problems)
    }
}

impl Broker {
    /// Checks a Broker that was made and not read.
    ///
    /// # Errors
    /// [`Invalid`] with all that is wrong with it.
    pub fn validate(&self) -> Result<(), Invalid> {
        let spec = Spec::Broker(Box::new(self.clone()));
        Resource::new(BROKER_NAME, spec).validate()
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    read: Manifests,
    problems: Vec<Problem>,
    /// Where each resource stands.
    places: BTreeMap<ResourceId, String>,
}

/// A manifest whose parts are told apart.
struct Manifest {
    kind: Kind,
    metadata: Option<Node>,
    spec: Option<Node>,
}

impl Reader {
    /// Reads a document. `place` says which one, where there are several.
    fn document(&mut self, document: Node, place: &str) {
        if document.field("kind").and_then(Node::text) == Some(LIST) {
            self.list(document, place);
        } else {
            self.manifest(document, place);
        }
    }

    fn list(&mut self, list: Node, place: &str) {
        let Node::Map(fields) = list else { return };
        let items = fields.into_iter().find(|(name, _)| name == "items");
        let Some((_, Node::List(items))) = items else {
            let mut problems = Problems::new(place);
            problems.misfit("items", "must be a list of manifests");
            self.problems.extend(problems.end());
            return;
        };
        let before = if place.is_empty() {
            String::new()
        } else {
            format!("{place}, ")
        };
        for (index, item) in items.into_iter().enumerate() {
            // A list within a list is of no kind that there is.
            self.manifest(item, &format!("{before}items[{index}]"));
        }
    }

    fn manifest(&mut self, manifest: Node, place: &str) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let mut problems = Problems::new(label(&manifest, place));
        if let Some(manifest) = Manifest::read(manifest, &mut problems) {
            let warned = manifest
                .spec
                .as_ref()
                .map(|spec| noticed::open(manifest.kind, spec));
            let spec = manifest.spec.as_ref();
            let leaves_out = noticed::leaves_out_workers(manifest.kind, spec);
            if let Some(resource) = manifest.resource(&mut problems) {
                self.read.leaves_out_workers |= leaves_out;
                self.warn(&resource, warned.unwrap_or_default());
                self.found(resource, place, &mut problems);
            }
        }
        self.problems.extend(problems.end());
        if self.problems.len() >= PROBLEMS_MAX {
            self.problems.truncate(PROBLEMS_MAX);
            let reason = format!("there may be more: {PROBLEMS_MAX} problems are told at once");
            self.problems.push(Problem {
                resource: String::new(),
                path: String::new(),
                reason,
            });
        }
    }

    fn warn(&mut self, resource: &Resource, warned: Vec<(String, String)>) {
        let warnings = &mut self.read.warnings;
        let room = PROBLEMS_MAX.saturating_sub(warnings.len());
        let warned = warned.into_iter().take(room);
        warnings.extend(warned.map(|(path, reason)| Problem {
            resource: resource.id().to_string(),
            path,
            reason,
        }));
    }

    fn found(&mut self, resource: Resource, place: &str, problems: &mut Problems) {
        match self.places.entry(resource.id()) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(place.to_owned());
                self.read.resources.push(resource);
            }
            btree_map::Entry::Occupied(entry) => {
                let reason = format!("{place} is another manifest of it, after {}", entry.get());
                problems.rule("metadata.name", reason);
            }
        }
    }
}

impl Manifest {
    /// Tells the parts apart. `None`: nothing more can be said of it.
    fn read(manifest: Node, problems: &mut Problems) -> Option<Manifest> {
        let Node::Map(fields) = manifest else {
            problems.misfit(
                "",
                "must be a manifest: apiVersion, kind, metadata and spec",
            );
            return None;
        };
        let mut parts = BTreeMap::new();
        let (known, unknown): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .partition(|(name, _)| FIELDS.contains(&name.as_str()));
        parts.extend(known);
        for (name, node) in unknown {
            let known = FIELDS.iter().copied();
            problems.misfit(
                &crate::compare::join("", &name),
                unknown_field(&name, known.clone()),
            );
            if let Some(meant) = nearest(&name, known) {
                parts.entry(meant.to_owned()).or_insert(node);
            }
        }
        api_version(parts.get("apiVersion"), problems);
        let kind = kind(parts.get("kind"), problems);
        Some(Manifest {
            kind: kind?,
            metadata: parts.remove("metadata"),
            spec: parts.remove("spec"),
        })
    }

    /// Reads the parts. `None`: something is wrong with them, as the problems say.
    fn resource(self, problems: &mut Problems) -> Option<Resource> {
        let metadata = metadata(self.metadata, problems);
        let spec = spec(self.kind, self.spec, problems);
        Some(Resource {
            metadata: metadata?,
            spec: spec?,
        })
        .filter(|_| problems.is_empty())
    }
}

fn api_version(node: Option<&Node>, problems: &mut Problems) {
    let is_ours = |text| text == API_VERSION || API_VERSION_SYNONYMS.contains(&text);
    match node {
        Some(node) if node.text().is_some_and(is_ours) => {}
        Some(node) if *node != Node::Null => {
            problems.misfit("apiVersion", format!("{node}: must be {API_VERSION}"));
        }
        _ => problems.misfit("apiVersion", format!("is missing: it is {API_VERSION}")),
    }
}

/// The kind, or the one that was meant.
fn kind(node: Option<&Node>, problems: &mut Problems) -> Option<Kind> {
    let names = || Kind::ALL.iter().map(|(name, _)| *name);
    let must = format!("must be one of {}", names().collect::<Vec<_>>().join(", "));
    let Some(node) = node.filter(|node| **node != Node::Null) else {
        problems.misfit("kind", format!("is missing: it {must}"));
        return None;
    };
    let text = node.text().unwrap_or_default();
    if let Some(kind) = known_kind(text) {
        return Some(kind);
    }
    problems.misfit("kind", format!("{node}: {must}"));
    nearest(text, names()).and_then(known_kind)
}

fn known_kind(text: &str) -> Option<Kind> {
    let known = Kind::ALL
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, kind)| *kind)
}

fn metadata(node: Option<Node>, problems: &mut Problems) -> Option<Metadata> {
    let mut node = node.filter(|node| *node != Node::Null).or_else(|| {
        problems.misfit("metadata", "is missing: it says the name");
        None
    })?;
    if let Node::Map(fields) = &mut node {
        fields.retain(|(name, _)| !OF_KUBERNETES.contains(&name.as_str()));
    }
    let value = compare(&METADATA, node, "metadata", problems);
    let metadata: Metadata = typed(value, "metadata", problems)?;
    problems.check("metadata.name", form::resource_name(&metadata.name));
    Some(metadata)
}

fn spec(kind: Kind, node: Option<Node>, problems: &mut Problems) -> Option<Spec> {
    let node = node.filter(|node| *node != Node::Null).or_else(|| {
        problems.misfit("spec", "is missing");
        None
    })?;
    let value = compare(spec_shape(kind), node, "spec", problems);
    let spec = match Spec::from_json(kind, value) {
        Ok(spec) => spec,
        Err(error) => {
            problems.misfit("spec", error.to_string());
            return None;
        }
    };
    match &spec {
        Spec::Broker(spec) => spec.rules("spec", problems),
        Spec::BrokerListener(spec) => spec.rules("spec", problems),
        Spec::BrokerAuthentication(spec) => spec.rules("spec", problems),
        Spec::BrokerAuthorization(spec) => spec.rules("spec", problems),
    }
    Some(spec)
}

fn typed<T: serde::de::DeserializeOwned>(
    value: Value,
    path: &str,
    problems: &mut Problems,
) -> Option<T> {
    let read = serde_json::from_value(value);
    read.map_err(|error| problems.misfit(path, error.to_string()))
        .ok()
}

/// What a manifest is called in problems: its kind and name, and where they do not say enough its place.
fn label(manifest: &Node, place: &str) -> String {
    let kind = manifest.field("kind").and_then(Node::text);
    let name = manifest
        .field("metadata")
        .and_then(|node| node.field("name"));
    match (kind.and_then(known_kind), name.and_then(Node::text)) {
        (Some(kind), Some(name)) if form::resource_name(name).is_ok() => format!("{kind}/{name}"),
        (Some(kind), _) if place.is_empty() => kind.to_string(),
        (Some(kind), _) => format!("{kind} ({place})"),
        _ => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A manifest of nothing but mistakes must not take more memory and time than any other of its size.
    #[test]
    fn problems_are_bounded() {
        let manifest = |topics: &str| {
            let rule = format!("{{brokerResources: [{{method: Publish, topics: [{topics}]}}]}}");
            format!(
                "apiVersion: catena.dev/v1\nkind: BrokerAuthorization\nmetadata: {{name: many}}\nspec: {{authorizationPolicies: {{rules: [{rule}]}}}}\n---\n"
            )
        };
        for topics in ["{}, ".repeat(20_000), "\"\", ".repeat(20_000)] {
            let text = manifest(&topics) + &manifest("1");
            let Invalid(problems) = parse(&text).unwrap_err();
            assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        }
        let fields: String = (0..20_000)
            .map(|field| format!("spec{field}: 1\n"))
            .collect();
        let Invalid(problems) = parse(&fields).unwrap_err();
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    }
}
