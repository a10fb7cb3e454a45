//! What the leader takes of nodes' messages.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{
    Configuration, Epoch, Incarnation, ReplicaId,
    message::{News, Report},
};
use catena_slots::ShardId;
use catena_topology::{Diverged, Heartbeat, NodeName, Synced, Topology, Unreachable};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Leader;
use crate::{record::Newcomer, view::View};

/// A part of the time-out for which reports that digests differ are gathered: who is the odd one is told by all of them.
const GATHERING_DIVISOR: u64 = 2;

/// A node's message.
#[derive(Debug)]
pub struct Said {
    pub node: NodeName,
    pub incarnation: Incarnation,
    /// What it registered with.
    pub newcomer: Newcomer,
    pub number: u64,
    /// The heartbeat, unless the message was sent between two of them.
    pub heartbeat: Option<Heartbeat>,
    /// Chains that it was told with higher epochs than are told now `[C-16]`.
    pub ahead: Vec<Configuration>,
    pub reports: Vec<Report>,
    pub accused: Vec<Incarnation>,
    /// Where the answer goes.
    pub answer: mpsc::Sender<Answer>,
}

/// That a message was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub number: u64,
    /// The process is of no use any more `[C-1]`.
    pub replaced: bool,
}

/// A node's last heartbeat.
#[derive(Debug, Clone)]
pub struct Heard {
    pub heartbeat: Heartbeat,
    /// Milliseconds since the leader began.
    pub at_ms: u64,
    /// What the node registered with.
    pub newcomer: Newcomer,
    pub ahead: Vec<Configuration>,
}

impl Leader {
    /// Takes a node's message; answers whether it may change what is decided.
    pub(super) fn hear(&mut self, view: &View, said: Said) -> bool {
        let now_ms = self.now_ms();
        let replaced = view.is_replaced(&said.node, said.incarnation);
        let answer = Answer {
            number: said.number,
            replaced,
        };
        let mut urgent = false;
        if !replaced {
            if let Some(heartbeat) = said.heartbeat {
                urgent |= self.beat(now_ms, heartbeat, said.newcomer, said.ahead);
            }
            for report in &said.reports {
                urgent |= self.report(now_ms, view, report);
            }
        }
        // The accusations of one that is replaced are as good as any: the probe decides.
        self.accuse(view, &said.accused);
        // A stream that takes no answer is not answered.
        let _ = said.answer.try_send(answer);
        urgent
    }

    fn beat(
        &mut self,
        now_ms: u64,
        heartbeat: Heartbeat,
        newcomer: Newcomer,
        ahead: Vec<Configuration>,
    ) -> bool {
        let last = self
            .heard
            .get(&heartbeat.node)
            .map(|heard| &heard.heartbeat);
        let is_news = last.is_none_or(|last| {
            last.incarnation != heartbeat.incarnation || last.leaving != heartbeat.leaving
        });
        if last.is_some_and(|last| last.incarnation > heartbeat.incarnation) {
            return false;
        }
        self.liveness.heartbeat(now_ms, heartbeat.clone());
        let heard = Heard {
            at_ms: now_ms,
            newcomer,
            ahead,
            heartbeat,
        };
        self.heard.insert(heard.heartbeat.node.clone(), heard);
        is_news
    }

    fn report(&mut self, now_ms: u64, view: &View, report: &Report) -> bool {
        let Report { shard, epoch, .. } = *report;
        debug!(?report, "reported");
        match report.news {
            News::LearnerSynced { learner } => {
                let synced = Synced {
                    epoch,
                    generation: report.generation,
                    learner,
                };
                self.liveness.synced(shard, synced);
            }
            News::Suspect { neighbour } => {
                let unreachable = Unreachable {
                    shard,
                    epoch,
                    by: report.from,
                    about: neighbour,
                };
                self.liveness
                    .unreachable(now_ms, unreachable, &view.topology);
                self.probe_suspects(view);
            }
            News::Stateless => self.liveness.stateless(shard, epoch, report.from),
            News::DiskFailed => {
                let from = report.from;
                self.liveness
                    .disk_failed(now_ms, shard, epoch, from, &view.topology);
            }
            News::Diverged { index } => {
                if self.diverged.take(now_ms, shard, epoch, report.from) {
                    warn!(
                        shard = shard.0,
                        epoch = epoch.0,
                        index,
                        replica = report.from.0,
                        "a replica's digest differs from its head's"
                    );
                }
            }
        }
        true
    }
}

/// Who says that its digest differs from the head's, until all who would have said so `[C-52]`.
#[derive(Debug, Default)]
pub struct Divergence {
    reports: BTreeMap<ShardId, Odd>,
}

#[derive(Debug)]
struct Odd {
    epoch: Epoch,
    first_ms: u64,
    replicas: BTreeSet<ReplicaId>,
}

impl Divergence {
    /// Takes a report; answers whether it is the first of this replica.
    fn take(&mut self, now_ms: u64, shard: ShardId, epoch: Epoch, replica: ReplicaId) -> bool {
        let fresh = || Odd {
            epoch,
            first_ms: now_ms,
            replicas: BTreeSet::new(),
        };
        let odd = self.reports.entry(shard).or_insert_with(fresh);
        if odd.epoch < epoch {
            *odd = fresh();
        }
        odd.epoch == epoch && odd.replicas.insert(replica)
    }

    /// The reports that were gathered for long enough. The reports say only who differs from the head, and not how: those who
    /// differ count as alike.
    pub fn ripe(
        &mut self,
        now_ms: u64,
        timeout_ms: u64,
        topology: &Topology,
    ) -> Vec<(ShardId, Diverged)> {
        self.reports.retain(|shard, odd| {
            let chain = topology.chains.get(shard);
            chain.is_some_and(|chain| chain.epoch() == odd.epoch)
        });
        let ripe = self
            .reports
            .iter()
            .filter(|(_, odd)| now_ms - odd.first_ms >= timeout_ms / GATHERING_DIVISOR);
        ripe.filter_map(|(shard, odd)| {
            let chain = topology.chains.get(shard)?;
            let members = chain.configuration.chain.iter().map(|member| member.id);
            let digests = members.map(|id| (id, u64::from(odd.replicas.contains(&id))));
            let diverged = Diverged {
                epoch: odd.epoch,
                digests: digests.collect(),
            };
            Some((*shard, diverged))
        })
        .collect()
    }
}
