//! A small cluster to ask the chain manager about.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use catena_chain::{Generation, Incarnation, Member, ReplicaId};
use catena_slots::ShardId;
use catena_topology::{
    Chain, Change, Node, NodeName, Observed, Partition, Sight, Step, Synced, Topology, Wanted,
    Zone, next, observed::Sighting, topology::Kept,
};

pub const SHARD: ShardId = ShardId(0);

pub struct World {
    pub topology: Topology,
    pub observed: Observed,
    pub wanted: Wanted,
}

pub fn name(number: u64) -> NodeName {
    NodeName(format!("node-{number}"))
}

impl World {
    /// `nodes` live nodes, numbered from 1, each in a zone of its own; the first time-out is over.
    pub fn new(partitions: u16, workers: u16, redundancy: usize, nodes: u64) -> World {
        let mut world = World {
            topology: Topology::default(),
            observed: Observed {
                settled: true,
                ..Observed::default()
            },
            wanted: Wanted::new(partitions, workers, redundancy, 0).unwrap(),
        };
        for number in 1..=nodes {
            world.add(number, Some(&format!("zone-{number}")));
        }
        world
    }

    /// One partition and shard; a chain on the first `chain` of `nodes` nodes.
    pub fn with_chain(redundancy: usize, nodes: u64, chain: u64) -> World {
        let mut world = World::new(1, 1, redundancy, nodes);
        world.topology.layout = Some(world.wanted.layout());
        for number in 1..=nodes.min(redundancy as u64) {
            world.node(number).partition = Some(Partition(0));
        }
        let mut first = Chain::founded(SHARD, None, &name(1), Incarnation(101));
        for number in 2..=chain {
            first = first
                .joined(&name(number), Incarnation(100 + number))
                .promoted();
        }
        world.topology.chains.insert(SHARD, first);
        world
    }

    /// A learner joins on node `number`.
    pub fn learner(&mut self, number: u64) -> ReplicaId {
        let incarnation = self.node(number).incarnation;
        let chain = self.chain().joined(&name(number), incarnation);
        let learner = chain.configuration.learner.unwrap().id;
        self.topology.chains.insert(SHARD, chain);
        learner
    }

    /// The tail reports its learner as of now.
    pub fn report_synced(&mut self) {
        let configuration = self.chain().configuration.clone();
        let report = Synced {
            epoch: configuration.epoch,
            generation: configuration.generation,
            learner: configuration.learner.unwrap().id,
        };
        self.observed.synced.insert(SHARD, report);
    }

    pub fn add(&mut self, number: u64, zone: Option<&str>) {
        let incarnation = Incarnation(100 + number);
        let zone = zone.map(|zone| Zone(zone.to_owned()));
        self.topology
            .nodes
            .insert(name(number), Node::new(incarnation, zone));
        self.see(number, Sight::Live);
    }

    pub fn node(&mut self, number: u64) -> &mut Node {
        self.topology.nodes.get_mut(&name(number)).unwrap()
    }

    /// The node's present process looks like this.
    pub fn see(&mut self, number: u64, sight: Sight) {
        let incarnation = self.node(number).incarnation;
        let sighting = Sighting { incarnation, sight };
        self.observed.nodes.insert(name(number), sighting);
    }

    /// A new process of the node registers, with what its replica of the chain had on its disk.
    pub fn restart_from_disk(&mut self, number: u64) {
        let chain = self.chain();
        let home = |member: &Member| chain.homes[&member.id] == name(number);
        let kept = chain.configuration.members().filter(home).map(|m| Kept {
            shard: SHARD,
            generation: chain.configuration.generation,
            replica: m.id,
            may_lack: false,
        });
        let kept = kept.collect();
        self.restart_with(number, kept);
    }

    pub fn restart_with(&mut self, number: u64, kept: Vec<Kept>) {
        let node = self.node(number);
        let (incarnation, zone) = (Incarnation(node.incarnation.0 + 1_000), node.zone.clone());
        assert!(node.register(incarnation, zone, kept));
        self.see(number, Sight::Live);
    }

    /// A new process of the node registers, with nothing on its disk.
    pub fn restart(&mut self, number: u64) {
        self.restart_with(number, vec![]);
    }

    pub fn chain(&self) -> &Chain {
        &self.topology.chains[&SHARD]
    }

    /// The nodes of the chain's members, and that of its learner, by number.
    pub fn shape(&self) -> (Vec<u64>, Option<u64>) {
        shape(self.chain())
    }

    pub fn next(&self) -> Option<Step> {
        next(&self.topology, &self.observed, &self.wanted)
    }

    /// Takes the next step.
    pub fn step(&mut self) -> Option<Step> {
        let step = self.next()?;
        step.apply(&mut self.topology).unwrap();
        Some(step)
    }

    /// Takes steps, learners being synced whenever nothing else is to be done, until all is as it should be.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.step().is_some() {
                continue;
            }
            let learners: BTreeMap<ShardId, Synced> = self
                .topology
                .chains
                .iter()
                .filter_map(|(shard, chain)| {
                    let report = Synced {
                        epoch: chain.epoch(),
                        generation: chain.configuration.generation,
                        learner: chain.configuration.learner?.id,
                    };
                    Some((*shard, report))
                })
                .collect();
            if learners.is_empty() {
                return;
            }
            self.observed.synced = learners;
        }
        panic!("does not settle: {:?}", self.next());
    }
}

pub fn shape(chain: &Chain) -> (Vec<u64>, Option<u64>) {
    let number = |member: &Member| {
        let home = &chain.homes[&member.id];
        home.0["node-".len()..].parse().unwrap()
    };
    let configuration = &chain.configuration;
    (
        configuration.chain.iter().map(number).collect(),
        configuration.learner.as_ref().map(number),
    )
}

pub fn changed(step: &Step) -> Option<&Chain> {
    match &step.change {
        Change::Chain(chain) => Some(chain),
        _ => None,
    }
}

pub fn generation(number: u32) -> Generation {
    Generation(number)
}
