//! Drives the chain manager at random: nodes die, return, fall silent and are suspected wrongly, zones vanish, learners sync
//! or die, what is wanted changes. Whatever happens, no step breaks a rule, and when all is quiet the cluster is as wanted.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Epoch, Incarnation, Member, ReplicaId};
use catena_slots::ShardId;
use catena_topology::{
    Blame, Chain, Change, Diverged, GatewayIncarnation, GatewayName, Precondition, Registrations,
    Rule, Sight, Step, Synced, Wanted, observed::Sighting,
};
use proptest::prelude::*;
use world::{World, name, shape};

/// What happens to the cluster. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    AddNode {
        zone: u8,
    },
    /// The process ends. Whether anyone notices is another event.
    Crash(u8),
    CrashZone(u8),
    /// A crashed node comes back as a new process; one that runs heartbeats again.
    Return(u8),
    /// Rightly or wrongly.
    Look(u8, Sight),
    /// An administrator tells the truth: the process has ended.
    DeclareGone(u8),
    Drain(u8, bool),
    /// The tail reports its learner, which has everything then.
    Sync(u8),
    /// A report that was on its way for too long.
    SyncLate(u8),
    Blame(u8, u8),
    Stick(u8, u8),
    Stall(u8),
    Diverge(u8, u8),
    Want(u8),
    GatewayComes,
    GatewayGoes(u8),
    Link(u8, bool),
    Hour,
    /// The manager takes steps.
    Steps(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let sight = prop_oneof![
        Just(Sight::Live),
        Just(Sight::Leaving),
        Just(Sight::Silent),
        Just(Sight::Lost),
    ];
    prop_oneof![
        2 => any::<u8>().prop_map(|zone| Event::AddNode { zone }),
        6 => any::<u8>().prop_map(Event::Crash),
        1 => any::<u8>().prop_map(Event::CrashZone),
        8 => any::<u8>().prop_map(Event::Return),
        8 => (any::<u8>(), sight).prop_map(|(node, sight)| Event::Look(node, sight)),
        1 => any::<u8>().prop_map(Event::DeclareGone),
        1 => any::<(u8, bool)>().prop_map(|(node, on)| Event::Drain(node, on)),
        8 => any::<u8>().prop_map(Event::Sync),
        2 => any::<u8>().prop_map(Event::SyncLate),
        2 => any::<(u8, u8)>().prop_map(|(shard, member)| Event::Blame(shard, member)),
        1 => any::<(u8, u8)>().prop_map(|(shard, member)| Event::Stick(shard, member)),
        1 => any::<u8>().prop_map(Event::Stall),
        1 => any::<(u8, u8)>().prop_map(|(shard, member)| Event::Diverge(shard, member)),
        1 => any::<u8>().prop_map(Event::Want),
        1 => Just(Event::GatewayComes),
        1 => any::<u8>().prop_map(Event::GatewayGoes),
        1 => any::<(u8, bool)>().prop_map(|(gateway, on)| Event::Link(gateway, on)),
        1 => Just(Event::Hour),
        12 => (1_u8..20).prop_map(Event::Steps),
    ]
}

/// The cluster as it is, beside what the manager sees of it.
struct Cluster {
    world: World,
    /// Processes that run.
    running: BTreeSet<(String, Incarnation)>,
    /// Replicas that have all that their shard ever committed.
    holders: BTreeMap<ShardId, BTreeSet<ReplicaId>>,
    /// Ids that were given.
    used: BTreeMap<ShardId, BTreeSet<ReplicaId>>,
    late: BTreeMap<ShardId, Synced>,
    gateways_gone: BTreeSet<GatewayIncarnation>,
    revision: u64,
}

impl Cluster {
    fn new(partitions: u16, workers: u16, redundancy: usize, nodes: u64) -> Cluster {
        let mut cluster = Cluster {
            world: World::new(partitions, workers, redundancy, 0),
            running: BTreeSet::new(),
            holders: BTreeMap::new(),
            used: BTreeMap::new(),
            late: BTreeMap::new(),
            gateways_gone: BTreeSet::new(),
            revision: 1,
        };
        for number in 0..nodes {
            cluster.add_node(number % 3);
        }
        cluster
    }

