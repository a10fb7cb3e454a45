//! The world of one run: processes, what is on its way between them, and the order in which everything happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use catena_chain::{
    Configuration, DirectWindow, Incarnation, Input, Now, Options, Output, Replica, Uplink,
    message::{ConnectionId, Envelope, FromOrigin, Message, Report, ToOrigin},
    uplink::Action,
};
use catena_link::Window;
use catena_slots::ShardId;

use crate::{
    control_plane::{Change, Process, Store},
    network::{Fate, Network, Place},
    plan::{Loosened, Plan},
    random::Random,
    watch::Watch,
    workload::{Life, Violation, Workload},
};

/// Who has asked for a connection to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Gateway {
        gateway: usize,
        incarnation: u64,
        shard: ShardId,
    },
    Replica {
        node: usize,
        incarnation: Incarnation,
        shard: ShardId,
    },
}

impl End {
    fn place(self) -> Place {
        match self {
            End::Gateway { gateway, .. } => Place::Gateway(gateway),
            End::Replica { node, .. } => Place::Node(node),
        }
    }
}

/// A connection of an origin to a replica.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    pub from: End,
    pub name: ConnectionId,
    pub node: usize,
    pub incarnation: Incarnation,
    pub shard: ShardId,
}

/// What travels.
pub enum Parcel<W: Workload> {
    Chain {
        to: Incarnation,
        envelope: Envelope<W::Machine>,
    },
    ToShard {
        wire: u64,
        message: FromOrigin<W::Machine>,
    },
    ToOrigin {
        wire: u64,
        message: ToOrigin<W::Machine>,
    },
    /// The origin hangs up.
    HungUp {
        wire: u64,
    },
    /// The replica hangs up, or the connection broke.
    Closed {
        end: End,
        name: ConnectionId,
    },
    Heartbeat {
        incarnation: Incarnation,
        linked: Vec<u64>,
        reports: Vec<Report>,
    },
    GatewayHeartbeat {
        incarnation: Option<u64>,
        asks: bool,
    },
    Registered {
        incarnation: u64,
    },
    News(News),
}

/// What the control plane tells everyone.
#[derive(Clone)]
pub struct News {
    pub configurations: Vec<Configuration>,
    pub settings_version: u64,
    pub generations: Vec<u32>,
    pub gateways_version: u64,
    pub live: Vec<u64>,
}

pub enum Event<W: Workload> {
    Arrive {
        from: Place,
        to: Place,
        connection: u64,
        parcel: Parcel<W>,
    },
    /// Not through the network: the process notices by itself.
    Notice {
        to: Place,
        parcel: Parcel<W>,
    },
    Tick(Place),
    Offer(usize),
    Break(Place, Place),
    Fault,
    Restart(Place),
    Resume(Place),
    HealPlace(Place),
    Put(Change),
    Heal,
    Probe,
}

pub struct Node<W: Workload> {
    pub incarnation: Incarnation,
    pub replicas: Vec<Replica<W::Machine>>,
    pub reports: Vec<Report>,
    pub heard_control: u64,
    /// What is added to the wall clock, in microseconds.
    pub wall_offset: u64,
    pub started: u64,
}

pub struct Gateway<W: Workload> {
    pub incarnation: Option<u64>,
    pub uplinks: Vec<Uplink<W::Machine>>,
    pub known: Vec<Configuration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    pub is_up: bool,
    pub is_stopped: bool,
    pub ticks: u64,
}

pub struct World<W: Workload> {
    pub plan: Plan,
    pub random: Random,
    pub now: u64,
    pub network: Network,
    pub store: Store,
    pub control: Vec<Process>,
    pub nodes: Vec<Node<W>>,
    pub gateways: Vec<Gateway<W>>,
    pub health: BTreeMap<Place, Health>,
    pub wires: BTreeMap<u64, Wire>,
    pub workload: W,
    pub watch: Watch,
    pub is_healed: bool,
    pub is_quiet: bool,
    pub violation: Option<Violation>,
    pub next_incarnation: u64,
    next_wire: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event<W>>,
    backlog: BTreeMap<Place, Vec<Event<W>>>,
    outputs: Vec<Output<W::Machine>>,
    /// `CATENA_SIM_TRACE` tells what happens.
    pub is_traced: bool,
}

