//! A world of shards and gateways without time or network of its own: ops go in, effects are collected, and links between
//! shards are carried by hand.
#![allow(dead_code)]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use catena_mqtt::{Filter, QoS, ReasonCode, packet::RetainHandling};
use catena_shard::{
    ClientKey, ConnId, Effect, Effects, Entry, Input, Message, Op, Origin, Settings, Shard, Time,
    Who, Will,
    effect::{Accepted, Target},
    op,
};
use catena_slots::{ShardId, SlotTable};

/// A gateway worker of the world.
pub const GATEWAY: Origin = Origin::Gateway {
    incarnation: 1,
    worker: 0,
};

/// Another one, of another gateway.
pub const GATEWAY_2: Origin = Origin::Gateway {
    incarnation: 2,
    worker: 0,
};

/// What one gateway or shard has sent to and taken from a shard.
#[derive(Default, Clone)]
struct Ends {
    sent: u64,
    taken: u64,
}

/// Shards, and everyone who talks to them.
pub struct World {
    pub shards: Vec<Shard>,
    pub now: Time,
    /// Whether effects are acknowledged as soon as they are taken.
    pub acknowledges: bool,
    /// Whether links between shards are carried.
    pub carries: bool,
    /// Copies of the shards that get the same entries, and must do the same.
    pub twins: Vec<Shard>,
    ends: BTreeMap<(Origin, usize), Ends>,
}

impl World {
    pub fn new(shards: usize) -> World {
        World::with(shards, |_| {})
    }

    pub fn with(shards: usize, adjust: impl Fn(&mut Settings)) -> World {
        let slots = SlotTable::even(shards, 0).unwrap();
        let mut world = World {
            shards: (0..shards)
                .map(|n| Shard::new(ShardId(n as u16), 1))
                .collect(),
            now: Time(1_000_000),
            acknowledges: true,
            carries: true,
            twins: vec![],
            ends: BTreeMap::new(),
        };
        for n in 0..shards {
            let mut settings = Settings::new(ShardId(n as u16), slots.clone());
            adjust(&mut settings);
            world.apply(
                n,
                Input::Gateways {
                    version: 1,
                    live: &[1, 2],
                },
            );
            world.apply(n, Input::Configure(&settings));
        }
        world
    }

    /// Applies one entry to one shard, and to its twin if there is one.
    pub fn apply(&mut self, shard: usize, input: Input<'_>) {
        let entry = Entry {
            at: self.now,
            input,
        };
        let mut effects = Effects::default();
        self.shards[shard].apply(&entry, &mut effects);
        let Some(twin) = self.twins.get_mut(shard) else {
            return;
        };
        let mut twin_effects = Effects::default();
        twin.apply(&entry, &mut twin_effects);
        let grown: Vec<Origin> = effects.drain().collect();
        assert_eq!(grown, twin_effects.drain().collect::<Vec<_>>());
        for origin in grown {
            assert_eq!(self.shards[shard].outbox(&origin), twin.outbox(&origin));
        }
        assert!(
            self.shards[shard].snapshot() == twin.snapshot(),
            "the twin of shard {shard} differs after {input:?}"
        );
    }

    /// Sends an op as `origin` to a shard and returns what the gateways are told.
    pub fn op(&mut self, origin: Origin, shard: usize, op: Op) -> Vec<(Origin, Effect)> {
        self.send(origin, shard, op);
        self.settle()
    }

    fn send(&mut self, origin: Origin, shard: usize, op: Op) {
        let ends = self.ends.entry((origin, shard)).or_default();
        ends.sent += 1;
        let (number, taken) = (ends.sent, ends.taken);
        let acked_through = if self.acknowledges { taken } else { 0 };
        self.apply(
            shard,
            Input::Op {
                origin,
                number,
                acked_through,
                op: &op,
            },
        );
    }

    /// Lets `milliseconds` pass, with Ticks, and returns what the gateways are told.
    pub fn pass(&mut self, milliseconds: u64) -> Vec<(Origin, Effect)> {
        let end = self.now.plus_millis(milliseconds);
        let mut told = vec![];
        while self.now < end {
            self.now = self.now.plus_millis(100).min(end);
            for shard in 0..self.shards.len() {
                self.apply(shard, Input::Tick);
            }
            told.extend(self.settle());
        }
        told
    }

    /// Ticks until nothing is put off.
    pub fn finish(&mut self) -> Vec<(Origin, Effect)> {
        let mut told = self.settle();
        for _ in 0..100_000 {
            let busy: Vec<usize> = (0..self.shards.len())
                .filter(|n| self.shards[*n].has_deferred_work())
                .collect();
            if busy.is_empty() {
                return told;
            }
            for shard in busy {
                self.apply(shard, Input::Tick);
            }
            told.extend(self.settle());
        }
        panic!("deferred work never ends");
    }

