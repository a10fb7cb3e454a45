//! A model of the control plane: a store, and two processes of which one leads at a time `[C-12]` to `[C-15]`.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{
    Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
    message::{News, Report},
};
use catena_slots::ShardId;

use crate::{plan::Loosened, random::Random};

/// The store: what is decided.
#[derive(Debug)]
pub struct Store {
    pub configurations: Vec<Configuration>,
    /// The latest life of each node.
    pub nodes: BTreeMap<usize, Incarnation>,
    /// Where each life runs.
    pub place_of: BTreeMap<Incarnation, usize>,
    pub revision: u64,
    pub gateways: BTreeSet<u64>,
    pub gateways_version: u64,
    pub leader: usize,
    /// Nothing is moved any more that need not be.
    pub is_calm: bool,
    next_replica: u64,
    redundancy: usize,
}

/// What a process of the control plane remembers.
#[derive(Debug, Default)]
pub struct Process {
    heard: BTreeMap<Incarnation, u64>,
    heard_gateways: BTreeMap<u64, u64>,
    /// What heads say of their links, with the time.
    linked: BTreeMap<u64, u64>,
    reports: BTreeMap<(ShardId, ReplicaId), (Report, u64)>,
    synced: BTreeMap<ShardId, Report>,
    learner_since: BTreeMap<(ShardId, Epoch), u64>,
    pub leads_since: Option<u64>,
}

/// A change that is on its way to the store.
#[derive(Debug, Clone)]
pub struct Change {
    pub by: usize,
    pub expected: Epoch,
    pub to: Configuration,
    pub why: &'static str,
}

impl Store {
    pub fn new(shards: usize, nodes: &[Incarnation], redundancy: usize) -> Store {
        let mut store = Store {
            configurations: Vec::new(),
            nodes: nodes.iter().copied().enumerate().collect(),
            place_of: nodes
                .iter()
                .copied()
                .enumerate()
                .map(|(node, life)| (life, node))
                .collect(),
            revision: 1,
            gateways: BTreeSet::new(),
            gateways_version: 0,
            leader: 0,
            is_calm: false,
            next_replica: 0,
            redundancy,
        };
        for shard in 0..shards {
            let founder = store.member(nodes[shard % nodes.len()]);
            let shard = ShardId(shard as u16);
            let first = Configuration::founded(shard, Epoch(1), Generation(1), founder);
            store.configurations.push(first);
        }
        store
    }

    fn member(&mut self, incarnation: Incarnation) -> Member {
        self.next_replica += 1;
        Member {
            id: ReplicaId(self.next_replica),
            incarnation,
        }
    }

    /// Registers a gateway: its incarnation is the revision that this makes `[C-43]`.
    pub fn register_gateway(&mut self) -> u64 {
        self.revision += 1;
        self.gateways.insert(self.revision);
        self.gateways_version = self.revision;
        self.revision
    }

    pub fn drop_gateway(&mut self, incarnation: u64) {
        if self.gateways.remove(&incarnation) {
            self.revision += 1;
            self.gateways_version = self.revision;
        }
    }

    pub fn generations(&self) -> Vec<u32> {
        self.configurations.iter().map(|c| c.generation.0).collect()
    }

    /// Rises with every generation.
    pub fn settings_version(&self) -> u64 {
        self.generations()
            .iter()
            .map(|generation| u64::from(*generation))
            .sum()
    }

    /// Compare and put: by the leader, on exactly the epoch that it knew `[C-15]`.
    pub fn put(&mut self, change: &Change) -> bool {
        let now = &mut self.configurations[change.to.shard.index()];
        if change.by != self.leader || now.epoch != change.expected {
            return false;
        }
        *now = change.to.clone();
        self.revision += 1;
        true
    }

    fn is_dead(&self, member: Member) -> bool {
        let Some(node) = self.place_of.get(&member.incarnation) else {
            return true;
        };
        self.nodes.get(node) != Some(&member.incarnation)
    }
}

impl Process {
    pub fn heartbeat(&mut self, now: u64, incarnation: Incarnation, linked: &[u64]) {
        self.heard.insert(incarnation, now);
        for gateway in linked {
            self.linked.insert(*gateway, now);
        }
    }

    pub fn gateway_heartbeat(&mut self, now: u64, incarnation: u64) {
        self.heard_gateways.insert(incarnation, now);
    }

    pub fn report(&mut self, now: u64, report: Report) {
        if let News::LearnerSynced { .. } = report.news {
            self.synced.insert(report.shard, report);
        } else {
            self.reports
                .insert((report.shard, report.from), (report, now));
        }
    }

    /// Becomes the leader: everyone has one time-out of grace `[C-15]`.
    pub fn lead(&mut self, now: u64, store: &Store) {
        self.leads_since = Some(now);
        for life in store.place_of.keys() {
            self.heard.insert(*life, now);
        }
        for gateway in &store.gateways {
            self.heard_gateways.insert(*gateway, now);
        }
        self.reports.clear();
    }

    /// Gateways whose registration has expired and whom no head reports `[C-43]`.
    pub fn expired_gateways(&self, now: u64, timeout: u64, store: &Store) -> Vec<u64> {
        let is_recent = |at: Option<&u64>| at.is_some_and(|at| now - at <= timeout);
        let gone = |gateway: &&u64| {
            !is_recent(self.heard_gateways.get(gateway)) && !is_recent(self.linked.get(gateway))
        };
        store.gateways.iter().filter(gone).copied().collect()
    }

