//! What goes wrong: crashes, power cuts, stops, hanging threads, slowness, cuts in one direction or both, broken
//! connections, clocks, leaders, the store, and administrators.

use crate::{
    control::Process,
    network::{Place, pair},
    parcel::Event,
    plan::{Kind, Loosened},
    workload::{Phase, Workload},
    world::World,
};

impl<W: Workload> World<W> {
    pub fn fault(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let at = self.now
            + self
                .random
                .within(self.plan.fault_gap / 10, self.plan.fault_gap);
        self.schedule(at, Event::Fault);
        let long = self
            .random
            .within(self.plan.timeout / 4, 4 * self.plan.timeout);
        let place = self.any_place();
        if self.plan.disks && self.random.once_in(5) {
            return self.disk_fault(long);
        }
        match self.random.below(24) {
            0..=4 => {
                let is_off = self.random.once_in(3);
                self.crash(place, long, is_off);
            }
            5..=6 => self.stop(place, long),
            7..=9 => {
                let other = self.any_place();
                let both = self.random.once_in(2);
                self.cut(place, other, both, long);
            }
            10 => {
                let outward = self.random.once_in(2);
                self.isolate(place, outward, 4, long);
            }
            11..=13 => {
                let other = self.any_place();
                self.trace(|| format!("{place:?} and {other:?} lose their connection"));
                self.break_pair(place, other);
            }
            14..=15 => {
                let slowness = self.random.within(5_000, self.plan.timeout / 2);
                self.slow(place, slowness);
            }
            16 => {
                if let Place::Node(node) = place {
                    let hour = 3_600_000_000;
                    // A chain that goes on from a disk takes the wall clock's time [C-53]: so it must not jump beyond the expiry of
                    // sessions there.
                    let most = if self.disks.is_empty() {
                        2 * hour
                    } else {
                        hour / 2
                    };
                    let offset = self.random.within(0, most);
                    self.jump(node, offset);
                }
            }
            17..=18 => self.depose(),
            19 => self.store_away(long),
            20 => {
                if let Place::Control(control) = place {
                    self.trace(|| format!("control plane {control} loses the store"));
                    self.store.unreachable.insert(control, self.now + long);
                }
            }
            21 => {
                if let Place::Node(node) = place {
                    let shard = self.random.below(self.plan.shards());
                    self.hang(node, shard, long);
                }
            }
            22 => {
                if let Place::Node(node) = place {
                    self.drain(node, 4 * long);
                }
            }
            _ => self.outage(long),
        }
    }

    /// What happens to machines with disks.
    fn disk_fault(&mut self, long: u64) {
        let node = self.random.below(self.nodes.len());
        match self.random.below(5) {
            0..=1 => self.spoil(node, long),
            2 => self.crash(Place::Node(node), long, true),
            // All of them at once, or nearly.
            _ => self.outage_of_power(self.now + 60_000, long),
        }
    }

    /// All nodes crash until then, most of them with their machines.
    pub fn outage_of_power(&mut self, until: u64, long: u64) {
        for node in 0..self.nodes.len() {
            let is_off = !self.random.once_in(4);
            let at = self.random.within(self.now, until);
            let long = long + self.random.within(0, self.plan.timeout);
            self.schedule(at, Event::Crash { node, long, is_off });
        }
    }

    fn any_place(&mut self) -> Place {
        match self.random.below(8) {
            0 => Place::Control(self.random.below(self.control.len())),
            1 => Place::Gateway(self.random.below(self.gateways.len())),
            2 if self.plan.kind == Kind::Clients => {
                Place::Gateway(self.random.below(self.gateways.len()))
            }
            _ => Place::Node(self.random.below(self.nodes.len())),
        }
    }

    pub fn crash(&mut self, place: Place, long: u64, is_off: bool) {
        if !self.health(place).is_up {
            if let (Place::Node(node), true) = (place, is_off) {
                self.cut_while_down(node);
            }
            return;
        }
        self.trace(|| format!("{place:?} crashes, its machine too: {is_off}"));
        let health = self.health.entry(place).or_default();
        health.is_up = false;
        health.is_stopped = false;
        health.is_off = is_off;
        self.forget_backlog(place);
        match place {
            Place::Gateway(gateway) => self.end_gateway(gateway),
            Place::Node(node) => {
                self.watch.died(self.now, self.nodes[node].incarnation);
                self.end_disk(node, is_off);
                self.may_be_cut_while_down(node, long);
            }
            Place::Control(_) => {}
        }
        // The others are told at once, or find out.
        let delay = if is_off || self.random.once_in(2) {
            self.plan.timeout
        } else {
            1_000
        };
        let others: Vec<_> = self
            .health
            .keys()
            .copied()
            .filter(|other| *other != place)
            .collect();
        for other in others {
            self.schedule(self.now + delay, Event::Break(place, other));
        }
        self.schedule(self.now + long, Event::Restart(place));
    }

