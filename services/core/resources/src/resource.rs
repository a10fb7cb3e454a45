//! A resource, and all of them.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, de, ser::SerializeStruct};
use serde_json::Value;

use crate::{
    authentication::BrokerAuthentication, authorization::BrokerAuthorization, broker::Broker,
    listener::BrokerListener, spelled::spelled,
};

/// Of manifests that are written.
pub const API_VERSION: &str = "catena.dev/v1";
/// The name of the one Broker.
pub const BROKER_NAME: &str = "default";

spelled! {
    /// The kinds of resources.
    pub enum Kind {
        Broker,
        BrokerListener,
        BrokerAuthentication,
        BrokerAuthorization,
    }
}

/// What a resource is found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    pub kind: Kind,
    pub name: String,
}

/// What is said of a resource beside its spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// 3 to 63 of `a` to `z`, `0` to `9` and `-`; no `-` at either end.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub name: String,
    /// Without meaning outside Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kept for those who find resources by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kept for those who wrote them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a resource asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    Broker(Box<Broker>),
    BrokerListener(Box<BrokerListener>),
    BrokerAuthentication(Box<BrokerAuthentication>),
    BrokerAuthorization(Box<BrokerAuthorization>),
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub metadata: Metadata,
    pub spec: Spec,
}

/// All resources of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<ResourceId, Stored>);

/// A resource as it was stored last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The revision of the store at which it was written: its `resourceVersion`.
    pub version: u64,
    pub resource: Arc<Resource>,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl Spec {
    /// Reads the spec of a kind.
    pub(crate) fn from_json(kind: Kind, spec: Value) -> Result<Spec, serde_json::Error> {
        Ok(match kind {
            Kind::Broker => Spec::Broker(serde_json::from_value(spec)?),
            Kind::BrokerListener => Spec::BrokerListener(serde_json::from_value(spec)?),
            Kind::BrokerAuthentication => Spec::BrokerAuthentication(serde_json::from_value(spec)?),
            Kind::BrokerAuthorization => Spec::BrokerAuthorization(serde_json::from_value(spec)?),
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Spec::Broker(_) => Kind::Broker,
            Spec::BrokerListener(_) => Kind::BrokerListener,
            Spec::BrokerAuthentication(_) => Kind::BrokerAuthentication,
            Spec::BrokerAuthorization(_) => Kind::BrokerAuthorization,
        }
    }
}

impl Resource {
    /// A resource of which nothing is said but its name.
    pub fn new(name: impl Into<String>, spec: Spec) -> Resource {
        let metadata = Metadata {
            name: name.into(),
            ..Metadata::default()
        };
        Resource { metadata, spec }
    }

    pub fn kind(&self) -> Kind {
        self.spec.kind()
    }

    pub fn id(&self) -> ResourceId {
        ResourceId {
            kind: self.kind(),
            name: self.metadata.name.clone(),
        }
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut manifest = serializer.serialize_struct("Resource", 4)?;
        manifest.serialize_field("apiVersion", API_VERSION)?;
        manifest.serialize_field("kind", &self.kind())?;
        manifest.serialize_field("metadata", &self.metadata)?;
        manifest.serialize_field("spec", &self.spec)?;
        manifest.end()
    }
}

/// Reads what was written by [`Serialize`]; what people write is read by [`crate::parse`].
impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Resource, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            kind: Kind,
            metadata: Metadata,
            spec: Value,
        }
        let written = Written::deserialize(deserializer)?;
        Ok(Resource {
            metadata: written.metadata,
            spec: Spec::from_json(written.kind, written.spec).map_err(de::Error::custom)?,
        })
    }
}

impl Resources {
    /// Puts a resource where the one of its name was.
    pub fn put(&mut self, version: u64, resource: Arc<Resource>) {
        self.0.insert(resource.id(), Stored { version, resource });
    }

    /// Takes a resource out.
    pub fn remove(&mut self, id: &ResourceId) -> Option<Stored> {
        self.0.remove(id)
    }

    pub fn get(&self, id: &ResourceId) -> Option<&Stored> {
        self.0.get(id)
    }

    /// By kind, then name.
    pub fn iter(&self) -> btree_map::Iter<'_, ResourceId, Stored> {
        self.0.iter()
    }

    /// The Broker's spec, once there is one.
    pub fn broker(&self) -> Option<&Broker> {
        match &self.named(Kind::Broker, BROKER_NAME)?.spec {
            Spec::Broker(broker) => Some(broker),
            _ => None,
        }
    }

    pub fn listeners(&self) -> impl Iterator<Item = (&str, &BrokerListener)> {
        self.0.iter().filter_map(|(id, stored)| {
            let Spec::BrokerListener(listener) = &stored.resource.spec else {
                return None;
            };
            Some((id.name.as_str(), &**listener))
        })
    }

    pub fn authentication(&self, name: &str) -> Option<&BrokerAuthentication> {
        match &self.named(Kind::BrokerAuthentication, name)?.spec {
            Spec::BrokerAuthentication(authentication) => Some(authentication),
            _ => None,
        }
    }

    pub fn authorization(&self, name: &str) -> Option<&BrokerAuthorization> {
        match &self.named(Kind::BrokerAuthorization, name)?.spec {
            Spec::BrokerAuthorization(authorization) => Some(authorization),
            _ => None,
        }
    }

    fn named(&self, kind: Kind, name: &str) -> Option<&Resource> {
        let name = name.to_owned();
        self.0
            .get(&ResourceId { kind, name })
            .map(|stored| &*stored.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What is stored and told must be what comes back.
    #[test]
    fn what_is_written_is_read_again() {
        let listener = serde_json::json!({
            "apiVersion": API_VERSION, "kind": "BrokerListener",
            "metadata": {"name": "default", "labels": {"a": "b"}},
            "spec": {
                "brokerRef": "default", "serviceType": "ClusterIp",
                "ports": [{"port": 1883, "protocol": "Mqtt", "proxyProtocol": "Disabled", "compatibility": "None"}],
            },
        });
        let read: Resource = serde_json::from_value(listener.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), listener);
        let mut resources = Resources::default();
        resources.put(7, Arc::new(read.clone()));
        assert_eq!(resources.get(&read.id()).unwrap().version, 7);
        assert_eq!(resources.listeners().next().unwrap().0, "default");
    }
}
