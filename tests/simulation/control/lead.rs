//! The leader at work: it feeds the real `Liveness`, asks the real chain manager, and writes one step at a time.

use catena_chain::{Incarnation, message::News, message::Report};
use catena_topology::{
    Change, Heartbeat, Liveness, Observed, Precondition, Registrations, Rule, Sight, Step, Synced,
    Topology, Unreachable, Wanted,
};

use crate::{
    control::{Ask, LEASE_TENTHS, Leading, node_of},
    network::Place,
    parcel::{Event, Parcel, Speech},
    plan::Loosened,
    workload::Workload,
    world::World,
};

/// Microseconds of a millisecond, the unit of `Liveness`.
const MILLI: u64 = 1_000;

/// A write whose answer is lost is given up after so many time-outs.
const WRITE_TIMEOUTS: u64 = 1;

impl Leading {
    pub fn new(term: u64, now: u64, timeout: u64) -> Leading {
        Leading {
            term,
            renewed_at: now,
            // Everyone has one time-out of grace [C-15].
            liveness: Liveness::new(timeout / MILLI, now / MILLI),
            writes_until: 0,
            synced: Default::default(),
            learner_since: Default::default(),
        }
    }

    fn hear(&mut self, now: u64, heartbeat: Heartbeat, reports: &[Report], topology: &Topology) {
        let at = now / MILLI;
        self.liveness.heartbeat(at, heartbeat);
        for report in reports {
            match report.news {
                News::LearnerSynced { learner } => {
                    self.synced.insert(report.shard, *report);
                    let synced = Synced {
                        epoch: report.epoch,
                        generation: report.generation,
                        learner,
                    };
                    self.liveness.synced(report.shard, synced);
                }
                News::Suspect { neighbour } => {
                    let unreachable = Unreachable {
                        shard: report.shard,
                        epoch: report.epoch,
                        by: report.from,
                        about: neighbour,
                    };
                    self.liveness.unreachable(at, unreachable, topology);
                }
                News::Stateless => {
                    self.liveness
                        .stateless(report.shard, report.epoch, report.from);
                }
                News::DiskFailed => {
                    let (shard, epoch) = (report.shard, report.epoch);
                    self.liveness
                        .disk_failed(at, shard, epoch, report.from, topology);
                }
                // An alarm of the replica fails the run.
                News::Diverged { .. } => {}
            }
        }
    }
}

impl<W: Workload> World<W> {
    pub fn tick_control(&mut self, control: usize, beats: bool) {
        let timeout = self.plan.timeout;
        if let Some(leading) = &self.control[control].leading {
            let (term, renewed_at) = (leading.term, leading.renewed_at);
            if self.now - renewed_at > timeout * LEASE_TENTHS / 10 {
                // By now another may lead.
                self.trace(|| format!("control plane {control} leads no more"));
                self.control[control].leading = None;
            } else {
                if beats {
                    self.ask(control, Ask::Renew { term });
                }
                self.lead(control);
            }
        } else if beats {
            let is_free = self.control[control].copy.leader.is_none();
            let ask = if is_free { Ask::Campaign } else { Ask::Read };
            self.ask(control, ask);
        }
        // Without the store for a time-out, what it would tell may be old: it closes its watches [C-15].
        let is_fresh = self.now - self.control[control].store_heard <= timeout;
        if beats && is_fresh {
            self.tell_everyone(control, false);
        }
    }

    /// The store is not in this process: others may come before.
    pub fn ask(&mut self, by: usize, ask: Ask) {
        let at = self.now + self.random.within(500, 30_000);
        self.schedule(at, Event::Ask { by, ask });
    }