    fn add_node(&mut self, zone: u64) {
        let number = self.world.topology.nodes.len() as u64 + 1;
        self.world.add(number, Some(&format!("zone-{zone}")));
        let incarnation = self.world.node(number).incarnation;
        self.running.insert((name(number).0, incarnation));
    }

    fn node_number(&self, number: u8) -> u64 {
        u64::from(number) % self.world.topology.nodes.len() as u64 + 1
    }

    fn process(&mut self, number: u64) -> (String, Incarnation) {
        (name(number).0, self.world.node(number).incarnation)
    }

    fn chain(&self, number: u8) -> Option<(ShardId, Chain)> {
        let chains = &self.world.topology.chains;
        let (shard, chain) = chains
            .iter()
            .nth(usize::from(number) % chains.len().max(1))?;
        Some((*shard, chain.clone()))
    }

    fn runs(&self, chain: &Chain, member: Member) -> bool {
        let home = chain.homes[&member.id].0.clone();
        self.running.contains(&(home, member.incarnation))
    }

    fn report(&self, chain: &Chain) -> Option<Synced> {
        Some(Synced {
            epoch: chain.epoch(),
            generation: chain.configuration.generation,
            learner: chain.configuration.learner?.id,
        })
    }

    /// A tail makes the report only while it, its state and its learner are there.
    fn sync(&mut self, shard: ShardId, chain: &Chain) {
        let configuration = &chain.configuration;
        let (Some(tail), Some(learner)) = (configuration.tail(), configuration.learner) else {
            return;
        };
        let holders = self.holders.get_mut(&shard).unwrap();
        let ready = holders.contains(&tail.id);
        if ready && self.runs(chain, tail) && self.runs(chain, learner) {
            self.holders.get_mut(&shard).unwrap().insert(learner.id);
            let report = self.report(chain).unwrap();
            self.late.insert(shard, report);
            self.world.observed.synced.insert(shard, report);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AddNode { zone } => {
                if self.world.topology.nodes.len() < 9 {
                    self.add_node(u64::from(zone % 3));
                }
            }
            Event::Crash(number) => {
                let process = {
                    let number = self.node_number(number);
                    self.process(number)
                };
                self.running.remove(&process);
            }
            Event::CrashZone(zone) => {
                let zone = format!("zone-{}", zone % 3);
                let nodes = &self.world.topology.nodes;
                let of_zone = |name: &str| {
                    let node = &nodes[&catena_topology::NodeName(name.to_owned())];
                    node.zone.as_ref().is_some_and(|of| of.0 == zone)
                };
                self.running.retain(|(name, _)| !of_zone(name));
            }
            Event::Return(number) => {
                let number = self.node_number(number);
                self.come_back(number);
            }
            Event::Look(number, sight) => {
                let number = self.node_number(number);
                let process = self.process(number);
                let runs = self.running.contains(&process);
                // One that has ended heartbeats no more; but that it did is seen late.
                let was = self
                    .world
                    .observed
                    .nodes
                    .get(&name(number))
                    .map(|was| was.sight);
                if runs || !matches!(sight, Sight::Live | Sight::Leaving) || was == Some(sight) {
                    self.world.see(number, sight);
                }
            }
            Event::DeclareGone(number) => {
                let number = self.node_number(number);
                let process = self.process(number);
                if !self.running.contains(&process) {
                    self.world.node(number).gone = true;
                }
            }
            Event::Drain(number, on) => {
                let number = self.node_number(number);
                self.world.node(number).draining = on;
            }
            Event::Sync(number) => {
                if let Some((shard, chain)) = self.chain(number) {
                    self.sync(shard, &chain);
                }
            }
            Event::SyncLate(number) => {
                if let Some((shard, chain)) = self.chain(number) {
                    // Of another learner, or of this one in the epoch before.
                    let before = self.report(&chain).map(|report| Synced {
                        epoch: Epoch(report.epoch.0 - 1),
                        ..report
                    });
                    let late = self.late.get(&shard).copied();
                    let report = if number % 2 == 0 { before } else { late };
                    report.map(|report| self.world.observed.synced.insert(shard, report));
                }
            }
            Event::Blame(shard, member) => {
                if let Some((shard, chain)) = self.chain(shard) {
                    let members: Vec<Member> = chain.configuration.members().collect();
                    let blame = Blame {
                        epoch: Epoch(chain.epoch().0 - u64::from(member % 5 == 0)),
                        replica: members[usize::from(member) % members.len()].id,
                    };
                    self.world.observed.blamed.insert(shard, blame);
                }
            }
            Event::Stick(shard, member) => {
                if let Some((shard, chain)) = self.chain(shard) {
                    let members: Vec<Member> = chain.configuration.members().collect();
                    let id = members[usize::from(member) % members.len()].id;
                    self.world.observed.stuck.insert((shard, id));
                }
            }
            Event::Stall(shard) => {
                if let Some((shard, chain)) = self.chain(shard) {
                    let learner = chain.configuration.learner;
                    learner.map(|learner| self.world.observed.stalled.insert((shard, learner.id)));
                }
            }
            Event::Diverge(shard, member) => {
                if let Some((shard, chain)) = self.chain(shard) {
                    let members = &chain.configuration.chain;
                    let odd = usize::from(member) % members.len();
                    let digests = members.iter().enumerate();
                    let report = Diverged {
                        epoch: chain.epoch(),
                        digests: digests
                            .map(|(place, member)| (member.id, u64::from(place == odd)))
                            .collect(),
                    };
                    self.world.observed.diverged.insert(shard, report);
                }
            }
            Event::Want(redundancy) => {
                let layout = self.world.wanted.layout();
                let redundancy = usize::from(redundancy % 4) + 1;
                let wanted = Wanted::new(layout.partitions, layout.workers, redundancy, 0);
                self.world.wanted = wanted.unwrap();
            }
            Event::GatewayComes => {
                self.revision += 1;
                let incarnation = GatewayIncarnation(self.revision);
                let registrations = &mut self.world.observed.registrations;
                registrations.revision = self.revision;
                registrations
                    .present
                    .insert(incarnation, GatewayName("gateway".to_owned()));
            }
            Event::GatewayGoes(number) => {
                self.revision += 1;
                let Registrations { revision, present } = &mut self.world.observed.registrations;
                *revision = self.revision;
                let gone = present
                    .keys()
                    .nth(usize::from(number) % present.len().max(1));
                gone.copied().map(|gone| present.remove(&gone));
            }
            Event::Link(number, on) => {
                let live = &self.world.topology.gateways.live;
                let gateway = live.keys().nth(usize::from(number) % live.len().max(1));
                let linked = &mut self.world.observed.linked;
                match gateway {
                    Some(gateway) if on => linked.insert(*gateway),
                    Some(gateway) => linked.remove(gateway),
                    None => false,
                };
            }
            Event::Hour => self.world.observed.wall_ms += 3_600_000,
            Event::Steps(count) => {
                for _ in 0..count {
                    if !self.step() {
                        break;
                    }
                }
            }
        }
    }

