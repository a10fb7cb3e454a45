//! The control plane: a store, and processes of which one leads at a time and asks the real chain manager `[C-12]` to
//! `[C-16]`.

mod lead;
mod serve;
mod store;

use std::{collections::BTreeMap, sync::Arc};

use catena_chain::{Configuration, Incarnation, ReplicaId, message::Report};
use catena_slots::ShardId;
use catena_topology::{
    GatewayIncarnation, GatewayName, Liveness, NodeName, Step, Topology, topology::Kept,
};

pub use store::Store;

/// Microseconds that a leader's key lives without being renewed, in time-outs times ten.
pub const LEASE_TENTHS: u64 = 15;

/// What is in the store at one revision. A process of the control plane has a copy that may be old, and tells it to
/// nodes and gateways.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub revision: u64,
    pub topology: Topology,
    pub registrations: BTreeMap<GatewayIncarnation, GatewayName>,
    /// The process that leads, and the key by which it does.
    pub leader: Option<(usize, u64)>,
    /// Whether nodes are to keep what they have, where that changes.
    pub is_kept: bool,
    /// Whether what they write counts before it is synced.
    pub is_interval: bool,
}

/// What a process asks of the store.
#[derive(Debug, Clone)]
pub enum Ask {
    RegisterNode {
        node: usize,
        process: u64,
        kept: Vec<Kept>,
    },
    RegisterGateway {
        gateway: usize,
        process: u64,
    },
    KeepGateway {
        incarnation: u64,
    },
    Campaign,
    Renew {
        term: u64,
    },
    Write {
        term: u64,
        step: Box<Step>,
    },
    Read,
}

/// What the store answers, with its content then.
#[derive(Debug, Clone)]
pub struct Answer {
    pub content: Arc<Content>,
    pub said: Said,
}

/// See [`Answer`].
#[derive(Debug, Clone)]
pub enum Said {
    Node {
        node: usize,
        process: u64,
        incarnation: Incarnation,
    },
    Gateway {
        gateway: usize,
        process: u64,
        incarnation: u64,
    },
    Leads {
        term: u64,
    },
    Written,
    Content,
}

/// A process of the control plane.
#[derive(Debug, Default)]
pub struct Process {
    pub copy: Arc<Content>,
    /// When the store last answered.
    pub store_heard: u64,
    pub leading: Option<Leading>,
}

/// What a process remembers that believes itself to lead.
#[derive(Debug)]
pub struct Leading {
    pub term: u64,
    pub renewed_at: u64,
    pub liveness: Liveness,
    /// A write is under way until then, at the latest.
    pub writes_until: u64,
    /// For rules that are switched off: the last report of each learner, and since when each is waited for.
    pub synced: BTreeMap<ShardId, Report>,
    pub learner_since: BTreeMap<(ShardId, ReplicaId), u64>,
}

pub fn node_name(node: usize) -> NodeName {
    NodeName(format!("node-{node}"))
}

pub fn node_of(name: &NodeName) -> Option<usize> {
    name.0.strip_prefix("node-")?.parse().ok()
}

impl Content {
    pub fn configurations(&self) -> impl Iterator<Item = &Configuration> {
        self.topology
            .chains
            .values()
            .map(|chain| &chain.configuration)
    }

    pub fn configuration(&self, shard: usize) -> Option<&Configuration> {
        let chain = self.topology.chains.get(&ShardId(shard as u16))?;
        Some(&chain.configuration)
    }

    /// The generation of each shard; 1 for one that was never founded.
    pub fn generations(&self, shards: usize) -> Vec<u32> {
        let generation = |shard| self.configuration(shard).map_or(1, |c| c.generation.0);
        (0..shards).map(generation).collect()
    }

    /// Rises with the layout and every empty start; 0 before the layout.
    pub fn settings_version(&self, shards: usize) -> u64 {
        let generations = self.generations(shards).into_iter();
        match &self.topology.layout {
            Some(_) => {
                1 + generations
                    .map(|generation| u64::from(generation) - 1)
                    .sum::<u64>()
            }
            None => 0,
        }
    }
}