/// Microseconds between two ticks of a process.
const TICK: u64 = 40_000;

/// Events after which a run counts as one that goes round in circles.
const EVENTS_MAX: u64 = 2_000_000;

impl<W: Workload> World<W> {
    pub fn new(plan: Plan) -> World<W> {
        let lives: Vec<_> = (1..=plan.nodes as u64).map(Incarnation).collect();
        let mut world = World {
            random: Random::new(plan.seed),
            now: 1_000_000,
            network: Network::default(),
            store: Store::new(plan.shards, &lives, plan.redundancy),
            control: vec![Process::default(), Process::default()],
            nodes: Vec::new(),
            gateways: Vec::new(),
            health: BTreeMap::new(),
            wires: BTreeMap::new(),
            workload: W::new(plan.shards),
            watch: Watch::default(),
            is_healed: false,
            is_quiet: false,
            violation: None,
            next_incarnation: plan.nodes as u64,
            next_wire: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            backlog: BTreeMap::new(),
            outputs: Vec::new(),
            is_traced: std::env::var_os("CATENA_SIM_TRACE").is_some(),
            plan,
        };
        world.begin(&lives);
        world
    }

    fn begin(&mut self, lives: &[Incarnation]) {
        let up = Health {
            is_up: true,
            ..Health::default()
        };
        for (index, life) in lives.iter().enumerate() {
            let node = self.new_node(*life);
            self.nodes.push(node);
            self.health.insert(Place::Node(index), up);
        }
        for index in 0..self.plan.gateways {
            self.gateways.push(Gateway {
                incarnation: None,
                uplinks: Vec::new(),
                known: Vec::new(),
            });
            self.health.insert(Place::Gateway(index), up);
            let at = self.now + self.random.within(0, 50_000);
            self.schedule(at, Event::Offer(index));
        }
        for index in 0..self.control.len() {
            self.health.insert(Place::Control(index), up);
        }
        let (now, store) = (self.now, &self.store);
        self.control[0].lead(now, store);
        let places: Vec<_> = self.health.keys().copied().collect();
        for place in places {
            let at = self.now + self.random.within(0, TICK);
            self.schedule(at, Event::Tick(place));
        }
        let at = self.now + 500_000;
        self.schedule(at, Event::Fault);
        let at = self.now + self.plan.faults_until;
        self.schedule(at, Event::Heal);
        self.schedule(at + 8 * self.plan.timeout, Event::Probe);
    }

    pub fn new_node(&mut self, incarnation: Incarnation) -> Node<W> {
        let options = Options {
            timeout_micros: self.plan.timeout,
            snapshot_part_bytes: self.plan.snapshot_part,
            learner_bytes_max: self.plan.learner_bytes,
            switches: self.plan.off.map(Loosened::switches).unwrap_or_default(),
            ..Options::default()
        };
        let shards = 0..self.plan.shards as u16;
        let started = self.random.within(0, self.now);
        Node {
            incarnation,
            replicas: shards
                .map(|shard| Replica::new(ShardId(shard), incarnation, options))
                .collect(),
            reports: Vec::new(),
            heard_control: self.now,
            wall_offset: 1_000_000_000,
            started,
        }
    }

