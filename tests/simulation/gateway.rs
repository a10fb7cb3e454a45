//! Gateways: processes that register, and keep a link to each shard.

use catena_chain::{Configuration, DirectWindow, Now, Uplink, uplink::Action};
use catena_link::Window;
use catena_slots::ShardId;

use crate::{
    control::Content,
    network::Place,
    parcel::{End, Event, Parcel, Speech},
    plan::Loosened,
    workload::{Gate, Life, Phase, Scene, Workload},
    world::World,
};

/// One process of a gateway.
pub struct Gateway<W: Workload> {
    pub process: u64,
    pub incarnation: Option<u64>,
    pub uplinks: Vec<Uplink<W::Machine>>,
    pub known: Vec<Configuration>,
    /// Which process of the control plane it speaks to.
    control: usize,
}

impl<W: Workload> World<W> {
    pub fn new_gateway(&mut self) -> Gateway<W> {
        self.next_process += 1;
        Gateway {
            process: self.next_process,
            incarnation: None,
            uplinks: Vec::new(),
            known: Vec::new(),
            control: self.random.below(self.plan.controls),
        }
    }

    pub fn tick_gateway(&mut self, gateway: usize, beats: bool) {
        if beats {
            let me = &mut self.gateways[gateway];
            let process = me.process;
            let speech = match me.incarnation {
                Some(incarnation) => Speech::GatewayBeat { incarnation },
                None => Speech::RegisterGateway { process },
            };
            // It does not know which of them hears it: it tries all in turn.
            me.control = (me.control + 1) % self.plan.controls;
            self.gateway_says(gateway, speech);
        }
        for shard in 0..self.gateways[gateway].uplinks.len() {
            self.drive(gateway, shard, |uplink, _, _, _| uplink.idle());
        }
    }

    pub fn gateway_says(&mut self, gateway: usize, speech: Speech) {
        let control = Place::Control(self.gateways[gateway].control);
        self.send(Place::Gateway(gateway), control, Parcel::Speech(speech));
    }

    pub fn gateway_hears(&mut self, gateway: usize, parcel: Parcel<W>) {
        match parcel {
            Parcel::ToOrigin { wire, message } => self.answer(wire, message),
            Parcel::Closed { end, name } => self.closed(end, name),
            Parcel::News(content) => self.gateway_news(gateway, &content),
            Parcel::GatewayRegistered {
                process,
                incarnation,
            } if self.gateways[gateway].process == process => {
                self.gateway_registered(gateway, incarnation);
            }
            Parcel::Over { incarnation }
                if self.gateways[gateway].incarnation == Some(incarnation) =>
            {
                self.end_gateway(gateway);
            }
            _ => {}
        }
    }

    fn gateway_news(&mut self, gateway: usize, content: &Content) {
        self.gateways[gateway].known = content.configurations().cloned().collect();
        for configuration in content.configurations() {
            let shard = configuration.shard.index();
            self.drive(gateway, shard, |uplink, _, _, actions| {
                uplink.adopt(configuration.clone(), actions);
            });
        }
    }

    /// Lets the workload do something at a gateway that lives.
    fn with_gate<T>(
        &mut self,
        gateway: usize,
        act: impl FnOnce(&mut W, &mut Scene<'_, W::Event>, &mut Gate<'_, W::Machine>) -> T,
    ) -> Option<T> {
        let (reachable, listed) = (self.reachable(), self.listed());
        let incarnation = self.gateways[gateway].incarnation?;
        let mut scene = Scene {
            now: self.now,
            phase: self.phase,
            random: &mut self.random,
            later: &mut self.later,
            reachable: &reachable,
            listed: &listed,
            is_traced: self.is_traced,
        };
        let mut gate = Gate {
            life: Life {
                gateway,
                incarnation,
            },
            uplinks: &mut self.gateways[gateway].uplinks,
        };
        let done = act(&mut self.workload, &mut scene, &mut gate);
        self.take_later();
        Some(done)
    }

