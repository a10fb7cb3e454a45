//! What goes wrong: crashes, stops, slowness, cuts in one direction or both, broken connections, clocks, leaders.

use catena_chain::Incarnation;

use crate::{
    network::{Place, pair},
    plan::Loosened,
    workload::Workload,
    world::{Event, World},
};

impl<W: Workload> World<W> {
    pub fn fault(&mut self) {
        if self.is_healed {
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
        match self.random.below(16) {
            0..=3 => self.crash(place, long),
            4..=5 => self.stop(place, long),
            6..=7 => {
                let other = self.any_place();
                self.cut(place, other, long);
            }
            8 => self.isolate(place, long),
            9..=11 => {
                let other = self.any_place();
                self.trace(|| format!("{place:?} and {other:?} lose their connection"));
                self.break_pair(place, other);
            }
            12..=13 => {
                self.trace(|| format!("{place:?} is slow"));
                let slowness = self.random.within(5_000, self.plan.timeout / 2);
                self.network.slow(place, slowness);
            }
            14 => {
                if let Place::Node(node) = place {
                    let hour = 3_600_000_000;
                    self.nodes[node].wall_offset = self.random.within(0, 2 * hour);
                }
            }
            _ => self.change_leader(),
        }
    }

    fn any_place(&mut self) -> Place {
        match self.random.below(8) {
            0 => Place::Control(self.random.below(self.control.len())),
            1 => Place::Gateway(self.random.below(self.gateways.len())),
            _ => Place::Node(self.random.below(self.nodes.len())),
        }
    }

    fn crash(&mut self, place: Place, long: u64) {
        if !self.health(place).is_up {
            return;
        }
        self.trace(|| format!("{place:?} crashes"));
        let health = self.health.entry(place).or_default();
        health.is_up = false;
        health.is_stopped = false;
        self.forget_backlog(place);
        if let Place::Gateway(gateway) = place {
            self.end_gateway(gateway);
        }
        // The others are told at once, or find out.
        let delay = if self.random.once_in(2) {
            1_000
        } else {
            self.plan.timeout
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
        if is_up || (self.is_healed && self.is_without_control()) {
            return;
        }
        self.trace(|| format!("{place:?} starts"));
        let health = self.health.entry(place).or_default();
        health.is_up = true;
        match place {
            Place::Node(node) => {
                let keeps_name = self.plan.off == Some(Loosened::Chain(catena_chain::Rule::C1));
                let incarnation = if keeps_name {
                    self.nodes[node].incarnation
                } else {
                    self.next_incarnation += 1;
                    Incarnation(self.next_incarnation)
                };
                self.nodes[node] = self.new_node(incarnation);
            }
            Place::Gateway(_) => {}
            Place::Control(control) => {
                self.control[control] = crate::control_plane::Process::default();
                if self.store.leader == control {
                    let (now, store) = (self.now, &self.store);
                    self.control[control].lead(now, store);
                }
            }
        }
    }

    fn stop(&mut self, place: Place, long: u64) {
        let health = self.health.entry(place).or_default();
        if !health.is_up || health.is_stopped {
            return;
        }
        health.is_stopped = true;
        self.trace(|| format!("{place:?} is stopped"));
        self.schedule(self.now + long, Event::Resume(place));
    }

    fn cut(&mut self, from: Place, to: Place, long: u64) {
        let both = self.random.once_in(2);
        self.trace(|| format!("{from:?} is cut from {to:?}, both ways: {both}"));
        self.network.cut(from, to);
        if both {
            self.network.cut(to, from);
        }
        self.schedule(self.now + long, Event::HealPlace(from));
    }

    fn isolate(&mut self, place: Place, long: u64) {
        self.trace(|| format!("{place:?} is isolated"));
        let others: Vec<_> = self.health.keys().copied().collect();
        let outward = self.random.once_in(2);
        for other in others {
            if other != place && !self.random.once_in(4) {
                self.network.cut(other, place);
                if outward {
                    self.network.cut(place, other);
                }
            }
        }
        self.schedule(self.now + long, Event::HealPlace(place));
    }

    pub fn heal_place(&mut self, place: Place) {
        self.network.slow(place, 0);
        for (a, b) in self.network.heal_place(place) {
            self.break_pair(a, b);
        }
    }

    fn change_leader(&mut self) {
        let next = self.random.below(self.control.len());
        if !self.health(Place::Control(next)).is_up {
            return;
        }
        self.trace(|| format!("control plane {next} leads"));
        // The one before goes on believing that it leads: the store refuses it.
        self.store.leader = next;
        let (now, store) = (self.now, &self.store);
        self.control[next].lead(now, store);
    }

    /// Everything is mended; the control plane too, unless this run ends without one.
    pub fn heal(&mut self) {
        self.trace(|| "everything heals".to_owned());
        self.is_healed = true;
        self.is_quiet = true;
        self.store.is_calm = true;
        let is_without_control = self.plan.ends_without_control && self.can_do_without_control();
        self.plan.ends_without_control = is_without_control;
        self.network.speed_up();
        for (a, b) in self.network.heal() {
            let (a, b) = pair(a, b);
            self.break_pair(a, b);
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
        if !is_without_control {
            self.store.leader = 0;
            let (now, store) = (self.now, &self.store);
            self.control[0].lead(now, store);
        }
    }

    fn is_without_control(&self) -> bool {
        self.plan.ends_without_control
    }

    /// Whether all that is needed lives and somebody in each chain was told of its epoch `[C-11]`.
    fn can_do_without_control(&self) -> bool {
        let chains = self.store.configurations.iter().all(|configuration| {
            let mut is_told = false;
            let all_live = configuration.members().all(|member| {
                let node = self.store.place_of.get(&member.incarnation).copied();
                node.is_some_and(|node| {
                    let place = &self.nodes[node];
                    let replica = &place.replicas[configuration.shard.index()];
                    let is_of_chain = configuration.position(member.id).is_some();
                    let epoch = replica.configuration().map(|c| c.epoch);
                    is_told |= is_of_chain && epoch == Some(configuration.epoch);
                    self.health(Place::Node(node)).is_up
                        && place.incarnation == member.incarnation
                        && (!is_of_chain || replica.status().is_some())
                })
            });
            let knows_all = configuration.head().is_some_and(|head| {
                let node = self.store.place_of.get(&head.incarnation);
                let replica =
                    node.map(|node| &self.nodes[*node].replicas[configuration.shard.index()]);
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
                .zip(&self.store.configurations)
                .all(|(uplink, current)| {
                    uplink.configuration().is_some_and(|known| {
                        known
                            .members()
                            .any(|member| current.position(member.id).is_some())
                            && known.generation == current.generation
                    })
                })
        });
        chains && gateways && is_registered
    }
}
