//! What must hold between resources: that what is referred to exists, that ports are unique, and what may not go or change.

use std::collections::BTreeMap;

use crate::{
    broker::Broker,
    listener::{BrokerListener, TlsMode},
    problem::{Invalid, Problem},
    resource::{BROKER_NAME, Kind, ResourceId, Resources},
};

/// Where the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A listener is a service: at most one for each service type.
    Kubernetes,
    /// Processes: any number of listeners.
    Elsewhere,
    /// One process, which was told how many shards it has: a Broker that does not say so leaves them as they are.
    Standalone,
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
        let mut problems = Vec::new();
        self.one_broker(&mut problems);
        for reference in self.references() {
            // That the Broker is missing is said once.
            let is_said = reference.to == id(Kind::Broker, BROKER_NAME);
            if self.get(&reference.to).is_none() && !is_said {
                let reason = missing(&reference.to);
                problems.push(problem(&reference.from, reference.path, reason));
            }
        }
        self.unique_ports(&mut problems);
        if place == Place::Kubernetes {
            self.one_listener_per_service_type(&mut problems);
            self.issuers(&mut problems);
        }
        Invalid::unless_none(problems)
    }

    /// Checks that nothing refers to what is to be deleted, and that it is not the Broker.
    ///
    /// # Errors
    /// [`Invalid`] with each reference.
    pub fn check_delete(&self, id: &ResourceId) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        if id.kind == Kind::Broker && id.name == BROKER_NAME {
            problems.push(problem(
                id,
                "",
                "a cluster always has one: it cannot be deleted",
            ));
        }
        for reference in self.references().filter(|reference| reference.to == *id) {
            let Reference { from, path, .. } = reference;
            if id.kind != Kind::Broker {
                let reason =
                    format!("cannot be deleted: {from} refers to it ({path}). Change that first");
                problems.push(problem(id, "", reason));
            }
        }
        Invalid::unless_none(problems)
    }

    /// All references, by listener and port.
    pub fn references(&self) -> impl Iterator<Item = Reference> {
        self.listeners()
            .flat_map(|(name, listener)| references_of(name, listener))
    }

    fn one_broker(&self, problems: &mut Vec<Problem>) {
        let default = id(Kind::Broker, BROKER_NAME);
        if self.get(&default).is_none() {
            problems.push(problem(
                &default,
                "",
                "is missing: a cluster has exactly one Broker",
            ));
        }
        for (other, _) in self.iter() {
            if other.kind == Kind::Broker && other.name != BROKER_NAME {
                let reason = format!("there is only one Broker, and its name is {BROKER_NAME:?}");
                problems.push(problem(other, "metadata.name", reason));
            }
        }
    }

    fn unique_ports(&self, problems: &mut Vec<Problem>) {
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
                    problems.push(problem(
                        &listener,
                        format!("spec.ports[{index}].port"),
                        reason,
                    ));
                }
            }
        }
    }

    fn one_listener_per_service_type(&self, problems: &mut Vec<Problem>) {
        let mut first = BTreeMap::new();
        for (name, listener) in self.listeners() {
            let other = *first.entry(listener.service_type).or_insert(name);
            if other != name {
                let reason = format!(
                    "{}: BrokerListener/{other} has it already, and there may be one of each; add the ports there",
                    listener.service_type
                );
                problems.push(problem(
                    &id(Kind::BrokerListener, name),
                    "spec.serviceType",
                    reason,
                ));
            }
        }
    }
}

