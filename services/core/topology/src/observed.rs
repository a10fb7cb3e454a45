//! What is seen of the cluster at one moment. Nothing here is in the store; [`crate::Liveness`] makes it.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Epoch, Generation, Incarnation, ReplicaId};
use catena_slots::ShardId;

use crate::topology::{Chain, GatewayIncarnation, GatewayName, NodeName, Topology};

/// All that the chain manager decides by, besides what was decided before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Wall clock of the leader, milliseconds since 1970.
    pub wall_ms: u64,
    /// The time-out after the leader's start is over: who has not registered by now is not waited for.
    pub settled: bool,
    /// Half of the nodes or more are silent at once: it may be us `[C-15]`.
    pub half_silent: bool,
    pub nodes: BTreeMap<NodeName, Sighting>,
    /// Replicas whose thread stands still although their node heartbeats `[C-24]`.
    pub stuck: BTreeSet<(ShardId, ReplicaId)>,
    /// Learners that have not come on for too long `[C-34]`.
    pub stalled: BTreeSet<(ShardId, ReplicaId)>,
    pub synced: BTreeMap<ShardId, Synced>,
    pub blamed: BTreeMap<ShardId, Blame>,
    pub diverged: BTreeMap<ShardId, Diverged>,
    /// Replicas whose own process says, in the chain's present epoch, that it does not hold their state `[C-1]`.
    pub stateless: BTreeSet<(ShardId, ReplicaId)>,
    /// Replicas that can make nothing more durable, and say so in the chain's present epoch `[C-64]`.
    pub disk_failed: BTreeSet<(ShardId, ReplicaId)>,
    /// Nodes of which a replica said so lately: the next one would end alike.
    pub full: BTreeSet<NodeName>,
    /// Epochs above the store's that nodes reported `[C-16]`.
    pub ahead: BTreeMap<ShardId, Epoch>,
    pub registrations: Registrations,
    /// Gateways from which a head reports a link.
    pub linked: BTreeSet<GatewayIncarnation>,
}

/// What is seen of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub incarnation: Incarnation,
    pub sight: Sight,
}

/// How a process looks from here. None of these proves a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// It heartbeats.
    Live,
    /// It heartbeats, and says that it is about to end.
    Leaving,
    /// Not heard of, but nothing may be concluded from that yet `[C-15]`.
    Silent,
    /// Silent beyond the time-out, or its port refuses connections.
    Lost,
}

/// The tail reported that the learner has all that was ever committed `[C-32]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    pub epoch: Epoch,
    pub generation: Generation,
    pub learner: ReplicaId,
}

/// The replica of a broken pair that is to go, in this epoch `[C-24]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blame {
    pub epoch: Epoch,
    pub replica: ReplicaId,
}

/// Digests of one checkpoint that are not all alike `[C-52]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverged {
    pub epoch: Epoch,
    pub digests: BTreeMap<ReplicaId, u64>,
}

/// The gateways' registrations in the store, and the revision that they were read at `[C-43]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registrations {
    pub revision: u64,
    pub present: BTreeMap<GatewayIncarnation, GatewayName>,
}

/// What can be said of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its process heartbeats.
    Live,
    /// Live, and about to end.
    Leaving,
    /// Nothing is known: neither to be counted on nor to be evicted.
    Silent,
    /// To be evicted, where another is live.
    Lost,
    /// Proved dead: it never plays its role again `[C-14]`.
    Dead,
}

impl Standing {
    /// Lost or dead.
    pub fn is_out(self) -> bool {
        matches!(self, Standing::Lost | Standing::Dead)
    }

    /// Live, if only for now.
    pub fn is_live(self) -> bool {
        matches!(self, Standing::Live | Standing::Leaving)
    }
}

impl Observed {
    /// How the process `incarnation` of `node` looks; one that nobody has spoken of is silent.
    pub fn sight(&self, node: &NodeName, incarnation: Incarnation) -> Sight {
        match self.nodes.get(node) {
            Some(sighting) if sighting.incarnation == incarnation => sighting.sight,
            _ => Sight::Silent,
        }
    }

    /// What can be said of `replica`, a member or the learner of `chain`.
    pub fn standing(&self, topology: &Topology, chain: &Chain, replica: ReplicaId) -> Standing {
        let configuration = &chain.configuration;
        let (Some(member), Some(name)) = (configuration.member(replica), chain.homes.get(&replica))
        else {
            return Standing::Silent;
        };
        let Some(node) = topology.nodes.get(name) else {
            // That the node's record is missing is no proof of anything.
            return Standing::Silent;
        };
        // What the process itself says of its state is proof too.
        let is_stateless = self.stateless.contains(&(configuration.shard, replica));
        if is_stateless || node.proves_death(chain, member) {
            return Standing::Dead;
        }
        if node.incarnation > member.incarnation {
            // The process ended, but its state is on the disk: it can go, and proves nothing.
            return Standing::Lost;
        }
        if self.stuck.contains(&(configuration.shard, replica)) {
            return Standing::Lost;
        }
        let has_failed = self.disk_failed.contains(&(configuration.shard, replica));
        match self.sight(name, member.incarnation) {
            // It has the state, for whoever takes its place.
            Sight::Live if has_failed => Standing::Leaving,
            Sight::Live => Standing::Live,
            Sight::Leaving => Standing::Leaving,
            Sight::Silent => Standing::Silent,
            Sight::Lost => Standing::Lost,
        }
    }

    /// Whether a report in hand says that the learner of `chain` is synced: of exactly this epoch `[C-33]`.
    pub fn has_synced(&self, chain: &Chain) -> bool {
        let configuration = &chain.configuration;
        let report = self.synced.get(&configuration.shard);
        report.is_some_and(|report| {
            report.epoch == configuration.epoch
                && report.generation == configuration.generation
                && configuration
                    .learner
                    .is_some_and(|learner| learner.id == report.learner)
        })
    }
}
