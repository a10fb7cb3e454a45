//! One worker of a gateway: the real link, driven over channels.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    ops::Range,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use catena_chain::{
    DirectWindow, Now, Switches,
    message::{ConnectionId, Lane},
};
use catena_link::{Class, Window};
use catena_membership::Cluster;
use catena_mqtt::{Filter, QoS, packet::RetainHandling};
use catena_replicated::{Action, Uplink};
use catena_shard::{
    ClientKey, ConnId, Effect, Message, Op, Origin, Time, Who, Will,
    op::{Attachment, Connect, Disconnect, Publish, Subscribe, Subscription, SubscriptionOptions},
};
use catena_slots::ShardId;
use catena_transport::{Dial, Local, LocalTransport, Transport};
use tokio::{sync::watch, time::Instant};

use crate::world::{Party, World};

const CONN: ConnId = ConnId(9);

/// Publishes of one batch in a stream.
const PORTION: usize = 16;

pub fn origin(incarnation: u64) -> Origin {
    Origin::Gateway {
        incarnation,
        worker: 0,
    }
}

/// The gateway's end of its link to one shard.
pub struct Gateway {
    shard: ShardId,
    pub uplink: Uplink,
    local: Local<Party>,
    told: watch::Receiver<Arc<Cluster>>,
    transports: BTreeMap<ConnectionId, LocalTransport>,
    started: Instant,
    actions: Vec<Action>,
    /// Effects and deliveries past the log, as they came.
    pub taken: Vec<Effect>,
    numbered: u64,
    pub is_refused: bool,
    /// It takes nothing from the lane of effects.
    pub is_slow: bool,
    /// One more than the number that was published last.
    pub published: u32,
}

impl Gateway {
    pub fn new(world: &World, shard: ShardId, incarnation: u64) -> Gateway {
        let window = Window {
            publishes: 1 << 20,
            publish_bytes: 1 << 30,
        };
        let direct = DirectWindow {
            publishes: 1 << 20,
            waiting_bytes: 1 << 30,
        };
        let switches = Switches::default();
        Gateway {
            shard,
            uplink: Uplink::new(origin(incarnation), window, direct, 0, switches),
            local: world.local.clone(),
            told: world.cluster.subscribe(),
            transports: BTreeMap::new(),
            started: Instant::now(),
            actions: Vec::new(),
            taken: Vec::new(),
            numbered: 0,
            is_refused: false,
            is_slow: false,
            published: 0,
        }
    }

    /// Carries what there is to carry until `is_enough`.
    pub async fn until(&mut self, mut is_enough: impl FnMut(&Gateway) -> bool) {
        while !is_enough(self) {
            // Whatever wakes it; and news of the cluster and pauses have no waker here.
            let mut pause = pin!(tokio::time::sleep(Duration::from_millis(1)));
            poll_fn(|cx| match self.carry(cx) {
                true => Poll::Ready(()),
                false => pause.as_mut().poll(cx),
            })
            .await;
        }
    }

    /// Carries what there is to carry now, or waits for it a moment.
    pub async fn turn(&mut self) {
        let mut turns = 0;
        self.until(|_| std::mem::replace(&mut turns, 1) == 1).await;
    }

    /// Waits until the shard has committed all ops.
    pub async fn committed(&mut self, through: u64) {
        self.until(|gateway| gateway.uplink.committed_through() >= through)
            .await;
    }

