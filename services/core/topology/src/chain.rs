//! What one chain needs next.

use catena_chain::{Configuration, ReplicaId};
use catena_slots::ShardId;

use crate::{
    observed::{Diverged, Observed, Sight, Standing},
    placement,
    step::{Change, Precondition, Rule, Step},
    topology::{Chain, Layout, NodeName, Topology},
    wanted::Wanted,
};

/// A replica that diverged is evicted once in this time; after that there is only the alarm `[C-52]`.
pub const DIVERGENCE_INTERVAL_MS: u64 = 3_600_000;

/// The most urgent change of this shard's chain, if it needs any.
pub fn step(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
    shard: ShardId,
) -> Option<Step> {
    let Some(chain) = topology.chains.get(&shard) else {
        return found(topology, layout, observed, wanted, shard);
    };
    let view = View::new(topology, layout, observed, wanted, chain);
    let (rule, next) = view
        .drop_synced_learner()
        .or_else(|| view.promote())
        .or_else(|| view.evict_lost())
        .or_else(|| view.evict_unreachable())
        .or_else(|| view.evict_leaving())
        .or_else(|| view.evict_diverged())
        .or_else(|| view.drop_learner())
        .or_else(|| view.evict_misplaced())
        .map(|(rule, next)| (rule, (next, None)))
        .or_else(|| {
            view.found_from_disk()
                .map(|next| (Rule::FoundFromDisk, next))
        })
        .or_else(|| view.start_empty().map(|next| (Rule::StartEmpty, next)))
        .or_else(|| view.join().map(|next| (Rule::Join, next)))?;
    let (next, node) = next;
    let mut step = written(rule, Some(chain), next, node);
    if rule == Rule::StartEmpty {
        step.requires.extend(view.proofs());
    }
    Some(step)
}

fn found(
    topology: &Topology,
    layout: &Layout,
    observed: &Observed,
    wanted: &Wanted,
    shard: ShardId,
) -> Option<Step> {
    let partition = layout.partition(shard);
    let here = placement::live_nodes(topology, observed, partition).count();
    // Those who come a moment later are worth waiting for: they share the heads.
    if here < wanted.redundancy() && !observed.settled {
        return None;
    }
    let node = placement::founder(topology, observed, partition)?;
    let incarnation = topology.nodes.get(node)?.incarnation;
    let chain = Chain::founded(shard, None, node, incarnation);
    Some(written(Rule::Found, None, chain, Some(node.clone())))
}

/// The step that writes `next` in place of `last`. `node`, which gets a new replica, must still be who it was.
fn written(rule: Rule, last: Option<&Chain>, next: Chain, node: Option<NodeName>) -> Step {
    let shard = next.configuration.shard;
    let mut requires = vec![
        Precondition::Leadership,
        Precondition::ChainEpoch(shard, last.map(Chain::epoch)),
    ];
    let newest = next.configuration.members().last();
    requires.extend(
        node.zip(newest)
            .map(|(name, member)| Precondition::NodeIncarnation(name, member.incarnation)),
    );
    Step {
        rule,
        change: Change::Chain(next),
        requires,
    }
}

/// A chain, and what can be said of its replicas.
struct View<'a> {
    topology: &'a Topology,
    layout: &'a Layout,
    observed: &'a Observed,
    wanted: &'a Wanted,
    chain: &'a Chain,
    members: Vec<(ReplicaId, Standing)>,
    learner: Option<(ReplicaId, Standing)>,
    synced: bool,
}

