//! Plays a script to the shards and to the reference, and shows the reference what comes back.

use std::collections::BTreeMap;

use bytes::Bytes;
use catena_mqtt::{QoS, packet::RetainHandling};
use catena_shard::{
    ConnId, Effect, Input, Message, Op, Origin, Shard, Time, Who, Will, op, op::AckKind,
};

use crate::{
    reference::{Arrived, Look, Msg, Reference, Sub, shared_id},
    script::{CLIENTS, FILTERS, SHARED, Step, TOPICS},
    support::*,
};

const WINDOW: u32 = 3;

/// What the shards are compared with, beside the reference.
#[derive(Clone, Copy, PartialEq)]
pub enum Twins {
    None,
    /// Restored from snapshots now and then.
    Restored,
    /// With caches that are emptied now and then.
    Chilled,
}

#[derive(Default)]
struct Peer {
    connected: Option<(Client, Who)>,
    /// Counted deliveries that were not given back, by shard: how many, how many bytes.
    counted: BTreeMap<usize, (u32, u64)>,
    /// QoS 2 publishes that were not released.
    inbound: Vec<op::Publish>,
}

struct Asking {
    client: usize,
    me: Client,
    will: Option<(Msg, u32)>,
}

pub struct Driver {
    world: World,
    reference: Reference,
    peers: Vec<Peer>,
    conns: BTreeMap<ConnId, usize>,
    /// A CONNECT that waits for its answer.
    asking: Option<Asking>,
    incarnations: [u64; 2],
    gateways_version: u64,
    next: u32,
    twins: Twins,
    /// What parts of queues weigh, if they leave memory.
    part_bytes: Option<u64>,
}