    /// Carries links between shards until they are quiet; returns the effects for gateways, in order.
    pub fn settle(&mut self) -> Vec<(Origin, Effect)> {
        let mut told = vec![];
        loop {
            let mut quiet = true;
            for shard in 0..self.shards.len() {
                let origins: Vec<Origin> = self.shards[shard].origins().collect();
                for origin in origins {
                    if matches!(origin, Origin::Shard { .. }) && !self.carries {
                        continue;
                    }
                    let taken = self.ends.entry((origin, shard)).or_default().taken;
                    let Some(outbox) = self.shards[shard].outbox(&origin) else {
                        continue;
                    };
                    let fresh: Vec<Effect> = outbox.after(taken).1.cloned().collect();
                    let through = outbox.last();
                    self.ends.entry((origin, shard)).or_default().taken = through;
                    for effect in fresh {
                        quiet = false;
                        match (origin, effect) {
                            (Origin::Shard { shard: to, .. }, Effect::Peer(op)) => {
                                let me = Origin::Shard {
                                    shard: ShardId(shard as u16),
                                    generation: 1,
                                };
                                self.send(me, to.index(), *op);
                                let sent = self.ends[&(me, to.index())].sent;
                                self.apply(
                                    shard,
                                    Input::PeerAck {
                                        shard: to,
                                        generation: 1,
                                        through: sent,
                                    },
                                );
                            }
                            (origin, effect) => told.push((origin, effect)),
                        }
                    }
                }
            }
            if quiet {
                return told;
            }
        }
    }

    /// The home shard of a client.
    pub fn home(&self, client_id: &str) -> usize {
        self.slots().home(client_id).index()
    }

    /// The shard of a topic.
    pub fn topic(&self, topic: &str) -> usize {
        self.slots().topic(topic).index()
    }

    fn slots(&self) -> SlotTable {
        SlotTable::even(self.shards.len(), 0).unwrap()
    }

    /// Connects a client and returns what it was given.
    pub fn connect(&mut self, client: &Client) -> (Accepted, Vec<(Origin, Effect)>) {
        let told = self.ask(client);
        let connected = told.iter().find_map(|(_, effect)| match effect {
            Effect::Connected(connected) if connected.conn == client.conn => {
                Some(connected.clone())
            }
            _ => None,
        });
        (
            connected.expect("an answer").outcome.expect("accepted"),
            told,
        )
    }

    /// Sends a Connect and returns what is told.
    pub fn ask(&mut self, client: &Client) -> Vec<(Origin, Effect)> {
        let connect = op::Connect {
            client_id: client.id.into(),
            clean_start: client.clean_start,
            expiry: client.expiry,
            will: client.will.clone(),
            principal: client.principal.map(Into::into),
            asked_at: self.now,
            protocol: 5,
            attachment: client.attachment(),
        };
        self.op(
            client.origin,
            self.home(client.id),
            Op::Connect(Box::new(connect)),
        )
    }

    /// Connects, and attaches to every shard.
    pub fn join(&mut self, client: &Client) -> Who {
        let (accepted, _) = self.connect(client);
        let who = client.who(&accepted);
        for shard in 0..self.shards.len() {
            if shard != self.home(client.id) {
                self.op(
                    client.origin,
                    shard,
                    Op::Attach(op::Attach {
                        who,
                        attachment: client.attachment(),
                    }),
                );
            }
        }
        who
    }

    /// Subscribes everywhere that the filter lives.
    pub fn subscribe(
        &mut self,
        client: &Client,
        who: Who,
        filter: &str,
        qos: QoS,
    ) -> Vec<(Origin, Effect)> {
        self.subscribe_with(client, who, filter, options(qos))
    }

    pub fn subscribe_with(
        &mut self,
        client: &Client,
        who: Who,
        filter: &str,
        options: op::SubscriptionOptions,
    ) -> Vec<(Origin, Effect)> {
        let parsed = Filter::parse(filter.to_owned()).unwrap();
        let shards: Vec<usize> = match self.slots().filter(parsed.filter()) {
            catena_slots::Placement::One(shard) => vec![shard.index()],
            catena_slots::Placement::All => (0..self.shards.len()).collect(),
        };
        let mut told = vec![];
        for shard in shards {
            let subscriptions = vec![op::Subscription {
                filter: parsed.clone(),
                options,
            }];
            let subscribe = op::Subscribe {
                who,
                token: 7,
                subscriptions,
            };
            told.extend(self.op(client.origin, shard, Op::Subscribe(Box::new(subscribe))));
        }
        told
    }

