//! What an administrator should know, beside what the manager does about it.

use catena_chain::Epoch;
use catena_slots::ShardId;

use crate::{
    chain::may_evict_diverged,
    observed::{Observed, Standing},
    placement,
    topology::{Layout, Partition, Topology},
    wanted::Wanted,
};

/// A state that lasts until it is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// Nodes know an epoch above the store's: it was restored from a backup, and nothing is reconfigured until an
    /// administrator adopts theirs `[C-16]`.
    EpochAhead {
        shard: ShardId,
        stored: Option<Epoch>,
        reported: Epoch,
    },
    /// No member of the chain is live, and not all are proved dead: the first to return decides `[C-13]` `[C-14]`.
    ChainWaits { shard: ShardId },
    /// Digests differ again within the hour: nobody is evicted `[C-52]`.
    DivergedAgain { shard: ShardId },
    /// Half of the nodes or more are silent at once: only those that others cannot reach either are evicted `[C-15]`.
    HalfSilent,
    /// The partition has fewer nodes than a chain should have replicas, and there is no spare.
    NodesMissing {
        partition: Partition,
        usable: usize,
        wanted: usize,
    },
    /// The Broker asks for other partitions, workers or key levels than the slots were laid out for.
    LayoutIsFixed,
}

/// All alarms of this moment.
pub fn alarms(topology: &Topology, observed: &Observed, wanted: &Wanted) -> Vec<Alarm> {
    let ahead = observed
        .ahead
        .iter()
        .map(|(shard, reported)| Alarm::EpochAhead {
            shard: *shard,
            stored: topology.chains.get(shard).map(|chain| chain.epoch()),
            reported: *reported,
        });
    let mut alarms: Vec<Alarm> = ahead.collect();
    // Until then nobody has had the time to be heard.
    if observed.half_silent && observed.settled {
        alarms.push(Alarm::HalfSilent);
    }
    for (shard, chain) in &topology.chains {
        let members = &chain.configuration.chain;
        let standings: Vec<Standing> = members
            .iter()
            .map(|member| observed.standing(topology, chain, member.id))
            .collect();
        let all_dead = standings.iter().all(|standing| *standing == Standing::Dead);
        if !all_dead && !standings.iter().any(|standing| standing.is_live()) {
            alarms.push(Alarm::ChainWaits { shard: *shard });
        }
        let again = observed
            .diverged
            .get(shard)
            .is_some_and(|report| report.epoch == chain.epoch());
        if again && !may_evict_diverged(chain, observed.wall_ms) {
            alarms.push(Alarm::DivergedAgain { shard: *shard });
        }
    }
    if let Some(layout) = &topology.layout {
        alarms.extend(of_layout(topology, layout, observed, wanted));
    }
    alarms
}

fn of_layout(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = layout
        .partitions()
        .map(|partition| Alarm::NodesMissing {
            partition,
            usable: placement::usable(topology, observed, partition).count(),
            wanted: wanted.redundancy(),
        })
        .filter(
            |alarm| matches!(alarm, Alarm::NodesMissing { usable, wanted, .. } if usable < wanted),
        )
        .collect();
    if *layout != wanted.layout() {
        alarms.push(Alarm::LayoutIsFixed);
    }
    alarms
}