    fn carry(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Now {
            monotonic: self.started.elapsed().as_micros() as u64 + 1,
            wall: 0,
        };
        let mut has_moved = false;
        if let Some(configuration) = self.told.borrow().chains.get(&self.shard) {
            self.uplink.adopt(configuration.clone(), &mut self.actions);
        }
        has_moved |= self.act();
        for (wanted, open) in self.uplink.wanted(now) {
            let mut dialled = pin!(self.local.dial(self.shard, wanted.to));
            let Poll::Ready(dialled) = dialled
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("channels are there at once");
            };
            match dialled {
                Ok(mut transport) => {
                    transport.send(open).unwrap();
                    self.transports.insert(wanted.connection, transport);
                }
                Err(_) => self.uplink.lost(wanted.connection, now, &mut self.actions),
            }
            has_moved = true;
        }
        let connections: Vec<_> = self.transports.keys().copied().collect();
        for id in connections {
            if self.is_slow && self.uplink.lane_of(id) == Some(Lane::Effects) {
                continue;
            }
            has_moved |= self.carry_on(id, now, cx);
        }
        has_moved | self.act()
    }

    fn carry_on(&mut self, id: ConnectionId, now: Now, cx: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        let Some(transport) = self.transports.get_mut(&id) else {
            return false;
        };
        let mut is_broken = false;
        loop {
            match transport.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(message)) => {
                    self.uplink
                        .receive(now, id, message, Op::clone, &mut self.actions);
                    has_moved = true;
                }
                Poll::Ready(Err(_)) => {
                    is_broken = true;
                    break;
                }
            }
        }
        self.uplink.idle();
        while !is_broken && self.uplink.wants_to_send(id) {
            match transport.poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {
                    let message = self.uplink.next(id).expect("it wants to send");
                    is_broken = transport.send(message).is_err();
                    has_moved = true;
                }
                Poll::Ready(Err(_)) => is_broken = true,
            }
        }
        if is_broken {
            self.transports.remove(&id);
            self.uplink.lost(id, now, &mut self.actions);
        }
        has_moved || is_broken
    }

    fn act(&mut self) -> bool {
        let has_any = !self.actions.is_empty();
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Disconnect { connection } => {
                    self.transports.remove(&connection);
                }
                Action::Effects {
                    first,
                    effects,
                    direct,
                    ..
                } => {
                    assert!(
                        effects.is_empty() || first == self.numbered + 1,
                        "each effect once"
                    );
                    self.numbered += effects.len() as u64;
                    self.taken.extend(effects.into_iter().chain(direct));
                }
                Action::Refused => self.is_refused = true,
                Action::NewGeneration(generation) => panic!("{generation:?}: nothing was lost"),
                Action::Progress | Action::Opened { .. } => {}
            }
        }
        has_any
    }

    /// Connects a client.
    pub async fn connect(&mut self, client: &str, will: Option<Will>) -> Who {
        let attachment = Attachment {
            conn: CONN,
            persistent: false,
            receive_maximum: u16::MAX,
            window_messages: 1 << 20,
            window_bytes: 1 << 30,
            keeps: Default::default(),
        };
        let connect = Connect {
            client_id: client.into(),
            clean_start: true,
            expiry: 0,
            will,
            principal: None,
            asked_at: Time(u64::MAX / 2),
            protocol: 5,
            attachment,
        };
        self.control(Op::Connect(Box::new(connect))).await;
        let connected = self.taken.iter().rev().find_map(|effect| match effect {
            Effect::Connected(connected) => connected.outcome.clone().ok(),
            _ => None,
        });
        let session = connected.expect("it was accepted");
        Who {
            client: ClientKey::of(client),
            session: session.session,
            epoch: session.epoch,
        }
    }

    /// Lets a client go without a word.
    pub fn disconnect(&mut self, who: Who) -> u64 {
        let disconnect = Disconnect {
            who,
            will: true,
            expiry: None,
        };
        let op = Op::Disconnect(disconnect);
        self.uplink.push(Class::Control, op).unwrap()
    }

    /// Connects a client that subscribes to `topic`.
    pub async fn subscriber(&mut self, client: &str, topic: &str) -> Who {
        let who = self.connect(client, None).await;
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: None,
        };
        let subscription = Subscription {
            filter: Filter::parse(topic).unwrap(),
            options,
        };
        self.control(Op::Subscribe(Box::new(Subscribe {
            who,
            token: 1,
            subscriptions: vec![subscription],
        })))
        .await;
        who
    }

    /// Sends an op and waits until it is committed, and its effects have come.
    pub async fn control(&mut self, op: Op) {
        let number = self.uplink.push(Class::Control, op).unwrap();
        let had = self.taken.len();
        self.until(|gateway| {
            gateway.uplink.committed_through() >= number && gateway.taken.len() > had
        })
        .await;
    }

    /// Takes publishes with these numbers, of QoS 1.
    pub fn publish(&mut self, who: Who, numbers: impl Iterator<Item = u32>) -> u64 {
        let mut last = 0;
        for number in numbers {
            let op = Op::Publish(publish(who, number, QoS::AtLeastOnce));
            last = self.uplink.push(Class::Publish(64), op).unwrap();
            self.published = number + 1;
        }
        last
    }

    /// Publishes with these numbers, a few at a time, so that some are everywhere on their way.
    pub async fn stream(&mut self, who: Who, numbers: Range<u32>) {
        for first in numbers.clone().step_by(PORTION) {
            let portion = first..numbers.end.min(first + PORTION as u32);
            self.publish(who, portion);
            // Time does not pass by itself while something can go on.
            tokio::time::advance(Duration::from_millis(1)).await;
            self.turn().await;
        }
    }

    /// Takes publishes with these numbers that pass by the log.
    pub fn publish_direct(&mut self, who: Who, numbers: impl Iterator<Item = u32>) -> u64 {
        let mut last = 0;
        for number in numbers {
            let publish = publish(who, number, QoS::AtMostOnce);
            last = self.uplink.push_direct(publish, 64).unwrap();
        }
        last
    }

    /// The numbers of the messages that were delivered.
    pub fn delivered(&self) -> Vec<u32> {
        let number = |effect: &Effect| match effect {
            Effect::Deliver(deliver) => {
                let bytes = deliver.message.payload[..].try_into().unwrap();
                Some(u32::from_be_bytes(bytes))
            }
            _ => None,
        };
        self.taken.iter().filter_map(number).collect()
    }

    /// To how many connections messages were to be delivered.
    pub fn targets(&self) -> usize {
        let targets = |effect: &Effect| match effect {
            Effect::Deliver(deliver) => deliver.targets.len(),
            _ => 0,
        };
        self.taken.iter().map(targets).sum()
    }

    /// How many messages were delivered.
    pub fn delivered_count(&self) -> usize {
        let is_delivery = |effect: &&Effect| matches!(effect, Effect::Deliver(_));
        self.taken.iter().filter(is_delivery).count()
    }
}

pub fn publish(who: Who, number: u32, qos: QoS) -> Publish {
    Publish {
        who,
        conn: CONN,
        token: number,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: message(who.client, "t", number, qos),
    }
}

pub fn message(publisher: ClientKey, topic: &str, number: u32, qos: QoS) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        properties: Bytes::new(),
        qos,
        retain: false,
        expiry: None,
        publisher,
        counter: number,
    })
}
