//! The world of one run: processes, what is on its way between them, and the order in which everything happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use catena_chain::{CommandId, Entry, Output};
use catena_topology::GatewayIncarnation;

use crate::{
    control::{Process, Store},
    disks::Disk,
    gateway::Gateway,
    network::{Fate, Network, Place},
    node::Node,
    parcel::{Event, Parcel, Wire},
    plan::{Plan, Syncing},
    random::Random,
    scenario::{Script, When},
    watch::Watch,
    workload::{Phase, Scene, Violation, Workload},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    pub is_up: bool,
    pub is_stopped: bool,
    /// The machine is off, not just the process: nobody refuses a connection.
    pub is_off: bool,
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
    /// By node; none where nothing is kept.
    pub disks: Vec<Disk>,
    /// What records on disks stand for.
    pub entries: HashMap<u64, Arc<Entry<W::Machine>>>,
    pub health: BTreeMap<Place, Health>,
    pub wires: BTreeMap<u64, Wire>,
    pub next_wire: u64,
    pub next_process: u64,
    pub workload: W,
    pub watch: Watch,
    pub phase: Phase,
    pub script: Script,
    pub violation: Option<Violation>,
    /// How many commands an administrator has given, and how many of them did something.
    pub commands_asked: u64,
    pub commands_done: u64,
    /// Commands without an answer, and the nodes that owe it.
    pub unanswered: BTreeMap<CommandId, usize>,
    pub later: Vec<(u64, Option<usize>, W::Event)>,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event<W>>,
    backlog: BTreeMap<Place, Vec<Event<W>>>,
    pub outputs: Vec<Output<W::Machine>>,
    /// `CATENA_SIM_TRACE` tells what happens.
    pub is_traced: bool,
}

/// Microseconds between two ticks of a process.
const TICK: u64 = 40_000;

/// A run begins then, so that no clock stands at 0.
pub const START: u64 = 1_000_000;

/// Events after which a run counts as one that goes round in circles.
const EVENTS_MAX: u64 = 4_000_000;

