//! Which node is of which partition, and which node gets a replica.
//!
//! A partition has as many nodes as a chain has replicas, of different zones where there are such; each hosts one
//! replica of each of the partition's shards. The others are spares.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    observed::{Observed, Sight, Standing},
    step::{Change, Precondition, Rule, Step},
    topology::{Chain, Layout, Node, NodeName, Partition, Topology, Zone},
    wanted::Wanted,
};

/// Gives a spare to the partition that lacks most; when none lacks any, to one that has two nodes of one zone.
pub fn assign(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
) -> Option<Step> {
    let count = |partition: &Partition| usable(topology, observed, *partition).count();
    let poorest = layout.partitions().min_by_key(count)?;
    let (partition, node) = if count(&poorest) < wanted.redundancy() {
        (poorest, spare(topology, observed, poorest)?)
    } else {
        layout.partitions().find_map(|partition| {
            let zones = zones(topology, observed, partition);
            let crowded = zones.values().any(|nodes| *nodes > 1);
            let ready = crowded
                && count(&partition) == wanted.redundancy()
                && is_complete(topology, layout, observed, wanted, partition);
            let node = spare(topology, observed, partition).filter(|_| ready)?;
            let zone = topology.nodes.get(node)?.zone.as_ref();
            (!zones.contains_key(&zone)).then_some((partition, node))
        })?
    };
    Some(moved(Rule::Assign, topology, node, Some(partition)))
}

/// Makes spares of the nodes that a partition has too many. One that still hosts replicas goes only when all chains of the
/// partition are complete: they then move off it.
pub fn release(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
) -> Option<Step> {
    let node = layout.partitions().find_map(|partition| {
        let usable: Vec<_> = usable(topology, observed, partition).collect();
        useless(topology, observed, wanted, partition, usable.len()).or_else(|| {
            if usable.len() <= wanted.redundancy() {
                return None;
            }
            let zones = zones(topology, observed, partition);
            let crowd = |node: &Node| zones.get(&node.zone.as_ref()).copied().unwrap_or(0);
            let (name, _) = usable.iter().max_by_key(|(name, node)| {
                (
                    crowd(node) > 1,
                    Reverse(topology.replica_count(name)),
                    *name,
                )
            })?;
            let free = topology.replica_count(name) == 0
                || is_complete(topology, layout, observed, wanted, partition);
            free.then_some(*name)
        })
    })?;
    Some(moved(Rule::Release, topology, node, None))
}

/// A node of the partition that hosts nothing and cannot: drained, or lost or full while others fill its place.
fn useless<'a>(
    topology: &'a Topology,
    observed: &Observed,
    wanted: &Wanted,
    partition: Partition,
    usable_count: usize,
) -> Option<&'a NodeName> {
    let replaced = usable_count >= wanted.redundancy();
    let (name, _) = topology.assigned(partition).find(|(name, node)| {
        let is_needed = is_usable(observed, name, node);
        let for_good = node.draining || node.gone;
        !is_needed && (for_good || replaced) && topology.replica_count(name) == 0
    })?;
    Some(name)
}

/// The node on which a shard of `partition` starts: heads are spread.
pub fn founder<'a>(
    topology: &'a Topology,
    observed: &'a Observed,
    partition: Partition,
) -> Option<&'a NodeName> {
    let (name, _) = live_nodes(topology, observed, partition).min_by_key(|(name, _)| {
        (
            topology.head_count(name),
            topology.replica_count(name),
            *name,
        )
    })?;
    Some(name)
}

/// The node on which a replica joins `chain`: none that has one already; of a new zone if possible; the one with the least.
pub fn learner<'a>(
    topology: &'a Topology,
    observed: &'a Observed,
    partition: Partition,
    chain: &Chain,
) -> Option<&'a NodeName> {
    let here = chain.nodes();
    let taken: Vec<_> = here
        .iter()
        .filter_map(|name| topology.nodes.get(*name))
        .map(|node| &node.zone)
        .collect();
    let (name, _) = live_nodes(topology, observed, partition)
        .filter(|(name, _)| !here.contains(name))
        .min_by_key(|(name, node)| {
            (
                taken.contains(&&node.zone),
                topology.replica_count(name),
                *name,
            )
        })?;
    Some(name)
}

/// The nodes of `partition` that a replica may be put on now.
pub fn live_nodes<'a>(
    topology: &'a Topology,
    observed: &'a Observed,
    partition: Partition,
) -> impl Iterator<Item = (&'a NodeName, &'a Node)> {
    usable(topology, observed, partition)
        .filter(|(name, node)| observed.sight(name, node.incarnation) == Sight::Live)
}

/// How many nodes of `partition` are to be counted on.
pub(crate) fn usable<'a>(
    topology: &'a Topology,
    observed: &'a Observed,
    partition: Partition,
) -> impl Iterator<Item = (&'a NodeName, &'a Node)> {
    topology
        .assigned(partition)
        .filter(|(name, node)| is_usable(observed, name, node))
}

/// A silent node is: nothing may be concluded from its silence yet.
fn is_usable(observed: &Observed, name: &NodeName, node: &Node) -> bool {
    let sight = observed.sight(name, node.incarnation);
    let has_room = !node.draining && !node.gone && !observed.full.contains(name);
    has_room && matches!(sight, Sight::Live | Sight::Silent)
}

/// The spare that serves `partition` best: of a zone that it does not have yet, if possible, and with the least left on it.
fn spare<'a>(
    topology: &'a Topology,
    observed: &Observed,
    partition: Partition,
) -> Option<&'a NodeName> {
    let zones = zones(topology, observed, partition);
    let (name, _) = topology
        .nodes
        .iter()
        .filter(|(name, node)| {
            let is_live = observed.sight(name, node.incarnation) == Sight::Live;
            node.partition.is_none() && is_live && is_usable(observed, name, node)
        })
        .min_by_key(|(name, node)| {
            (
                zones.contains_key(&node.zone.as_ref()),
                topology.replica_count(name),
                *name,
            )
        })?;
    Some(name)
}

/// How many usable nodes of `partition` are of each zone.
fn zones<'a>(
    topology: &'a Topology,
    observed: &'a Observed,
    partition: Partition,
) -> BTreeMap<Option<&'a Zone>, usize> {
    let mut zones = BTreeMap::new();
    for (_, node) in usable(topology, observed, partition) {
        *zones.entry(node.zone.as_ref()).or_default() += 1;
    }
    zones
}

/// Whether each chain of `partition` has as many live members as are wanted, none misplaced, and no learner.
fn is_complete(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
    partition: Partition,
) -> bool {
    let mut shards = layout
        .shards()
        .filter(|shard| layout.partition(*shard) == partition);
    shards.all(|shard| {
        let Some(chain) = topology.chains.get(&shard) else {
            return false;
        };
        let members = &chain.configuration.chain;
        let stands = |id| observed.standing(topology, chain, id) == Standing::Live;
        let is_here = |id| {
            let home = topology.home(chain, id);
            home.is_some_and(|node| node.partition == Some(partition))
        };
        members.len() >= wanted.redundancy()
            && chain.configuration.learner.is_none()
            && members
                .iter()
                .all(|member| stands(member.id) && is_here(member.id))
    })
}

fn moved(rule: Rule, topology: &Topology, name: &NodeName, partition: Option<Partition>) -> Step {
    let node = &topology.nodes[name];
    Step {
        rule,
        change: Change::Assign {
            node: name.clone(),
            partition,
        },
        requires: vec![
            Precondition::Leadership,
            Precondition::NodePartition(name.clone(), node.partition),
        ],
    }
}
