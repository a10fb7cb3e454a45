//! MQTT sessions on the real shard: each life of a gateway has one client, which subscribes to a topic of its own on each
//! shard and publishes with QoS 1 to its own and the others' topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use catena_chain::Configuration;
use catena_link::Class;
use catena_mqtt::{Filter, QoS, ReasonCode, packet::RetainHandling};
use catena_replicated::Replicated;
use catena_shard::{
    ConnId, Effect, Message, Op, Origin, Settings, Time, Who,
    op::{Attach, Attachment, Connect, Publish, Subscribe, Subscription, SubscriptionOptions},
};
use catena_slots::{ShardId, SlotTable};

use crate::{
    random::Random,
    workload::{Life, Offer, Violation, Workload},
};

/// One publish that was sent.
#[derive(Debug)]
struct Sent {
    by: Life,
    to: Life,
    shard: ShardId,
    token: u32,
    number: u64,
    is_committed: bool,
    answer: Option<ReasonCode>,
}

/// One client, which lives as long as its gateway's incarnation.
#[derive(Debug, Default)]
struct Client {
    who: Option<Who>,
    asked: BTreeSet<Asked>,
    /// Shards where it is subscribed.
    subscribed: BTreeSet<ShardId>,
    /// Ids that were delivered, and the last of each publisher and shard.
    delivered: BTreeSet<u64>,
    last: BTreeMap<(u64, ShardId), u64>,
    /// A shard has started empty since: what was promised there is void `[F-25]`.
    is_void: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Connect,
    Attach(ShardId),
    Subscribe(ShardId),
}

pub struct Sessions {
    slots: SlotTable,
    clients: BTreeMap<Life, Client>,
    sent: BTreeMap<u64, Sent>,
    next_id: u64,
    offered: Option<(u64, Life)>,
}

impl Sessions {
    fn name(life: Life) -> String {
        format!("client-{}", life.incarnation)
    }

    fn topic(life: Life, shard: ShardId) -> String {
        format!("to/{}/{}", life.incarnation, shard.0)
    }

    fn attachment(life: Life) -> Attachment {
        Attachment {
            conn: ConnId(life.incarnation << 8),
            persistent: false,
            receive_maximum: u16::MAX,
            window_messages: u32::MAX / 2,
            window_bytes: u32::MAX / 2,
        }
    }

    /// What a client asks before it publishes.
    fn begin(&mut self, life: Life) -> Option<(ShardId, Op)> {
        let shards: Vec<_> = self.slots.shards().collect();
        let home = self.slots.home(&Sessions::name(life));
        let client = self.clients.entry(life).or_default();
        if client.asked.insert(Asked::Connect) {
            let connect = Connect {
                client_id: Sessions::name(life).into(),
                clean_start: true,
                expiry: 0,
                will: None,
                principal: None,
                asked_at: Time(u64::MAX / 2),
                attachment: Sessions::attachment(life),
            };
            return Some((home, Op::Connect(Box::new(connect))));
        }
        let who = client.who?;
        for shard in shards {
            if shard != home && client.asked.insert(Asked::Attach(shard)) {
                let attachment = Sessions::attachment(life);
                return Some((shard, Op::Attach(Attach { who, attachment })));
            }
            if client.asked.insert(Asked::Subscribe(shard)) {
                let filter = Filter::parse(Sessions::topic(life, shard)).expect("a valid filter");
                let options = SubscriptionOptions {
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                    id: None,
                };
                let subscribe = Subscribe {
                    who,
                    token: 0,
                    subscriptions: vec![Subscription { filter, options }],
                };
                return Some((shard, Op::Subscribe(Box::new(subscribe))));
            }
        }
        None
    }
}

impl Workload for Sessions {
    type Machine = Replicated;