    pub fn schedule(&mut self, at: u64, event: Event<W>) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// Runs to the end; what is wrong comes back.
    pub fn run(&mut self) -> Result<(), Violation> {
        let end = self.now + self.plan.faults_until + 16 * self.plan.timeout;
        while let Some(Reverse((at, sequence))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            if let Some(event) = self.events.remove(&sequence) {
                self.watch.mix(at);
                self.happen(event);
            }
            if sequence > EVENTS_MAX {
                return Err("it never becomes quiet".to_owned());
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.check_the_end()
    }

    pub fn health(&self, place: Place) -> Health {
        self.health.get(&place).copied().unwrap_or_default()
    }

    pub fn fail(&mut self, violation: Violation) {
        let seconds = self.now as f64 / 1e6;
        self.violation
            .get_or_insert(format!("at {seconds:.3} s: {violation}"));
    }

    pub fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>10.4} {}", self.now as f64 / 1e6, text());
        }
    }

    fn happen(&mut self, event: Event<W>) {
        match event {
            Event::Arrive {
                from,
                to,
                connection,
                parcel,
            } => {
                if self.network.connection(from, to) == connection {
                    self.deliver(from, to, parcel);
                }
            }
            Event::Notice { to, parcel } => self.deliver(to, to, parcel),
            Event::Tick(place) => self.tick(place),
            Event::Offer(gateway) => self.offer(gateway),
            Event::Break(a, b) => self.break_pair(a, b),
            Event::Fault => self.fault(),
            Event::Restart(place) => self.restart(place),
            Event::Resume(place) => self.resume(place),
            Event::HealPlace(place) => self.heal_place(place),
            Event::Put(change) => self.put(&change),
            Event::Heal => self.heal(),
            Event::Probe => self.is_quiet = false,
        }
    }

    fn tick(&mut self, place: Place) {
        self.schedule(self.now + TICK, Event::Tick(place));
        let health = self.health.entry(place).or_default();
        health.ticks += 1;
        if !health.is_up || health.is_stopped {
            return;
        }
        let beats = health.ticks % 3 == 0;
        match place {
            Place::Node(node) => self.tick_node(node, beats),
            Place::Gateway(gateway) => self.tick_gateway(gateway, beats),
            Place::Control(control) => self.tick_control(control, beats),
        }
    }

    fn tick_node(&mut self, node: usize, beats: bool) {
        let is_reachable = self.now - self.nodes[node].heard_control <= self.plan.timeout;
        for shard in 0..self.plan.shards {
            self.step(node, shard, Input::ControlPlane { is_reachable });
            self.step(node, shard, Input::Tick);
        }
        if beats {
            let replicas = &self.nodes[node].replicas;
            let origins = replicas.iter().flat_map(Replica::connected_origins);
            let linked: Vec<_> = origins
                .filter_map(|origin| W::incarnation(&origin))
                .collect();
            let reports = std::mem::take(&mut self.nodes[node].reports);
            let incarnation = self.nodes[node].incarnation;
            for control in 0..self.control.len() {
                let parcel = Parcel::Heartbeat {
                    incarnation,
                    linked: linked.clone(),
                    reports: reports.clone(),
                };
                self.send(Place::Node(node), Place::Control(control), parcel);
            }
        }
    }

    fn tick_gateway(&mut self, gateway: usize, beats: bool) {
        if beats {
            let incarnation = self.gateways[gateway].incarnation;
            for control in 0..self.control.len() {
                let asks = incarnation.is_none();
                let parcel = Parcel::GatewayHeartbeat { incarnation, asks };
                self.send(Place::Gateway(gateway), Place::Control(control), parcel);
            }
        }
        for shard in 0..self.gateways[gateway].uplinks.len() {
            self.drive(gateway, shard, |uplink, _, _| uplink.idle());
        }
    }

    /// Sends a parcel over the network.
    pub fn send(&mut self, from: Place, to: Place, parcel: Parcel<W>) {
        let is_bulky = matches!(
            &parcel,
            Parcel::Chain { envelope, .. } if matches!(envelope.message, Message::SnapshotPart { .. })
        );
        let fate = self
            .network
            .send(&mut self.random, self.now, (from, to), is_bulky);
        match fate {
            Fate::Arrives { at, connection } => {
                let event = Event::Arrive {
                    from,
                    to,
                    connection,
                    parcel,
                };
                self.schedule(at, event);
            }
            Fate::Lost { breaks: true } => {
                let at = self.now + self.plan.timeout;
                self.schedule(at, Event::Break(from, to));
            }
            Fate::Lost { breaks: false } => {}
        }
    }

    fn deliver(&mut self, from: Place, to: Place, parcel: Parcel<W>) {
        let health = self.health(to);
        if !health.is_up {
            if let Parcel::ToShard { wire, .. } = parcel {
                self.wire_broke(wire);
            }
            return;
        }
        if health.is_stopped {
            let event = Event::Notice { to, parcel };
            self.backlog.entry(to).or_default().push(event);
            return;
        }
        match (to, parcel) {
            (Place::Node(node), Parcel::Chain { to, envelope })
                if self.nodes[node].incarnation == to =>
            {
                let shard = envelope.shard.index();
                self.step(node, shard, Input::Message(envelope));
            }
            (Place::Node(node), Parcel::ToShard { wire, message }) => {
                let Some(known) = self.wires.get(&wire).copied() else {
                    return;
                };
                if self.nodes[node].incarnation != known.incarnation {
                    self.wire_broke(wire);
                    return;
                }
                let connection = ConnectionId(wire);
                let shard = known.shard.index();
                self.step(
                    node,
                    shard,
                    Input::FromOrigin {
                        connection,
                        message,
                    },
                );
            }
            (Place::Node(node), Parcel::HungUp { wire }) => {
                for shard in 0..self.plan.shards {
                    let connection = ConnectionId(wire);
                    self.step(node, shard, Input::OriginLost { connection });
                }
            }
            (_, Parcel::ToOrigin { wire, message }) => self.answer(wire, message),
            (_, Parcel::Closed { end, name }) => self.closed(end, name),
            (Place::Control(control), parcel) => self.control_hears(from, control, parcel),
            (Place::Node(node), Parcel::News(news)) => self.node_news(node, &news),
            (Place::Gateway(gateway), Parcel::News(news)) => self.gateway_news(gateway, &news),
            (Place::Gateway(gateway), Parcel::Registered { incarnation }) => {
                self.registered(gateway, incarnation);
            }
            _ => {}
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
        let now = self.clock(node);
        let mut outputs = std::mem::take(&mut self.outputs);
        self.nodes[node].replicas[shard].step(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.output(node, shard, output);
        }
        self.outputs = outputs;
        self.watch_replica(node, shard);
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
            } => {
                let from = End::Replica {
                    node,
                    incarnation: self.nodes[node].incarnation,
                    shard: ShardId(shard as u16),
                };
                self.connect(from, connection, to.incarnation, to_shard);
            }
            Output::SendToPeer {
                connection,
                message,
            } => {
                let incarnation = self.nodes[node].incarnation;
                let shard = ShardId(shard as u16);
                let from = End::Replica {
                    node,
                    incarnation,
                    shard,
                };
                self.send_on(from, connection, message);
            }
            Output::Disconnect { connection } => {
                let incarnation = self.nodes[node].incarnation;
                let shard = ShardId(shard as u16);
                let from = End::Replica {
                    node,
                    incarnation,
                    shard,
                };
                self.hang_up(from, connection);
            }
            Output::Report(report) => self.nodes[node].reports.push(report),
            Output::Alarm(alarm) => self.fail(format!("node {node} shard {shard}: {alarm:?}")),
        }
    }

    fn connect(&mut self, from: End, name: ConnectionId, to: Incarnation, shard: ShardId) {
        let Some(node) = self.store.place_of.get(&to).copied() else {
            return;
        };
        self.next_wire += 1;
        let wire = Wire {
            from,
            name,
            node,
            incarnation: to,
            shard,
        };
        self.wires.insert(self.next_wire, wire);
    }

    fn wire(&self, from: End, name: ConnectionId) -> Option<(u64, Wire)> {
        let mut newest_first = self.wires.iter().rev();
        let found = newest_first.find(|(_, wire)| wire.from == from && wire.name == name);
        found.map(|(id, wire)| (*id, *wire))
    }

    fn send_on(&mut self, from: End, name: ConnectionId, message: FromOrigin<W::Machine>) {
        if let Some((wire, known)) = self.wire(from, name) {
            let parcel = Parcel::ToShard { wire, message };
            self.send(from.place(), Place::Node(known.node), parcel);
        }
    }

    fn hang_up(&mut self, from: End, name: ConnectionId) {
        // What is on its way down arrives still [C-41].
        if let Some((wire, known)) = self.wire(from, name) {
            self.send(
                from.place(),
                Place::Node(known.node),
                Parcel::HungUp { wire },
            );
        }
    }

    /// The replica's end of a wire is gone.
    fn wire_broke(&mut self, wire: u64) {
        if let Some(known) = self.wires.get(&wire).copied() {
            let (end, name) = (known.from, known.name);
            let to = end.place();
            let parcel = Parcel::Closed { end, name };
            self.schedule(self.now + 1_000, Event::Notice { to, parcel });
        }
    }

    fn closed(&mut self, end: End, name: ConnectionId) {
        let found = self.wire(end, name).map(|(wire, _)| wire);
        if let Some(wire) = found {
            self.wires.remove(&wire);
        }
        match end {
            End::Gateway {
                gateway,
                incarnation,
                shard,
            } if self.gateways[gateway].incarnation == Some(incarnation) => {
                self.drive(gateway, shard.index(), |uplink, now, actions| {
                    uplink.lost(name, now, actions);
                });
            }
            End::Replica {
                node,
                incarnation,
                shard,
            } if self.nodes[node].incarnation == incarnation => {
                let input = Input::PeerLost { connection: name };
                self.step(node, shard.index(), input);
            }
            _ => {}
        }
    }

    fn answer(&mut self, wire: u64, message: ToOrigin<W::Machine>) {
        let Some(known) = self.wires.get(&wire).copied() else {
            return;
        };
        let connection = known.name;
        match known.from {
            End::Gateway {
                gateway,
                incarnation,
                ..
            } if self.gateways[gateway].incarnation == Some(incarnation) => {
                let shard = known.shard.index();
                self.drive(gateway, shard, |uplink, now, actions| {
                    uplink.receive(now, connection, message, Clone::clone, actions);
                });
            }
            End::Replica {
                node,
                incarnation,
                shard,
            } if self.nodes[node].incarnation == incarnation => {
                let input = Input::FromPeer {
                    connection,
                    message,
                };
                self.step(node, shard.index(), input);
            }
            _ => {}
        }
    }

    /// Lets one of a gateway's links do something, and does what it says.
    pub fn drive(
        &mut self,
        gateway: usize,
        shard: usize,
        act: impl FnOnce(&mut Uplink<W::Machine>, Now, &mut Vec<Action<W::Machine>>),
    ) {
        let Some(incarnation) = self.gateways[gateway].incarnation else {
            return;
        };
        let now = Now {
            monotonic: self.now,
            wall: self.now,
        };
        let mut actions = Vec::new();
        let Some(uplink) = self.gateways[gateway].uplinks.get_mut(shard) else {
            return;
        };
        act(uplink, now, &mut actions);
        let id = ShardId(shard as u16);
        let life = Life {
            gateway,
            incarnation,
        };
        let from = End::Gateway {
            gateway,
            incarnation,
            shard: id,
        };
        let generation = uplink.configuration().map_or(0, |c| c.generation.0);
        let committed = uplink.committed_through();
        self.workload.committed(life, id, generation, committed);
        for action in actions {
            match action {
                Action::Disconnect { connection } => self.hang_up(from, connection),
                Action::Effects { effects, .. } => {
                    for effect in effects {
                        if let Err(violation) = self.workload.effect(life, id, effect) {
                            self.fail(violation);
                        }
                    }
                }
                Action::Progress | Action::Opened { .. } => {}
                Action::NewGeneration(_) => self.workload.new_generation(life, id),
                Action::Refused => {
                    self.end_gateway(gateway);
                    return;
                }
            }
        }
        self.carry(gateway, id, from, now);
    }

    /// Makes the connections that a link wants, and sends what it has for them.
    fn carry(&mut self, gateway: usize, shard: ShardId, from: End, now: Now) {
        let Some(uplink) = self.gateways[gateway].uplinks.get_mut(shard.index()) else {
            return;
        };
        let wanted = uplink.wanted(now);
        let mut messages = Vec::new();
        for connection in uplink.connections() {
            while let Some(message) = uplink.next(connection) {
                messages.push((connection, message));
            }
        }
        for (wanted, open) in wanted {
            self.connect(from, wanted.connection, wanted.to.incarnation, shard);
            self.send_on(from, wanted.connection, open);
        }
        for (connection, message) in messages {
            self.send_on(from, connection, message);
        }
    }

    /// The gateway closes its clients and registers anew `[C-43]`.
    pub fn end_gateway(&mut self, gateway: usize) {
        if let Some(incarnation) = self.gateways[gateway].incarnation.take() {
            self.trace(|| format!("gateway {gateway} ({incarnation}) is over"));
            self.workload.over(Life {
                gateway,
                incarnation,
            });
        }
        self.gateways[gateway].uplinks.clear();
        let gone: Vec<_> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.from.place() == Place::Gateway(gateway))
            .map(|(id, wire)| (*id, wire.node))
            .collect();
        for (wire, node) in gone {
            self.wires.remove(&wire);
            let from = Place::Gateway(gateway);
            self.send(from, Place::Node(node), Parcel::HungUp { wire });
        }
    }

    fn registered(&mut self, gateway: usize, incarnation: u64) {
        if self.gateways[gateway].incarnation.is_some() {
            return;
        }
        self.trace(|| format!("gateway {gateway} is {incarnation}"));
        let window = Window {
            publishes: 64,
            publish_bytes: 1 << 20,
        };
        let direct = DirectWindow {
            publishes: 64,
            waiting_bytes: 1 << 20,
        };
        let switches = self.plan.off.map(Loosened::switches).unwrap_or_default();
        let me = &mut self.gateways[gateway];
        me.incarnation = Some(incarnation);
        me.uplinks = (0..self.plan.shards)
            .map(|_| Uplink::new(W::origin(incarnation), window, direct, 0, switches))
            .collect();
        for configuration in me.known.clone() {
            let shard = configuration.shard.index();
            self.drive(gateway, shard, |uplink, _, actions| {
                uplink.adopt(configuration, actions);
            });
        }
    }

    fn offer(&mut self, gateway: usize) {
        let at = self.now + self.random.within(1_000, self.plan.op_gap);
        self.schedule(at, Event::Offer(gateway));
        let health = self.health(Place::Gateway(gateway));
        let Some(incarnation) = self.gateways[gateway].incarnation else {
            return;
        };
        let may_offer = health.is_up && !health.is_stopped && !self.is_quiet;
        if !may_offer || (self.is_healed && !self.random.once_in(8)) {
            return;
        }
        let end = self.plan.faults_until + 11 * self.plan.timeout + 1_000_000;
        if self.now > end {
            return;
        }
        let life = Life {
            gateway,
            incarnation,
        };
        let Some(offer) = self.workload.offer(&mut self.random, life) else {
            return;
        };
        let shard = offer.shard.index();
        let uplink = &mut self.gateways[gateway].uplinks[shard];
        if let Ok(number) = uplink.push(offer.class, offer.op) {
            self.workload.sent(life, offer.shard, number);
            self.drive(gateway, shard, |_, _, _| {});
        }
    }

    /// What is on its way between two places is lost; both notice.
    pub fn break_pair(&mut self, a: Place, b: Place) {
        self.network.break_pair(a, b);
        let is_between = |wire: &Wire| {
            let (x, y) = (wire.from.place(), Place::Node(wire.node));
            (x, y) == (a, b) || (x, y) == (b, a)
        };
        let broken: Vec<_> = self
            .wires
            .iter()
            .filter(|(_, wire)| is_between(wire))
            .map(|(id, wire)| (*id, *wire))
            .collect();
        for (wire, known) in broken {
            let (end, name) = (known.from, known.name);
            let to = Place::Node(known.node);
            self.schedule(
                self.now,
                Event::Notice {
                    to,
                    parcel: Parcel::HungUp { wire },
                },
            );
            let to = end.place();
            self.schedule(
                self.now,
                Event::Notice {
                    to,
                    parcel: Parcel::Closed { end, name },
                },
            );
        }
        if let (Place::Node(a), Place::Node(b)) = (a, b) {
            for (node, other) in [(a, b), (b, a)] {
                let health = self.health(Place::Node(node));
                if !health.is_up || health.is_stopped {
                    continue;
                }
                let incarnation = self.nodes[other].incarnation;
                for shard in 0..self.plan.shards {
                    let configuration = self.nodes[node].replicas[shard].configuration();
                    if let Some(member) = configuration.and_then(|c| c.role_of(incarnation)) {
                        self.step(node, shard, Input::Reconnected(member));
                    }
                }
            }
        }
    }

    pub fn resume(&mut self, place: Place) {
        let health = self.health.entry(place).or_default();
        if !health.is_stopped {
            return;
        }
        health.is_stopped = false;
        self.trace(|| format!("{place:?} goes on"));
        for event in self.backlog.remove(&place).unwrap_or_default() {
            self.schedule(self.now, event);
        }
    }

    /// Forgets what waited for a process that died.
    pub fn forget_backlog(&mut self, place: Place) {
        self.backlog.remove(&place);
    }
}
