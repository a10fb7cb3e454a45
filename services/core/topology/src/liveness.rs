//! Makes [`Observed`] of heartbeats, neighbours' reports and refused probes.
//!
//! The leader's driver feeds it and asks [`Liveness::observe`] each time around its loop. Time is milliseconds of one
//! monotonic clock. A time-out is never a proof of death `[C-14]`: all that is said here is who may be evicted.

mod progress;

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Epoch, Incarnation, ReplicaId};
use catena_slots::ShardId;

use crate::{
    observed::{Blame, Diverged, Observed, Registrations, Sight, Sighting, Synced},
    topology::{Chain, GatewayIncarnation, NodeName, Topology},
};
pub use progress::Progress;
use progress::Trace;

/// A loop that stood still for this part of the time-out may have missed what it should have heard `[C-15]`.
const STALL_DIVISOR: u64 = 3;
/// A learner that has not come on for so many time-outs is dropped `[C-34]`.
const LEARNER_DEADLINE_TIMEOUTS: u64 = 10;
/// For so long a node whose disk kept nothing more gets no replica: somebody may have made room by then.
pub const DISK_RETRY_MS: u64 = 60_000;

/// What a node says of itself, at a third of the time-out or more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub node: NodeName,
    pub incarnation: Incarnation,
    /// It is about to end.
    pub leaving: bool,
    pub replicas: Vec<Progress>,
    /// Gateways from which the heads among these replicas have a link `[C-43]`.
    pub linked: BTreeSet<GatewayIncarnation>,
}

/// A replica says that it cannot reach its neighbour. It repeats this while it lasts `[C-24]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    pub shard: ShardId,
    pub epoch: Epoch,
    pub by: ReplicaId,
    pub about: ReplicaId,
}

/// What one leader has heard since it became leader.
#[derive(Debug, Clone)]
pub struct Liveness {
    timeout_ms: u64,
    started_ms: u64,
    /// Silence counts from here on at the earliest.
    grace_from_ms: u64,
    looked_ms: u64,
    nodes: BTreeMap<NodeName, Heard>,
    traces: BTreeMap<(ShardId, ReplicaId), Trace>,
    reports: BTreeMap<(ShardId, ReplicaId, ReplicaId), Report>,
    synced: BTreeMap<ShardId, Synced>,
    diverged: BTreeMap<ShardId, Diverged>,
    stateless: BTreeSet<(ShardId, Epoch, ReplicaId)>,
    disk_failed: BTreeSet<(ShardId, Epoch, ReplicaId)>,
    epochs: BTreeMap<ShardId, Epoch>,
    registrations: Registrations,
    suspects: BTreeSet<NodeName>,
}

#[derive(Debug, Clone)]
struct Heard {
    incarnation: Incarnation,
    heartbeat_ms: Option<u64>,
    refused_ms: Option<u64>,
    /// When another process last said that it cannot reach this one.
    accused_ms: Option<u64>,
    /// When a replica of it last said that its disk keeps nothing more.
    disk_failed_ms: Option<u64>,
    leaving: bool,
    linked: BTreeSet<GatewayIncarnation>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    epoch: Epoch,
    first_ms: u64,
    last_ms: u64,
}

impl Liveness {
    /// A leader that begins now: everyone has one time-out of grace `[C-15]`.
    pub fn new(timeout_ms: u64, now_ms: u64) -> Liveness {
        Liveness {
            timeout_ms,
            started_ms: now_ms,
            grace_from_ms: now_ms,
            looked_ms: now_ms,
            nodes: BTreeMap::new(),
            traces: BTreeMap::new(),
            reports: BTreeMap::new(),
            synced: BTreeMap::new(),
            diverged: BTreeMap::new(),
            stateless: BTreeSet::new(),
            disk_failed: BTreeSet::new(),
            epochs: BTreeMap::new(),
            registrations: Registrations::default(),
            suspects: BTreeSet::new(),
        }
    }

    /// Takes a heartbeat. One of an older process than the last is ignored.
    pub fn heartbeat(&mut self, now_ms: u64, heartbeat: Heartbeat) {
        let heard = self.heard(&heartbeat.node, heartbeat.incarnation);
        if heard.incarnation != heartbeat.incarnation {
            return;
        }
        heard.heartbeat_ms = Some(now_ms);
        heard.refused_ms = None;
        heard.leaving = heartbeat.leaving;
        heard.linked = heartbeat.linked;
        for progress in heartbeat.replicas {
            let known = self.epochs.entry(progress.shard).or_default();
            *known = progress.epoch.max(*known);
            let trace = self.traces.entry((progress.shard, progress.replica));
            trace
                .or_insert_with(|| Trace::new(now_ms))
                .take(now_ms, progress);
        }
    }