    fn come_back(&mut self, number: u64) {
        let process = self.process(number);
        if !self.running.contains(&process) || self.world.node(number).gone {
            self.running.remove(&process);
            self.world.restart(number);
            let process = self.process(number);
            self.running.insert(process);
        }
        self.world.see(number, Sight::Live);
    }

    /// Takes one step, if there is one, and checks it against every rule.
    fn step(&mut self) -> bool {
        let Some(step) = self.world.next() else {
            return false;
        };
        assert_eq!(self.world.next().as_ref(), Some(&step), "the same twice");
        assert_eq!(step.requires[0], Precondition::Leadership);
        let before = self.world.topology.clone();
        if let Change::Chain(next) = &step.change {
            self.check_chain(before.chains.get(&next.configuration.shard), next, &step);
        }
        if let Change::Gateways(next) = &step.change {
            self.check_gateways(next);
        }
        step.apply(&mut self.world.topology)
            .unwrap_or_else(|broken| panic!("{broken:?} does not hold for {step:?}"));
        // Nothing but what the step names has changed.
        let chains = before.chains.iter();
        let changed = chains.filter(|(shard, chain)| self.world.topology.chains[*shard] != **chain);
        assert!(changed.count() <= 1);
        assert!(
            step.apply(&mut self.world.topology.clone()).is_err(),
            "a second writer would repeat {step:?}"
        );
        true
    }

