//! The store's content as this replica knows it: one moment of it, whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catena_chain::Incarnation;
use catena_membership::Cluster;
use catena_resources::{Broker, Resource, Resources};
use catena_topology::{GatewayIncarnation, Gateways, NodeName, Registrations, Topology, Wanted};
use serde::de::DeserializeOwned;
use tracing::error;

use crate::{
    keys::{self, About},
    record::{GatewayRecord, NodeRecord, PortRecord, Process},
    store::{Change, Compare, Entry, Event, Expected, Key, LeaseId, Revision},
};

/// All that is decided by and told, at one revision of the store.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub revision: Revision,
    /// Of each entry's last write.
    revisions: BTreeMap<Key, Revision>,
    pub resources: Arc<Resources>,
    /// The one among them; `None` until the first was written.
    pub broker: Option<Broker>,
    /// The highest incarnation of a node that was allotted.
    pub incarnations: u64,
    /// Incarnations of the nodes that were removed last.
    pub removed: Vec<Incarnation>,
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// The same nodes, and what was decided of them.
    pub topology: Topology,
    pub registrations: BTreeMap<Process, Registration>,
    /// How it stands with the ports of gateways.
    pub ports: BTreeMap<Process, Vec<PortRecord>>,
    pub draining: BTreeSet<GatewayIncarnation>,
    /// Addresses of the control plane's replicas.
    pub replicas: BTreeSet<String>,
}

/// A gateway's registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub record: GatewayRecord,
    pub incarnation: GatewayIncarnation,
    pub lease: Option<LeaseId>,
}