impl Resources {
    /// In Kubernetes cert-manager issues certificates, and must know by whom.
    fn issuers(&self, problems: &mut Vec<Problem>) {
        for (name, listener) in self.listeners() {
            for (index, port) in listener.ports.iter().enumerate() {
                let Some(tls) = &port.tls else { continue };
                let spec = tls.cert_manager_certificate_spec.as_ref();
                let issuer = spec.and_then(|spec| spec.issuer_ref.as_ref());
                if tls.mode == TlsMode::Automatic && issuer.is_none() {
                    let path =
                        format!("spec.ports[{index}].tls.certManagerCertificateSpec.issuerRef");
                    let reason = "is missing: in Kubernetes it says which of cert-manager's issuers issues the certificate";
                    problems.push(problem(&id(Kind::BrokerListener, name), path, reason));
                }
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
        let mut problems = Vec::new();
        let broker = id(Kind::Broker, BROKER_NAME);
        let (was, is) = (
            &self.cardinality.backend_chain,
            &next.cardinality.backend_chain,
        );
        for (field, was, is) in [
            (
                "cardinality.backendChain.partitions",
                was.partitions,
                is.partitions,
            ),
            ("cardinality.backendChain.workers", was.workers, is.workers),
            (
                "advanced.shardKeyLevels",
                self.advanced.shard_key_levels.into(),
                next.advanced.shard_key_levels.into(),
            ),
        ] {
            if was != is {
                let reason = format!(
                    "{is}: cannot change from {was} once the cluster is laid out: sessions and messages would have to move between shards, which is not built yet"
                );
                problems.push(problem(&broker, format!("spec.{field}"), reason));
            }
        }
        Invalid::unless_none(problems)
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

fn problem(id: &ResourceId, path: impl Into<String>, reason: impl Into<String>) -> Problem {
    Problem {
        resource: id.to_string(),
        path: path.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn all(text: &str) -> Resources {
        let mut all = Resources::default();
        for resource in parse(text).unwrap() {
            all.put(1, resource.into());
        }
        all
    }

    fn cluster() -> Resources {
        let manifests = "
apiVersion: catena.dev/v1
kind: List
items:
- {apiVersion: catena.dev/v1, kind: Broker, metadata: {name: default}, spec: {}}
- {apiVersion: catena.dev/v1, kind: BrokerAuthentication, metadata: {name: people}, spec: {authenticationMethods: [{method: X509}]}}
- {apiVersion: catena.dev/v1, kind: BrokerAuthorization, metadata: {name: people}, spec: {authorizationPolicies: {}}}
- {apiVersion: catena.dev/v1, kind: BrokerListener, metadata: {name: one}, spec: {ports: [{port: 1, authenticationRef: people, authorizationRef: people}]}}
- {apiVersion: catena.dev/v1, kind: BrokerListener, metadata: {name: two}, spec: {ports: [{port: 2, authenticationRef: people}]}}";
        all(manifests)
    }

    // A port without its authentication would let everybody in.
    #[test]
    fn what_is_referred_to_stays() {
        let cluster = cluster();
        assert_eq!(cluster.check(Place::Elsewhere), Ok(()));
        let people = id(Kind::BrokerAuthentication, "people");
        let Invalid(problems) = cluster.check_delete(&people).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert_eq!(
            problems[1].to_string(),
            "BrokerAuthentication/people: cannot be deleted: BrokerListener/two refers to it (spec.ports[0].authenticationRef). Change that first"
        );
        assert!(
            cluster
                .check_delete(&id(Kind::BrokerListener, "one"))
                .is_ok()
        );
        assert!(
            cluster
                .check_delete(&id(Kind::Broker, BROKER_NAME))
                .is_err()
        );
        assert!(cluster.check_delete(&id(Kind::Broker, "other")).is_ok());
    }

    // Outside Kubernetes no service stands for a listener.
    #[test]
    fn service_types_bind_in_kubernetes_alone() {
        let Invalid(problems) = cluster().check(Place::Kubernetes).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "spec.serviceType");
    }

    // A shard that is somewhere else than its messages has lost them.
    #[test]
    fn what_would_move_messages_cannot_change() {
        let was = Broker::default();
        let mut next = was.clone();
        next.cardinality.backend_chain.redundancy_factor = 3;
        next.advanced.clients.max_subscriptions = 1;
        assert_eq!(was.check_change(&next), Ok(()));
        next.cardinality.backend_chain.partitions = 2;
        next.cardinality.backend_chain.workers = 2;
        next.advanced.shard_key_levels = 2;
        let Invalid(problems) = was.check_change(&next).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(
            paths,
            [
                "spec.cardinality.backendChain.partitions",
                "spec.cardinality.backendChain.workers",
                "spec.advanced.shardKeyLevels"
            ]
        );
    }
}