    /// The workload's own event at a gateway, or where one was.
    pub fn at_gateway(&mut self, gateway: usize, event: W::Event) {
        let is_up = self.health(Place::Gateway(gateway)).is_up;
        if !is_up || self.gateways[gateway].incarnation.is_none() {
            let done = self.with_workload(|workload, scene| workload.happen(event, scene, None));
            return done.unwrap_or_else(|violation| self.fail(violation));
        }
        let done = self.with_gate(gateway, |workload, scene, gate| {
            workload.happen(event, scene, Some(gate))
        });
        if let Some(Err(violation)) = done {
            self.fail(violation);
        }
        self.carry_all(gateway);
    }

    /// Lets one of a gateway's links do something, and does what it says.
    pub fn drive(
        &mut self,
        gateway: usize,
        shard: usize,
        act: impl FnOnce(&mut Uplink<W::Machine>, &W, Now, &mut Vec<Action<W::Machine>>),
    ) {
        let now = self.gateway_clock();
        let Some(incarnation) = self.gateways[gateway].incarnation else {
            return;
        };
        let mut actions = Vec::new();
        let Some(uplink) = self.gateways[gateway].uplinks.get_mut(shard) else {
            return;
        };
        act(uplink, &self.workload, now, &mut actions);
        let id = ShardId(shard as u16);
        let from = End::Gateway {
            gateway,
            incarnation,
            shard: id,
        };
        let has_actions = !actions.is_empty();
        for action in actions {
            match action {
                Action::Disconnect { connection } => self.hang_up(from, connection),
                Action::Refused => {
                    self.end_gateway(gateway);
                    return;
                }
                action => {
                    let done = self.with_gate(gateway, |workload, scene, gate| {
                        workload.act(id, action, scene, gate)
                    });
                    if let Some(Err(violation)) = done {
                        self.fail(violation);
                    }
                }
            }
        }
        if has_actions {
            self.carry_all(gateway);
        } else {
            self.carry(gateway, id, from, now);
        }
    }

    fn gateway_clock(&self) -> Now {
        Now {
            monotonic: self.now,
            wall: self.now,
        }
    }

    fn carry_all(&mut self, gateway: usize) {
        let now = self.gateway_clock();
        for shard in 0..self.gateways[gateway].uplinks.len() {
            let Some(incarnation) = self.gateways[gateway].incarnation else {
                return;
            };
            let shard = ShardId(shard as u16);
            let from = End::Gateway {
                gateway,
                incarnation,
                shard,
            };
            self.carry(gateway, shard, from, now);
        }
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
        self.next_process += 1;
        self.gateways[gateway].process = self.next_process;
        if let Some(incarnation) = self.gateways[gateway].incarnation.take() {
            self.trace(|| format!("gateway {gateway} ({incarnation}) is over"));
            let life = Life {
                gateway,
                incarnation,
            };
            self.with_workload(|workload, scene| workload.over(life, scene));
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

    fn gateway_registered(&mut self, gateway: usize, incarnation: u64) {
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
        me.uplinks = (0..self.plan.shards())
            .map(|_| Uplink::new(W::origin(incarnation), window, direct, 0, switches))
            .collect();
        for configuration in me.known.clone() {
            let shard = configuration.shard.index();
            self.drive(gateway, shard, |uplink, _, _, actions| {
                uplink.adopt(configuration, actions);
            });
        }
    }

    pub fn offer(&mut self, gateway: usize) {
        let at = self.now + self.random.within(1_000, self.plan.op_gap);
        self.schedule(at, Event::Offer(gateway));
        let health = self.health(Place::Gateway(gateway));
        let may_offer = match self.phase {
            Phase::Faults => true,
            Phase::Probing => self.random.once_in(8),
            Phase::Healing | Phase::Quiet => false,
        };
        if !may_offer || !health.is_up || health.is_stopped {
            return;
        }
        let done = self.with_gate(gateway, |workload, scene, gate| workload.offer(scene, gate));
        if let Some(Err(violation)) = done {
            self.fail(violation);
        }
        self.carry_all(gateway);
    }
}
