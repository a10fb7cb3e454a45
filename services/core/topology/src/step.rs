//! One change, why it is made, and what must still be true when it is written.

use catena_chain::{Epoch, Incarnation};
use catena_slots::ShardId;

use crate::topology::{Chain, Gateways, Layout, NodeName, Partition, Topology};

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: Rule,
    pub change: Change,
    /// Compared in the same transaction that writes the change.
    pub requires: Vec<Precondition>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The slot table, once.
    Layout(Layout),
    /// The node is given to the partition, or made a spare.
    Assign {
        node: NodeName,
        partition: Option<Partition>,
    },
    /// A chain's next epoch.
    Chain(Chain),
    /// The gateways that shards take ops from.
    Gateways(Gateways),
}

/// What a write compares. With any of them untrue, nothing is written and the manager is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The leader key is still ours `[C-15]`.
    Leadership,
    /// The chain is at exactly this epoch; `None`: there is no such chain `[C-33]`.
    ChainEpoch(ShardId, Option<Epoch>),
    /// The node's last registration is this one, and it is not declared gone.
    NodeIncarnation(NodeName, Incarnation),
    /// The node's newest process is the one by which a death was proved, declared gone or not.
    NodeProof(NodeName, Incarnation, bool),
    /// The node is of this partition.
    NodePartition(NodeName, Option<Partition>),
    /// The list of live gateways has this version.
    GatewaysVersion(u64),
    /// There is no slot table yet.
    NoLayout,
}

/// Why a step is made, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    DropSyncedLearner,
    Promote,
    EvictLost,
    EvictUnreachable,
    EvictLeaving,
    EvictDiverged,
    DropLearner,
    FoundFromDisk,
    StartEmpty,
    TellGateways,
    LayOut,
    Assign,
    Found,
    Join,
    EvictMisplaced,
    Release,
}

impl Rule {
    /// All rules, the most urgent first.
    pub const ALL: [Rule; 16] = [
        Rule::DropSyncedLearner,
        Rule::Promote,
        Rule::EvictLost,
        Rule::EvictUnreachable,
        Rule::EvictLeaving,
        Rule::EvictDiverged,
        Rule::DropLearner,
        Rule::FoundFromDisk,
        Rule::StartEmpty,
        Rule::TellGateways,
        Rule::LayOut,
        Rule::Assign,
        Rule::Found,
        Rule::Join,
        Rule::EvictMisplaced,
        Rule::Release,
    ];

    /// When it applies, what it does, and the rules of replication that it keeps.
    pub const fn explained(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Rule::DropSyncedLearner => (
                "the learner was reported synced and is lost, leaving or dead; a member is live",
                "drop the learner: until then the tail may commit nothing",
                "C-32, C-34",
            ),
            Rule::Promote => (
                "the learner was reported synced in exactly this epoch and generation, and is live",
                "the learner becomes the tail, before anyone is evicted",
                "C-12, C-13, C-33",
            ),
            Rule::EvictLost => (
                "members are lost or dead, another is live",
                "leave them out, and a learner that is lost with them",
                "C-1, C-12, C-13",
            ),
            Rule::EvictUnreachable => (
                "two neighbours heartbeat and cannot reach each other, or acks stand still between them",
                "leave out the successor, or drop the learner; another is live",
                "C-24",
            ),
            Rule::EvictLeaving => (
                "a member's process is about to end, another stays",
                "leave it out",
                "C-12, C-13",
            ),
            Rule::EvictDiverged => (
                "digests of one checkpoint differ, the last such eviction is an hour ago or more",
                "leave out the odd one; without a majority, one that is not the tail; never the last live one",
                "C-52",
            ),
            Rule::DropLearner => (
                "the learner is lost, leaving or dead, or has not come on until the deadline; a member is live",
                "drop it",
                "C-33, C-34",
            ),
            Rule::FoundFromDisk => (
                "no member is live, and the new process of one has the state of that member on its disk",
                "it goes on from there in the next epoch, as the only one; in the next generation, if it may lack something",
                "C-13, C-63, C-64",
            ),
            Rule::StartEmpty => (
                "every member is proved dead, and so is a learner that was reported synced",
                "start with an empty replica in the next generation",
                "C-2, C-14",
            ),
            Rule::TellGateways => (
                "a gateway registered; or a registration expired and no head reports a link from it",
                "write the list of live gateways anew",
                "C-43",
            ),
            Rule::LayOut => (
                "there is no slot table",
                "spread the slots over partitions times workers shards",
                "",
            ),
            Rule::Assign => (
                "a partition has too few usable nodes, or two of one zone while a spare is of another",
                "give it the spare that serves its zones best",
                "",
            ),
            Rule::Found => (
                "a shard never had a chain, and its partition has all its nodes or the first time-out is over",
                "start it on the node with the fewest heads",
                "C-2",
            ),
            Rule::Join => (
                "a chain is too short, or one of its nodes is to be emptied; the tail is live, there is no learner",
                "a learner joins on a node of the partition that has no replica of it",
                "C-1, C-30, C-35",
            ),
            Rule::EvictMisplaced => (
                "a chain has more members than wanted, one of them on a node that drains or was released",
                "leave it out, the others being live: so heads move too",
                "C-12",
            ),
            Rule::Release => (
                "a partition has more usable nodes than wanted, its chains being complete; or a node of no use hosts nothing",
                "make the node a spare",
                "",
            ),
        }
    }
}

impl Step {
    /// Writes the change to a copy of the store's content, as the store does: all preconditions, or nothing.
    /// [`Precondition::Leadership`] is the caller's to know.
    ///
    /// # Errors
    /// The precondition that is not true any more.
    pub fn apply(&self, topology: &mut Topology) -> Result<(), Precondition> {
        if let Some(broken) = self
            .requires
            .iter()
            .find(|required| !required.holds(topology))
        {
            return Err(broken.clone());
        }
        match &self.change {
            Change::Layout(layout) => topology.layout = Some(layout.clone()),
            Change::Assign { node, partition } => {
                let node = topology.nodes.get_mut(node);
                node.expect("its partition was compared").partition = *partition;
            }
            Change::Chain(chain) => {
                let shard = chain.configuration.shard;
                topology.chains.insert(shard, chain.clone());
            }
            Change::Gateways(gateways) => topology.gateways = gateways.clone(),
        }
        topology.version += 1;
        Ok(())
    }
}

impl Precondition {
    fn holds(&self, topology: &Topology) -> bool {
        let node = |name| topology.nodes.get(name);
        match self {
            Precondition::Leadership => true,
            Precondition::ChainEpoch(shard, epoch) => {
                topology.chains.get(shard).map(Chain::epoch) == *epoch
            }
            Precondition::NodeIncarnation(name, incarnation) => {
                node(name).is_some_and(|node| node.incarnation == *incarnation && !node.gone)
            }
            Precondition::NodeProof(name, incarnation, gone) => node(name)
                .is_some_and(|node| (node.incarnation, node.gone) == (*incarnation, *gone)),
            Precondition::NodePartition(name, partition) => {
                node(name).is_some_and(|node| node.partition == *partition)
            }
            Precondition::GatewaysVersion(version) => topology.gateways.version == *version,
            Precondition::NoLayout => topology.layout.is_none(),
        }
    }
}
