//! Anything that a client and a shard may do, in any order.

use std::collections::{BTreeMap, VecDeque};

use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{Disconnect, SubscribeFilter},
};
use catena_shard::{
    Op,
    effect::{Kick, Published, Recorded, Released, SubscribeResult},
    op::AckKind,
};
use catena_slots::ShardId;
use proptest::prelude::*;

use super::{
    fake::{Bench, CONN, ack, connect, message, packet_id, publish, target},
    rules::allow,
};
use crate::{
    Input, Settings,
    bounds::{CREDIT_MS, LEAVE_MS, PARKED_BYTES_MAX},
    input::Effect,
};

const SHARDS: usize = 3;
const RECEIVE_MAXIMUM: u16 = 8;
const CLIENT_RECEIVE_MAXIMUM: u16 = 4;
const TOPICS: [&str; 6] = ["a", "b", "c", "d", "$SYS/x", "e"];
const FILTERS: [&str; 5] = ["a", "+", "a/#/b", "$share/g/+", "b"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        qos: u8,
        retain: bool,
    },
    /// The publish before last once more, as it was.
    Resend,
    Pubrel {
        nth: usize,
    },
    Subscribe {
        filter: usize,
        remove: bool,
    },
    Ping,
    /// The oldest op of the shard is answered.
    Answer {
        shard: u16,
        full: bool,
    },
    Deliver {
        shard: u16,
        qos: u8,
        shared: bool,
    },
    /// The client goes on with one of its deliveries.
    Acknowledge {
        nth: usize,
        refuse: bool,
    },
    /// Whatever packet id.
    Stray {
        id: u16,
        kind: u8,
    },
    Room {
        room: usize,
    },
    /// The port gets a policy, or another, or none. What is subscribed to stays granted.
    Policy {
        publish: Option<usize>,
    },
    Progress,
    Written,
    Pass {
        milliseconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..TOPICS.len(), 0..3u8, any::<bool>())
            .prop_map(|(topic, qos, retain)| Step::Publish { topic, qos, retain }),
        1 => Just(Step::Resend),
        3 => (0..4usize).prop_map(|nth| Step::Pubrel { nth }),
        2 => (0..FILTERS.len(), any::<bool>())
            .prop_map(|(filter, remove)| Step::Subscribe { filter, remove }),
        1 => Just(Step::Ping),
        12 => (0..SHARDS as u16, prop::bool::weighted(0.05))
            .prop_map(|(shard, full)| Step::Answer { shard, full }),
        8 => (0..SHARDS as u16, 0..3u8, prop::bool::weighted(0.2))
            .prop_map(|(shard, qos, shared)| Step::Deliver { shard, qos, shared }),
        8 => (0..6usize, prop::bool::weighted(0.1))
            .prop_map(|(nth, refuse)| Step::Acknowledge { nth, refuse }),
        1 => (1..2000u16, 0..4u8).prop_map(|(id, kind)| Step::Stray { id, kind }),
        2 => (0..6usize).prop_map(|room| Step::Room { room }),
        1 => prop::option::of(0..TOPICS.len()).prop_map(|publish| Step::Policy { publish }),
        4 => Just(Step::Progress),
        1 => Just(Step::Written),
        2 => (0..700u64).prop_map(|milliseconds| Step::Pass { milliseconds }),
    ]
}

/// What the client thinks of one of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Qos1,
    Qos2,
    Received,
    Released,
}

/// A client and shards that keep the rules, and check that the connection does.
struct World {
    bench: Bench,
    persistent: bool,
    /// Publishes without PUBACK and PUBREC, in order.
    unacked: VecDeque<u16>,
    unrecorded: VecDeque<u16>,
    /// Got PUBREC; `true`: PUBREL was sent.
    recorded: BTreeMap<u16, bool>,
    requests: VecDeque<u16>,
    deliveries: BTreeMap<u16, Taken>,
    last: Option<(&'static str, QoS, u16)>,
    next_id: u16,
    /// Ops that want an answer, by shard.
    unanswered: [VecDeque<Op>; SHARDS],
    /// Tracked ids in flight, by shard.
    tracked: [BTreeMap<u16, ()>; SHARDS],
    counted: i64,
}

impl World {
    fn new(version: Version, persistent: bool) -> World {
        let settings = Settings {
            receive_maximum: RECEIVE_MAXIMUM,
            ..Settings::default()
        };
        let mut connect = connect(version, if persistent { 100 } else { 0 });
        connect.receive_maximum = (version == Version::V5)
            .then(|| std::num::NonZeroU16::new(CLIENT_RECEIVE_MAXIMUM).unwrap());
        connect.topic_alias_maximum = if version == Version::V5 { 2 } else { 0 };
        World {
            bench: Bench::live_with(SHARDS, connect, settings),
            persistent,
            unacked: VecDeque::new(),
            unrecorded: VecDeque::new(),
            recorded: BTreeMap::new(),
            requests: VecDeque::new(),
            deliveries: BTreeMap::new(),
            last: None,
            next_id: 0,
            unanswered: Default::default(),
            tracked: Default::default(),
            counted: 0,
        }
    }

