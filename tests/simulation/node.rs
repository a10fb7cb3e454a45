//! Nodes: processes that register, beat, and play the parts that they are given.

use std::collections::BTreeMap;

use catena_chain::{
    Incarnation, Input, Now, Options, Output, Replica,
    message::{ConnectionId, Report, ToOrigin},
};
use catena_slots::ShardId;
use catena_topology::{GatewayIncarnation, Heartbeat, Progress};

use crate::{
    control::{Content, node_name},
    disks::Volumes,
    network::Place,
    parcel::{End, Parcel, Speech},
    plan::Loosened,
    snapshots::Snapshots,
    workload::Workload,
    world::World,
};

/// One process of a node.
pub struct Node<W: Workload> {
    /// Made once at its start.
    pub process: u64,
    /// `None` until it has registered.
    pub incarnation: Option<Incarnation>,
    /// By shard; none before it has registered.
    pub replicas: Vec<Replica<W::Machine>>,
    pub reports: Vec<Report>,
    /// Which process of the control plane it speaks to.
    pub control: usize,
    pub heard_control: u64,
    /// What is added to the wall clock, in microseconds.
    pub wall_offset: u64,
    pub started: u64,
    /// Turns of each shard's thread.
    pub turns: Vec<u64>,
    /// Messages from other replicas, by shard.
    pub received: Vec<u64>,
    /// Until when the thread of each shard hangs.
    pub hangs_until: Vec<u64>,
    /// What waits for such a thread.
    frozen: Vec<(usize, Input<W::Machine>)>,
    /// Its disk, if it keeps anything.
    pub volumes: Option<Volumes<W>>,
    /// It gets no replica for a minute, which is longer than any run `[C-64]`.
    pub has_failed_disk: bool,
    /// Those that are made and read, by shard.
    pub snapshots: BTreeMap<usize, Snapshots>,
    /// What came about within a step.
    pub later: Vec<(usize, Input<W::Machine>)>,
}

impl<W: Workload> Node<W> {
    pub fn is(&self, incarnation: Incarnation) -> bool {
        self.incarnation == Some(incarnation)
    }

    pub fn replica(&self, shard: usize) -> Option<&Replica<W::Machine>> {
        self.replicas.get(shard)
    }
}

impl<W: Workload> World<W> {
    pub fn new_node(&mut self, node: usize) -> Node<W> {
        self.next_process += 1;
        let control = self.random.below(self.plan.controls);
        let volumes = self.open_volume(node, control);
        Node {
            process: self.next_process,
            incarnation: None,
            replicas: Vec::new(),
            reports: Vec::new(),
            control,
            heard_control: self.now,
            wall_offset: 1_000_000_000,
            started: self.random.within(0, self.now),
            turns: vec![0; self.plan.shards()],
            received: vec![0; self.plan.shards()],
            hangs_until: vec![0; self.plan.shards()],
            frozen: Vec::new(),
            volumes,
            has_failed_disk: false,
            later: Vec::new(),
            snapshots: BTreeMap::new(),
        }
    }

    fn node_registered(&mut self, node: usize, process: u64, incarnation: Incarnation) {
        if self.nodes[node].process != process || self.nodes[node].incarnation.is_some() {
            return;
        }
        let options = Options {
            timeout_micros: self.plan.timeout,
            snapshot_piece_bytes: self.plan.snapshot_piece,
            learner_bytes_max: self.plan.learner_bytes,
            keeps: self.nodes[node].volumes.is_some() && self.begins_keeping(node),
            switches: self.plan.off.map(Loosened::switches).unwrap_or_default(),
            ..Options::default()
        };
        let replica = |shard| Replica::new(ShardId(shard as u16), incarnation, options);
        let mut replicas: Vec<_> = (0..self.plan.shards()).map(replica).collect();
        for (shard, replica) in replicas.iter_mut().enumerate() {
            if let Some(kept) = self.take_found(node, shard) {
                replica.keep(kept);
            }
        }
        self.nodes[node].incarnation = Some(incarnation);
        self.nodes[node].replicas = replicas;
        self.trace(|| format!("node {node} is {incarnation:?}"));
    }

    /// What a process that starts is told of persistence: it may be out of date.
    fn begins_keeping(&self, node: usize) -> bool {
        let control = self.nodes[node].control;
        !self.plan.turns_disks || self.control[control].copy.is_kept
    }

    /// Where the process that is called so runs now.
    pub fn node_at(&self, incarnation: Incarnation) -> Option<&Node<W>> {
        let node = *self.store.place_of.get(&incarnation)?;
        Some(&self.nodes[node]).filter(|node| node.is(incarnation))
    }