    fn lead(&mut self, control: usize) {
        let (now, off) = (self.now, self.plan.off);
        let process = &mut self.control[control];
        let Some(leading) = &mut process.leading else {
            return;
        };
        let content = process.copy.clone();
        leading.liveness.registrations(Registrations {
            revision: content.revision,
            present: content.registrations.clone(),
        });
        leading.loosen_reports(now, self.plan.timeout, &content.topology, off);
        let at = now / MILLI;
        let observed = leading.liveness.observe(at, at, &content.topology);
        let suspects = leading.liveness.suspects();
        let writes = now < leading.writes_until;
        let term = leading.term;
        for name in suspects {
            if let (Some(node), Some(record)) = (node_of(&name), content.topology.nodes.get(&name))
            {
                let incarnation = record.incarnation;
                let probe = Parcel::Probe { incarnation };
                self.send(Place::Control(control), Place::Node(node), probe);
            }
        }
        if writes {
            return;
        }
        let wanted = self.wanted();
        let Some(step) = next(&content.topology, &observed, &wanted, off) else {
            return;
        };
        if let Some(leading) = &mut self.control[control].leading {
            leading.writes_until = now + WRITE_TIMEOUTS * self.plan.timeout;
        }
        let step = Box::new(step);
        self.ask(control, Ask::Write { term, step });
    }

    pub fn wanted(&self) -> Wanted {
        let plan = &self.plan;
        Wanted::new(plan.partitions, plan.workers, plan.redundancy, 0)
            .expect("plans are within the ranges")
    }

    /// The leader hears what nodes and gateways say.
    pub fn leader_hears(&mut self, control: usize, from: Place, speech: Speech) {
        let now = self.now;
        let process = &mut self.control[control];
        let content = process.copy.clone();
        let Some(leading) = &mut process.leading else {
            return;
        };
        match speech {
            Speech::Heartbeat { heartbeat, reports } => {
                let incarnation = heartbeat.incarnation;
                let known = content.topology.nodes.get(&heartbeat.node);
                // One that is newer than the copy is not unknown.
                let is_known = incarnation.0 > content.revision
                    || known.is_some_and(|node| node.incarnation == incarnation && !node.gone);
                leading.hear(now, *heartbeat, &reports, &content.topology);
                for report in reports {
                    self.trace(|| format!("reported: {report:?}"));
                }
                let heard = Parcel::Heard {
                    incarnation,
                    is_known,
                };
                self.send(Place::Control(control), from, heard);
            }
            Speech::Accuse { incarnation } => {
                let nodes = &content.topology.nodes;
                let name = nodes
                    .iter()
                    .find(|(_, node)| node.incarnation == incarnation)
                    .map(|(name, _)| name.clone());
                if let Some(name) = name {
                    let at = now / MILLI;
                    leading.liveness.accused(at, &name, &content.topology);
                }
            }
            _ => {}
        }
    }

    /// Nobody listens at a node that was probed.
    pub fn probe_refused(&mut self, control: usize, node: usize, incarnation: Incarnation) {
        self.trace(|| format!("node {node} refuses"));
        let at = self.now / MILLI;
        if let Some(leading) = &mut self.control[control].leading {
            let name = crate::control::node_name(node);
            leading.liveness.refused(at, &name, incarnation);
        }
    }
}

impl Leading {
    /// What a leader would believe that goes without a rule about reports.
    fn loosen_reports(
        &mut self,
        now: u64,
        timeout: u64,
        topology: &Topology,
        off: Option<Loosened>,
    ) {
        let learners = topology.chains.iter().filter_map(|(shard, chain)| {
            let learner = chain.configuration.learner?;
            Some((*shard, &chain.configuration, learner.id))
        });
        for (shard, configuration, learner) in learners {
            let believes = match off {
                Some(Loosened::C12) => {
                    let since = self.learner_since.entry((shard, learner)).or_insert(now);
                    now - *since > timeout / 10
                }
                Some(Loosened::C33) => self.synced.get(&shard).is_some_and(|report| {
                    report.generation == configuration.generation
                        && report.news == News::LearnerSynced { learner }
                }),
                _ => false,
            };
            if believes {
                let synced = Synced {
                    epoch: configuration.epoch,
                    generation: configuration.generation,
                    learner,
                };
                self.liveness.synced(shard, synced);
            }
        }
    }
}