    /// A connection to the process was refused: nobody listens there. That counts at once, also in the time of grace.
    pub fn refused(&mut self, now_ms: u64, node: &NodeName, incarnation: Incarnation) {
        let heard = self.heard(node, incarnation);
        if heard.incarnation == incarnation {
            heard.refused_ms = Some(now_ms);
        }
    }

    /// A replica cannot reach its neighbour.
    pub fn unreachable(&mut self, now_ms: u64, report: Unreachable, topology: &Topology) {
        let chain = topology.chains.get(&report.shard);
        let Some(home) = chain.and_then(|chain| chain.homes.get(&report.about)) else {
            return;
        };
        self.accused(now_ms, home, topology);
        let key = (report.shard, report.by, report.about);
        let fresh = Report {
            epoch: report.epoch,
            first_ms: now_ms,
            last_ms: now_ms,
        };
        let timeout_ms = self.timeout_ms;
        let known = self.reports.entry(key).or_insert(fresh);
        let goes_on = known.epoch == report.epoch && now_ms - known.last_ms < timeout_ms;
        *known = Report {
            first_ms: if goes_on { known.first_ms } else { now_ms },
            ..fresh
        };
    }

    /// A gateway or a neighbour cannot reach the node: it is to be probed at once.
    pub fn accused(&mut self, now_ms: u64, node: &NodeName, topology: &Topology) {
        let Some(record) = topology.nodes.get(node) else {
            return;
        };
        let heard = self.heard(node, record.incarnation);
        heard.accused_ms = Some(now_ms);
        self.suspects.insert(node.clone());
    }

    /// The tail reports its learner `[C-32]`.
    pub fn synced(&mut self, shard: ShardId, report: Synced) {
        self.synced.insert(shard, report);
    }

    /// Digests of a checkpoint differ `[C-52]`.
    pub fn diverged(&mut self, shard: ShardId, report: Diverged) {
        self.diverged.insert(shard, report);
    }

    /// The process of a replica that is named in this epoch says that it does not hold its state `[C-1]`.
    pub fn stateless(&mut self, shard: ShardId, epoch: Epoch, replica: ReplicaId) {
        self.stateless.insert((shard, epoch, replica));
    }

    /// The disk of a replica is full or failed: it has the state, and can make nothing more durable `[C-64]`. Its node gets no
    /// other one for a while, unless its process is started again.
    pub fn disk_failed(
        &mut self,
        now_ms: u64,
        shard: ShardId,
        epoch: Epoch,
        replica: ReplicaId,
        topology: &Topology,
    ) {
        self.disk_failed.insert((shard, epoch, replica));
        let home = topology.chains.get(&shard).and_then(|chain| {
            let member = chain.configuration.member(replica)?;
            Some((chain.homes.get(&replica)?, member.incarnation))
        });
        if let Some((node, incarnation)) = home {
            let heard = self.heard(node, incarnation);
            if heard.incarnation == incarnation {
                heard.disk_failed_ms = Some(now_ms);
            }
        }
    }

    /// The gateways' registrations, as read at one revision of the store.
    pub fn registrations(&mut self, registrations: Registrations) {
        self.registrations = registrations;
    }

    /// The nodes that someone could not reach since the last call: the driver probes them.
    pub fn suspects(&mut self) -> BTreeSet<NodeName> {
        std::mem::take(&mut self.suspects)
    }

