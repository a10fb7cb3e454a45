//! A gateway that records what it is asked, and a client that speaks to it.

use std::sync::Arc;

use bytes::Bytes;
use catena_link::{Class, Full};
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    decode::{Limits, Role, decode},
    packet::{Ack, Connack, Connect, PacketId, Publish, Subscribe, SubscribeFilter},
};
use catena_shard::{
    ConnId, Message, Op, SessionId, Time,
    effect::{
        Accepted, Attached, Connected, Held, Published, SubscribeResult, Subscribed, Target,
        Unsubscribed,
    },
    op,
};
use catena_slots::{SHARDS_MAX, ShardId, SlotTable};

use crate::{
    Connection, Identity, Input, Output, Outside, Settings,
    input::{Delivery, Effect, Now},
    outside::{Action, AuthOutcome, AuthRequest, Denial, Event},
};

pub const CONN: ConnId = ConnId(7);

/// Shard time when the gateway's clock is 0.
pub const SHARD_TIME: u64 = 1_000_000;

#[derive(Debug)]
pub struct Fake {
    pub slots: SlotTable,
    pub now: u64,
    /// All numbered ops, in order.
    pub ops: Vec<(ShardId, Op)>,
    pub direct: Vec<(ShardId, op::Publish)>,
    pub numbers: [u64; SHARDS_MAX],
    pub committed: [u64; SHARDS_MAX],
    pub direct_numbers: [u64; SHARDS_MAX],
    pub direct_through: [u64; SHARDS_MAX],
    pub awaited: Vec<ShardId>,
    /// Publishes that still find room.
    pub room: usize,
    pub time_known: bool,
    pub outcome: Option<AuthOutcome>,
    pub events: Vec<Event>,
    pub denials: Vec<(Action, String)>,
    pub output: Output,
}

impl Fake {
    pub fn new(shards: usize) -> Fake {
        Fake {
            slots: SlotTable::even(shards, 0).unwrap(),
            now: 0,
            ops: Vec::new(),
            direct: Vec::new(),
            numbers: [0; SHARDS_MAX],
            committed: [0; SHARDS_MAX],
            direct_numbers: [0; SHARDS_MAX],
            direct_through: [0; SHARDS_MAX],
            awaited: Vec::new(),
            room: usize::MAX,
            time_known: true,
            outcome: Some(AuthOutcome::Accepted {
                identity: Identity::default(),
                data: None,
            }),
            events: Vec::new(),
            denials: Vec::new(),
            output: Output::default(),
        }
    }
}

/// What the gateway has handed over of every shard.
pub const EFFECTS_THROUGH: u64 = 7;

impl Outside for Fake {
    fn slots(&self) -> &SlotTable {
        &self.slots
    }

    fn send(&mut self, shard: ShardId, class: Class, op: Op) -> Result<u64, Full> {
        if let Class::Publish(_) = class {
            self.room = self.room.checked_sub(1).ok_or(Full)?;
        }
        self.ops.push((shard, op));
        let number = &mut self.numbers[shard.index()];
        *number += 1;
        Ok(*number)
    }

    fn committed_through(&self, shard: ShardId) -> u64 {
        self.committed[shard.index()]
    }

    fn effects_through(&self, _: ShardId) -> u64 {
        EFFECTS_THROUGH
    }

    fn send_direct(&mut self, shard: ShardId, publish: op::Publish) -> Result<u64, Full> {
        self.room = self.room.checked_sub(1).ok_or(Full)?;
        self.direct.push((shard, publish));
        let number = &mut self.direct_numbers[shard.index()];
        *number += 1;
        Ok(*number)
    }

    fn direct_through(&self, shard: ShardId) -> u64 {
        self.direct_through[shard.index()]
    }

    fn await_progress(&mut self, shard: ShardId) {
        self.awaited.push(shard);
    }

    fn shard_time(&self, _shard: ShardId) -> Option<Time> {
        self.time_known.then_some(Time(SHARD_TIME + self.now))
    }

    fn authenticate(&mut self, _request: AuthRequest<'_>) -> Option<AuthOutcome> {
        self.outcome.clone()
    }

    fn count(&mut self, event: Event) {
        // These are for metrics alone, and there are many.
        if !matches!(event, Event::Sent { .. } | Event::Allowed(_)) {
            self.events.push(event);
        }
    }