    fn new(shards: usize) -> Self {
        Sessions {
            slots: SlotTable::even(shards, 0).expect("a valid count"),
            clients: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_id: 0,
            offered: None,
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

    fn settings(shard: ShardId, version: u64, generations: &[u32], _: bool) -> Settings {
        let slots = SlotTable::even(generations.len(), 0).expect("a valid count");
        Settings {
            version,
            generations: generations.to_vec(),
            ..Settings::new(shard, slots)
        }
    }

    fn offer(&mut self, random: &mut Random, life: Life) -> Option<Offer<Replicated>> {
        self.offered = None;
        if self.clients.get(&life).is_some_and(|client| client.is_void) {
            return None;
        }
        if let Some((shard, op)) = self.begin(life) {
            let class = Class::Control;
            return Some(Offer { shard, class, op });
        }
        let who = self.clients.get(&life)?.who?;
        let shards: Vec<_> = self.slots.shards().collect();
        let shard = *random.pick(&shards)?;
        let ready = |(_, client): &(&Life, &Client)| client.subscribed.contains(&shard);
        let others: Vec<_> = self
            .clients
            .iter()
            .filter(ready)
            .map(|(life, _)| *life)
            .collect();
        let to = *random.pick(&others)?;
        // An op may be sent to a shard only where the client has attached.
        if !self.clients.get(&life)?.subscribed.contains(&shard) {
            return None;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.offered = Some((id, to));
        let message = Message {
            topic: Sessions::topic(to, shard).into(),
            payload: Bytes::copy_from_slice(&id.to_le_bytes()),
            properties: Bytes::new(),
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry: None,
            publisher: who.client,
            counter: 0,
        };
        let publish = Publish {
            who,
            conn: Sessions::attachment(life).conn,
            token: id as u32,
            packet_id: 0,
            dup: false,
            high_priority: false,
            message: Arc::new(message),
        };
        Some(Offer {
            shard,
            class: Class::Publish(64),
            op: Op::Publish(publish),
        })
    }

    fn sent(&mut self, life: Life, shard: ShardId, number: u64) {
        if let Some((id, to)) = self.offered.take() {
            let sent = Sent {
                by: life,
                to,
                shard,
                token: id as u32,
                number,
                is_committed: false,
                answer: None,
            };
            self.sent.insert(id, sent);
        }
    }

    fn committed(&mut self, life: Life, shard: ShardId, _: u32, number: u64) {
        let mine = |sent: &&mut Sent| sent.by == life && sent.shard == shard && !sent.is_committed;
        for sent in self.sent.values_mut().filter(mine) {
            sent.is_committed = sent.number <= number;
        }
    }

    fn effect(&mut self, life: Life, shard: ShardId, effect: Effect) -> Result<(), Violation> {
        let client = self.clients.entry(life).or_default();
        match effect {
            Effect::Connected(connected) => match connected.outcome {
                Ok(accepted) if client.who.is_none() => {
                    client.who = Some(Who {
                        client: catena_shard::ClientKey::of(&Sessions::name(life)),
                        session: accepted.session,
                        epoch: accepted.epoch,
                    });
                }
                outcome => return Err(format!("{life:?} was connected as {outcome:?}")),
            },
            Effect::Subscribed(_) if client.subscribed.insert(shard) => {}
            Effect::Subscribed(_) => {
                return Err(format!("{life:?} was subscribed twice on {shard:?}"));
            }
            Effect::Published(published) => {
                let Some(sent) = self.sent.get_mut(&u64::from(published.token)) else {
                    return Err(format!("{life:?} never sent {published:?}"));
                };
                if sent.answer.replace(published.reason).is_some() {
                    return Err(format!("publish {} was answered twice", sent.token));
                }
            }
            Effect::Deliver(deliver) => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&deliver.message.payload);
                let id = u64::from_le_bytes(bytes);
                let Some(sent) = self.sent.get(&id) else {
                    return Err(format!("{life:?} got {id}, which nobody sent"));
                };
                if sent.to != life || !client.delivered.insert(id) {
                    return Err(format!("{life:?} got {id} twice, or in error"));
                }
                let last = client
                    .last
                    .entry((sent.by.incarnation, sent.shard))
                    .or_default();
                if id < std::mem::replace(last, id) {
                    return Err(format!("{life:?} got {id} out of order"));
                }
            }
            // The session was lost with a shard.
            Effect::Kick(_) => client.is_void = true,
            _ => {}
        }
        Ok(())
    }

    fn new_generation(&mut self, _: Life, _: ShardId) {
        for client in self.clients.values_mut() {
            client.is_void = true;
        }
    }

    fn over(&mut self, life: Life) {
        self.clients.entry(life).or_default().is_void = true;
    }

    fn is_settled(&self, lives: &[Life]) -> Result<(), Violation> {
        let is_sound = |life: &Life| {
            lives.contains(life) && self.clients.get(life).is_some_and(|client| !client.is_void)
        };
        for (id, sent) in self.sent.iter().filter(|(_, sent)| is_sound(&sent.by)) {
            let Some(reason) = sent.answer.filter(|_| sent.is_committed) else {
                return Err(format!("{:?} waits for an answer to {sent:?}", sent.by));
            };
            let has_got = |client: &Client| client.delivered.contains(id);
            let got = self.clients.get(&sent.to).is_some_and(has_got);
            if is_sound(&sent.to) && (reason != ReasonCode::Success || !got) {
                return Err(format!("{id} was answered {reason:?} and not delivered"));
            }
        }
        for (life, client) in self.clients.iter().filter(|(life, _)| is_sound(life)) {
            let waits = |asked: &&Asked| match asked {
                Asked::Connect => client.who.is_none(),
                Asked::Attach(_) => false,
                Asked::Subscribe(shard) => !client.subscribed.contains(shard),
            };
            if let Some(asked) = client.asked.iter().find(waits) {
                return Err(format!("{life:?} waits for an answer to {asked:?}"));
            }
        }
        Ok(())
    }

    fn check(&self, _: &[(&Configuration, &Replicated)]) -> Result<(), Violation> {
        Ok(())
    }
}