impl Driver {
    pub fn new(shards: usize, twins: Twins, part_bytes: Option<u64>) -> Driver {
        let mut world = World::with(shards, |settings| {
            settings.spill_bytes_max = part_bytes.map_or(0, |_| 1 << 40);
        });
        for shard in &mut world.shards {
            part_early(shard, part_bytes);
        }
        if twins != Twins::None {
            world.twins = world
                .shards
                .iter()
                .map(|shard| restored(shard, part_bytes))
                .collect();
        }
        Driver {
            reference: Reference::new(shards, world.now.0),
            world,
            peers: CLIENTS.iter().map(|_| Peer::default()).collect(),
            conns: BTreeMap::new(),
            asking: None,
            incarnations: [1, 2],
            gateways_version: 1,
            next: 0,
            twins,
            part_bytes,
        }
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Connect {
                client,
                gateway,
                clean,
                expiry,
                will,
                unsent,
            } => {
                self.connect(*client, *gateway, *clean, *expiry, *will, *unsent);
            }
            Step::Leave {
                client,
                normal,
                unsent,
            } => self.leave(*client, !normal, *unsent),
            Step::LoseGateway { gateway } => self.lose(*gateway),
            Step::Pass { tenths } => self.pass(*tenths),
            Step::Refresh => self.refresh(),
            Step::Subscribe { client, .. }
            | Step::Unsubscribe { client, .. }
            | Step::Publish { client, .. }
            | Step::Resend { client }
            | Step::Release { client }
            | Step::Ack { client, .. }
            | Step::Credit { client } => {
                if let Some((me, who)) = self.peers[*client].connected.clone() {
                    self.act(step, *client, &me, who);
                }
            }
        }
        let told = self.world.finish();
        self.see(told);
        self.reference.check_step();
    }

    fn act(&mut self, step: &Step, client: usize, me: &Client, who: Who) {
        match *step {
            Step::Subscribe {
                filter,
                qos,
                no_local,
                retain_as_published,
                handling,
                id,
                ..
            } => {
                let id = if filter >= SHARED {
                    Some(shared_id(filter))
                } else {
                    id
                };
                let sub = Sub {
                    filter,
                    qos,
                    no_local,
                    retain_as_published,
                    id,
                };
                self.reference.subscribe(client, sub, handling);
                let handlings = [
                    RetainHandling::Send,
                    RetainHandling::SendIfNew,
                    RetainHandling::DoNotSend,
                ];
                let options = op::SubscriptionOptions {
                    qos: level(qos),
                    no_local,
                    retain_as_published,
                    retain_handling: handlings[usize::from(handling)],
                    id,
                };
                let told = self.world.subscribe_with(me, who, FILTERS[filter], options);
                self.see(told);
            }
            Step::Unsubscribe { filter, .. } => {
                self.reference.unsubscribe(client, filter);
                let told = self.world.unsubscribe(me, who, FILTERS[filter]);
                self.see(told);
            }
            Step::Publish {
                topic,
                qos,
                retain,
                empty,
                expiry,
                ..
            } => self.publish(client, me, who, TOPICS[topic], qos, retain, empty, expiry),
            Step::Resend { .. } => {
                let Some(mut publish) = self.peers[client].inbound.first().cloned() else {
                    return;
                };
                (publish.dup, publish.who, publish.conn) = (true, who, me.conn);
                let shard = self.world.topic(&publish.message.topic);
                let told = self.world.op(me.origin, shard, Op::Publish(publish));
                assert_eq!(published(&told).len(), 1);
                assert!(deliveries(&told).is_empty(), "a QoS 2 message twice");
            }
            Step::Release { .. } => {
                if self.peers[client].inbound.is_empty() {
                    return;
                }
                let publish = self.peers[client].inbound.remove(0);
                let shard = self.world.topic(&publish.message.topic);
                let release = op::Release {
                    who,
                    conn: me.conn,
                    packet_id: publish.packet_id,
                };
                let told = self.world.op(me.origin, shard, Op::Release(release));
                assert!(matches!(told[..], [(_, Effect::Released(r))] if r.found));
            }
            Step::Ack { which, how, .. } => {
                let flights = self.reference.flights(client);
                if let Some(flight) = flights.get(which) {
                    self.ack(client, me, who, *flight, how);
                }
            }
            Step::Credit { .. } => self.credit(client, me, who),
            _ => unreachable!("no other step acts"),
        }
    }

    fn ack(
        &mut self,
        client: usize,
        me: &Client,
        who: Who,
        flight: (usize, u16, u8, bool, bool),
        how: u8,
    ) {
        let (shard, id, qos, received, shared) = flight;
        let kind = match how {
            0 if !received => AckKind::Discarded,
            1 if shared && !received => AckKind::Returned,
            2 => AckKind::Done,
            _ if qos == 2 && !received => AckKind::Received,
            _ => AckKind::Done,
        };
        self.reference.ack(
            client,
            id,
            kind == AckKind::Received,
            kind == AckKind::Returned,
        );
        let told = self.world.ack(me, who, shard, id, kind);
        let recorded = told
            .iter()
            .any(|(_, e)| matches!(e, Effect::Recorded(r) if r.packet_id == id));
        assert_eq!(recorded, kind == AckKind::Received);
        self.see(told);
    }

    fn credit(&mut self, client: usize, me: &Client, who: Who) {
        for (shard, (messages, bytes)) in std::mem::take(&mut self.peers[client].counted) {
            let credit = op::Credit {
                who,
                messages,
                bytes,
            };
            let told = self.world.op(me.origin, shard, Op::Credit(credit));
            self.see(told);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn publish(
        &mut self,
        client: usize,
        me: &Client,
        who: Who,
        topic: &str,
        qos: u8,
        retain: bool,
        empty: bool,
        expiry: Option<u32>,
    ) {
        let empty = empty && retain;
        let (msg, mut body) = self.message(client, topic, qos, retain, expiry);
        if empty {
            body.payload = Bytes::new();
        }
        let direct = qos == 0 && !retain && msg.number % 2 == 0;
        self.reference.publish(Msg { empty, ..msg }, direct);
        let mut publish = publish(me, who, body);
        let shard = self.world.topic(topic);
        if direct {
            let told = passed_by(&self.world.shards[shard], &publish, self.world.now);
            return self.see(told);
        }
        if qos == 2 && me.expiry > 0 {
            publish.packet_id = self.next as u16;
            self.peers[client].inbound.push(publish.clone());
        }
        let told = self.world.op(me.origin, shard, Op::Publish(publish));
        assert_eq!(published(&told).len(), 1);
        self.see(told);
    }

    /// A message that is like no other, as both sides see it. Its number is in its properties, for an empty payload
    /// clears.
    fn message(
        &mut self,
        client: usize,
        topic: &str,
        qos: u8,
        retain: bool,
        expiry: Option<u32>,
    ) -> (Msg, Message) {
        self.next += 1;
        let at = self.world.now;
        let msg = Msg {
            number: self.next,
            topic: topic.to_owned(),
            publisher: client,
            qos,
            retain,
            empty: false,
            expires_at: expiry.map_or(u64::MAX, |seconds| at.plus_seconds(seconds).0),
        };
        let body = Message {
            properties: Bytes::from(format!("\x03\x00\x06{:06}", self.next)),
            retain,
            expiry,
            publisher: catena_shard::ClientKey::of(CLIENTS[client]),
            counter: self.next,
            ..message(topic, "x", level(qos))
        };
        (msg, body)
    }

    fn connect(
        &mut self,
        client: usize,
        gateway: usize,
        clean_start: bool,
        expiry: u32,
        will: Option<(u8, bool, u32)>,
        unsent: usize,
    ) {
        let will = will.map(|(qos, retain, delay)| {
            let topic = format!("will/{}", CLIENTS[client]);
            let (msg, body) = self.message(client, &topic, qos, retain, None);
            let message = body.into();
            (msg, Will { message, delay })
        });
        self.next += 1;
        let me = Client {
            origin: Origin::Gateway {
                incarnation: self.incarnations[gateway],
                worker: 0,
            },
            clean_start,
            expiry,
            will: will.as_ref().map(|(_, will)| will.clone()),
            window: WINDOW,
            ..Client::new(CLIENTS[client], u64::from(self.next))
        };
        self.conns.insert(me.conn, client);
        let will = will.map(|(msg, will)| (msg, will.delay));
        self.asking = Some(Asking {
            client,
            me: me.clone(),
            will,
        });
        if self.peers[client].connected.is_some() {
            let told = self.world.ask(&me);
            assert_eq!(kicked(&told).len(), 1);
            self.go(client, unsent, true, Op::Kicked, clean_start);
        } else {
            if clean_start {
                self.reference.end(client);
            }
            let told = self.world.ask(&me);
            self.see(told);
        }
        // Held, after many takeovers.
        for _ in 0..20 {
            if self.asking.is_none() {
                break;
            }
            self.pass(1);
        }
        assert!(self.asking.is_none(), "no answer to CONNECT");
        let (me, who) = self.peers[client].connected.clone().expect("accepted");
        for shard in 0..self.world.shards.len() {
            if shard != self.world.home(me.id) {
                let told = self.world.attach(&me, who, shard);
                self.see(told);
            }
        }
    }

    /// A connection goes: Detach everywhere, then the last op.
    fn go(
        &mut self,
        client: usize,
        unsent: usize,
        will: bool,
        last: fn(op::Disconnect) -> Op,
        clean_start: bool,
    ) {
        let Some((me, who)) = self.peers[client].connected.take() else {
            return;
        };
        self.peers[client].counted.clear();
        let flights = self.reference.flights(client);
        let written = flights.len().saturating_sub(unsent);
        let unsent: Vec<_> = flights[written..]
            .iter()
            .filter(|flight| !flight.3)
            .collect();
        let ids: Vec<u16> = unsent.iter().map(|flight| flight.1).collect();
        self.reference.detach(client, &ids);
        for shard in 0..self.world.shards.len() {
            let here = unsent
                .iter()
                .filter(|flight| flight.0 == shard)
                .map(|flight| flight.1);
            let told = self
                .world
                .detach(&me, who, shard, &here.collect::<Vec<_>>());
            self.see(told);
        }
        self.reference.leave(client, will);
        if clean_start {
            self.reference.end(client);
        }
        let disconnect = op::Disconnect {
            who,
            will,
            expiry: None,
        };
        let told = self
            .world
            .op(me.origin, self.world.home(me.id), last(disconnect));
        self.see(told);
    }

    fn leave(&mut self, client: usize, will: bool, unsent: usize) {
        self.go(client, unsent, will, Op::Disconnect, false);
    }

    fn lose(&mut self, gateway: usize) {
        let lost = Origin::Gateway {
            incarnation: self.incarnations[gateway],
            worker: 0,
        };
        self.incarnations[gateway] += 2;
        self.gateways_version += 1;
        let is_lost = |peer: &Peer| {
            peer.connected
                .as_ref()
                .is_some_and(|(me, _)| me.origin == lost)
        };
        let gone: Vec<usize> = (0..CLIENTS.len())
            .filter(|client| is_lost(&self.peers[*client]))
            .collect();
        for client in &gone {
            self.reference.detach(*client, &[]);
        }
        for client in gone {
            self.peers[client].connected = None;
            self.peers[client].counted.clear();
            self.reference.leave(client, true);
        }
        let mut told = self
            .world
            .gateways(self.gateways_version, &self.incarnations);
        told.extend(self.world.finish());
        self.reference.is_losing = true;
        self.see(told);
        self.reference.is_losing = false;
    }

    fn pass(&mut self, tenths: u32) {
        for _ in 0..tenths {
            self.world.now = self.world.now.plus_millis(100);
            for shard in 0..self.world.shards.len() {
                self.world.apply(shard, Input::Tick);
            }
            let mut told = self.world.settle();
            told.extend(self.world.finish());
            self.reference.now = self.world.now.0;
            self.reference.tick();
            self.see(told);
        }
    }

    fn refresh(&mut self) {
        for (shard, twin) in self.world.shards.iter().zip(&mut self.world.twins) {
            match self.twins {
                Twins::None => {}
                Twins::Restored => *twin = restored(shard, self.part_bytes),
                Twins::Chilled => twin.chill(),
            }
        }
    }

    /// Shows the reference what gateways were told.
    fn see(&mut self, told: Vec<(Origin, Effect)>) {
        for (_, effect) in told {
            match effect {
                Effect::Connected(connected) => {
                    let accepted = connected.outcome.expect("nothing to refuse");
                    let Asking { client, me, will } = self.asking.take().expect("one that asked");
                    assert_eq!(connected.conn, me.conn);
                    let present = self.reference.connect(client, me.expiry, will);
                    assert_eq!(accepted.session_present, present);
                    if !present {
                        self.peers[client].inbound.clear();
                    }
                    let who = me.who(&accepted);
                    self.peers[client].connected = Some((me, who));
                }
                Effect::Deliver(deliver) => {
                    let message = &deliver.message;
                    let number = std::str::from_utf8(&message.properties[3..])
                        .unwrap()
                        .parse()
                        .unwrap();
                    let shard = self.world.topic(&message.topic);
                    for target in &deliver.targets {
                        let client = self.conns[&target.conn];
                        let arrived = Arrived {
                            shard,
                            look: Look {
                                number,
                                qos: target.qos as u8,
                                retain: target.retain,
                                ids: target
                                    .subscription_ids
                                    .as_deref()
                                    .unwrap_or_default()
                                    .to_vec(),
                            },
                            id: target.packet_id,
                            dup: target.dup,
                        };
                        let current = self.peers[client].connected.as_ref();
                        assert_eq!(
                            current.map(|(me, _)| me.conn),
                            Some(target.conn),
                            "{arrived:?}"
                        );
                        self.reference.arrived(client, &arrived);
                        if target.counted {
                            let counted = self.peers[client].counted.entry(shard).or_default();
                            *counted = (counted.0 + 1, counted.1 + message.weight() as u64);
                        }
                        let flights = self.reference.flights(client);
                        let tracked = flights.iter().filter(|flight| flight.0 == shard).count();
                        let counted = self.peers[client].counted.get(&shard).map_or(0, |c| c.0);
                        assert!(tracked as u32 + counted <= WINDOW, "beyond the window");
                    }
                }
                Effect::Pubrel(pubrel) => {
                    let client = self.conns[&pubrel.conn];
                    self.reference.pubrel(client, pubrel.packet_id);
                }
                _ => {}
            }
        }
        self.reference.check_groups();
    }

    /// Acknowledges and gives back until nothing more comes.
    pub fn drain(&mut self) {
        for _ in 0..1_000 {
            let mut quiet = true;
            for client in 0..CLIENTS.len() {
                let Some((me, who)) = self.peers[client].connected.clone() else {
                    continue;
                };
                quiet &= self.peers[client].counted.is_empty();
                self.credit(client, &me, who);
                for flight in self.reference.flights(client) {
                    quiet = false;
                    self.ack(client, &me, who, flight, 9);
                }
            }
            let told = self.world.finish();
            quiet &= told.is_empty();
            self.see(told);
            if quiet {
                return self.reference.check_end();
            }
        }
        panic!("deliveries never end");
    }

    /// Ends every session and clears what is retained: nothing may be left.
    pub fn end(&mut self) {
        for topic in self.reference.retained_topics() {
            self.take(&Step::Connect {
                client: 0,
                gateway: 0,
                clean: false,
                expiry: 0,
                will: None,
                unsent: 0,
            });
            let (me, who) = self.peers[0].connected.clone().unwrap();
            self.publish(0, &me, who, &topic, 0, true, true, None);
        }
        for client in 0..CLIENTS.len() {
            self.take(&Step::Connect {
                client,
                gateway: 0,
                clean: true,
                expiry: 0,
                will: None,
                unsent: 0,
            });
            self.take(&Step::Leave {
                client,
                normal: true,
                unsent: 0,
            });
        }
        // Wills of those sessions may have been retained.
        for client in CLIENTS {
            let topic = format!("will/{client}");
            let mut body = message(&topic, "", QoS::AtMostOnce);
            body.retain = true;
            let clear = Op::PublishWill(op::PublishWill {
                message: body.into(),
            });
            let origin = Origin::Gateway {
                incarnation: self.incarnations[0],
                worker: 0,
            };
            self.world.op(origin, self.world.topic(&topic), clear);
        }
        self.world.now = Time(self.world.now.0 + 25_000);
        self.world.pass(300);
        let held = self.world.held();
        assert!(
            held.iter().all(|bytes| *bytes == 0),
            "bytes are left: {held:?}"
        );
        for shard in &self.world.shards {
            let stats = shard.stats();
            assert_eq!((stats.stored_messages, stats.retained_messages), (0, 0));
            assert_eq!(stats.spilled_bytes, 0);
        }
    }
}

fn part_early(shard: &mut Shard, part_bytes: Option<u64>) {
    if let Some(part_bytes) = part_bytes {
        shard.part_early(part_bytes);
    }
}

fn restored(shard: &Shard, part_bytes: Option<u64>) -> Shard {
    let mut restored = Shard::restore(&shard.snapshot()).unwrap();
    part_early(&mut restored, part_bytes);
    restored
}

fn level(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}