impl<'a> View<'a> {
    fn new(
        topology: &'a Topology,
        layout: &'a Layout,
        observed: &'a Observed,
        wanted: &'a Wanted,
        chain: &'a Chain,
    ) -> View<'a> {
        let standing = |id| (id, observed.standing(topology, chain, id));
        let configuration = &chain.configuration;
        View {
            topology,
            layout,
            observed,
            wanted,
            chain,
            members: configuration
                .chain
                .iter()
                .map(|member| standing(member.id))
                .collect(),
            learner: configuration.learner.map(|member| standing(member.id)),
            synced: observed.has_synced(chain),
        }
    }

    /// A new chain has at least one member that is live now `[C-13]`.
    fn lives_without(&self, gone: &[ReplicaId]) -> bool {
        self.members
            .iter()
            .any(|(id, standing)| standing.is_live() && !gone.contains(id))
    }

    fn evict(&self, rule: Rule, gone: &[ReplicaId]) -> Option<(Rule, Chain)> {
        (!gone.is_empty() && self.lives_without(gone)).then(|| (rule, self.chain.without(gone)))
    }

    /// After the report the tail may not commit alone, and with this learner it cannot `[C-32]` `[C-34]`.
    fn drop_synced_learner(&self) -> Option<(Rule, Chain)> {
        let lost = self.lost_learner().filter(|_| self.synced)?;
        self.evict(Rule::DropSyncedLearner, &[lost])
    }

    /// Before evicting: the learner may be the last live holder of the state `[C-13]`.
    fn promote(&self) -> Option<(Rule, Chain)> {
        let (_, standing) = self.learner?;
        let ready = self.synced && standing == Standing::Live;
        ready.then(|| (Rule::Promote, self.chain.promoted()))
    }

    fn evict_lost(&self) -> Option<(Rule, Chain)> {
        let mut gone: Vec<ReplicaId> = self.which(Standing::is_out).collect();
        if gone.is_empty() {
            return None;
        }
        gone.extend(self.lost_learner());
        self.evict(Rule::EvictLost, &gone)
    }

    fn evict_unreachable(&self) -> Option<(Rule, Chain)> {
        let configuration = &self.chain.configuration;
        let blame = self.observed.blamed.get(&configuration.shard)?;
        // A report of an earlier epoch speaks of another pair.
        let of_now = blame.epoch == configuration.epoch && configuration.names(blame.replica);
        self.evict(Rule::EvictUnreachable, &[blame.replica])
            .filter(|_| of_now)
    }

    fn evict_leaving(&self) -> Option<(Rule, Chain)> {
        let stays = |(_, standing): &(ReplicaId, Standing)| *standing == Standing::Live;
        if !self.members.iter().any(stays) {
            return None;
        }
        let leaving: Vec<ReplicaId> = self
            .which(|standing| standing == Standing::Leaving)
            .collect();
        self.evict(Rule::EvictLeaving, &leaving)
    }

    fn evict_diverged(&self) -> Option<(Rule, Chain)> {
        let report = self
            .observed
            .diverged
            .get(&self.chain.configuration.shard)?;
        let now = self.observed.wall_ms;
        if report.epoch != self.chain.epoch() || !may_evict_diverged(self.chain, now) {
            return None;
        }
        let odd = odd_one(report, &self.chain.configuration)?;
        let (rule, mut chain) = self.evict(Rule::EvictDiverged, &[odd])?;
        chain.divergence_at_ms = Some(now);
        Some((rule, chain))
    }

    fn drop_learner(&self) -> Option<(Rule, Chain)> {
        let (id, _) = self.learner?;
        let shard = self.chain.configuration.shard;
        let stalled = self.observed.stalled.contains(&(shard, id));
        if self.lost_learner().is_none() && !stalled {
            return None;
        }
        self.evict(Rule::DropLearner, &[id])
    }

    /// The next epoch, from the disk of any member of the last chain: what was committed is on the disk of each `[C-62]`
    /// `[C-63]`. Who has the state in memory is better, so one that may only be late is waited for.
    fn found_from_disk(&self) -> Option<(Chain, Option<NodeName>)> {
        let is_at_hand = |standing: Standing| match standing {
            Standing::Live | Standing::Leaving => true,
            Standing::Silent => !self.observed.settled,
            Standing::Lost | Standing::Dead => false,
        };
        let learner = self.learner.filter(|_| self.synced);
        let mut all = self.members.iter().copied().chain(learner);
        if all.any(|(_, standing)| is_at_hand(standing)) {
            return None;
        }
        let found = self.chain.configuration.chain.iter().filter_map(|member| {
            let name = self.chain.homes.get(&member.id)?;
            let node = self.topology.nodes.get(name)?;
            let kept = node.kept_of(self.chain, *member)?;
            let is_there = node.incarnation > member.incarnation
                && !node.gone
                && self.observed.sight(name, node.incarnation) == Sight::Live;
            is_there.then_some((kept, name, node.incarnation))
        });
        // Of those that are there, rather one that lacks nothing [C-64].
        let (kept, name, incarnation) = found.min_by_key(|(kept, ..)| kept.may_lack)?;
        let chain = self.chain.from_disk(kept, name, incarnation);
        Some((chain, Some(name.clone())))
    }

    /// The next generation, when all of the last chain are proved dead `[C-14]`. A learner that was reported synced has
    /// all that was committed, so it must be dead too.
    fn start_empty(&self) -> Option<(Chain, Option<NodeName>)> {
        let dead = |(_, standing): &(ReplicaId, Standing)| *standing == Standing::Dead;
        let learner_has_it = self.synced && !self.learner.as_ref().is_some_and(dead);
        if !self.members.iter().all(dead) || learner_has_it {
            return None;
        }
        let shard = self.chain.configuration.shard;
        let partition = self.layout.partition(shard);
        let node = placement::founder(self.topology, self.observed, partition)?;
        let incarnation = self.topology.nodes.get(node)?.incarnation;
        let chain = Chain::founded(shard, Some(self.chain), node, incarnation);
        Some((chain, Some(node.clone())))
    }

    /// By what the members are proved dead. A node that was given up may come back with its disk at the last moment: then there is
    /// something to go on from.
    fn proofs(&self) -> impl Iterator<Item = Precondition> {
        let members = self.chain.configuration.members();
        let names = members.filter_map(|member| self.chain.homes.get(&member.id));
        names.filter_map(|name| {
            let node = self.topology.nodes.get(name)?;
            Some(Precondition::NodeProof(
                name.clone(),
                node.incarnation,
                node.gone,
            ))
        })
    }

    fn join(&self) -> Option<(Chain, Option<NodeName>)> {
        let short = self.members.len() < self.wanted.redundancy();
        let needed = short || self.misplaced().next().is_some();
        let tail_live = self
            .members
            .last()
            .is_some_and(|(_, standing)| standing.is_live());
        if self.learner.is_some() || !needed || !tail_live {
            return None;
        }
        let partition = self.layout.partition(self.chain.configuration.shard);
        let node = placement::learner(self.topology, self.observed, partition, self.chain)?;
        let incarnation = self.topology.nodes.get(node)?.incarnation;
        Some((self.chain.joined(node, incarnation), Some(node.clone())))
    }

    /// One at a time, and only where that leaves as many live members as are wanted.
    fn evict_misplaced(&self) -> Option<(Rule, Chain)> {
        let gone = self.misplaced().next()?;
        let left_live = self
            .members
            .iter()
            .filter(|(id, standing)| *id != gone && *standing == Standing::Live)
            .count();
        if left_live < self.wanted.redundancy() {
            return None;
        }
        self.evict(Rule::EvictMisplaced, &[gone])
    }

    fn which(&self, is: impl Fn(Standing) -> bool) -> impl Iterator<Item = ReplicaId> {
        self.members
            .iter()
            .filter(move |(_, standing)| is(*standing))
            .map(|(id, _)| *id)
    }

    fn lost_learner(&self) -> Option<ReplicaId> {
        self.learner
            .filter(|(_, standing)| standing.is_out() || *standing == Standing::Leaving)
            .map(|(id, _)| id)
    }

    /// Members whose node drains or is of another partition, or of none.
    fn misplaced(&self) -> impl Iterator<Item = ReplicaId> {
        let partition = self.layout.partition(self.chain.configuration.shard);
        self.members.iter().map(|(id, _)| *id).filter(move |id| {
            match self.topology.home(self.chain, *id) {
                Some(node) => node.draining || node.partition != Some(partition),
                None => false,
            }
        })
    }
}

/// Whether the last eviction of a replica that diverged is long enough ago `[C-52]`.
pub(crate) fn may_evict_diverged(chain: &Chain, wall_ms: u64) -> bool {
    chain
        .divergence_at_ms
        .is_none_or(|last| wall_ms.saturating_sub(last) >= DIVERGENCE_INTERVAL_MS)
}

/// Who is to go when digests differ: one against the majority; without a majority one that does not agree with the tail,
/// because clients saw the tail's effects `[C-52]`.
fn odd_one(report: &Diverged, configuration: &Configuration) -> Option<ReplicaId> {
    let digest = |id: ReplicaId| report.digests.get(&id);
    let tail = digest(configuration.tail()?.id)?;
    let votes = |wanted: &u64| {
        report
            .digests
            .values()
            .filter(|digest| *digest == wanted)
            .count()
    };
    let majority = report
        .digests
        .values()
        .find(|digest| 2 * votes(digest) > report.digests.len());
    let right = majority.unwrap_or(tail);
    let mut members = configuration.chain.iter().map(|member| member.id);
    members.find(|id| digest(*id).is_some_and(|digest| digest != right))
}
