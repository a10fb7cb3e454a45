//! What was decided and is in the store: nodes, gateways, the slot table and the chains.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Beginning, Configuration, Epoch, Generation, Incarnation, Member, ReplicaId};
use catena_slots::{ShardId, SlotTable};
use serde::{Deserialize, Serialize};

/// A backend's name, which outlives its processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeName(pub String);

/// Nodes of one zone may fail together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Zone(pub String);

/// A group of shards that live on the same nodes. From 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition(pub u16);

/// A gateway's name, which outlives its processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayName(pub String);

/// A gateway process as an origin: the store revision that created its registration `[C-43]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayIncarnation(pub u64);

/// All that gateways and nodes are told about the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Rises with each change: the store revision that made the last one.
    pub version: u64,
    /// Fixed at creation. `None` until the first Broker is applied.
    pub layout: Option<Layout>,
    pub nodes: BTreeMap<NodeName, Node>,
    pub gateways: Gateways,
    /// A shard that was never founded has none.
    pub chains: BTreeMap<ShardId, Chain>,
}

/// How many shards there are, and which has which slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub partitions: u16,
    /// Shards of each partition.
    pub workers: u16,
    pub slots: SlotTable,
}

/// A backend that registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The process that registered last. Incarnations of one name only rise.
    pub incarnation: Incarnation,
    pub zone: Option<Zone>,
    /// Of whose shards it hosts a replica each. `None`: a spare.
    pub partition: Option<Partition>,
    /// An administrator wants it empty.
    pub draining: bool,
    /// An administrator declared that this incarnation never comes back: proof of its death `[C-14]`.
    pub gone: bool,
    /// What this incarnation found on its disk when it started.
    pub kept: Vec<Kept>,
}

/// A replica's state on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub shard: ShardId,
    pub generation: Generation,
    pub replica: ReplicaId,
    /// The power went while it was not synced: entries may be missing that were acknowledged `[C-64]`.
    #[serde(default)]
    pub may_lack: bool,
}

/// The gateways that shards take ops from `[C-43]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// The store revision that `live` was read at, so that it compares with incarnations: one that is not listed and not
    /// above it is refused, one above it is not known yet. It only rises.
    pub version: u64,
    pub live: BTreeMap<GatewayIncarnation, GatewayName>,
}

/// One shard's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    pub configuration: Configuration,
    /// The node of each member and of the learner.
    pub homes: BTreeMap<ReplicaId, NodeName>,
    /// When a replica was last evicted because it diverged: wall clock, milliseconds since 1970 `[C-52]`.
    pub divergence_at_ms: Option<u64>,
}

impl Layout {
    /// The partition whose nodes host `shard`.
    pub fn partition(&self, shard: ShardId) -> Partition {
        Partition(shard.0 / self.workers)
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.partitions).map(Partition)
    }

    /// All shards, ascending.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        self.slots.shards()
    }
}

impl Node {
    /// A spare that has just registered.
    pub fn new(incarnation: Incarnation, zone: Option<Zone>) -> Node {
        Node {
            incarnation,
            zone,
            partition: None,
            draining: false,
            gone: false,
            kept: Vec::new(),
        }
    }

    /// Takes note of a registration. Answers whether it holds: that of a process older than the one that is known
    /// does not. A newer one keeps the node's partition and replaces the rest `[C-1]`.
    pub fn register(
        &mut self,
        incarnation: Incarnation,
        zone: Option<Zone>,
        kept: Vec<Kept>,
    ) -> bool {
        if incarnation > self.incarnation {
            let partition = self.partition;
            *self = Node {
                partition,
                draining: self.draining,
                kept,
                ..Node::new(incarnation, zone)
            };
        }
        incarnation == self.incarnation && !self.gone
    }