    /// Publishes through the log.
    pub fn publish(
        &mut self,
        client: &Client,
        who: Who,
        message: Message,
    ) -> Vec<(Origin, Effect)> {
        let shard = self.topic(&message.topic);
        self.op(
            client.origin,
            shard,
            Op::Publish(publish(client, who, message)),
        )
    }

    /// Detaches everywhere and disconnects.
    pub fn leave(&mut self, client: &Client, who: Who, will: bool) -> Vec<(Origin, Effect)> {
        let mut told = vec![];
        for shard in 0..self.shards.len() {
            told.extend(self.op(
                client.origin,
                shard,
                Op::Detach(op::Detach {
                    who,
                    unsent: vec![],
                    taken: u64::MAX,
                }),
            ));
        }
        let disconnect = op::Disconnect {
            who,
            will,
            expiry: None,
        };
        told.extend(self.op(
            client.origin,
            self.home(client.id),
            Op::Disconnect(disconnect),
        ));
        told
    }
}

impl World {
    /// Unsubscribes everywhere that the filter lives.
    pub fn unsubscribe(
        &mut self,
        client: &Client,
        who: Who,
        filter: &str,
    ) -> Vec<(Origin, Effect)> {
        let mut told = vec![];
        for shard in self.shards_of(filter) {
            let unsubscribe = op::Unsubscribe {
                who,
                conn: client.conn,
                token: 8,
                filters: vec![Filter::parse(filter.to_owned()).unwrap()],
            };
            told.extend(self.op(client.origin, shard, Op::Unsubscribe(Box::new(unsubscribe))));
        }
        told
    }

    /// The shards where a filter lives.
    pub fn shards_of(&self, filter: &str) -> Vec<usize> {
        let parsed = Filter::parse(filter.to_owned()).unwrap();
        match self.slots().filter(parsed.filter()) {
            catena_slots::Placement::One(shard) => vec![shard.index()],
            catena_slots::Placement::All => (0..self.shards.len()).collect(),
        }
    }

    /// Acknowledges one tracked delivery of a shard.
    pub fn ack(
        &mut self,
        client: &Client,
        who: Who,
        shard: usize,
        packet_id: u16,
        kind: op::AckKind,
    ) -> Vec<(Origin, Effect)> {
        let items = [op::AckItem { packet_id, kind }].into_iter().collect();
        self.op(client.origin, shard, Op::Ack(op::Ack { who, items }))
    }

    /// Gives back `messages` of `payload` bytes on topics of the same length.
    pub fn credit(
        &mut self,
        client: &Client,
        who: Who,
        shard: usize,
        messages: u32,
    ) -> Vec<(Origin, Effect)> {
        let credit = op::Credit {
            who,
            messages,
            bytes: 0,
        };
        self.op(client.origin, shard, Op::Credit(credit))
    }

    pub fn attach(&mut self, client: &Client, who: Who, shard: usize) -> Vec<(Origin, Effect)> {
        let attach = op::Attach {
            who,
            attachment: client.attachment(),
        };
        self.op(client.origin, shard, Op::Attach(attach))
    }

    pub fn detach(
        &mut self,
        client: &Client,
        who: Who,
        shard: usize,
        unsent: &[u16],
    ) -> Vec<(Origin, Effect)> {
        let detach = op::Detach {
            who,
            unsent: unsent.to_vec(),
            taken: u64::MAX,
        };
        self.op(client.origin, shard, Op::Detach(detach))
    }

    pub fn disconnect(
        &mut self,
        client: &Client,
        who: Who,
        will: bool,
        expiry: Option<u32>,
    ) -> Vec<(Origin, Effect)> {
        let disconnect = op::Disconnect { who, will, expiry };
        self.op(
            client.origin,
            self.home(client.id),
            Op::Disconnect(disconnect),
        )
    }

    /// Tells every shard which gateways live.
    pub fn gateways(&mut self, version: u64, live: &[u64]) -> Vec<(Origin, Effect)> {
        for shard in 0..self.shards.len() {
            self.apply(shard, Input::Gateways { version, live });
        }
        self.settle()
    }

    /// Acknowledges everything, and tells the bytes that each shard holds.
    pub fn held(&mut self) -> Vec<u64> {
        for shard in 0..self.shards.len() {
            for origin in self.shards[shard].origins().collect::<Vec<_>>() {
                let through = self.shards[shard].outbox(&origin).unwrap().last();
                if matches!(origin, Origin::Gateway { .. }) {
                    self.apply(shard, Input::Acked { origin, through });
                }
            }
        }
        self.shards
            .iter()
            .map(|shard| shard.stats().bytes)
            .collect()
    }