    pub fn tick_node(&mut self, node: usize, beats: bool) {
        let is_reachable = self.now - self.nodes[node].heard_control <= self.plan.timeout;
        for shard in 0..self.nodes[node].replicas.len() {
            if self.now < self.nodes[node].hangs_until[shard] {
                continue;
            }
            self.nodes[node].turns[shard] += 1;
            self.step(node, shard, Input::ControlPlane { is_reachable });
            self.step(node, shard, Input::Tick);
        }
        self.tend_disks(node);
        if beats {
            if self.now - self.nodes[node].heard_control > self.plan.timeout / 2 {
                // Another process may hear it.
                self.nodes[node].control = (self.nodes[node].control + 1) % self.plan.controls;
            }
            let speech = self.speech(node);
            self.say(node, speech);
        }
    }

    fn say(&mut self, node: usize, speech: Speech) {
        let control = Place::Control(self.nodes[node].control);
        self.send(Place::Node(node), control, Parcel::Speech(speech));
    }

    fn speech(&mut self, node: usize) -> Speech {
        let me = &mut self.nodes[node];
        let Some(incarnation) = me.incarnation else {
            let process = me.process;
            let kept = self.kept(node);
            return Speech::RegisterNode { process, kept };
        };
        let reports = std::mem::take(&mut me.reports);
        let me = &self.nodes[node];
        let heads = me.replicas.iter().filter(|replica| replica.role().is_head);
        let linked = heads
            .flat_map(Replica::connected_origins)
            .filter_map(|origin| W::incarnation(&origin))
            .map(GatewayIncarnation)
            .collect();
        let replicas = me
            .replicas
            .iter()
            .enumerate()
            .filter_map(|(shard, replica)| {
                let status = replica.status();
                Some(Progress {
                    shard: ShardId(shard as u16),
                    replica: replica.seat()?,
                    epoch: replica.configuration()?.epoch,
                    turns: me.turns[shard],
                    received: me.received[shard],
                    last: status.map_or(0, |status| status.end.index),
                    committed: status.map_or(0, |status| status.commit),
                })
            });
        let heartbeat = Heartbeat {
            node: node_name(node),
            incarnation,
            leaving: false,
            replicas: replicas.collect(),
            linked,
        };
        Speech::Heartbeat {
            heartbeat: Box::new(heartbeat),
            reports,
        }
    }

    pub fn node_hears(&mut self, node: usize, parcel: Parcel<W>) {
        match parcel {
            Parcel::Chain { to, envelope } if self.nodes[node].is(to) => {
                let shard = envelope.shard.index();
                self.nodes[node].received[shard] += 1;
                self.step(node, shard, Input::Message(envelope));
            }
            Parcel::ToShard { wire, message } => {
                let Some(known) = self.wires.get(&wire).copied() else {
                    return;
                };
                if !self.nodes[node].is(known.incarnation) {
                    self.wire_broke(wire, 1_000, false);
                    return;
                }
                let connection = ConnectionId(wire);
                let input = Input::FromOrigin {
                    connection,
                    message,
                };
                self.step(node, known.shard.index(), input);
            }
            Parcel::HungUp { wire } => {
                for shard in 0..self.nodes[node].replicas.len() {
                    let connection = ConnectionId(wire);
                    self.step(node, shard, Input::OriginLost { connection });
                }
            }
            Parcel::Snapshot {
                incarnation,
                shard,
                input,
            } if self.nodes[node].is(incarnation) => self.snapshot_came_on(node, shard, input),
            Parcel::Disk {
                incarnation,
                shard,
                store,
                work,
            } => self.disk_worked(node, incarnation, shard, store, work),
            Parcel::ToOrigin { wire, message } => self.answer(wire, message),
            Parcel::Closed { end, name } => self.closed(end, name),
            Parcel::NodeRegistered {
                process,
                incarnation,
            } => self.node_registered(node, process, incarnation),
            Parcel::Heard {
                incarnation,
                is_known,
            } if self.nodes[node].is(incarnation) => {
                self.nodes[node].heard_control = self.now;
                if !is_known {
                    // Another process has the name now, or an administrator declared this one gone.
                    self.trace(|| format!("node {node} is known no more"));
                    self.crash(Place::Node(node), self.plan.timeout / 4, false);
                }
            }
            Parcel::News(content) => self.node_news(node, &content),
            _ => {}
        }
    }