    /// What the disk of this process has of `member` `[C-63]`.
    pub fn kept_of(&self, chain: &Chain, member: Member) -> Option<Kept> {
        let mut ids = chain.sources().filter(|(_, of)| *of == member);
        let of_shard = |id| {
            let mut kept = self.kept.iter();
            kept.find(|kept| kept.shard == chain.configuration.shard && kept.replica == id)
        };
        ids.find_map(|(id, of)| {
            let kept = of_shard(id)?;
            // What a founder goes on from may be of the generation before, when it may lack something [C-64].
            let is_source = id != of.id;
            let is_of_line = kept.generation == chain.configuration.generation;
            (is_of_line || is_source).then_some(*kept)
        })
    }

    /// Whether the replica's death is proved: by a newer process that does not have its state, or by a declaration. A
    /// time-out is never proof `[C-14]`.
    pub fn proves_death(&self, chain: &Chain, member: Member) -> bool {
        let replaced =
            self.incarnation > member.incarnation && self.kept_of(chain, member).is_none();
        let declared = self.gone && self.incarnation >= member.incarnation;
        replaced || declared
    }
}

impl Chain {
    /// The epoch that the next change compares with.
    pub fn epoch(&self) -> Epoch {
        self.configuration.epoch
    }

    /// The nodes of the members and of the learner.
    pub fn nodes(&self) -> BTreeSet<&NodeName> {
        self.homes.values().collect()
    }

    /// The node of the head.
    pub fn head_node(&self) -> Option<&NodeName> {
        self.homes.get(&self.configuration.head()?.id)
    }

    /// The same chain at the next epoch, without `gone` and, when it is among them, without the learner `[C-12]`.
    pub fn without(&self, gone: &[ReplicaId]) -> Chain {
        let mut next = self.clone();
        next.configuration.epoch = self.epoch().next();
        next.configuration
            .chain
            .retain(|member| !gone.contains(&member.id));
        next.configuration.learner = self
            .configuration
            .learner
            .filter(|member| !gone.contains(&member.id));
        next.homes.retain(|id, _| !gone.contains(id));
        next
    }

    /// The same chain at the next epoch, with its learner as the tail `[C-12]`.
    pub fn promoted(&self) -> Chain {
        let mut next = self.clone();
        next.configuration.epoch = self.epoch().next();
        let learner = next.configuration.learner.take();
        next.configuration.chain.extend(learner);
        next
    }

    /// The same chain at the next epoch, with a learner on `node`. The number of the epoch that a replica joins in is its
    /// id: so none is ever used twice `[C-1]`.
    pub fn joined(&self, node: &NodeName, incarnation: Incarnation) -> Chain {
        let mut next = self.clone();
        let epoch = self.epoch().next();
        let learner = Member {
            id: ReplicaId(epoch.0),
            incarnation,
        };
        next.configuration.epoch = epoch;
        next.configuration.learner = Some(learner);
        next.configuration.joined = epoch;
        next.homes.insert(learner.id, node.clone());
        next
    }

    /// A chain that starts empty with one replica on `node`: the first of the shard, or after the proved death of all of
    /// `last` a new generation `[C-2]` `[C-14]`.
    pub fn founded(
        shard: ShardId,
        last: Option<&Chain>,
        node: &NodeName,
        incarnation: Incarnation,
    ) -> Chain {
        let (epoch, generation) = last.map_or_else(Default::default, |last| {
            (last.epoch(), last.configuration.generation)
        });
        let epoch = epoch.next();
        let founder = Member {
            id: ReplicaId(epoch.0),
            incarnation,
        };
        Chain {
            configuration: Configuration::founded(shard, epoch, generation.next(), founder),
            homes: BTreeMap::from([(founder.id, node.clone())]),
            divergence_at_ms: last.and_then(|last| last.divergence_at_ms),
        }
    }

