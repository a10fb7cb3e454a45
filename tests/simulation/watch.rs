//! Who watches over the rules while the run goes on, from outside of the code that it watches.

use std::collections::BTreeMap;

use catena_chain::{Generation, Index, Machine};

use crate::{
    network::Place,
    workload::{Violation, Workload},
    world::World,
};

/// Entries that may be on their way down a chain when a run ends.
const UNDER_WAY_MAX: u64 = 8;

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// The trace: equal for equal runs.
    trace: u64,
    /// By shard and generation: the highest commit of any tail, and the digest there.
    committed: BTreeMap<(usize, Generation), (Index, u64)>,
    pub commits: u64,
}

impl Watch {
    pub fn mix(&mut self, value: u64) {
        let mixed = (self.trace ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = mixed.rotate_left(29) ^ (mixed >> 7);
    }

    pub fn trace(&self) -> u64 {
        self.trace
    }
}

impl<W: Workload> World<W> {
    /// After a step of one replica: the prefix rule with its neighbours, and one history of commits `[C-22]` `[C-52]`.
    pub fn watch_replica(&mut self, node: usize, shard: usize) {
        let replica = &self.nodes[node].replicas[shard];
        let Some(status) = replica.status() else {
            return;
        };
        for value in [
            status.end.index,
            status.end.digest,
            status.commit,
            status.epoch.0,
        ] {
            self.watch.mix(value ^ (node as u64) << 56);
        }
        let key = (shard, status.generation);
        let (index, digest) = self.watch.committed.get(&key).copied().unwrap_or((0, 0));
        let differs = |index: Index, digest: u64| {
            replica
                .position(index)
                .is_some_and(|position| position.digest != digest)
        };
        if status.commit >= index && index > 0 && differs(index, digest) {
            self.fail(format!(
                "node {node} has committed another history of shard {shard} than what was committed through {index}"
            ));
            return;
        }
        let role = replica.role();
        if role.is_tail && status.commit > index {
            if let Some(position) = replica.position(status.commit) {
                self.watch
                    .committed
                    .insert(key, (status.commit, position.digest));
                self.watch.commits += status.commit - index;
            }
        }
        let predecessor = role.predecessor.and_then(|member| {
            let node = self.store.place_of.get(&member.incarnation)?;
            let is_it = self.nodes[*node].incarnation == member.incarnation;
            is_it.then_some(&self.nodes[*node].replicas[shard])
        });
        let Some(predecessor) = predecessor else {
            return;
        };
        let Some(above) = predecessor.status() else {
            return;
        };
        let is_comparable = above.epoch == status.epoch
            && above.generation == status.generation
            && !role.is_learner;
        let is_prefix = predecessor
            .position(status.end.index)
            .is_none_or(|position| position == status.end)
            && above.end.index >= status.end.index;
        if is_comparable && !is_prefix {
            let ends = (above.end, status.end);
            self.fail(format!(
                "the log of node {node} is no prefix of its predecessor's: {ends:?}"
            ));
        }
    }

    /// Everything has healed, and there was time.
    pub fn check_the_end(&mut self) -> Result<(), Violation> {
        let has_control = self.health(Place::Control(self.store.leader)).is_up;
        let mut lives = Vec::new();
        for (gateway, state) in self.gateways.iter().enumerate() {
            match state.incarnation {
                Some(incarnation) => lives.push(crate::workload::Life {
                    gateway,
                    incarnation,
                }),
                None if has_control => {
                    return Err(format!("gateway {gateway} has no registration"));
                }
                None => {}
            }
        }
        self.workload.is_settled(&lives)?;
        let mut tails: Vec<(&catena_chain::Configuration, &W::Machine)> = Vec::new();
        for configuration in &self.store.configurations {
            if has_control && configuration.chain.len() < self.plan.redundancy {
                return Err(format!("{:?} is not at full strength", configuration.shard));
            }
            let replicas: Vec<_> = configuration
                .chain
                .iter()
                .filter_map(|member| {
                    let node = *self.store.place_of.get(&member.incarnation)?;
                    let is_it = self.nodes[node].incarnation == member.incarnation;
                    is_it.then(|| &self.nodes[node].replicas[configuration.shard.index()])
                })
                .collect();
            let ends: Vec<_> = replicas
                .iter()
                .filter_map(|replica| replica.status())
                .collect();
            // A timer may have fired in the last moment.
            let is_equal = |end: &catena_chain::Status| {
                let above = replicas[0].position(end.end.index);
                let ahead = ends[0].end.index - end.end.index.min(ends[0].end.index);
                end.epoch == ends[0].epoch
                    && ahead <= UNDER_WAY_MAX
                    && above.is_none_or(|above| above == end.end)
            };
            if ends.len() < configuration.chain.len() || !ends.iter().all(is_equal) {
                return Err(format!(
                    "the replicas of {configuration:?} differ: {ends:?}"
                ));
            }
            let tail = replicas.last().and_then(|replica| replica.machine());
            tails.extend(tail.map(|tail| (configuration, tail)));
        }
        if !has_control || tails.len() < self.store.configurations.len() {
            return Ok(());
        }
        self.workload.check(&tails)
    }

    /// An empty start is lawful only when nothing of the last chain lives `[C-14]`.
    pub fn watch_empty_start(&mut self, shard: usize) {
        let before = self.store.configurations[shard].clone();
        for member in &before.chain {
            for (index, node) in self.nodes.iter().enumerate() {
                let lives = self.health(Place::Node(index)).is_up
                    && node.incarnation == member.incarnation
                    && node.replicas[shard].machine().is_some_and(|machine| {
                        // What nobody ever wrote to cannot be lost.
                        !machine.origins().is_empty()
                    });
                if lives {
                    self.fail(format!(
                        "shard {shard} started empty although node {index} has its state"
                    ));
                    return;
                }
            }
        }
    }
}