    fn node_news(&mut self, node: usize, content: &Content) {
        let Some(layout) = &content.topology.layout else {
            return;
        };
        let version = content.settings_version(self.plan.shards());
        let generations = content.generations(self.plan.shards());
        let gateways = &content.topology.gateways;
        let live: Vec<_> = gateways.live.keys().map(|gateway| gateway.0).collect();
        for shard in 0..self.nodes[node].replicas.len() {
            for configuration in content.configurations() {
                self.step(node, shard, Input::Configuration(configuration.clone()));
            }
            self.follow_sync(node, shard, content.is_interval);
            if self.plan.turns_disks && self.nodes[node].volumes.is_some() {
                let is_wanted = content.is_kept;
                self.step(node, shard, Input::Keeps { is_wanted });
            }
            let id = ShardId(shard as u16);
            let off = self.plan.off;
            let settings = W::settings(id, version, &layout.slots, &generations, off);
            self.step(node, shard, Input::Settings(settings));
            let (version, live) = (gateways.version, live.clone().into());
            self.step(node, shard, Input::Gateways { version, live });
        }
    }

    /// What the clocks of a node say.
    pub fn clock(&self, node: usize) -> Now {
        Now {
            monotonic: self.now - self.nodes[node].started.min(self.now),
            wall: self.now + self.nodes[node].wall_offset,
        }
    }

    /// Steps one replica, does what it says, and looks whether the rules hold.
    pub fn step(&mut self, node: usize, shard: usize, input: Input<W::Machine>) {
        if self.now < self.nodes[node].hangs_until[shard] {
            self.nodes[node].frozen.push((shard, input));
            return;
        }
        let now = self.clock(node);
        let off = self.plan.off;
        let Some(replica) = self.nodes[node].replicas.get_mut(shard) else {
            return;
        };
        if let Some(machine) = replica.machine_mut().filter(|_| off.is_some()) {
            W::loosen(machine, off);
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        replica.step(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.output(node, shard, output);
        }
        self.outputs = outputs;
        self.make_pieces(node, shard);
        self.watch_replica(node, shard);
        self.tell_later(node);
    }

    /// A shard's thread goes on.
    pub fn thaw(&mut self, node: usize, shard: usize) {
        if self.now < self.nodes[node].hangs_until[shard] {
            return;
        }
        let frozen = std::mem::take(&mut self.nodes[node].frozen);
        let (mine, others): (Vec<_>, Vec<_>) = frozen.into_iter().partition(|(of, _)| *of == shard);
        self.nodes[node].frozen = others;
        for (_, input) in mine {
            self.step(node, shard, input);
        }
    }

    fn reply(&mut self, place: Place, connection: ConnectionId, message: ToOrigin<W::Machine>) {
        if let Some(wire) = self.wires.get(&connection.0) {
            let to = wire.from.place();
            let wire = connection.0;
            self.send(place, to, Parcel::ToOrigin { wire, message });
        }
    }

    fn output(&mut self, node: usize, shard: usize, output: Output<W::Machine>) {
        let place = Place::Node(node);
        let Some(incarnation) = self.nodes[node].incarnation else {
            return;
        };
        let from = End::Replica {
            node,
            incarnation,
            shard: ShardId(shard as u16),
        };
        match output {
            Output::Send { to, envelope } => {
                if let Some(other) = self.store.place_of.get(&to.incarnation).copied() {
                    let to = to.incarnation;
                    self.send(place, Place::Node(other), Parcel::Chain { to, envelope });
                }
            }
            Output::Owed { connection } => {
                while let Some(message) = self.nodes[node].replicas[shard].owed(connection) {
                    self.reply(place, connection, message);
                }
            }
            Output::Reply {
                connection,
                message,
            } => self.reply(place, connection, message),
            Output::Close { connection } => {
                if let Some(wire) = self.wires.get(&connection.0).copied() {
                    let (end, name) = (wire.from, wire.name);
                    self.send(place, end.place(), Parcel::Closed { end, name });
                }
            }
            Output::Connect {
                connection,
                shard: to_shard,
                to,
            } => self.connect(from, connection, to.incarnation, to_shard),
            Output::SendToPeer {
                connection,
                message,
            } => self.send_on(from, connection, message),
            Output::Disconnect { connection } => self.hang_up(from, connection),
            Output::Encode(encoding) => self.encode(node, shard, encoding),
            Output::Decode(decoding) => self.decode(node, shard, decoding),
            Output::Arrived { nonce, piece } => self.piece_arrived(node, shard, nonce, piece),
            Output::Keep(keep) => self.do_keep(node, shard, keep),
            Output::Commanded { id, outcome } => self.commanded(node, id, outcome),
            Output::Report(report) => self.nodes[node].reports.push(report),
            Output::Alarm(alarm) => self.fail(format!("node {node} shard {shard}: {alarm:?}")),
        }
    }
}