/// The real manager's next step; with a rule switched off, that of a manager that does not know it.
fn next(
    topology: &Topology,
    observed: &Observed,
    wanted: &Wanted,
    off: Option<Loosened>,
) -> Option<Step> {
    let is_lost = |name| observed.nodes.get(name).map(|node| node.sight) == Some(Sight::Lost);
    match off {
        Some(Loosened::C13) => evict_in_vain(topology, observed)
            .or_else(|| catena_topology::next(topology, observed, wanted)),
        Some(Loosened::C14) => {
            let mut topology = topology.clone();
            for (name, node) in &mut topology.nodes {
                node.gone |= is_lost(name);
            }
            // Whoever takes silence for death has no other proof that could still hold.
            let mut step = catena_topology::next(&topology, observed, wanted)?;
            step.requires
                .retain(|condition| !matches!(condition, Precondition::NodeProof(..)));
            Some(step)
        }
        Some(Loosened::C63) => from_any_disk(topology, observed)
            .or_else(|| catena_topology::next(topology, observed, wanted)),
        Some(Loosened::C64) => {
            let mut topology = topology.clone();
            let nodes = topology.nodes.values_mut();
            for kept in nodes.flat_map(|node| &mut node.kept) {
                kept.may_lack = false;
            }
            catena_topology::next(&topology, observed, wanted)
        }
        Some(Loosened::C34) => catena_topology::next(topology, observed, wanted)
            .filter(|step| !matches!(step.rule, Rule::DropSyncedLearner | Rule::DropLearner)),
        Some(Loosened::C35) => {
            let mut step = catena_topology::next(topology, observed, wanted)?;
            if let (Rule::Join, Change::Chain(chain)) = (step.rule, &mut step.change) {
                let learner = chain.configuration.learner.take();
                chain.configuration.chain.extend(learner);
            }
            Some(step)
        }
        _ => catena_topology::next(topology, observed, wanted),
    }
}

/// Without C-63: when nobody of a chain is live, anything that a disk has of the shard is gone on from.
fn from_any_disk(topology: &Topology, observed: &Observed) -> Option<Step> {
    topology.chains.values().find_map(|chain| {
        let configuration = &chain.configuration;
        let is_there = |id| observed.standing(topology, chain, id).is_live();
        if configuration.chain.iter().any(|member| is_there(member.id)) {
            return None;
        }
        let (name, node, kept) = topology.nodes.iter().find_map(|(name, node)| {
            let is_live = observed.sight(name, node.incarnation) == Sight::Live;
            let mut kept = node.kept.iter().filter(|kept| {
                kept.shard == configuration.shard && kept.generation == configuration.generation
            });
            Some((name, node, kept.next().filter(|_| is_live)?))
        })?;
        let is_its_own = configuration
            .members()
            .any(|member| member.incarnation == node.incarnation);
        let founded = chain.from_disk(*kept, name, node.incarnation);
        (!is_its_own).then(|| Step {
            rule: Rule::FoundFromDisk,
            change: Change::Chain(founded),
            requires: vec![
                Precondition::Leadership,
                Precondition::ChainEpoch(configuration.shard, Some(chain.epoch())),
            ],
        })
    })
}

/// Without C-13: of a chain whose members are all lost, all but one are left out.
fn evict_in_vain(topology: &Topology, observed: &Observed) -> Option<Step> {
    topology.chains.values().find_map(|chain| {
        let members = &chain.configuration.chain;
        let is_out = |id| observed.standing(topology, chain, id).is_out();
        if members.len() < 2 || !members.iter().all(|member| is_out(member.id)) {
            return None;
        }
        let gone: Vec<_> = members[1..].iter().map(|member| member.id).collect();
        Some(Step {
            rule: Rule::EvictLost,
            change: Change::Chain(chain.without(&gone)),
            requires: vec![
                Precondition::Leadership,
                Precondition::ChainEpoch(chain.configuration.shard, Some(chain.epoch())),
            ],
        })
    })
}