    fn check_chain(&mut self, last: Option<&Chain>, next: &Chain, step: &Step) {
        let configuration = &next.configuration;
        let shard = configuration.shard;
        let epoch = last.map_or(Epoch(0), Chain::epoch);
        assert_eq!(configuration.epoch, epoch.next(), "one epoch at a time");
        assert!(
            step.requires
                .contains(&Precondition::ChainEpoch(shard, last.map(Chain::epoch)))
        );
        let (members, learner) = shape(next);
        let nodes: BTreeSet<u64> = members.iter().copied().chain(learner).collect();
        assert_eq!(
            nodes.len(),
            members.len() + usize::from(learner.is_some()),
            "two replicas on one node: {next:?}"
        );
        assert_eq!(next.homes.len(), nodes.len(), "homes of nobody: {next:?}");

        let observed = &self.world.observed;
        let looks_live = |member: &&Member| {
            let sighting = observed.nodes.get(&next.homes[&member.id]);
            sighting.is_some_and(|sighting: &Sighting| {
                sighting.incarnation == member.incarnation
                    && matches!(sighting.sight, Sight::Live | Sight::Leaving)
            })
        };
        assert!(
            configuration.chain.iter().any(|member| looks_live(&member)),
            "[C-13] {step:?}"
        );

        let used = self.used.entry(shard).or_default();
        let known: BTreeSet<ReplicaId> = last
            .into_iter()
            .flat_map(|last| last.configuration.members().map(|member| member.id))
            .collect();
        for member in configuration.members() {
            let is_new = !known.contains(&member.id);
            assert!(!is_new || used.insert(member.id), "[C-1] {step:?}");
        }

        let Some(last) = last else {
            assert_eq!((step.rule, configuration.chain.len()), (Rule::Found, 1));
            self.holders
                .insert(shard, BTreeSet::from([configuration.chain[0].id]));
            return;
        };
        if configuration.generation != last.configuration.generation {
            assert_eq!(step.rule, Rule::StartEmpty);
            assert_eq!(
                configuration.generation,
                last.configuration.generation.next()
            );
            for member in &last.configuration.chain {
                assert!(!self.runs(last, *member), "[C-14] {step:?}");
            }
            // A learner that was reported synced holds as much as a member.
            let report = self.world.observed.synced.get(&shard).copied();
            if report.is_some() && report == self.report(last) {
                let learner = last.configuration.learner.expect("it was reported");
                assert!(!self.runs(last, learner), "[C-13] {step:?}");
            }
            self.holders
                .insert(shard, BTreeSet::from([configuration.chain[0].id]));
            return;
        }
        self.check_members(last, next, step);
    }

    /// [C-12], and that each member has all that was ever committed.
    fn check_members(&self, last: &Chain, next: &Chain, step: &Step) {
        let shard = next.configuration.shard;
        let mut old = last.configuration.chain.iter();
        let mut rest = next.configuration.chain.iter();
        let stranger = rest.find(|member| !old.any(|old| old == *member));
        if let Some(stranger) = stranger {
            assert_eq!(
                Some(*stranger),
                last.configuration.learner,
                "[C-12] {step:?}"
            );
            assert_eq!(rest.next(), None, "[C-12] {step:?}");
            let report = self.world.observed.synced.get(&shard).copied();
            assert_eq!(report, self.report(last), "[C-33] {step:?}");
        }
        for member in &next.configuration.chain {
            assert!(self.holders[&shard].contains(&member.id), "lost: {step:?}");
        }
        let gone = last.configuration.chain.len()
            - next
                .configuration
                .chain
                .len()
                .min(last.configuration.chain.len());
        if step.rule == Rule::EvictMisplaced {
            assert!(next.configuration.chain.len() >= self.world.wanted.redundancy());
        }
        assert!(
            gone == 0 || stranger.is_none(),
            "promoted and evicted at once: {step:?}"
        );
    }

