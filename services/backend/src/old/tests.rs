//! A host as its links see it.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use catena_link::Batch;
use catena_mqtt::{Filter, QoS, packet::RetainHandling};
use catena_shard::{
    ClientKey, ConnId, Effect, Message, Op, Origin, Settings, Time, Who,
    op::{Attachment, Connect, Publish, Subscribe, Subscription, SubscriptionOptions},
    wire::{FromShard, ToShard},
};
use catena_slots::{ShardId, SlotTable};
use tokio::task::{LocalSet, spawn_local};

use crate::old::{
    Host, Port,
    limits::{BATCH_EFFECTS, REPLIES_MESSAGES},
    port::Connection,
};

const ORIGIN: Origin = Origin::Gateway {
    incarnation: 1,
    worker: 0,
};
const CONN: ConnId = ConnId(9);

/// Runs `test` beside a host of one shard that knows gateway 1.
fn with_host<F: Future<Output = ()> + 'static>(test: impl FnOnce(Port) -> F) {
    let (mut host, port) = Host::new(ShardId(0), 1);
    host.configure(&Settings::new(ShardId(0), SlotTable::even(1, 0).unwrap()));
    host.set_gateways(1, &[1]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        spawn_local(host.run(Vec::new()));
        test(port).await;
    });
}

/// One end of a link, without memory.
struct Origins {
    connection: Connection,
    next: u64,
}

impl Origins {
    async fn open(
        port: &Port,
        first_uncommitted: u64,
        effects_through: u64,
    ) -> (Origins, FromShard) {
        let mut connection = port.connect();
        let open = ToShard::Open {
            origin: ORIGIN,
            first_uncommitted,
            effects_through,
        };
        poll_fn(|cx| connection.poll_ready(cx)).await.unwrap();
        connection.send(open).unwrap();
        let mut origin = Origins {
            connection,
            next: first_uncommitted,
        };
        let opened = origin.receive().await.expect("an answer");
        (origin, opened)
    }

    async fn send(&mut self, message: ToShard) {
        poll_fn(|cx| self.connection.poll_ready(cx)).await.unwrap();
        self.connection.send(message).unwrap();
    }

    async fn ops(&mut self, ops: Vec<Op>) {
        let first = self.next;
        self.next += ops.len() as u64;
        let batch = Arc::new(Batch { first, ops });
        self.send(ToShard::Ops {
            generation: 1,
            acked_through: 0,
            batch,
        })
        .await;
    }

    async fn receive(&mut self) -> Option<FromShard> {
        poll_fn(|cx| self.connection.poll_receive(cx)).await
    }

    /// Effects and direct deliveries in the order in which a gateway takes them, until `enough`.
    async fn take(&mut self, enough: impl Fn(&[Effect]) -> bool) -> Vec<Effect> {
        let mut taken = Vec::new();
        while !enough(&taken) {
            match self.receive().await {
                Some(FromShard::Effects {
                    effects, direct, ..
                }) => taken.extend(effects.into_iter().chain(direct)),
                other => panic!("{other:?}, after {} effects", taken.len()),
            }
        }
        taken
    }

    /// Connects a client that subscribes to `t`.
    async fn subscriber(&mut self) -> Who {
        let attachment = Attachment {
            conn: CONN,
            persistent: false,
            receive_maximum: u16::MAX,
            window_messages: 1 << 20,
            window_bytes: 1 << 30,
        };
        let connect = Connect {
            client_id: "c".into(),
            clean_start: true,
            expiry: 0,
            will: None,
            principal: None,
            asked_at: Time(u64::MAX / 2),
            attachment,
        };
        self.ops(vec![Op::Connect(Box::new(connect))]).await;
        let session = match &self.take(|taken| !taken.is_empty()).await[0] {
            Effect::Connected(connected) => connected.outcome.clone().expect("accepted"),
            other => panic!("{other:?}"),
        };
        let who = Who {
            client: ClientKey::of("c"),
            session: session.session,
            epoch: session.epoch,
        };
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: None,
        };
        let subscriptions = vec![Subscription {
            filter: Filter::parse("t").unwrap(),
            options,
        }];
        self.ops(vec![Op::Subscribe(Box::new(Subscribe {
            who,
            token: 1,
            subscriptions,
        }))])
        .await;
        self.take(|taken| !taken.is_empty()).await;
        who
    }
}

fn publish(who: Who, number: u32, qos: QoS) -> Publish {
    let message = Message {
        topic: "t".into(),
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        properties: Bytes::new(),
        qos,
        retain: false,
        expiry: None,
        publisher: who.client,
        counter: number,
    };
    let message = Arc::new(message);
    Publish {
        who,
        conn: CONN,
        token: number,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message,
    }
}

