//! MQTT clients with sessions, from packet to packet: simulated devices speak to the real protocol of the gateways, which
//! speaks to the real shards.

mod admin;
mod device;
mod host;
mod ledger;
mod wills;

use std::collections::BTreeMap;

use catena_chain::{Configuration, uplink::Action};
use catena_connection::input::Now;
use catena_mqtt::{Packet, QoS, packet::Connect};
use catena_replicated::Replicated;
use catena_shard::{Command, Op, Origin, Settings};
use catena_slots::{ShardId, SlotTable};

use crate::{
    plan::{Loosened, Plan},
    random::Random,
    workload::{Gate, Life, Loss, Scene, Violation, Workload},
};
use device::Device;
use host::Host;
use ledger::Ledger;
use wills::Wills;

/// A client's socket.
#[derive(Debug)]
pub struct Socket {
    pub device: usize,
    pub gateway: usize,
    pub connect_sent: u64,
    /// When the gateway wrote that the client is let in.
    pub connack_at: Option<u64>,
    /// It was there when an administrator ended the session.
    is_doomed: bool,
    /// When the last packet arrives there, and here.
    up_at: u64,
    down_at: u64,
}

/// What happens to clients.
pub enum Event {
    Act(usize),
    ToGateway {
        socket: u64,
        packet: Packet,
    },
    HungUp {
        socket: u64,
    },
    Wake {
        socket: u64,
    },
    ToDevice {
        socket: u64,
        packets: Vec<Packet>,
        closes: bool,
    },
}

type Here<'a> = Scene<'a, Event>;

/// All clients, and the gateways' part of them.
pub struct Clients {
    slots: SlotTable,
    off: Option<Loosened>,
    hosts: BTreeMap<Life, Host>,
    devices: Vec<Device>,
    sockets: BTreeMap<u64, Socket>,
    ledger: Ledger,
    wills: Wills,
    next_socket: u64,
    op_gap: u64,
    /// Of what devices subscribe and publish.
    qos_max: QoS,
    /// Devices do nothing by themselves: a script says what they do.
    is_scripted: bool,
}

/// Microseconds that a packet is on its way between a client and its gateway, at most.
const LATENCY: u64 = 3_000;

fn now_ms(now: u64) -> Now {
    Now(now / 1_000)
}

impl Workload for Clients {
    type Machine = Replicated;
    type Event = Event;

    fn new(plan: &Plan) -> Clients {
        let mut random = Random::new(plan.seed ^ 0xdead_beef);
        let slots = SlotTable::even(plan.shards(), 0).expect("plans are within the ranges");
        let devices = (0..plan.clients)
            .map(|index| Device::new(index, plan.qos_max, &mut random))
            .collect();
        Clients {
            slots,
            off: plan.off,
            hosts: BTreeMap::new(),
            devices,
            sockets: BTreeMap::new(),
            ledger: Ledger::default(),
            wills: Wills::default(),
            next_socket: 0,
            op_gap: plan.op_gap,
            qos_max: plan.qos_max,
            is_scripted: plan.is_scripted,
        }
    }

    fn origin(incarnation: u64) -> Origin {
        Origin::Gateway {
            incarnation,
            worker: 0,
        }
    }

    fn incarnation(origin: &Origin) -> Option<u64> {
        match origin {
            Origin::Gateway { incarnation, .. } => Some(*incarnation),
            Origin::Shard { .. } => None,
        }
    }

    fn settings(
        shard: ShardId,
        version: u64,
        slots: &SlotTable,
        generations: &[u32],
        _: Option<Loosened>,
    ) -> Settings {
        Settings {
            version,
            generations: generations.to_vec(),
            ..Settings::new(shard, slots.clone())
        }
    }

    fn loosen(machine: &mut Replicated, off: Option<Loosened>) {
        if let Some(Loosened::Shard(rule)) = off {
            machine.shard_mut().loosen(rule);
        }
    }

    fn begin(&mut self, scene: &mut Here<'_>) {
        for device in 0..self.devices.len() {
            let after = scene.random.within(0, self.op_gap);
            scene.after(after, None, Event::Act(device));
        }
    }

    fn happen(
        &mut self,
        event: Event,
        scene: &mut Here<'_>,
        gate: Option<&mut Gate<'_, Replicated>>,
    ) -> Result<(), Violation> {
        match (event, gate) {
            (Event::Act(device), _) => {
                let after = scene.random.within(self.op_gap / 4, self.op_gap);
                scene.after(after, None, Event::Act(device));
                self.act_device(device, scene);
                Ok(())
            }
            (
                Event::ToDevice {
                    socket,
                    packets,
                    closes,
                },
                _,
            ) => self.device_hears(socket, packets, closes, scene),
            (Event::ToGateway { socket, .. } | Event::HungUp { socket }, None) => {
                self.tell_closed(socket, scene);
                Ok(())
            }
            (Event::Wake { .. }, None) => Ok(()),
            (event, Some(gate)) => self.at_gate(event, scene, gate),
        }
    }