    /// A topic with this front that lives on `shard`.
    pub fn topic_on(&self, front: &str, shard: usize) -> String {
        let named = |n: u32| format!("{front}{n}");
        (0..)
            .map(named)
            .find(|topic| self.topic(topic) == shard)
            .unwrap()
    }
}

/// What became of the connection `conn`, if it was answered.
pub fn connected(told: &[(Origin, Effect)], conn: ConnId) -> Option<Result<Accepted, ReasonCode>> {
    told.iter().find_map(|(_, effect)| match effect {
        Effect::Connected(connected) if connected.conn == conn => Some(connected.outcome.clone()),
        _ => None,
    })
}

/// The connections that are told to end, with the reason.
pub fn kicked(told: &[(Origin, Effect)]) -> Vec<(ConnId, ReasonCode)> {
    let kick = |(_, effect): &(Origin, Effect)| match effect {
        Effect::Kick(kick) => Some((kick.conn, kick.reason)),
        _ => None,
    };
    told.iter().filter_map(kick).collect()
}

/// A will on `topic`.
pub fn will(topic: &str, delay: u32) -> Will {
    Will {
        message: Arc::new(message(topic, "will", QoS::AtLeastOnce)),
        delay,
    }
}

/// How a client of the world connects.
#[derive(Clone)]
pub struct Client {
    pub id: &'static str,
    pub origin: Origin,
    pub conn: ConnId,
    pub clean_start: bool,
    pub expiry: u32,
    pub will: Option<Will>,
    pub principal: Option<&'static str>,
    pub window: u32,
    pub keeps: catena_shard::unkept::Keeps,
}

impl Client {
    /// An ephemeral client.
    pub fn new(id: &'static str, conn: u64) -> Client {
        Client {
            id,
            origin: GATEWAY,
            conn: ConnId(conn),
            clean_start: false,
            expiry: 0,
            will: None,
            principal: None,
            window: 100,
            keeps: Default::default(),
        }
    }

    /// A client whose session lasts.
    pub fn lasting(id: &'static str, conn: u64) -> Client {
        Client {
            expiry: 3600,
            ..Client::new(id, conn)
        }
    }

    pub fn attachment(&self) -> op::Attachment {
        op::Attachment {
            conn: self.conn,
            persistent: self.expiry > 0,
            receive_maximum: self.window.min(65_535) as u16,
            window_messages: self.window,
            window_bytes: 1 << 20,
            keeps: self.keeps,
        }
    }

    pub fn who(&self, accepted: &Accepted) -> Who {
        Who {
            client: ClientKey::of(self.id),
            session: accepted.session,
            epoch: accepted.epoch,
        }
    }
}

/// A plain message.
pub fn message(topic: &str, payload: &str, qos: QoS) -> Message {
    Message {
        topic: topic.to_owned().into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Bytes::new(),
        qos,
        retain: false,
        expiry: None,
        publisher: ClientKey(0),
        counter: 0,
    }
}

pub fn publish(client: &Client, who: Who, message: Message) -> op::Publish {
    op::Publish {
        who,
        conn: client.conn,
        token: 1,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: Arc::new(Message {
            publisher: who.client,
            ..message
        }),
    }
}

pub fn options(qos: QoS) -> op::SubscriptionOptions {
    op::SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        id: None,
    }
}

/// What was delivered: connection, payload, target.
pub fn deliveries(told: &[(Origin, Effect)]) -> Vec<(ConnId, String, Target)> {
    let mut found = vec![];
    for (_, effect) in told {
        if let Effect::Deliver(deliver) = effect {
            for target in &deliver.targets {
                let payload = String::from_utf8(deliver.message.payload.to_vec()).unwrap();
                found.push((target.conn, payload, target.clone()));
            }
        }
    }
    found
}

/// The payloads that one connection got.
pub fn payloads(told: &[(Origin, Effect)], client: &Client) -> Vec<String> {
    deliveries(told)
        .into_iter()
        .filter(|(conn, ..)| *conn == client.conn)
        .map(|(_, p, _)| p)
        .collect()
}

/// The reasons of the answers to publishes.
pub fn published(told: &[(Origin, Effect)]) -> Vec<ReasonCode> {
    let reason = |(_, effect): &(Origin, Effect)| match effect {
        Effect::Published(published) => Some(published.reason),
        _ => None,
    };
    told.iter().filter_map(reason).collect()
}

/// All that a message which passes by the log brings about, in steps of two.
pub fn passed_by(shard: &Shard, publish: &op::Publish, now: Time) -> Vec<(Origin, Effect)> {
    let mut out = vec![];
    let mut rest = shard.direct(publish, now, &mut 2, &mut out);
    while let Some(left) = rest {
        rest = shard.direct_more(left, &mut 2, &mut out);
    }
    out
}