    fn check_gateways(&mut self, next: &catena_topology::Gateways) {
        let last = &self.world.topology.gateways;
        assert!(next.version > last.version, "[C-43]");
        for incarnation in next.live.keys() {
            assert!(incarnation.0 <= next.version, "[C-43]");
            assert!(
                !self.gateways_gone.contains(incarnation),
                "[C-43] it is back"
            );
        }
        let registrations = &self.world.observed.registrations.present;
        for incarnation in last.live.keys() {
            if !next.live.contains_key(incarnation) {
                assert!(!registrations.contains_key(incarnation), "[C-43]");
                assert!(!self.world.observed.linked.contains(incarnation), "[C-43]");
                self.gateways_gone.insert(*incarnation);
            }
        }
    }

    /// Everything that fails is mended.
    fn quiet(&mut self) {
        for number in 1..=self.world.topology.nodes.len() as u64 {
            self.world.node(number).draining = false;
            // What leaves does leave.
            let sight = self.world.observed.nodes[&name(number)].sight;
            if sight == Sight::Leaving {
                let process = self.process(number);
                self.running.remove(&process);
            }
            self.come_back(number);
        }
        let observed = &mut self.world.observed;
        observed.stuck.clear();
        observed.stalled.clear();
        observed.blamed.clear();
        observed.diverged.clear();
        for _ in 0..3_000 {
            if self.step() {
                continue;
            }
            let chains = self.world.topology.chains.clone();
            let mut joining = chains
                .iter()
                .filter(|(_, chain)| chain.configuration.learner.is_some())
                .peekable();
            if joining.peek().is_none() {
                return;
            }
            joining.for_each(|(shard, chain)| self.sync(*shard, chain));
        }
        panic!("does not become quiet: {:?}", self.world.next());
    }

    /// As many replicas as there are nodes for, up to what is wanted.
    fn check_wanted(&self) {
        let (topology, wanted) = (&self.world.topology, &self.world.wanted);
        let layout = topology.layout.as_ref().unwrap();
        let has_spares = topology.nodes.values().any(|node| node.partition.is_none());
        for shard in layout.shards() {
            let partition = layout.partition(shard);
            let nodes: BTreeSet<_> = topology.assigned(partition).map(|(name, _)| name).collect();
            assert!(nodes.len() <= wanted.redundancy(), "{partition:?}");
            let is_full = nodes.len() == wanted.redundancy();
            assert!(is_full || !has_spares, "{partition:?}");
            let homes = topology
                .chains
                .get(&shard)
                .map(Chain::nodes)
                .unwrap_or_default();
            // Where nodes are missing, a replica on one of another partition is better than none.
            assert!(homes.is_superset(&nodes), "{shard:?}");
            assert!(homes.len() <= wanted.redundancy(), "{shard:?}");
            assert!(!is_full || homes == nodes, "{shard:?}");
        }
        let registered: Vec<_> = self.world.observed.registrations.present.keys().collect();
        for gateway in registered {
            assert!(topology.gateways.live.contains_key(gateway));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // Each assertion names the rule whose breach would lose, fork or stop a chain.
    #[test]
    fn no_step_breaks_a_rule_and_quiet_brings_what_is_wanted(
        partitions in 1_u16..4,
        workers in 1_u16..4,
        redundancy in 1_usize..5,
        nodes in 1_u64..7,
        events in prop::collection::vec(event(), 0..150),
    ) {
        let mut cluster = Cluster::new(partitions, workers, redundancy, nodes);
        for event in events {
            cluster.happen(event);
        }
        cluster.quiet();
        cluster.check_wanted();
    }
}