    /// What can be said now. To be called several times in a third of the time-out: a longer pause gives new grace.
    pub fn observe(&mut self, now_ms: u64, wall_ms: u64, topology: &Topology) -> Observed {
        if now_ms - self.looked_ms > self.timeout_ms / STALL_DIVISOR {
            self.grace_from_ms = now_ms;
        }
        self.looked_ms = now_ms;
        self.forget(topology);
        let (nodes, half_silent) = self.sightings(now_ms, topology);
        let settled = now_ms - self.started_ms >= self.timeout_ms;
        // One that has no head any more has no link that counts, however lately it spoke of one.
        let heads: BTreeSet<&NodeName> = topology
            .chains
            .values()
            .filter_map(Chain::head_node)
            .collect();
        let linked = self
            .nodes
            .iter()
            .filter(|(name, _)| heads.contains(name))
            .flat_map(|(_, heard)| heard.linked.iter().copied());
        let is_full = |heard: &Heard| {
            let at = heard.disk_failed_ms;
            at.is_some_and(|at| now_ms - at < DISK_RETRY_MS)
        };
        let full = self.nodes.iter().filter(|(_, heard)| is_full(heard));
        let ahead = self.epochs.iter().filter(|(shard, epoch)| {
            let stored = topology.chains.get(shard).map(|chain| chain.epoch());
            **epoch > stored.unwrap_or_default()
        });
        Observed {
            wall_ms,
            settled: settled && now_ms - self.grace_from_ms >= self.timeout_ms,
            half_silent,
            stuck: self.stuck(now_ms, topology),
            stalled: self.stalled(now_ms, topology),
            blamed: self.blamed(now_ms, topology, &nodes),
            nodes,
            synced: self.synced.clone(),
            diverged: self.diverged.clone(),
            stateless: named(&self.stateless),
            disk_failed: named(&self.disk_failed),
            full: full.map(|(name, _)| name.clone()).collect(),
            ahead: ahead.map(|(shard, epoch)| (*shard, *epoch)).collect(),
            registrations: self.registrations.clone(),
            linked: linked.collect(),
        }
    }

    /// The record of a process; a newer one of the same name replaces it.
    fn heard(&mut self, node: &NodeName, incarnation: Incarnation) -> &mut Heard {
        let fresh = Heard {
            incarnation,
            heartbeat_ms: None,
            refused_ms: None,
            accused_ms: None,
            disk_failed_ms: None,
            leaving: false,
            linked: BTreeSet::new(),
        };
        let heard = self
            .nodes
            .entry(node.clone())
            .or_insert_with(|| fresh.clone());
        if heard.incarnation < incarnation {
            *heard = fresh;
        }
        heard
    }

    /// Drops what is said of nodes and replicas that are not of the topology, and starts to watch those that are new.
    fn forget(&mut self, topology: &Topology) {
        self.nodes
            .retain(|name, _| topology.nodes.contains_key(name));
        let is_named = |shard: &ShardId, replica: &ReplicaId| {
            let chain = topology.chains.get(shard);
            chain.is_some_and(|chain| chain.configuration.names(*replica))
        };
        self.traces
            .retain(|(shard, replica), _| is_named(shard, replica));
        // Of another epoch, the report speaks of another chain.
        let is_of_now = |(shard, epoch, _): &(ShardId, Epoch, ReplicaId)| {
            let chain = topology.chains.get(shard);
            chain.is_some_and(|chain| chain.epoch() == *epoch)
        };
        self.stateless.retain(is_of_now);
        self.disk_failed.retain(is_of_now);
        self.reports
            .retain(|(shard, by, about), _| is_named(shard, by) && is_named(shard, about));
        for (shard, chain) in &topology.chains {
            for member in chain.configuration.members() {
                let trace = self.traces.entry((*shard, member.id));
                trace.or_insert_with(|| Trace::new(self.looked_ms));
            }
        }
    }

    fn sightings(&self, now_ms: u64, topology: &Topology) -> (BTreeMap<NodeName, Sighting>, bool) {
        let counted = || topology.nodes.iter().filter(|(_, node)| !node.gone);
        let hears = |name: &NodeName, incarnation| {
            let heard = self.nodes.get(name);
            heard.filter(|heard| heard.incarnation == incarnation)
        };
        let is_fresh = |at: Option<u64>| at.is_some_and(|at| now_ms - at < self.timeout_ms);
        let heartbeats = |heard: Option<&Heard>| {
            heard.is_some_and(|heard| is_fresh(heard.heartbeat_ms) && heard.refused_ms.is_none())
        };
        let silent = counted()
            .filter(|(name, node)| !heartbeats(hears(name, node.incarnation)))
            .count();
        let half_silent = silent > 0 && 2 * silent >= counted().count();
        let grace = now_ms - self.grace_from_ms < self.timeout_ms;

        let sight = |heard: Option<&Heard>| {
            let refused = heard.is_some_and(|heard| heard.refused_ms.is_some());
            let accused = heard.is_some_and(|heard| is_fresh(heard.accused_ms));
            match heard {
                _ if refused => Sight::Lost,
                Some(heard) if heartbeats(Some(heard)) && heard.leaving => Sight::Leaving,
                heard if heartbeats(heard) => Sight::Live,
                _ if grace || (half_silent && !accused) => Sight::Silent,
                _ => Sight::Lost,
            }
        };
        let sightings = topology.nodes.iter().map(|(name, node)| {
            let sighting = Sighting {
                incarnation: node.incarnation,
                sight: sight(hears(name, node.incarnation)),
            };
            (name.clone(), sighting)
        });
        (sightings.collect(), half_silent)
    }