impl View {
    /// Takes news of the store.
    pub fn take(&mut self, event: Event) {
        let revision = event.revision();
        match event {
            Event::Snapshot(listing) => {
                *self = View::default();
                for entry in &listing.entries {
                    self.put(entry);
                }
            }
            Event::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.put(&entry),
                        Change::Deleted { key, .. } => self.delete(&key),
                    }
                }
            }
        }
        self.revision = revision;
        self.topology.version = revision.0;
    }

    /// An entry that cannot be read stays what it was: nothing is written over it, because its revision is not known.
    fn put(&mut self, entry: &Entry) {
        let taken = match keys::about(&entry.key) {
            About::Resource(id) => read(entry).and_then(|resource: Resource| {
                if resource.id() != id {
                    error!(key = %entry.key, holds = %resource.id(), "a resource under another's name");
                    return None;
                }
                let resources = Arc::make_mut(&mut self.resources);
                resources.put(entry.revision.0, Arc::new(resource));
                self.broker = self.resources.broker().cloned();
                Some(())
            }),
            About::Layout => read(entry).map(|layout| self.topology.layout = Some(layout)),
            About::Chain(shard) => read(entry).map(|chain| {
                self.topology.chains.insert(shard, chain);
            }),
            About::Gateways => read(entry).map(|gateways| self.topology.gateways = gateways),
            About::Incarnations => read(entry).map(|highest| self.incarnations = highest),
            About::Removed => read(entry).map(|removed| self.removed = removed),
            About::Replica(address) => {
                self.replicas.insert(address);
                Some(())
            }
            About::Node(name) => read(entry).map(|record: NodeRecord| {
                self.topology.nodes.insert(name.clone(), record.node());
                self.nodes.insert(name, record);
            }),
            About::Registration(process) => read(entry).map(|record| {
                let registration = Registration::new(record, entry);
                self.registrations.insert(process, registration);
            }),
            About::Ports(process) => read(entry).map(|ports| {
                self.ports.insert(process, ports);
            }),
            About::Draining(gateway) => {
                self.draining.insert(gateway);
                Some(())
            }
            About::Other => Some(()),
        };
        if taken.is_some() {
            self.revisions.insert(entry.key.clone(), entry.revision);
        }
    }

    fn delete(&mut self, key: &Key) {
        self.revisions.remove(key);
        match keys::about(key) {
            About::Resource(id) => {
                Arc::make_mut(&mut self.resources).remove(&id);
                self.broker = self.resources.broker().cloned();
            }
            About::Layout => self.topology.layout = None,
            About::Chain(shard) => {
                self.topology.chains.remove(&shard);
            }
            About::Gateways => self.topology.gateways = Gateways::default(),
            About::Incarnations => self.incarnations = 0,
            About::Removed => self.removed.clear(),
            About::Replica(address) => {
                self.replicas.remove(&address);
            }
            About::Node(name) => {
                self.topology.nodes.remove(&name);
                self.nodes.remove(&name);
            }
            About::Registration(process) => {
                self.registrations.remove(&process);
            }
            About::Ports(process) => {
                self.ports.remove(&process);
            }
            About::Draining(gateway) => {
                self.draining.remove(&gateway);
            }
            About::Other => {}
        }
    }

    /// That `key` is as it is known here.
    pub fn unchanged(&self, key: Key) -> Compare {
        let is = match self.revisions.get(&key) {
            Some(revision) => Expected::At(*revision),
            None => Expected::Absent,
        };
        Compare { key, is }
    }

    /// The gateways that are registered.
    pub fn gateways(&self) -> Registrations {
        let present = self
            .registrations
            .values()
            .map(|gateway| (gateway.incarnation, gateway.record.name.clone()));
        Registrations {
            revision: self.revision.0,
            present: present.collect(),
        }
    }

    /// What the Broker asks for. `None` when there is none, or it is not valid.
    pub fn wanted(&self) -> Option<Wanted> {
        let chain = self.broker.as_ref()?.cardinality.backend_chain;
        let redundancy = usize::from(chain.redundancy_factor);
        Wanted::new(chain.partitions, chain.workers, redundancy, 0).ok()
    }

    /// The node of a process.
    pub fn node_of(&self, incarnation: Incarnation) -> Option<&NodeName> {
        let mut nodes = self.nodes.iter();
        nodes
            .find(|(_, record)| record.incarnation == incarnation)
            .map(|(name, _)| name)
    }

    /// Whether a process that says it is `incarnation` of `name` can never be of use again: a newer one registered, it was
    /// declared gone, or the node was removed `[C-1]`. False while this view may be too old to know.
    pub fn is_replaced(&self, name: &NodeName, incarnation: Incarnation) -> bool {
        match self.nodes.get(name) {
            Some(record) if record.incarnation == incarnation => record.gone,
            Some(record) => record.incarnation > incarnation,
            // One that is merely not known may have registered in a store that was since restored from a backup.
            None => self.removed.contains(&incarnation),
        }
    }

    /// What gateways and backends are told.
    pub fn told(&self) -> Cluster {
        let revision = |key: &Key| self.revisions.get(key).map_or(0, |revision| revision.0);
        let generations = self.topology.chains.values();
        let generations = generations.map(|chain| u64::from(chain.configuration.generation.0));
        // Each part only rises, and is the same for every replica of the control plane.
        let settings_version =
            revision(&keys::broker()) + revision(&keys::layout()) + generations.sum::<u64>();
        let chains = self.topology.chains.iter();
        let registered = self.nodes.values().filter(|record| !record.gone);
        Cluster {
            version: self.revision.0,
            layout: self.topology.layout.clone(),
            chains: chains
                .map(|(shard, chain)| (*shard, chain.configuration.clone()))
                .collect(),
            addresses: registered
                .map(|record| (record.incarnation, record.addresses.clone().into()))
                .collect(),
            gateways_version: self.topology.gateways.version,
            gateways: (self.topology.gateways.live.keys())
                .map(|gateway| gateway.0)
                .collect(),
            draining: self.draining.clone(),
            resources: self.resources.clone(),
            broker: self.broker.clone().unwrap_or_default(),
            settings_version,
        }
    }
}

impl Registration {
    /// The registration in `entry`.
    pub fn new(record: GatewayRecord, entry: &Entry) -> Registration {
        let created = GatewayIncarnation(entry.created.0);
        Registration {
            incarnation: record.incarnation.unwrap_or(created),
            record,
            lease: entry.lease,
        }
    }
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(problem) => {
            error!(key = %entry.key, revision = entry.revision.0, %problem, "an entry of the store cannot be read");
            None
        }
    }
}