    fn denied(&mut self, denial: Denial<'_>) {
        self.denials.push((denial.action, denial.topic.to_owned()));
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

/// A connection with its gateway and clock.
pub struct Bench {
    pub fake: Fake,
    pub connection: Connection,
    pub version: Version,
}

impl Bench {
    pub fn new(shards: usize, settings: Settings) -> Bench {
        Bench {
            fake: Fake::new(shards),
            connection: Connection::new(Arc::new(settings), None, CONN, 0xABCD, Now(0)),
            version: Version::V5,
        }
    }

    /// A live client, on one shard, with the session expiry `expiry`.
    pub fn live(version: Version, expiry: u32) -> Bench {
        Bench::live_with(1, connect(version, expiry), Settings::default())
    }

    pub fn live_with(shards: usize, connect: Connect, settings: Settings) -> Bench {
        let mut bench = Bench::new(shards, settings);
        bench.version = connect.version;
        bench.packet(Packet::Connect(Box::new(connect)));
        bench.accept(false, Vec::new(), Held::default());
        bench.connack();
        bench.fake.ops.clear();
        bench
    }

    pub fn now(&self) -> Now {
        Now(self.fake.now)
    }

    pub fn home(&self) -> ShardId {
        self.connection.home
    }

    pub fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        self.connection.handle(input, now, &mut self.fake);
        self.connection.flush(&mut self.fake);
    }

    pub fn packet(&mut self, packet: Packet) {
        assert!(self.connection.reads(), "not reading, at {packet:?}");
        self.input(Input::Packet(packet));
    }

    pub fn effect(&mut self, shard: ShardId, effect: Effect<'_>) {
        self.input(Input::Effect(shard, effect));
    }

    /// Lets time pass, with every deadline on the way.
    pub fn pass(&mut self, milliseconds: u64) {
        let until = self.fake.now + milliseconds;
        while let Some(deadline) = self.connection.deadline().filter(|at| at.0 <= until) {
            self.fake.now = deadline.0.max(self.fake.now);
            self.input(Input::Time);
        }
        self.fake.now = until;
    }

    pub fn accept(&mut self, session_present: bool, shards: Vec<ShardId>, held: Held) {
        let home = self.home();
        let session = SessionId {
            generation: 1,
            counter: 1,
            home,
        };
        let outcome = Ok(Accepted {
            session,
            epoch: 1,
            session_present,
            shards,
            held,
        });
        self.effect(
            home,
            Effect::Connected(Box::new(Connected {
                conn: CONN,
                outcome,
            })),
        );
    }

    /// What was written since the last call.
    pub fn written(&mut self) -> Vec<Packet> {
        let pieces: Vec<u8> = self.fake.output.pieces().flatten().copied().collect();
        self.fake.output.advance(pieces.len());
        let mut bytes = Bytes::from(pieces);
        let limits = Limits {
            maximum_packet_size: u32::MAX,
            role: Role::Client,
        };
        let mut packets = Vec::new();
        while let Some(packet) = decode(&mut bytes, Some(self.version), &limits).unwrap() {
            packets.push(packet);
        }
        assert!(bytes.is_empty(), "half a packet was written");
        packets
    }

    pub fn connack(&mut self) -> Connack {
        match self.written().as_slice() {
            [Packet::Connack(connack)] => (**connack).clone(),
            other => panic!("{other:?} in place of CONNACK"),
        }
    }

    /// The ops since the last call.
    pub fn ops(&mut self) -> Vec<(ShardId, Op)> {
        std::mem::take(&mut self.fake.ops)
    }

    /// The one op since the last call.
    pub fn op(&mut self) -> Op {
        let mut ops = self.ops();
        assert_eq!(ops.len(), 1, "{ops:?}");
        ops.remove(0).1
    }

    pub fn publishes(&mut self) -> Vec<op::Publish> {
        let publish = |(_, op)| match op {
            Op::Publish(publish) => Some(publish),
            _ => None,
        };
        self.ops().into_iter().filter_map(publish).collect()
    }

    pub fn publish(&mut self, topic: &'static str, qos: QoS, id: u16) {
        self.packet(Packet::Publish(publish(topic, qos, id)));
    }

    pub fn answer(&mut self, publish: &op::Publish, reason: ReasonCode) {
        let shard = self.fake.slots.topic(&publish.message.topic);
        let published = Published {
            conn: CONN,
            token: publish.token,
            reason,
        };
        self.effect(shard, Effect::Published(published));
    }

    pub fn deliver(&mut self, shard: ShardId, message: &Arc<Message>, target: &Target) {
        self.deliver_until(shard, message, target, Time::NEVER);
    }

    pub fn deliver_until(
        &mut self,
        shard: ShardId,
        message: &Arc<Message>,
        target: &Target,
        expires_at: Time,
    ) {
        let shard_now = Time(SHARD_TIME + self.fake.now);
        let delivery = Delivery {
            message,
            expires_at,
            shard_now,
            target,
        };
        self.effect(shard, Effect::Deliver(delivery));
    }

    pub fn subscribe(&mut self, id: u16, filters: &[&str]) {
        let filters = filters
            .iter()
            .map(|f| SubscribeFilter::new(*f, QoS::AtLeastOnce))
            .collect();
        self.packet(Packet::Subscribe(Subscribe::new(packet_id(id), filters)));
    }

    /// Answers all Subscribe, Unsubscribe and Attach ops in `ops` with yes.
    pub fn answer_all(&mut self, ops: &[(ShardId, Op)], existed: bool) {
        for (shard, op) in ops {
            match op {
                Op::Subscribe(op) => {
                    let result = SubscribeResult {
                        reason: ReasonCode::GrantedQos1,
                        existed,
                    };
                    let results = vec![result; op.subscriptions.len()];
                    self.answer_subscribe(*shard, op.token, results);
                }
                Op::Unsubscribe(op) => {
                    let existed = vec![existed; op.filters.len()];
                    let answer = Unsubscribed {
                        conn: CONN,
                        token: op.token,
                        existed,
                    };
                    self.effect(*shard, Effect::Unsubscribed(Box::new(answer)));
                }
                Op::Attach(_) => self.attached(*shard, Held::default()),
                _ => {}
            }
        }
    }

    pub fn answer_subscribe(&mut self, shard: ShardId, token: u32, results: Vec<SubscribeResult>) {
        let answer = Subscribed {
            conn: CONN,
            token,
            results,
        };
        self.effect(shard, Effect::Subscribed(Box::new(answer)));
    }

    pub fn attached(&mut self, shard: ShardId, held: Held) {
        self.effect(
            shard,
            Effect::Attached(Box::new(Attached { conn: CONN, held })),
        );
    }

    pub fn commit_all(&mut self) {
        for shard in std::mem::take(&mut self.fake.awaited) {
            let (fake, at) = (&mut self.fake, shard.index());
            fake.committed[at] = fake.numbers[at];
            fake.direct_through[at] = fake.direct_numbers[at];
            self.input(Input::Progress(shard));
        }
    }

    /// The reason of the DISCONNECT that was written last.
    pub fn disconnected(&mut self) -> ReasonCode {
        assert!(self.fake.output.is_closing(), "the socket stays open");
        match self.written().pop() {
            Some(Packet::Disconnect(disconnect)) => disconnect.reason,
            other => panic!("{other:?} in place of DISCONNECT"),
        }
    }
}

pub fn connect(version: Version, expiry: u32) -> Connect {
    let mut connect = Connect::new(version, "client");
    connect.clean_start = expiry == 0;
    connect.session_expiry = (version == Version::V5).then_some(expiry);
    connect
}

pub fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub fn ack(id: u16) -> Ack {
    Ack::success(packet_id(id))
}

pub fn publish(topic: &'static str, qos: QoS, id: u16) -> Publish {
    let mut publish = Publish::new(topic, "payload");
    publish.qos = qos;
    publish.packet_id = PacketId::new(id);
    publish
}

pub fn message(topic: &'static str, payload: impl Into<Bytes>) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.into(),
        payload: payload.into(),
        properties: Bytes::new(),
        qos: QoS::ExactlyOnce,
        retain: false,
        expiry: None,
        publisher: catena_shard::ClientKey(1),
        counter: 0,
    })
}

pub fn target(qos: QoS, packet_id: u16) -> Target {
    Target {
        conn: CONN,
        packet_id,
        qos,
        retain: false,
        dup: false,
        counted: packet_id == 0 && qos != QoS::AtMostOnce,
        shared: false,
        subscription_ids: None,
    }
}

/// A topic of the shard.
pub fn topic_of(slots: &SlotTable, shard: ShardId) -> &'static str {
    [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
    ]
    .into_iter()
    .find(|topic| slots.topic(topic) == shard)
    .expect("one of the letters falls to each of a few shards")
}