    fn act(
        &mut self,
        shard: ShardId,
        action: Action<Replicated>,
        scene: &mut Here<'_>,
        gate: &mut Gate<'_, Replicated>,
    ) -> Result<(), Violation> {
        let now = now_ms(scene.now);
        let host = self.host(gate.life);
        let uplinks = &mut *gate.uplinks;
        match action {
            Action::Effects {
                first,
                effects,
                direct,
                now: time,
            } => host.effects(shard, (first, effects, direct, time), now, uplinks),
            Action::Progress => host.progress(shard, now, uplinks),
            Action::Opened { now: time } => host.opened(shard, time, now, uplinks),
            Action::NewGeneration(_) => host.begun_anew(shard, now, uplinks),
            Action::Disconnect { .. } | Action::Refused => {}
        }
        self.end_turn(scene, gate)
    }

    fn rewrite(&self, life: Life, op: &Op) -> Op {
        match self.hosts.get(&life) {
            Some(host) => host.rewrite(op),
            None => op.clone(),
        }
    }

    fn over(&mut self, life: Life, scene: &mut Here<'_>) {
        let Some(host) = self.hosts.remove(&life) else {
            return;
        };
        for (socket, known) in &self.sockets {
            if known.gateway == life.gateway {
                self.wills.gateway_died(*socket, scene.now);
            }
        }
        for socket in host.conns.keys() {
            self.tell_closed(*socket, scene);
        }
    }

    fn lost(&mut self, loss: Loss) {
        // On one shard alone all is there again but what came last [C-64].
        if self.slots.shards().count() == 1 && loss.from > 0 {
            self.ledger.losses.0.push((loss.from, loss.at));
        } else {
            self.ledger.is_void = true;
        }
    }

    fn command(&mut self, machine: &Replicated, random: &mut Random, now: u64) -> Option<Command> {
        self.administer(machine.shard(), random, now)
    }

    fn script(&mut self, words: &[&str], scene: &mut Here<'_>) -> Result<(), Violation> {
        self.script_device(words, scene)
    }

    fn expect(&self, words: &[&str]) -> Result<(), Violation> {
        self.is_expected(words)
    }

    fn is_settled(&self, _: &[Life]) -> Result<(), Violation> {
        for device in &self.devices {
            device.is_settled()?;
        }
        if self.ledger.is_void {
            return Ok(());
        }
        self.ledger.check(&self.devices)?;
        let losses = &self.ledger.losses;
        self.wills.check(&self.devices, &self.sockets, losses)
    }

    fn check(&self, _: &[(&Configuration, &Replicated)]) -> Result<(), Violation> {
        Ok(())
    }
}

impl Clients {
    fn host(&mut self, life: Life) -> &mut Host {
        let (slots, off) = (&self.slots, self.off);
        self.hosts.entry(life).or_insert_with(|| {
            let off = match off {
                Some(Loosened::Connection(rule)) => Some(rule),
                _ => None,
            };
            Host::new(slots.clone(), off)
        })
    }

    fn at_gate(
        &mut self,
        event: Event,
        scene: &mut Here<'_>,
        gate: &mut Gate<'_, Replicated>,
    ) -> Result<(), Violation> {
        let now = now_ms(scene.now);
        let host = self.host(gate.life);
        match event {
            Event::ToGateway { socket, packet } => {
                if let Packet::Connect(connect) = &packet {
                    host.accept(socket, connect.version, now);
                }
                if !host.conns.contains_key(&socket) {
                    self.tell_closed(socket, scene);
                    return Ok(());
                }
                host.packet(socket, packet);
            }
            Event::HungUp { socket } => host.hung_up(socket, now, gate.uplinks),
            Event::Wake { socket } => host.woken(socket, now, gate.uplinks),
            Event::Act(_) | Event::ToDevice { .. } => {}
        }
        self.end_turn(scene, gate)
    }

    /// Everyone who was touched takes packets, as far as that goes, and what was written leaves.
    fn end_turn(
        &mut self,
        scene: &mut Here<'_>,
        gate: &mut Gate<'_, Replicated>,
    ) -> Result<(), Violation> {
        let now = now_ms(scene.now);
        let life = gate.life;
        loop {
            let touched = self.host(life).touched();
            if touched.is_empty() {
                return Ok(());
            }
            for socket in touched {
                self.end_turn_of(socket, now, scene, gate)?;
            }
        }
    }