    pub fn restart(&mut self, place: Place) {
        let health = self.health.entry(place).or_default();
        let is_up = health.is_up;
        if is_up || (self.phase > Phase::Faults && self.plan.ends_without_control) {
            return;
        }
        self.trace(|| format!("{place:?} starts"));
        let health = self.health.entry(place).or_default();
        health.is_up = true;
        health.is_off = false;
        match place {
            Place::Node(node) => {
                let keeps_name = self.plan.off == Some(Loosened::Chain(catena_chain::Rule::C1));
                let process = self.nodes[node].process;
                self.nodes[node] = self.new_node(node);
                if keeps_name {
                    self.nodes[node].process = process;
                }
            }
            Place::Gateway(_) => {}
            Place::Control(control) => self.control[control] = Process::default(),
        }
    }

    pub fn stop(&mut self, place: Place, long: u64) {
        let health = self.health.entry(place).or_default();
        if !health.is_up || health.is_stopped {
            return;
        }
        health.is_stopped = true;
        self.trace(|| format!("{place:?} is stopped"));
        self.schedule(self.now + long, Event::Resume(place));
    }

    pub fn cut(&mut self, from: Place, to: Place, both: bool, long: u64) {
        self.trace(|| format!("{from:?} is cut from {to:?}, both ways: {both}"));
        self.network.cut(from, to);
        if both {
            self.network.cut(to, from);
        }
        self.schedule(self.now + long, Event::HealPlace(from));
    }

    /// Cuts a place from all others but one in `spared`; 0: from all.
    pub fn isolate(&mut self, place: Place, outward: bool, spared: u64, long: u64) {
        self.trace(|| format!("{place:?} is isolated"));
        let others: Vec<_> = self.health.keys().copied().collect();
        for other in others {
            if other != place && !(spared > 0 && self.random.once_in(spared)) {
                self.network.cut(other, place);
                if outward {
                    self.network.cut(place, other);
                }
            }
        }
        self.schedule(self.now + long, Event::HealPlace(place));
    }

    pub fn slow(&mut self, place: Place, micros: u64) {
        self.trace(|| format!("{place:?} is slow"));
        self.network.slow(place, micros);
    }

    /// A node's wall clock jumps.
    pub fn jump(&mut self, node: usize, offset: u64) {
        self.trace(|| format!("the clock of node {node} jumps"));
        self.nodes[node].wall_offset = offset;
    }

    /// A shard's thread hangs, while the process goes on.
    pub fn hang(&mut self, node: usize, shard: usize, long: u64) {
        self.trace(|| format!("the thread of shard {shard} on node {node} hangs"));
        self.nodes[node].hangs_until[shard] = self.now + long;
        self.schedule(self.now + long, Event::Thaw(node, shard));
    }

    /// An administrator wants a node empty.
    pub fn drain(&mut self, node: usize, long: u64) {
        self.trace(|| format!("node {node} is drained"));
        self.store
            .administrate(node, |record| record.draining = true);
        self.tell_watchers();
        self.schedule(self.now + long, Event::Undrain(node));
    }

    /// The Broker's `persistence` is set or removed; who hears of it when, the network decides.
    pub fn turn_disks(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let is_kept = self.store.turn_disks();
        self.trace(|| format!("persistence is on: {is_kept}"));
        self.tell_watchers();
        let gap = self
            .random
            .within(self.plan.timeout / 4, 6 * self.plan.timeout);
        self.schedule(self.now + gap, Event::TurnDisks);
    }

    /// The Broker's `persistence.sync` changes.
    pub fn turn_sync(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let is_interval = !self.store.content().is_interval;
        self.store.set_interval(is_interval);
        self.trace(|| format!("what is written counts before it is synced: {is_interval}"));
        self.tell_watchers();
        let gap = self
            .random
            .within(self.plan.timeout / 4, 10 * self.plan.timeout);
        self.schedule(self.now + gap, Event::TurnSync);
    }

    pub fn undrain(&mut self, node: usize) {
        self.store
            .administrate(node, |record| record.draining = false);
        self.tell_watchers();
    }

    /// An administrator says that a node which is down never comes back: that is proof `[C-14]`.
    pub fn declare_gone(&mut self, node: usize) {
        if !self.health(Place::Node(node)).is_up {
            self.trace(|| format!("node {node} is declared gone"));
            self.store.administrate(node, |record| record.gone = true);
            self.tell_watchers();
        }
    }

    pub fn heal_place(&mut self, place: Place) {
        self.network.slow(place, 0);
        for (a, b) in self.network.heal_place(place) {
            self.break_pair(a, b);
        }
    }