    /// The next epoch: one replica on `node`, which goes on from `kept` `[C-63]`. Of the same generation, unless the disk may
    /// lack what was acknowledged: then whoever was acknowledged anything has to know `[C-64]`.
    pub fn from_disk(&self, kept: Kept, node: &NodeName, incarnation: Incarnation) -> Chain {
        let epoch = self.epoch().next();
        let founder = Member {
            id: ReplicaId(epoch.0),
            incarnation,
        };
        let (shard, before) = (self.configuration.shard, self.configuration.generation);
        let generation = if kept.may_lack { before.next() } else { before };
        Chain {
            configuration: Configuration {
                began: Beginning::Disk(kept.replica),
                ..Configuration::founded(shard, epoch, generation, founder)
            },
            homes: BTreeMap::from([(founder.id, node.clone())]),
            divergence_at_ms: self.divergence_at_ms,
        }
    }

    /// The ids under which a disk may have kept all that was ever committed, each with the member of whose node it is: those
    /// of the chain, never the learner's; and the founder's source, while the founder may not have renamed it `[C-63]`.
    pub fn sources(&self) -> impl Iterator<Item = (ReplicaId, Member)> {
        let configuration = &self.configuration;
        let members = configuration
            .chain
            .iter()
            .map(|member| (member.id, *member));
        let founder = configuration.member(configuration.founder);
        let source = match configuration.began {
            Beginning::Disk(source) => founder.map(|founder| (source, founder)),
            Beginning::Empty => None,
        };
        members.chain(source.filter(|(_, founder)| configuration.position(founder.id).is_some()))
    }
}

impl Topology {
    /// The node of a replica, if it is known.
    pub fn home(&self, chain: &Chain, replica: ReplicaId) -> Option<&Node> {
        self.nodes.get(chain.homes.get(&replica)?)
    }

    /// The nodes of `partition`, by name.
    pub fn assigned(&self, partition: Partition) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.partition == Some(partition))
    }

    /// How many replicas `node` hosts, learners included.
    pub fn replica_count(&self, node: &NodeName) -> usize {
        let homes = self.chains.values().flat_map(|chain| chain.homes.values());
        homes.filter(|home| *home == node).count()
    }

    /// How many chains have their head on `node`.
    pub fn head_count(&self, node: &NodeName) -> usize {
        let heads = self.chains.values().filter_map(Chain::head_node);
        heads.filter(|head| *head == node).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(incarnation: u64) -> Node {
        Node::new(Incarnation(incarnation), None)
    }

    // An old process that registers late would undo the proof that its replicas are dead [C-1] [C-14].
    #[test]
    fn a_process_older_than_the_known_one_does_not_register() {
        let mut node = node(5);
        node.partition = Some(Partition(1));
        assert!(!node.register(Incarnation(4), None, vec![]));
        assert!(node.register(Incarnation(5), None, vec![]));
        assert!(node.register(Incarnation(6), None, vec![]));
        assert_eq!(
            (node.incarnation, node.partition),
            (Incarnation(6), Some(Partition(1)))
        );
        assert!(!node.register(Incarnation(5), None, vec![]));
        node.gone = true;
        assert!(
            !node.register(Incarnation(6), None, vec![]),
            "it was declared gone"
        );
        assert!(node.register(Incarnation(7), None, vec![]) && !node.gone);
    }

    // Without proof a chain that starts empty loses what a silent member still has [C-14].
    #[test]
    fn death_is_proved_by_a_newer_process_or_a_declaration_alone() {
        let name = NodeName("node".to_owned());
        let chain = Chain::founded(ShardId(0), None, &name, Incarnation(5));
        let member = chain.configuration.chain[0];
        let mut node = node(5);
        assert!(!node.proves_death(&chain, member));
        node.gone = true;
        assert!(node.proves_death(&chain, member));
        let kept = Kept {
            shard: ShardId(0),
            generation: Generation(1),
            replica: member.id,
            may_lack: false,
        };
        assert!(node.register(Incarnation(6), None, vec![kept]));
        assert!(
            !node.proves_death(&chain, member),
            "its state is on the disk"
        );
        assert!(node.register(Incarnation(7), None, vec![]));
        assert!(node.proves_death(&chain, member));
    }
}