    fn end_turn_of(
        &mut self,
        socket: u64,
        now: Now,
        scene: &mut Here<'_>,
        gate: &mut Gate<'_, Replicated>,
    ) -> Result<(), Violation> {
        let life = gate.life;
        while self.host(life).has_next(socket) {
            let Some(packet) = self.host(life).take(socket) else {
                break;
            };
            if let Packet::Disconnect(_) = &packet {
                self.wills.disconnected(socket);
            }
            self.host(life)
                .handle_packet(socket, packet, now, gate.uplinks);
        }
        let written = self.host(life).finish_turn(socket, now, gate.uplinks);
        for packet in &written.packets {
            if matches!(packet, Packet::Connack(connack) if !connack.reason.is_error()) {
                self.let_in(socket, scene)?;
            }
        }
        if !written.packets.is_empty() || written.closes {
            self.give_device(socket, written.packets, written.closes, scene);
        }
        let (is_over, wake) = self.host(life).rest(socket);
        if is_over {
            self.wills.finished(socket, scene.now);
        }
        if let Some(at) = wake {
            let after = (at * 1_000).saturating_sub(scene.now).max(1);
            scene.after(after, Some(life.gateway), Event::Wake { socket });
        }
        Ok(())
    }

    /// A gateway writes CONNACK: no other connection of the session may live, unless it was waited for in vain `[F-12]`.
    fn let_in(&mut self, socket: u64, scene: &Here<'_>) -> Result<(), Violation> {
        /// Microseconds: home waits for a second of shard time, which may run faster by a tenth.
        const KICK_MICROS: u64 = 850_000;
        let now = scene.now;
        let Some(device) = self.sockets.get_mut(&socket).map(|mine| {
            mine.connack_at = Some(now);
            mine.device
        }) else {
            return Ok(());
        };
        self.wills.accepted(socket, now);
        if self.ledger.is_void {
            return Ok(());
        }
        for (life, host) in &self.hosts {
            // One that the shards hold for gone does not count.
            if !scene.listed.get(life.gateway).copied().unwrap_or(false) {
                continue;
            }
            for (other, conn) in &host.conns {
                let Some(old) = self.sockets.get(other) else {
                    continue;
                };
                if *other == socket || old.device != device || !conn.protocol.is_live() {
                    continue;
                }
                // That of a session which is ended by a command may live for a moment beside the next one's, and so may that of an
                // earlier generation.
                if old.is_doomed || self.ledger.losses.is_before(old.connect_sent) {
                    continue;
                }
                let live_at = old.connack_at.unwrap_or(now);
                let rivals = self.sockets.iter().filter(|(rival, it)| {
                    let is_done = it.connack_at.is_some_and(|at| at <= live_at);
                    **rival != *other && it.device == device && !is_done
                });
                let kicked_at = rivals
                    .map(|(_, rival)| rival.connect_sent.max(live_at))
                    .min();
                if kicked_at.is_some_and(|at| now - at < KICK_MICROS) {
                    return Err(format!(
                        "client {device} is connected twice: by socket {socket}, and still by {other}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a gateway writes reaches the client, unless its socket breaks first.
    fn give_device(
        &mut self,
        socket: u64,
        packets: Vec<Packet>,
        closes: bool,
        scene: &mut Here<'_>,
    ) {
        let Some(known) = self.sockets.get_mut(&socket) else {
            return;
        };
        let at = scene.now + scene.random.within(100, LATENCY);
        known.down_at = at.max(known.down_at + 1);
        let event = Event::ToDevice {
            socket,
            packets,
            closes,
        };
        scene.later.push((known.down_at, None, event));
    }

    fn give_gateway(&mut self, socket: u64, event: Event, scene: &mut Here<'_>) {
        let Some(known) = self.sockets.get_mut(&socket) else {
            return;
        };
        let at = scene.now + scene.random.within(100, LATENCY);
        known.up_at = at.max(known.up_at + 1);
        scene.later.push((known.up_at, Some(known.gateway), event));
    }

    /// The client finds its socket broken, soon or late.
    fn tell_closed(&mut self, socket: u64, scene: &mut Here<'_>) {
        let late = scene.random.within(100, 300_000);
        if let Some(known) = self.sockets.get_mut(&socket) {
            known.down_at = known.down_at.max(scene.now + late);
            let event = Event::ToDevice {
                socket,
                packets: Vec::new(),
                closes: true,
            };
            scene.later.push((known.down_at, None, event));
        }
    }

    /// A new socket of a device, to a gateway that can be reached.
    fn open(&mut self, device: usize, connect: Connect, gateway: usize, scene: &mut Here<'_>) {
        self.next_socket += 1;
        let socket = self.next_socket;
        let known = Socket {
            device,
            gateway,
            connect_sent: scene.now,
            connack_at: None,
            is_doomed: false,
            up_at: scene.now,
            down_at: scene.now,
        };
        self.sockets.insert(socket, known);
        let packet = Packet::Connect(Box::new(connect));
        self.give_gateway(socket, Event::ToGateway { socket, packet }, scene);
    }
}