    /// The one that leads goes on believing that it does: the store refuses it `[C-15]`.
    pub fn depose(&mut self) {
        self.trace(|| "the leader's key is lost".to_owned());
        self.store.depose();
        self.tell_watchers();
    }

    pub fn store_away(&mut self, long: u64) {
        self.trace(|| "the store is away".to_owned());
        self.store.go_away(self.now, self.now + long);
    }

    /// All nodes crash, or half of them, and some are declared gone.
    fn outage(&mut self, long: u64) {
        // With clients it would end most of what can be checked.
        let is_whole = self.plan.kind == Kind::Writes && self.random.once_in(6);
        // What is on disks comes back, unless it is declared gone.
        let declares = self.random.once_in(if self.plan.disks { 12 } else { 2 });
        for node in 0..self.nodes.len() {
            if is_whole || self.random.once_in(4) {
                let is_off = self.random.once_in(3);
                let spread = self.random.within(0, self.plan.timeout);
                self.crash(Place::Node(node), long + spread, is_off);
                if declares {
                    self.declare_gone(node);
                }
            }
        }
    }

    /// Everything is mended; the control plane too, unless this run ends without one.
    pub fn heal(&mut self) {
        self.trace(|| "everything heals".to_owned());
        let is_without_control = self.plan.ends_without_control && self.can_do_without_control();
        self.plan.ends_without_control = is_without_control;
        self.phase = Phase::Healing;
        self.network.speed_up();
        self.mend_disks();
        for (a, b) in self.network.heal() {
            let (a, b) = pair(a, b);
            self.break_pair(a, b);
        }
        if !is_without_control {
            self.store.unreachable.clear();
            self.store.away_until = 0;
            self.store.undrain();
        }
        for node in 0..self.nodes.len() {
            for shard in 0..self.plan.shards() {
                self.nodes[node].hangs_until[shard] = 0;
                self.thaw(node, shard);
            }
        }
        let places: Vec<_> = self.health.keys().copied().collect();
        for place in places {
            self.resume(place);
            if is_without_control && matches!(place, Place::Control(_)) {
                self.trace(|| format!("{place:?} is away for good"));
                self.health.entry(place).or_default().is_up = false;
            } else {
                self.restart(place);
            }
        }
    }

    /// Whether all that is needed lives and somebody in each chain was told of its epoch `[C-11]`.
    fn can_do_without_control(&self) -> bool {
        let content = self.store.content();
        if content.topology.chains.len() < self.plan.shards() {
            return false;
        }
        let chains = content.configurations().all(|configuration| {
            let shard = configuration.shard.index();
            let mut is_told = false;
            let all_live = configuration.members().all(|member| {
                let Some(node) = self.node_at(member.incarnation) else {
                    return false;
                };
                let index = self.store.place_of[&member.incarnation];
                let Some(replica) = node.replica(shard) else {
                    return false;
                };
                let is_of_chain = configuration.position(member.id).is_some();
                let epoch = replica.configuration().map(|c| c.epoch);
                is_told |= is_of_chain && epoch == Some(configuration.epoch);
                self.health(Place::Node(index)).is_up
                    && (!is_of_chain || (replica.status().is_some() && !replica.has_failed_disk()))
            });
            let knows_all = configuration.head().is_some_and(|head| {
                let node = self.node_at(head.incarnation);
                let replica = node.and_then(|node| node.replica(shard));
                let machine = replica.and_then(|replica| replica.machine());
                let mut lives = self
                    .gateways
                    .iter()
                    .filter_map(|gateway| gateway.incarnation);
                machine.is_some_and(|machine| {
                    lives.all(|life| {
                        use catena_chain::Machine;
                        machine.standing(&W::origin(life)) == catena_chain::Standing::Known
                    })
                })
            });
            all_live && is_told && knows_all
        });
        // A registration that is on its way would come after the heads could hear of it.
        let is_registered = (0..self.gateways.len()).all(|gateway| {
            let is_up = self.health(Place::Gateway(gateway)).is_up;
            !is_up || self.gateways[gateway].incarnation.is_some()
        });
        let gateways = self.gateways.iter().all(|gateway| {
            gateway
                .uplinks
                .iter()
                .zip(content.configurations())
                .all(|(uplink, current)| {
                    uplink.configuration().is_some_and(|known| {
                        known
                            .members()
                            .any(|member| current.position(member.id).is_some())
                            && known.generation == current.generation
                    })
                })
        });
        // Clients need one to come to.
        let is_there = |gateway: usize| {
            let is_up = self.health(Place::Gateway(gateway)).is_up;
            is_up && self.gateways[gateway].incarnation.is_some()
        };
        let has_door = self.plan.kind == Kind::Writes || (0..self.gateways.len()).any(is_there);
        chains && gateways && is_registered && has_door
    }
}