/// The numbers of the delivered messages.
fn delivered(effects: &[Effect]) -> Vec<u32> {
    let number = |effect: &Effect| match effect {
        Effect::Deliver(deliver) => Some(u32::from_be_bytes(
            deliver.message.payload[..].try_into().unwrap(),
        )),
        _ => None,
    };
    effects.iter().filter_map(number).collect()
}

// A publisher that changes lanes would be heard in the wrong order, however full the channel is [F-41].
#[test]
fn the_lanes_keep_their_order_on_the_way_out() {
    with_host(|port| async move {
        let (mut origin, _) = Origins::open(&port, 1, 0).await;
        let who = origin.subscriber().await;
        // More than the channel back holds, none of it taken meanwhile.
        let count = (BATCH_EFFECTS * (REPLIES_MESSAGES + 4)) as u32;
        let lanes = 320;
        for lane in 0..lanes {
            let numbers = lane * count / lanes..(lane + 1) * count / lanes;
            if lane % 2 == 0 {
                let ops = numbers
                    .map(|number| Op::Publish(publish(who, number, QoS::AtLeastOnce)))
                    .collect();
                origin.ops(ops).await;
            } else {
                let publishes = numbers
                    .map(|number| publish(who, number, QoS::AtMostOnce))
                    .collect();
                origin
                    .send(ToShard::Direct {
                        generation: 1,
                        publishes,
                    })
                    .await;
            }
            tokio::task::yield_now().await;
        }
        let taken = origin
            .take(|taken| delivered(taken).len() == count as usize)
            .await;
        let numbers = delivered(&taken);
        assert!(
            numbers.iter().copied().eq(0..count),
            "{:?}",
            numbers.windows(2).find(|pair| pair[0] + 1 != pair[1])
        );
    });
}

// An origin that knows too little would wait for an answer that never comes [C-4].
#[test]
fn a_gap_closes_the_connection_and_open_tells_how_far() {
    with_host(|port| async move {
        let (mut origin, _) = Origins::open(&port, 1, 0).await;
        origin.ops(vec![Op::Noop, Op::Noop]).await;
        origin.next += 1;
        origin.ops(vec![Op::Noop]).await;
        while let Some(message) = origin.receive().await {
            assert!(
                matches!(message, FromShard::Effects { committed: 2, .. }),
                "{message:?}"
            );
        }
        let (_, opened) = Origins::open(&port, 1, 0).await;
        assert!(
            matches!(
                opened,
                FromShard::Opened {
                    applied_through: 2,
                    committed: 2,
                    ..
                }
            ),
            "{opened:?}"
        );
    });
}

// Two connections that both live would each get a part of the effects [C-41].
#[test]
fn effects_are_sent_again_on_a_newer_connection() {
    with_host(|port| async move {
        let (mut old, _) = Origins::open(&port, 1, 0).await;
        let who = old.subscriber().await;
        old.ops(vec![Op::Publish(publish(who, 7, QoS::AtLeastOnce))])
            .await;
        let before = old.take(|taken| taken.len() >= 2).await;
        // Connected and Subscribed were taken, but what followed was not.
        let (mut new, _) = Origins::open(&port, old.next, 2).await;
        assert_eq!(new.take(|taken| taken.len() >= 2).await, before);
        assert!(
            old.receive().await.is_none(),
            "the old connection is closed"
        );
    });
}

#[test]
fn a_message_of_another_generation_closes_the_connection() {
    with_host(|port| async move {
        let (mut origin, _) = Origins::open(&port, 1, 0).await;
        origin
            .send(ToShard::Acked {
                generation: 2,
                through: 1,
            })
            .await;
        assert!(origin.receive().await.is_none());
    });
}

// A gateway whose registration is not known yet is to try again, and nothing is made of it before [C-43].
#[test]
fn ops_of_an_unknown_gateway_are_not_taken() {
    with_host(|port| async move {
        let origin = Origin::Gateway {
            incarnation: 2,
            worker: 0,
        };
        let mut connection = port.connect();
        poll_fn(|cx| connection.poll_ready(cx)).await.unwrap();
        connection
            .send(ToShard::Open {
                origin,
                first_uncommitted: 1,
                effects_through: 0,
            })
            .unwrap();
        let opened = poll_fn(|cx| connection.poll_receive(cx)).await;
        assert!(
            matches!(
                opened,
                Some(FromShard::Opened {
                    applied_through: 0,
                    ..
                })
            ),
            "{opened:?}"
        );
        let batch = Arc::new(Batch {
            first: 1,
            ops: vec![Op::Noop],
        });
        poll_fn(|cx| connection.poll_ready(cx)).await.unwrap();
        connection
            .send(ToShard::Ops {
                generation: 1,
                acked_through: 0,
                batch,
            })
            .unwrap();
        assert!(poll_fn(|cx| connection.poll_receive(cx)).await.is_none());
    });
}
