//! A chain in one thread: replicas that hand each other what they say, and one gateway's link to them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use catena_chain::{
    Configuration, DirectWindow, Epoch, Generation, Incarnation, Member, Now, Options, ReplicaId,
    Switches, message::ConnectionId,
};
use catena_link::{Class, Window};
use catena_mqtt::{Filter, QoS, packet::RetainHandling};
use catena_replicated::{Action, FromOrigin, Input, Output, Replica, ToOrigin, Uplink};
use catena_shard::{
    ClientKey, ConnId, Effect, Message, Op, Origin, Settings, Time, Who,
    op::{Attachment, Connect, Credit, Publish, Subscribe, Subscription, SubscriptionOptions},
};
use catena_slots::{ShardId, SlotTable};

const SHARD: ShardId = ShardId(0);
const GATEWAY: u64 = 1;

pub struct Rig {
    pub replicas: Vec<Replica>,
    uplink: Uplink,
    members: Vec<Member>,
    queue: VecDeque<(usize, Input)>,
    answers: VecDeque<(ConnectionId, ToOrigin)>,
    outputs: Vec<Output>,
    actions: Vec<Action>,
    pub effects: u64,
    last: Option<Effect>,
    now: Now,
}

impl Rig {
    pub fn new(redundancy: usize) -> Rig {
        let members: Vec<Member> = (1..=redundancy as u64)
            .map(|number| Member {
                id: ReplicaId(number),
                incarnation: Incarnation(number),
            })
            .collect();
        let replicas = members
            .iter()
            .map(|member| Replica::new(SHARD, member.incarnation, Options::default()))
            .collect();
        let origin = Origin::Gateway {
            incarnation: GATEWAY,
            worker: 0,
        };
        let window = Window {
            publishes: 1 << 20,
            publish_bytes: 1 << 30,
        };
        let direct = DirectWindow {
            publishes: 1 << 20,
            waiting_bytes: 1 << 30,
        };
        let mut rig = Rig {
            replicas,
            uplink: Uplink::new(origin, window, direct, 0, Switches::default()),
            members,
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            outputs: Vec::new(),
            actions: Vec::new(),
            effects: 0,
            last: None,
            now: Now {
                monotonic: 1,
                wall: 1_000_000_000,
            },
        };
        rig.found();
        rig
    }

    /// One founds the shard, the others join one after the other, as the control plane would have it.
    fn found(&mut self) {
        let mut configuration =
            Configuration::founded(SHARD, Epoch(1), Generation(1), self.members[0]);
        self.tell(&configuration);
        let slots = SlotTable::even(1, 0).expect("a valid count");
        let settings = Settings::new(SHARD, slots);
        self.input(0, Input::Settings(settings));
        let live: Arc<[u64]> = Arc::new([GATEWAY]);
        self.input(0, Input::Gateways { version: 1, live });
        for index in 1..self.members.len() {
            configuration.epoch = configuration.epoch.next();
            configuration.learner = Some(self.members[index]);
            configuration.joined = configuration.epoch;
            self.tell(&configuration);
            configuration.epoch = configuration.epoch.next();
            configuration.chain.extend(configuration.learner.take());
            self.tell(&configuration);
        }
        self.uplink.adopt(configuration, &mut self.actions);
        self.run();
    }

    fn tell(&mut self, configuration: &Configuration) {
        for index in 0..self.replicas.len() {
            self.input(index, Input::Configuration(configuration.clone()));
        }
        self.run();
    }

    fn input(&mut self, replica: usize, input: Input) {
        self.queue.push_back((replica, input));
    }

    /// Goes on until nobody has anything to say.
    pub fn run(&mut self) {
        loop {
            self.now.monotonic += 1;
            for (wanted, open) in self.uplink.wanted(self.now) {
                self.say(wanted.connection, open);
            }
            for connection in self.uplink.connections() {
                while let Some(message) = self.uplink.next(connection) {
                    self.say(connection, message);
                }
            }
            while let Some((replica, input)) = self.queue.pop_front() {
                self.step(replica, input);
            }
            if self.answers.is_empty() {
                return;
            }
            while let Some((connection, message)) = self.answers.pop_front() {
                let actions = &mut self.actions;
                self.uplink
                    .receive(self.now, connection, message, Clone::clone, actions);
            }
            for action in self.actions.drain(..) {
                if let Action::Effects { mut effects, .. } = action {
                    self.effects += effects.len() as u64;
                    self.last = effects.pop();
                }
            }
        }
    }

    fn say(&mut self, connection: ConnectionId, message: FromOrigin) {
        let lane = self.uplink.lane_of(connection);
        let to = match lane {
            Some(catena_chain::message::Lane::Ops) => 0,
            _ => self.replicas.len() - 1,
        };
        self.input(
            to,
            Input::FromOrigin {
                connection,
                message,
            },
        );
    }

    fn step(&mut self, replica: usize, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.replicas[replica].step(self.now, input, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send { to, envelope } => {
                    let index = self.members.iter().position(|member| *member == to);
                    self.input(index.expect("a member"), Input::Message(envelope));
                }
                Output::Owed { connection } => {
                    while let Some(message) = self.replicas[replica].owed(connection) {
                        self.answers.push_back((connection, message));
                    }
                }
                Output::Reply {
                    connection,
                    message,
                } => self.answers.push_back((connection, message)),
                _ => {}
            }
        }
        self.outputs = outputs;
    }

    pub fn push(&mut self, op: Op) {
        let class = Class::Control;
        self.uplink
            .push(class, op)
            .expect("control is never refused");
    }

    /// Connects a client.
    pub fn join(&mut self, name: &str, conn: u64, expiry: u32) -> Who {
        self.push(Op::Connect(Box::new(Connect {
            client_id: name.into(),
            clean_start: true,
            expiry,
            will: None,
            principal: None,
            asked_at: Time(u64::MAX / 2),
            protocol: 5,
            attachment: Attachment {
                conn: ConnId(conn),
                persistent: expiry > 0,
                receive_maximum: u16::MAX,
                window_messages: 1 << 20,
                window_bytes: 1 << 30,
                keeps: Default::default(),
            },
        })));
        self.run();
        match self.last.take() {
            Some(Effect::Connected(connected)) => {
                let accepted = connected.outcome.expect("accepted");
                Who {
                    client: ClientKey::of(name),
                    session: accepted.session,
                    epoch: accepted.epoch,
                }
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn subscribe(&mut self, who: Who, filters: &[String]) {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: None,
        };
        let filter = |filter: &String| Subscription {
            filter: Filter::parse(filter.clone()).expect("a valid filter"),
            options,
        };
        self.push(Op::Subscribe(Box::new(Subscribe {
            who,
            token: 1,
            subscriptions: filters.iter().map(filter).collect(),
        })));
        self.run();
    }

    pub fn credit(&mut self, who: Who, messages: u32) {
        self.push(Op::Credit(Credit {
            who,
            messages,
            bytes: u64::from(messages) * 400,
        }));
    }
}

/// A publish of 256 bytes.
pub fn publish(who: Who, conn: u64, topic: &str) -> Op {
    let message = Message {
        topic: topic.into(),
        payload: Bytes::from_static(&[0; 256]),
        properties: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        publisher: who.client,
        counter: 0,
    };
    Op::Publish(Publish {
        who,
        conn: ConnId(conn),
        token: 1,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: Arc::new(message),
    })
}
