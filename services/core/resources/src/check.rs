//! What must hold between resources: that what is referred to exists, that ports are unique, and what may not go or change.

use std::collections::BTreeMap;

use crate::{
    broker::Broker,
    listener::BrokerListener,
    problem::{Invalid, Problems},
    resource::{BROKER_NAME, Kind, ResourceId, Resources},
};

/// Where the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A listener is a service: at most one for each service type.
    Kubernetes,
    /// A process, or several: any number of listeners.
    Elsewhere,
}

/// A field by which a listener refers to another resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Who refers.
    pub from: ResourceId,
    /// The field, as `spec.ports[0].authenticationRef`.
    pub path: String,
    /// To whom.
    pub to: ResourceId,
}

impl Resources {
    /// Checks what must hold between resources, each of which is valid by itself.
    ///
    /// # Errors
    /// [`Invalid`] with all that does not hold.
    pub fn check(&self, place: Place) -> Result<(), Invalid> {
        let mut problems = Problems::default();
        self.one_broker(&mut problems);
        for reference in self.references() {
            if self.get(&reference.to).is_none() {
                problems.add(&reference.from, reference.path, missing(&reference.to));
            }
        }
        self.unique_ports(&mut problems);
        if place == Place::Kubernetes {
            self.one_listener_per_service_type(&mut problems);
        }
        problems.end()
    }

    /// Checks that nothing refers to what is to be deleted, and that it is not the Broker.
    ///
    /// # Errors
    /// [`Invalid`] with each reference.
    pub fn check_delete(&self, id: &ResourceId) -> Result<(), Invalid> {
        let mut problems = Problems::default();
        if id.kind == Kind::Broker && id.name == BROKER_NAME {
            problems.add(id, "", "a cluster always has one: it cannot be deleted");
        }
        for reference in self.references().filter(|reference| reference.to == *id) {
            let Reference { from, path, .. } = reference;
            if id.kind != Kind::Broker {
                let reason =
                    format!("cannot be deleted: {from} refers to it ({path}). Change that first");
                problems.add(id, "", reason);
            }
        }
        problems.end()
    }

    /// All references, by listener and port.
    pub fn references(&self) -> impl Iterator<Item = Reference> {
        self.listeners()
            .flat_map(|(name, listener)| references_of(name, listener))
    }

    fn one_broker(&self, problems: &mut Problems) {
        let default = id(Kind::Broker, BROKER_NAME);
        if self.get(&default).is_none() {
            problems.add(&default, "", "is missing: a cluster has exactly one Broker");
        }
        for (other, _) in self.iter() {
            if other.kind == Kind::Broker && other.name != BROKER_NAME {
                let reason = format!("there is only one Broker, and its name is {BROKER_NAME:?}");
                problems.add(other, "metadata.name", reason);
            }
        }
    }

    fn unique_ports(&self, problems: &mut Problems) {
        let mut first: BTreeMap<u16, (&str, usize)> = BTreeMap::new();
        for (name, listener) in self.listeners() {
            for (index, port) in listener.ports.iter().enumerate() {
                let (other, at) = *first.entry(port.port).or_insert((name, index));
                // Within one listener its own check says so.
                if other != name {
                    let reason = format!(
                        "{}: is taken by spec.ports[{at}] of BrokerListener/{other}",
                        port.port
                    );
                    let listener = id(Kind::BrokerListener, name);
                    problems.add(&listener, format!("spec.ports[{index}].port"), reason);
                }
            }
        }
    }

    fn one_listener_per_service_type(&self, problems: &mut Problems) {
        let mut first = BTreeMap::new();
        for (name, listener) in self.listeners() {
            let other = *first.entry(listener.service_type).or_insert(name);
            if other != name {
                let reason = format!(
                    "{}: BrokerListener/{other} has it already, and there may be one of each; add the ports there",
                    listener.service_type
                );
                problems.add(&id(Kind::BrokerListener, name), "spec.serviceType", reason);
            }
        }
    }
}

impl Broker {
    /// Checks whether a cluster that is laid out may go on with `next` in place of this Broker.
    ///
    /// # Errors
    /// [`Invalid`] with each field that cannot change any more.
    pub fn check_change(&self, next: &Broker) -> Result<(), Invalid> {
        let mut problems = Problems::default();
        let broker = id(Kind::Broker, BROKER_NAME);
        let (was, is) = (
            &self.cardinality.backend_chain,
            &next.cardinality.backend_chain,
        );
        for (field, was, is) in [
            ("partitions", was.partitions, is.partitions),
            ("workers", was.workers, is.workers),
        ] {
            if was != is {
                let reason = format!(
                    "{is}: cannot change from {was} once the cluster is laid out: sessions and messages would have to move between shards, which is not built yet"
                );
                let path = format!("spec.cardinality.backendChain.{field}");
                problems.add(&broker, path, reason);
            }
        }
        problems.end()
    }
}

/// What a listener refers to.
fn references_of(name: &str, listener: &BrokerListener) -> Vec<Reference> {
    let from = id(Kind::BrokerListener, name);
    let reference = |path: String, kind: Kind, to: &str| Reference {
        from: from.clone(),
        path,
        to: id(kind, to),
    };
    let mut references = vec![reference(
        "spec.brokerRef".to_owned(),
        Kind::Broker,
        &listener.broker_ref,
    )];
    for (index, port) in listener.ports.iter().enumerate() {
        if let Some(to) = &port.authentication_ref {
            let path = format!("spec.ports[{index}].authenticationRef");
            references.push(reference(path, Kind::BrokerAuthentication, to));
        }
        if let Some(to) = &port.authorization_ref {
            let path = format!("spec.ports[{index}].authorizationRef");
            references.push(reference(path, Kind::BrokerAuthorization, to));
        }
    }
    references
}

fn missing(to: &ResourceId) -> String {
    if to.kind == Kind::Broker {
        format!("{:?}: the Broker is called {BROKER_NAME:?}", to.name)
    } else {
        format!("{:?}: there is no {to}", to.name)
    }
}

fn id(kind: Kind, name: &str) -> ResourceId {
    let name = name.to_owned();
    ResourceId { kind, name }
}