impl<W: Workload> World<W> {
    pub fn new(plan: Plan, script: Script) -> World<W> {
        let mut world = World {
            random: Random::new(plan.seed),
            now: START,
            network: Network::default(),
            store: Store::default(),
            control: Vec::new(),
            nodes: Vec::new(),
            gateways: Vec::new(),
            disks: Vec::new(),
            entries: HashMap::new(),
            health: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_wire: 0,
            next_process: 0,
            workload: W::new(&plan),
            watch: Watch::default(),
            phase: Phase::Faults,
            script,
            violation: None,
            commands_asked: 0,
            commands_done: 0,
            unanswered: BTreeMap::new(),
            later: Vec::new(),
            sequence: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            backlog: BTreeMap::new(),
            outputs: Vec::new(),
            is_traced: std::env::var_os("CATENA_SIM_TRACE").is_some(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let up = Health {
            is_up: true,
            ..Health::default()
        };
        if self.plan.disks {
            self.new_disks();
        }
        for index in 0..self.plan.nodes {
            let node = self.new_node(index);
            self.nodes.push(node);
            self.health.insert(Place::Node(index), up);
        }
        for index in 0..self.plan.gateways {
            let gateway = self.new_gateway();
            self.gateways.push(gateway);
            self.health.insert(Place::Gateway(index), up);
            let at = self.now + self.random.within(0, 50_000);
            self.schedule(at, Event::Offer(index));
        }
        for index in 0..self.plan.controls {
            self.control.push(Process::default());
            self.health.insert(Place::Control(index), up);
        }
        let places: Vec<_> = self.health.keys().copied().collect();
        for place in places {
            let at = self.now + self.random.within(0, TICK);
            self.schedule(at, Event::Tick(place));
        }
        self.schedule(self.now, Event::StoreTick);
        if self.plan.fault_gap > 0 {
            self.schedule(self.now + self.plan.faults_from, Event::Fault);
        }
        if self.plan.syncing != Syncing::Always {
            self.store.set_interval(true);
        }
        if self.plan.syncing == Syncing::Changing {
            let at = self.now + self.random.within(0, self.plan.faults_from);
            self.schedule(at, Event::TurnSync);
        }
        if self.plan.turns_disks {
            let at = self.now + self.random.within(0, self.plan.faults_from);
            self.schedule(at, Event::TurnDisks);
        }
        if self.plan.command_gap > 0 {
            self.schedule(self.now + self.plan.faults_from, Event::Administer);
        }
        for line in 0..self.script.lines.len() {
            if let When::At(at) = self.script.lines[line].when {
                self.schedule(START + at, Event::Line(line));
            }
        }
        let timeout = self.plan.timeout;
        let heal = self.now + self.plan.faults_until;
        self.schedule(heal, Event::Heal);
        self.schedule(heal + 12 * timeout, Event::Probe);
        self.schedule(heal + 16 * timeout, Event::Quiet);
        self.with_workload(|workload, scene| workload.begin(scene));
    }

    pub fn schedule(&mut self, at: u64, event: Event<W>) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// Runs to the end; what is wrong comes back.
    pub fn run(&mut self) -> Result<(), Violation> {
        let end = self.now + self.plan.faults_until + self.plan.settles_in();
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
        let seconds = (self.now - START) as f64 / 1e6;
        self.violation
            .get_or_insert(format!("at {seconds:.3} s: {violation}"));
    }

    pub fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>10.4} {}", (self.now - START) as f64 / 1e6, text());
        }
    }

    /// Lets the workload do something that is not at a gateway.
    pub fn with_workload<T>(
        &mut self,
        act: impl FnOnce(&mut W, &mut Scene<'_, W::Event>) -> T,
    ) -> T {
        let (reachable, listed) = (self.reachable(), self.listed());
        let mut scene = Scene {
            now: self.now,
            phase: self.phase,
            random: &mut self.random,
            later: &mut self.later,
            reachable: &reachable,
            listed: &listed,
            is_traced: self.is_traced,
        };
        let done = act(&mut self.workload, &mut scene);
        self.take_later();
        done
    }

    /// Which gateways a client could connect to.
    pub fn reachable(&self) -> Vec<bool> {
        let is_there = |(index, gateway): (usize, &Gateway<W>)| {
            gateway.incarnation.is_some() && self.health(Place::Gateway(index)).is_up
        };
        self.gateways.iter().enumerate().map(is_there).collect()
    }

    /// Which gateways shards take ops from.
    pub fn listed(&self) -> Vec<bool> {
        let live = &self.store.content().topology.gateways.live;
        let is_listed = |gateway: &Gateway<W>| {
            let incarnation = gateway.incarnation.map(GatewayIncarnation);
            incarnation.is_some_and(|incarnation| live.contains_key(&incarnation))
        };
        self.gateways.iter().map(is_listed).collect()
    }

    pub fn take_later(&mut self) {
        for (at, gateway, event) in std::mem::take(&mut self.later) {
            self.schedule(at, Event::Own { gateway, event });
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
            Event::Own { gateway, event } => self.own(gateway, event),
            Event::Break(a, b) => self.break_pair(a, b),
            Event::Fault => self.fault(),
            Event::Crash { node, long, is_off } if self.phase == Phase::Faults => {
                self.crash(Place::Node(node), long, is_off);
            }
            Event::Crash { .. } => {}
            Event::Restart(place) => self.restart(place),
            Event::Resume(place) => self.resume(place),
            Event::HealPlace(place) => self.heal_place(place),
            Event::Thaw(node, shard) => self.thaw(node, shard),
            Event::Ask { by, ask } => self.store_does(by, ask),
            Event::StoreTick => self.store_tick(),
            Event::Undrain(node) => self.undrain(node),
            Event::TurnDisks => self.turn_disks(),
            Event::TurnSync => self.turn_sync(),
            Event::Administer => self.administer(),
            Event::Line(line) => self.do_line(line),
            Event::Heal => self.heal(),
            Event::Probe => self.phase = Phase::Probing,
            Event::Quiet => self.phase = Phase::Quiet,
        }
    }

    fn tick(&mut self, place: Place) {
        self.schedule(self.now + TICK, Event::Tick(place));
        let health = self.health.entry(place).or_default();
        health.ticks += 1;
        if !health.is_up || health.is_stopped {
            return;
        }
        let beats = health.ticks.is_multiple_of(3);
        self.make_room();
        match place {
            Place::Node(node) => self.tick_node(node, beats),
            Place::Gateway(gateway) => self.tick_gateway(gateway, beats),
            Place::Control(control) => self.tick_control(control, beats),
        }
    }

    /// Sends a parcel over the network.
    pub fn send(&mut self, from: Place, to: Place, parcel: Parcel<W>) {
        use catena_chain::message::Message;
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
            self.turned_away(from, to, parcel, health.is_off);
            return;
        }
        if health.is_stopped {
            let event = match parcel {
                // A probe is of a connection: the operating system takes it.
                Parcel::Probe { .. } => return,
                // Who has sent it matters.
                parcel @ Parcel::Speech(_) => Event::Arrive {
                    from,
                    to,
                    connection: self.network.connection(from, to),
                    parcel,
                },
                parcel => Event::Notice { to, parcel },
            };
            self.backlog.entry(to).or_default().push(event);
            return;
        }
        match (to, parcel) {
            (Place::Node(node), parcel) => self.node_hears(node, parcel),
            (Place::Gateway(gateway), parcel) => self.gateway_hears(gateway, parcel),
            (Place::Control(control), Parcel::Speech(speech)) => {
                self.control_hears(from, control, speech);
            }
            (Place::Control(control), Parcel::Forwarded { from, speech }) => {
                self.leader_hears(control, from, speech);
            }
            (Place::Control(control), Parcel::Refused { node, incarnation }) => {
                self.probe_refused(control, node, incarnation);
            }
            (Place::Control(control), Parcel::Answer(answer)) => self.store_says(control, answer),
            _ => {}
        }
    }

    /// Nobody is there. The operating system says so, unless the whole machine is off.
    fn turned_away(&mut self, from: Place, to: Place, parcel: Parcel<W>, is_off: bool) {
        match (to, parcel) {
            (_, Parcel::ToShard { wire, .. }) => {
                let after = if is_off { self.plan.timeout } else { 1_000 };
                self.wire_broke(wire, after, !is_off);
            }
            (Place::Node(node), Parcel::Probe { incarnation }) if !is_off => {
                let parcel = Parcel::Refused { node, incarnation };
                self.send(to, from, parcel);
            }
            _ => {}
        }
    }

    /// The workload's own events, at a gateway that may be stopped or gone.
    fn own(&mut self, gateway: Option<usize>, event: W::Event) {
        let Some(index) = gateway else {
            let done = self.with_workload(|workload, scene| workload.happen(event, scene, None));
            return done.unwrap_or_else(|violation| self.fail(violation));
        };
        let place = Place::Gateway(index);
        if self.health(place).is_stopped {
            let event = Event::Own { gateway, event };
            self.backlog.entry(place).or_default().push(event);
            return;
        }
        self.at_gateway(index, event);
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

    /// What waited for a process that died: only the workload's clients notice.
    pub fn forget_backlog(&mut self, place: Place) {
        for event in self.backlog.remove(&place).unwrap_or_default() {
            if let Event::Own { .. } = event {
                self.schedule(self.now, event);
            }
        }
    }
}