    fn is_v5(&self) -> bool {
        self.bench.version == Version::V5
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 2000 + 1;
            let id = self.next_id;
            let taken = self.unacked.contains(&id)
                || self.unrecorded.contains(&id)
                || self.recorded.contains_key(&id)
                || self.requests.contains(&id);
            if !taken {
                return id;
            }
        }
    }

    fn client_says(&mut self, packet: Packet) {
        if self.bench.connection.reads() {
            self.bench.packet(packet);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, qos, retain } => self.publish(TOPICS[topic], qos, retain),
            Step::Resend => self.resend(),
            Step::Pubrel { nth } => {
                let waiting = self.recorded.iter_mut().filter(|(_, released)| !**released);
                if let Some((id, released)) = waiting.into_iter().nth(nth)
                    && self.bench.connection.reads()
                {
                    *released = true;
                    let id = *id;
                    self.client_says(Packet::Pubrel(ack(id)));
                }
            }
            Step::Subscribe { filter, remove } => self.subscribe(FILTERS[filter], remove),
            Step::Ping => self.client_says(Packet::Pingreq),
            Step::Answer { shard, full } => self.answer(shard, full),
            Step::Deliver { shard, qos, shared } => self.deliver(shard, qos, shared),
            Step::Acknowledge { nth, refuse } => self.acknowledge(nth, refuse),
            Step::Stray { id, kind } => self.stray(id, kind),
            Step::Room { room } => self.bench.fake.room = room,
            Step::Policy { publish } => {
                let policy = publish.map(|topic| allow(&[TOPICS[topic]], &["#", "$SYS/#"]));
                self.bench.input(Input::Policy(policy));
            }
            Step::Progress => self.bench.commit_all(),
            Step::Written => self.bench.input(Input::Drained),
            Step::Pass { milliseconds } => self.bench.pass(milliseconds),
        }
        self.look();
    }

    fn publish(&mut self, topic: &'static str, qos: u8, retain: bool) {
        let open = self.unacked.len() + self.unrecorded.len() + self.recorded.len();
        let qos = QoS::from_bits(qos).unwrap();
        if !self.bench.connection.reads()
            || qos != QoS::AtMostOnce && open >= usize::from(RECEIVE_MAXIMUM)
        {
            return;
        }
        let id = if qos == QoS::AtMostOnce {
            0
        } else {
            self.free_id()
        };
        let mut packet = publish(topic, qos, id);
        packet.retain = retain;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.unacked.push_back(id),
            QoS::ExactlyOnce => {
                self.unrecorded.push_back(id);
                self.last = Some((topic, qos, id));
            }
        }
        self.bench.packet(Packet::Publish(packet));
    }

    fn resend(&mut self) {
        let Some((topic, qos, id)) = self.last else {
            return;
        };
        // Once answered, one more PUBREC is due for each resend.
        if self.recorded.get(&id) != Some(&false) || !self.bench.connection.reads() {
            return;
        }
        self.unrecorded.push_back(id);
        self.bench.publish(topic, qos, id);
    }

    fn subscribe(&mut self, filter: &str, remove: bool) {
        if !self.bench.connection.reads() {
            return;
        }
        let id = self.free_id();
        self.requests.push_back(id);
        let packet = if remove {
            let filters = vec![filter.into()];
            Packet::Unsubscribe(catena_mqtt::packet::Unsubscribe::new(
                packet_id(id),
                filters,
            ))
        } else {
            let filters = vec![SubscribeFilter::new(filter, QoS::ExactlyOnce)];
            Packet::Subscribe(catena_mqtt::packet::Subscribe::new(packet_id(id), filters))
        };
        self.bench.packet(packet);
    }

    fn answer(&mut self, shard: u16, full: bool) {
        let Some(op) = self.unanswered[usize::from(shard)].pop_front() else {
            return;
        };
        let shard = ShardId(shard);
        match op {
            Op::Publish(op) => {
                let full = full && self.is_v5();
                let reason = if full {
                    ReasonCode::QuotaExceeded
                } else {
                    ReasonCode::Success
                };
                let published = Published {
                    conn: CONN,
                    token: op.token,
                    reason,
                };
                self.bench.effect(shard, Effect::Published(published));
            }
            Op::Release(op) => {
                let released = Released {
                    conn: CONN,
                    packet_id: op.packet_id,
                    found: true,
                };
                self.bench.effect(shard, Effect::Released(released));
            }
            Op::Ack(op) => {
                for item in op
                    .items
                    .iter()
                    .filter(|item| item.kind == AckKind::Received)
                {
                    let recorded = Recorded {
                        conn: CONN,
                        packet_id: item.packet_id,
                    };
                    self.bench.effect(shard, Effect::Recorded(recorded));
                }
            }
            Op::Subscribe(op) if full => {
                let reason = ReasonCode::QuotaExceeded;
                let results = vec![SubscribeResult {
                    reason,
                    existed: false,
                }];
                self.bench.answer_subscribe(shard, op.token, results);
            }
            op => self.bench.answer_all(&[(shard, op)], full),
        }
    }

    fn deliver(&mut self, shard: u16, qos: u8, shared: bool) {
        let qos = QoS::from_bits(qos).unwrap();
        let tracked = qos != QoS::AtMostOnce && (self.persistent || shared);
        let place = usize::from(shard);
        let free = (0..6).map(|k| 1 + shard + 256 * k);
        let id = free
            .into_iter()
            .find(|id| !self.tracked[place].contains_key(id));
        let id = match id {
            Some(id) if tracked => id,
            None if tracked => return,
            _ => 0,
        };
        let mut target = target(qos, id);
        target.shared = shared && qos != QoS::AtMostOnce;
        if target.counted && self.counted >= 40 {
            return;
        }
        self.counted += i64::from(target.counted);
        if tracked {
            self.tracked[place].insert(id, ());
        }
        self.bench
            .deliver(ShardId(shard), &message("t", "x"), &target);
    }

    fn acknowledge(&mut self, nth: usize, refuse: bool) {
        if !self.bench.connection.reads() {
            return;
        }
        let Some((&id, &taken)) = self.deliveries.iter().nth(nth) else {
            return;
        };
        let mut ack = ack(id);
        match taken {
            Taken::Qos1 => {
                self.deliveries.remove(&id);
                self.bench.packet(Packet::Puback(ack));
            }
            Taken::Qos2 if refuse && self.is_v5() => {
                ack.reason = ReasonCode::UnspecifiedError;
                self.deliveries.remove(&id);
                self.bench.packet(Packet::Pubrec(ack));
            }
            Taken::Qos2 | Taken::Received => {
                self.deliveries.insert(id, Taken::Received);
                self.bench.packet(Packet::Pubrec(ack));
            }
            Taken::Released => {
                self.deliveries.remove(&id);
                self.bench.packet(Packet::Pubcomp(ack));
            }
        }
    }

    fn stray(&mut self, id: u16, kind: u8) {
        let id = id + 60_000;
        self.client_says(match kind {
            0 => Packet::Puback(ack(id)),
            1 => Packet::Pubrec(ack(id)),
            2 => Packet::Pubrel(ack(id)),
            _ => Packet::Pubcomp(ack(id)),
        });
    }

    /// Takes what was written and sent, and checks it.
    fn look(&mut self) {
        for packet in self.bench.written() {
            self.take(packet);
        }
        // v5 [MQTT-3.3.4-7]
        let open = self.deliveries.len();
        assert!(
            !self.is_v5() || open <= usize::from(CLIENT_RECEIVE_MAXIMUM),
            "{open} deliveries"
        );
        let connection = &self.bench.connection;
        assert!(connection.parked_bytes <= PARKED_BYTES_MAX + 200);
        assert!(connection.parked <= 64, "{}", connection.parked);
        for (shard, op) in self.bench.ops() {
            let place = shard.index();
            match &op {
                Op::Ack(ack) => {
                    for item in ack
                        .items
                        .iter()
                        .filter(|item| item.kind != AckKind::Received)
                    {
                        assert!(self.tracked[place].remove(&item.packet_id).is_some());
                    }
                }
                Op::Credit(credit) => self.counted -= i64::from(credit.messages),
                Op::Detach(detach) => {
                    for id in &detach.unsent {
                        assert!(self.tracked[place].contains_key(id));
                    }
                }
                _ => {}
            }
            assert!(self.counted >= 0, "more credit than deliveries");
            self.unanswered[place].push_back(op);
        }
    }

    fn take(&mut self, packet: Packet) {
        match packet {
            // v5 [MQTT-4.6.0-2]
            Packet::Puback(ack) => assert_eq!(self.unacked.pop_front(), Some(ack.packet_id.get())),
            // v5 [MQTT-4.6.0-3]
            Packet::Pubrec(ack) => {
                let id = ack.packet_id.get();
                assert_eq!(self.unrecorded.pop_front(), Some(id));
                if ack.reason.is_error() || !self.is_v5() && self.recorded.contains_key(&id) {
                    return;
                }
                self.recorded.entry(id).or_insert(false);
            }
            Packet::Pubcomp(ack) => {
                let id = ack.packet_id.get();
                assert!(id >= 60_000 || self.recorded.remove(&id) == Some(true));
                if self.last.is_some_and(|(_, _, last)| last == id) {
                    self.last = None;
                }
            }
            Packet::Suback(suback) => {
                assert_eq!(self.requests.pop_front(), Some(suback.packet_id.get()));
            }
            Packet::Unsuback(unsuback) => {
                assert_eq!(self.requests.pop_front(), Some(unsuback.packet_id.get()));
            }
            Packet::Publish(publish) => {
                let taken = match publish.qos {
                    QoS::AtMostOnce => return,
                    QoS::AtLeastOnce => Taken::Qos1,
                    QoS::ExactlyOnce => Taken::Qos2,
                };
                let before = self
                    .deliveries
                    .insert(publish.packet_id.unwrap().get(), taken);
                assert_eq!(before, None, "a packet id in use was given again");
            }
            Packet::Pubrel(ack) if ack.packet_id.get() < 60_000 => {
                let taken = self
                    .deliveries
                    .get_mut(&ack.packet_id.get())
                    .expect("a delivery");
                assert!(
                    matches!(taken, Taken::Received | Taken::Released),
                    "{taken:?}"
                );
                *taken = Taken::Released;
            }
            Packet::Pubrel(_) | Packet::Pingresp => {}
            other => panic!("{other:?}"),
        }
    }

    /// Everything is answered, over and over.
    fn calm_down(&mut self) {
        self.bench.fake.room = usize::MAX;
        for round in 0..10_000 {
            self.bench.commit_all();
            self.look();
            for shard in 0..SHARDS as u16 {
                self.answer(shard, false);
                self.look();
            }
            if round % 100 == 0 {
                self.bench.pass(LEAVE_MS);
                self.look();
            }
            let idle = self.unanswered.iter().all(VecDeque::is_empty);
            self.acknowledge(0, false);
            self.look();
            if idle && self.deliveries.is_empty() && round % 100 == 99 {
                break;
            }
        }
        self.bench.pass(CREDIT_MS);
        self.look();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // Clients would hang, be sent too much, or bring the gateway down.
    #[test]
    fn a_client_that_keeps_the_rules_is_served(
        v5 in any::<bool>(),
        persistent in any::<bool>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let mut world = World::new(version, persistent);
        for step in &steps {
            world.step(step);
            prop_assert!(world.bench.connection.is_live(), "closed at {:?}", step);
        }
        world.calm_down();
        prop_assert!(world.bench.connection.is_live());
        prop_assert!(world.bench.connection.reads());
        prop_assert!(world.unacked.is_empty(), "PUBACK missing for {:?}", world.unacked);
        prop_assert!(world.unrecorded.is_empty(), "PUBREC missing for {:?}", world.unrecorded);
        prop_assert!(world.requests.is_empty(), "no answer to {:?}", world.requests);
        prop_assert!(world.recorded.values().all(|released| !released), "PUBCOMP is missing");
        prop_assert!(world.deliveries.is_empty(), "stuck: {:?}", world.deliveries);
        prop_assert_eq!(world.bench.connection.unacknowledged, 0);
        prop_assert_eq!(world.bench.connection.waiting, 0);
        prop_assert_eq!(world.bench.connection.parked, 0);
        prop_assert_eq!(world.counted, 0, "credit is missing");
        prop_assert!(world.tracked.iter().all(BTreeMap::is_empty), "shards wait for acks");
    }

    // A connection that never ends holds its session's next one up. [F-12] [F-14]
    #[test]
    fn every_end_comes_to_its_end(
        v5 in any::<bool>(),
        persistent in any::<bool>(),
        end in 0..4u8,
        answers in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let mut world = World::new(version, persistent);
        for step in &steps {
            world.step(step);
        }
        let home = world.bench.home();
        match end {
            0 => world.bench.input(Input::Closed),
            1 => world.bench.input(Input::Drain(ReasonCode::ServerShuttingDown)),
            2 => {
                let reason = ReasonCode::SessionTakenOver;
                let kick = Kick { conn: CONN, epoch: 1, reason };
                world.bench.effect(home, Effect::Kick(kick));
            }
            _ => {
                let disconnect = Disconnect::new(ReasonCode::Success);
                world.bench.input(Input::Packet(Packet::Disconnect(Box::new(disconnect))));
            }
        }
        if answers {
            for _ in 0..1000 {
                for op in world.bench.ops() {
                    world.unanswered[op.0.index()].push_back(op.1);
                }
                world.bench.fake.room = usize::MAX;
                for shard in 0..SHARDS as u16 {
                    world.answer(shard, false);
                }
                world.bench.commit_all();
            }
            prop_assert!(world.bench.connection.finished());
        }
        world.bench.pass(LEAVE_MS + 1_000);
        prop_assert!(world.bench.connection.finished());
        prop_assert_eq!(world.bench.connection.deadline(), None);
        let before = world.bench.fake.ops.len();
        world.bench.commit_all();
        prop_assert_eq!(world.bench.fake.ops.len(), before, "an op after the last");
        let last = world.bench.fake.ops.last().map(|(shard, _)| *shard);
        prop_assert!(answers || last == Some(home));
    }

    // A hostile client could bring the gateway down.
    #[test]
    fn any_packet_in_any_phase_is_survived(
        version in prop_oneof![Just(Version::V3), Just(Version::V4), Just(Version::V5)],
        packets in prop::collection::vec((0..14u8, 1..5u16, 0..3u8), 1..80),
        answer_each in 1..5usize,
    ) {
        let mut bench = Bench::live(version, 0);
        for (n, (kind, id, qos)) in packets.into_iter().enumerate() {
            let qos = QoS::from_bits(qos).unwrap();
            let id_of = if qos == QoS::AtMostOnce { 0 } else { id };
            let packet = match kind {
                0..=4 => Packet::Publish(publish(TOPICS[usize::from(id)], qos, id_of)),
                5 => Packet::Puback(ack(id)),
                6 => Packet::Pubrec(ack(id)),
                7 | 8 => Packet::Pubrel(ack(id)),
                9 => Packet::Pubcomp(ack(id)),
                10 => Packet::Subscribe(catena_mqtt::packet::Subscribe::new(
                    packet_id(id),
                    vec![SubscribeFilter::new("+", qos)],
                )),
                11 => Packet::Unsubscribe(catena_mqtt::packet::Unsubscribe::new(
                    packet_id(id),
                    vec!["+".into()],
                )),
                12 => Packet::Pingreq,
                _ => Packet::Pingresp,
            };
            bench.input(Input::Packet(packet));
            bench.deliver(ShardId(0), &message("t", "x"), &target(qos, 0));
            if n % answer_each == 0 {
                let ops = bench.ops();
                bench.answer_all(&ops, false);
                for (_, op) in ops {
                    if let Op::Publish(op) = op {
                        bench.answer(&op, ReasonCode::Success);
                    }
                }
            }
            bench.commit_all();
        }
        bench.input(Input::Closed);
        bench.pass(LEAVE_MS + 1_000);
        prop_assert!(bench.connection.finished());
    }
}