    /// The next step of a shard's chain, if one is due: at most one change at a time.
    pub fn decide(
        &mut self,
        now: u64,
        timeout: u64,
        shard: ShardId,
        store: &mut Store,
        off: Option<Loosened>,
        random: &mut Random,
    ) -> Option<(Configuration, &'static str)> {
        let current = store.configurations[shard.index()].clone();
        let next = Configuration {
            epoch: current.epoch.next(),
            ..current.clone()
        };
        let without = |member: Member| Configuration {
            chain: current
                .chain
                .iter()
                .copied()
                .filter(|m| *m != member)
                .collect(),
            ..next.clone()
        };
        let reports: Vec<Report> = self
            .reports
            .values()
            .filter(|(report, at)| {
                report.shard == shard && report.epoch == current.epoch && now - at <= timeout
            })
            .map(|(report, _)| *report)
            .collect();
        let is_stateless = |member: Member| {
            let says = |report: &Report| report.from == member.id && report.news == News::Stateless;
            reports.iter().any(says)
        };
        let is_dead = |member: Member| store.is_dead(member) || is_stateless(member);
        let is_live = |member: Member| {
            let heard = self.heard.get(&member.incarnation);
            !is_dead(member) && heard.is_some_and(|at| now - at <= timeout)
        };
        let learner_since = *self
            .learner_since
            .entry((shard, current.epoch))
            .or_insert(now);

        if let Some(learner) = current.learner {
            // A report in hand: promote before evicting [C-13]; for exactly this epoch [C-33].
            let ignores_epoch = off == Some(Loosened::C33);
            let is_synced = self.synced.get(&shard).is_some_and(|report| {
                (report.epoch == current.epoch || ignores_epoch)
                    && report.generation == current.generation
                    && report.news
                        == News::LearnerSynced {
                            learner: learner.id,
                        }
            });
            let unsynced = off == Some(Loosened::C12) && now - learner_since > timeout / 10;
            if is_synced || (unsynced && is_live(learner)) {
                let mut promoted = next.clone();
                promoted.chain.push(learner);
                promoted.learner = None;
                return Some((promoted, "promote"));
            }
            let tail = current.tail().map(|tail| tail.id);
            let suspected = reports.iter().any(|report| {
                Some(report.from) == tail
                    && report.news
                        == News::Suspect {
                            neighbour: learner.id,
                        }
            });
            let is_stalled = now - learner_since > 4 * timeout;
            if !is_live(learner) || suspected || is_stalled {
                return Some((
                    Configuration {
                        learner: None,
                        ..next
                    },
                    "drop the learner",
                ));
            }
        }

        let live: Vec<Member> = current
            .chain
            .iter()
            .copied()
            .filter(|m| is_live(*m))
            .collect();
        if let Some(lost) = current.chain.iter().copied().find(|m| !is_live(*m)) {
            if !live.is_empty() {
                return Some((without(lost), "evict the lost"));
            }
            let is_proved = current.chain.iter().all(|m| is_dead(*m));
            if is_proved || off == Some(Loosened::C14) {
                let spare = spare(&self.heard, now, timeout, store, &[], random)?;
                let founder = store.member(spare);
                let empty =
                    Configuration::founded(shard, next.epoch, current.generation.next(), founder);
                return Some((empty, "start empty"));
            }
            return None;
        }
        if current.chain.len() > 1 {
            // By default the successor of the pair [C-24].
            let pair = reports.iter().find_map(|report| match report.news {
                News::Suspect { neighbour } => {
                    let (a, b) = (current.position(report.from)?, current.position(neighbour)?);
                    current.chain.get(a.max(b)).copied()
                }
                _ => None,
            });
            if let Some(suspect) = pair {
                return Some((without(suspect), "evict the suspect"));
            }
        }
        if current.learner.is_none() && current.chain.len() > store.redundancy {
            // Heads move by joining a learner and removing the head [C-12].
            let head = current.head()?;
            return Some((without(head), "move the head"));
        }
        let is_full = current.chain.len() == store.redundancy;
        let moves_head = is_full && !store.is_calm && random.once_in(40);
        let is_short = current.chain.len() < store.redundancy;
        if current.learner.is_none() && (is_short || moves_head) {
            let taken: Vec<_> = current.members().collect();
            let spare = spare(&self.heard, now, timeout, store, &taken, random)?;
            let member = store.member(spare);
            if off == Some(Loosened::C35) && is_short {
                let mut back = next;
                back.chain.push(member);
                return Some((back, "put back"));
            }
            let epoch = next.epoch;
            let joined = Configuration {
                learner: Some(member),
                joined: epoch,
                ..next
            };
            return Some((joined, "add a learner"));
        }
        None
    }
}

fn spare(
    heard: &BTreeMap<Incarnation, u64>,
    now: u64,
    timeout: u64,
    store: &Store,
    taken: &[Member],
    random: &mut Random,
) -> Option<Incarnation> {
    let is_free = |life: &Incarnation| taken.iter().all(|member| member.incarnation != *life);
    let is_live = |life: &Incarnation| heard.get(life).is_some_and(|at| now - at <= timeout / 2);
    let free: Vec<_> = store
        .nodes
        .values()
        .copied()
        .filter(|life| is_free(life) && is_live(life))
        .collect();
    random.pick(&free).copied()
}