    /// Replicas whose thread has not moved for one time-out. Whether their node heartbeats makes no difference `[C-24]`.
    fn stuck(&self, now_ms: u64, topology: &Topology) -> BTreeSet<(ShardId, ReplicaId)> {
        if now_ms - self.grace_from_ms < self.timeout_ms {
            return BTreeSet::new();
        }
        let heartbeats = |shard: &ShardId, replica: &ReplicaId| {
            let home = topology.chains.get(shard)?.homes.get(replica)?;
            let at = self.nodes.get(home)?.heartbeat_ms?;
            Some(now_ms - at < self.timeout_ms)
        };
        let stuck = self.traces.iter().filter(|((shard, replica), trace)| {
            // Of a node that is silent itself, the rules for nodes decide.
            now_ms - trace.ticked_ms() >= self.timeout_ms
                && heartbeats(shard, replica).unwrap_or(false)
        });
        stuck.map(|(key, _)| *key).collect()
    }

    fn stalled(&self, now_ms: u64, topology: &Topology) -> BTreeSet<(ShardId, ReplicaId)> {
        let deadline_ms = self.timeout_ms * LEARNER_DEADLINE_TIMEOUTS;
        let learners = topology
            .chains
            .iter()
            .filter_map(|(shard, chain)| Some((*shard, chain.configuration.learner?.id)));
        learners
            .filter(|key| {
                let trace = self.traces.get(key);
                trace.is_some_and(|trace| {
                    now_ms - trace.received_ms().max(self.grace_from_ms) >= deadline_ms
                })
            })
            .collect()
    }

    /// For each chain whose members all heartbeat: who is to go because a pair has been broken for one time-out `[C-24]`.
    fn blamed(
        &self,
        now_ms: u64,
        topology: &Topology,
        nodes: &BTreeMap<NodeName, Sighting>,
    ) -> BTreeMap<ShardId, Blame> {
        if now_ms - self.grace_from_ms < self.timeout_ms {
            return BTreeMap::new();
        }
        let blamed = topology.chains.iter().filter_map(|(shard, chain)| {
            let configuration = &chain.configuration;
            let members: Vec<ReplicaId> = configuration.members().map(|member| member.id).collect();
            let is_live = |id: &ReplicaId| {
                let sighting = chain.homes.get(id).and_then(|home| nodes.get(home));
                sighting.is_some_and(|sighting| sighting.sight == Sight::Live)
            };
            let reported = members.windows(2).rev().find(|pair| {
                let lasts = |by: ReplicaId, about: ReplicaId| {
                    let report = self.reports.get(&(*shard, by, about));
                    report.is_some_and(|report| {
                        report.epoch == configuration.epoch
                            && report.last_ms - report.first_ms >= self.timeout_ms
                            && now_ms - report.last_ms < self.timeout_ms
                    })
                };
                lasts(pair[0], pair[1]) || lasts(pair[1], pair[0])
            });
            let pair = reported.or_else(|| {
                progress::broken(
                    &members,
                    |id| self.trace_of(*shard, id),
                    now_ms,
                    self.timeout_ms,
                )
            })?;
            // Of a pair that does not heartbeat, the rules for nodes decide.
            let blame = Blame {
                epoch: configuration.epoch,
                replica: pair[1],
            };
            pair.iter().all(is_live).then_some((*shard, blame))
        });
        blamed.collect()
    }

    fn trace_of(&self, shard: ShardId, replica: ReplicaId) -> Option<&Trace> {
        self.traces.get(&(shard, replica))
    }
}

fn named(said: &BTreeSet<(ShardId, Epoch, ReplicaId)>) -> BTreeSet<(ShardId, ReplicaId)> {
    let without_epoch = |(shard, _, replica): &(ShardId, Epoch, ReplicaId)| (*shard, *replica);
    said.iter().map(without_epoch).collect()
}

#[cfg(test)]
mod tests;
