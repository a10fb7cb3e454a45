//! Who watches over the rules while the run goes on, from outside of the code that it watches.

use std::{collections::BTreeMap, sync::Arc};

use catena_chain::{Configuration, Generation, Incarnation, Index};
use catena_slots::ShardId;
use catena_topology::Rule;

use crate::{
    control::{Content, node_name},
    network::Place,
    workload::{Life, Violation, Workload},
    world::{START, World},
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
    /// How often a shard has gone on from a disk as a later generation.
    pub later_generations: u64,
    /// When processes of nodes died.
    died: BTreeMap<Incarnation, u64>,
    pub commits: u64,
    /// The changes that were written: when, by which rule, of which shard.
    pub steps: Vec<(u64, Rule, ShardId)>,
}

impl Watch {
    pub fn mix(&mut self, value: u64) {
        let mixed = (self.trace ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = mixed.rotate_left(29) ^ (mixed >> 7);
    }

    pub fn trace(&self) -> u64 {
        self.trace
    }

    pub fn died(&mut self, now: u64, incarnation: Option<Incarnation>) {
        if let Some(incarnation) = incarnation {
            self.died.entry(incarnation).or_insert(now);
        }
    }

    /// Through which entry a shard's generation was committed.
    pub fn committed_through(&self, shard: usize, generation: Generation) -> Index {
        let committed = self.committed.get(&(shard, generation));
        committed.map_or(0, |(index, _)| *index)
    }

    pub fn step(&mut self, now: u64, rule: Rule, shard: ShardId) {
        self.steps.push((now - START, rule, shard));
    }

    /// How often a shard has gone on from a disk.
    pub fn disk_starts(&self) -> u64 {
        let from_disk = |(_, rule, _): &&(u64, Rule, ShardId)| *rule == Rule::FoundFromDisk;
        self.steps.iter().filter(from_disk).count() as u64
    }

    /// How often a shard has lawfully started empty.
    pub fn empty_starts(&self) -> u64 {
        let empty = |(_, rule, _): &&(u64, Rule, ShardId)| *rule == Rule::StartEmpty;
        self.steps.iter().filter(empty).count() as u64
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
        if role.is_tail
            && status.commit > index
            && let Some(position) = replica.position(status.commit)
        {
            self.watch
                .committed
                .insert(key, (status.commit, position.digest));
            self.watch.commits += status.commit - index;
        }
        if role.is_tail
            && let Some(machine) = replica.machine()
        {
            let is_committed = status.commit == status.end.index;
            self.workload
                .seen(status.generation, machine, is_committed, self.now);
        }
        let predecessor = role
            .predecessor
            .and_then(|member| self.node_at(member.incarnation)?.replica(shard));
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

    /// How each replica stands, for whoever reads a trace.
    fn describe(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            for (shard, replica) in node.replicas.iter().enumerate() {
                let configuration = replica.configuration();
                println!(
                    "node {index} shard {shard}: seat {:?} {:?} {:?} of {:?}",
                    replica.seat(),
                    replica.role(),
                    replica.status(),
                    configuration
                );
            }
        }
    }

    /// Everything has healed, and there was time.
    pub fn check_the_end(&mut self) -> Result<(), Violation> {
        let has_control = !self.plan.ends_without_control;
        if self.is_traced {
            self.describe();
        }
        let mut lives = Vec::new();
        for (gateway, state) in self.gateways.iter().enumerate() {
            match state.incarnation {
                Some(incarnation) => lives.push(Life {
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
        let content = self.store.content().clone();
        let mut tails: Vec<(&Configuration, &W::Machine)> = Vec::new();
        for shard in 0..self.plan.shards() {
            let Some(configuration) = content.configuration(shard) else {
                return Err(format!("shard {shard} was never founded"));
            };
            let without_disk = self.nodes.iter().filter(|node| node.has_failed_disk);
            let most = configuration.chain.len() + without_disk.count();
            if has_control && most < self.plan.redundancy {
                return Err(format!("{:?} is not at full strength", configuration.shard));
            }
            let replicas: Vec<_> = configuration
                .chain
                .iter()
                .filter_map(|member| self.node_at(member.incarnation)?.replica(shard))
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
            if let Some(tail) = tail {
                let stored = &content.topology.chains[&configuration.shard].configuration;
                tails.push((stored, tail));
            }
        }
        if !has_control || tails.len() < self.plan.shards() {
            return Ok(());
        }
        self.workload.check(&tails)
    }

    /// The nodes that hold the state of a shard as a member of `configuration`, or have died a moment ago.
    fn holders(&self, configuration: &Configuration) -> Vec<usize> {
        let shard = configuration.shard.index();
        let may_hold = |incarnation: Incarnation| {
            let died = self.watch.died.get(&incarnation);
            died.is_some_and(|died| self.now - died <= 3 * self.plan.timeout)
        };
        let mut holders = Vec::new();
        for member in &configuration.chain {
            let Some(node) = self.store.place_of.get(&member.incarnation) else {
                continue;
            };
            let replica = self
                .node_at(member.incarnation)
                .and_then(|node| node.replica(shard));
            let holds = replica.is_some_and(|replica| {
                let known = replica.configuration().map(|c| c.generation);
                known == Some(configuration.generation) && replica.status().is_some()
            });
            let is_up = self.health(Place::Node(*node)).is_up;
            if (holds && is_up) || may_hold(member.incarnation) {
                holders.push(*node);
            }
        }
        holders
    }

    /// An empty start is lawful only when nothing of the last chain lives `[C-14]`.
    pub fn watch_empty_start(&mut self, before: &Arc<Content>, shard: usize) {
        let Some(before) = before.configuration(shard) else {
            return;
        };
        for node in self.holders(before) {
            let is_up = self.health(Place::Node(node)).is_up;
            let is_it = before
                .chain
                .iter()
                .any(|member| self.nodes[node].is(member.incarnation));
            if is_up && is_it {
                self.fail(format!(
                    "shard {shard} started empty although node {node} has its state"
                ));
                return;
            }
        }
        let has_committed = self
            .watch
            .committed
            .contains_key(&(shard, before.generation));
        let kept = before.chain.iter().find_map(|member| {
            let node = *self.store.place_of.get(&member.incarnation)?;
            let record = self.store.content().topology.nodes.get(&node_name(node))?;
            let counts = self.disks.get(node)?.counts.get(&shard) == Some(&member.id);
            let is_there = counts || !self.plan.turns_disks;
            (is_there && self.disk_is_sound(node) && !record.gone).then_some(node)
        });
        if let (true, Some(node)) = (has_committed, kept) {
            self.fail(format!(
                "shard {shard} started empty although it is on the disk of node {node}"
            ));
        }
    }

    /// Whoever goes on from its disk has what it is named for `[C-63]`, and whoever may lack something is another generation `[C-64]`.
    pub fn watch_disk_start(&mut self, before: &Arc<Content>, shard: usize) {
        let content = self.store.content().clone();
        let Some(configuration) = content.configuration(shard) else {
            return;
        };
        let founder = configuration
            .head()
            .and_then(|head| self.node_at(head.incarnation));
        // One that died since comes back, and is founded again.
        let has_it = founder.is_none_or(|node| {
            node.replica(shard).is_none_or(|replica| {
                replica
                    .configuration()
                    .is_none_or(|known| known.epoch < configuration.epoch)
                    || replica.status().is_some()
            })
        });
        if !has_it {
            self.fail(format!("{configuration:?} has nothing to go on from"));
        }
        let before = before.configuration(shard).map(|c| c.generation);
        let after = configuration.clone();
        self.watch_generation(before, &after);
    }

    /// Somebody of a new chain holds the state, if anybody did, as far as anybody can know `[C-13]`.
    pub fn watch_change(&mut self, before: &Arc<Content>, shard: usize) {
        let now = self.store.content().clone();
        let (Some(before), Some(after)) = (before.configuration(shard), now.configuration(shard))
        else {
            return;
        };
        let (held, holds) = (self.holders(before), self.holders(after));
        if !held.is_empty() && holds.is_empty() {
            self.fail(format!(
                "the last holders of shard {shard}, {held:?}, were left out of {after:?}"
            ));
        }
    }
}
