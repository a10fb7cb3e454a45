//! F-60 to F-67: work and memory are bounded.

use bytes::Bytes;
use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{
    ClientKey, ConnId, Effect, Effects, Entry, Input, Message, Op, Origin, SessionId,
    WORK_PER_APPLY_MAX, Who, op,
};
use catena_slots::ShardId;

use crate::support::*;

/// One shard of which every apply is measured: how many targets and other effects it emits.
struct Measured {
    world: World,
    /// Of each gateway: ops sent, effects taken.
    ends: [(u64, u64); 2],
    most: usize,
}

const ORIGINS: [Origin; 2] = [GATEWAY, GATEWAY_2];

impl Measured {
    fn new() -> Measured {
        Measured {
            world: World::new(1),
            ends: [(0, 0); 2],
            most: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) -> usize {
        let mut effects = Effects::default();
        let at = self.world.now;
        self.world.shards[0].apply(&Entry { at, input }, &mut effects);
        let mut emitted = 0;
        for (origin, ends) in ORIGINS.iter().zip(&mut self.ends) {
            let Some(outbox) = self.world.shards[0].outbox(origin) else {
                continue;
            };
            let count = |effect: &Effect| match effect {
                Effect::Deliver(deliver) => deliver.targets.len(),
                _ => 1,
            };
            emitted += outbox.after(ends.1).1.map(count).sum::<usize>();
            ends.1 = outbox.last();
        }
        self.most = self.most.max(emitted);
        emitted
    }

    fn op(&mut self, gateway: usize, op: &Op) -> usize {
        self.ends[gateway].0 += 1;
        let (number, acked_through) = self.ends[gateway];
        let origin = ORIGINS[gateway];
        self.input(Input::Op {
            origin,
            number,
            acked_through,
            op,
        })
    }

    /// Ticks until nothing is put off; how much was emitted, in how many.
    fn finish(&mut self) -> (usize, usize) {
        let (mut emitted, mut ticks) = (0, 0);
        while self.world.shards[0].has_deferred_work() {
            self.world.now = self.world.now.plus_millis(1);
            emitted += self.input(Input::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "deferred work never ends");
        }
        (emitted, ticks)
    }

    /// A reader on gateway 0 that is subscribed to `filter`, without a session record.
    fn reader(&mut self, n: u64, persistent: bool, filter: &str) -> Who {
        let who = Who {
            client: ClientKey(u128::from(n) << 64 | 7),
            session: SessionId {
                generation: 1,
                counter: n,
                home: ShardId(0),
            },
            epoch: 1,
        };
        let attachment = op::Attachment {
            conn: ConnId(n),
            persistent,
            receive_maximum: 10,
            window_messages: 26,
            window_bytes: 1 << 20,
            keeps: Default::default(),
        };
        self.op(0, &Op::Attach(op::Attach { who, attachment }));
        let subscribe = op::Subscribe {
            who,
            token: 0,
            subscriptions: vec![op::Subscription {
                filter: catena_mqtt::Filter::parse(filter.to_owned()).unwrap(),
                options: options(QoS::AtLeastOnce),
            }],
        };
        self.op(0, &Op::Subscribe(Box::new(subscribe)));
        who
    }

    fn send(&mut self, who: Who, message: Message) -> usize {
        let publish = op::Publish {
            who,
            conn: ConnId(1),
            token: 0,
            packet_id: 0,
            dup: false,
            high_priority: false,
            message: message.into(),
        };
        self.op(1, &Op::Publish(publish))
    }
}

fn sender() -> Who {
    Who {
        client: ClientKey(3),
        session: SessionId {
            generation: 1,
            counter: 1_000_000,
            home: ShardId(0),
        },
        epoch: 1,
    }
}

const MANY: u64 = 100_000;

/// One publish to 100,000 readers, or the loss of their gateway, would stop the shard for everyone else [F-60].
#[test]
fn a_hundred_thousand_readers_are_served_and_taken_away_in_steps() {
    let limit = WORK_PER_APPLY_MAX as usize + 100;
    for persistent in [false, true] {
        let mut shard = Measured::new();
        for n in 1..=MANY {
            shard.reader(n, persistent, "t/#");
        }
        shard.most = 0;
        assert!(shard.send(sender(), message("t/1", "x", QoS::AtLeastOnce)) <= 1);
        // One that comes later does not overtake it.
        assert!(shard.send(sender(), message("t/1", "y", QoS::AtMostOnce)) <= 1);
        let (emitted, ticks) = shard.finish();
        assert_eq!(emitted as u64, 2 * MANY);
        assert!(ticks < 300, "{ticks} ticks");
        assert!(shard.most <= limit, "{} at once", shard.most);
        shard.input(Input::Gateways {
            version: 2,
            live: &[2],
        });
        let (_, ticks) = shard.finish();
        assert!(ticks < 1_000, "{ticks} ticks");
        if !persistent {
            shard.world.pass(11_000);
            shard.finish();
            shard.world.pass(30_000);
            assert_eq!(shard.world.shards[0].stats().stored_messages, 0);
        }
    }
}

/// A later message would overtake an earlier one that is still on its way to its readers [F-58] [F-60].
#[test]
fn a_small_fan_out_waits_behind_a_large_one_of_its_topic() {
    let mut shard = Measured::new();
    let readers: Vec<Who> = (1..=2_000).map(|n| shard.reader(n, false, "t")).collect();
    shard.send(sender(), message("t", "first", QoS::AtLeastOnce));
    for who in &readers[..1_990] {
        let unsubscribe = op::Unsubscribe {
            who: *who,
            conn: ConnId(who.session.counter),
            token: 0,
            filters: vec![catena_mqtt::Filter::parse("t").unwrap()],
        };
        shard.op(0, &Op::Unsubscribe(Box::new(unsubscribe)));
    }
    let through = shard.world.shards[0].outbox(&GATEWAY).unwrap().last();
    shard.send(sender(), message("t", "second", QoS::AtLeastOnce));
    shard.finish();
    let outbox = shard.world.shards[0].outbox(&GATEWAY).unwrap();
    let told: Vec<_> = outbox
        .after(through)
        .1
        .map(|effect| (GATEWAY, effect.clone()))
        .collect();
    let last = Client::new("last", 2_000);
    assert_eq!(payloads(&told, &last), ["first", "second"]);
}

/// What comes while a long resend is under way would overtake it [F-51] [F-58].
#[test]
fn new_messages_wait_behind_what_is_resent() {
    let mut world = World::new(1);
    let sender = Client {
        origin: GATEWAY_2,
        ..Client::new("sender", 1)
    };
    let sending = world.join(&sender);
    let reader = |conn| Client {
        window: 4_000,
        ..Client::lasting("reader", conn)
    };
    let reading = world.join(&reader(2));
    world.subscribe(&reader(2), reading, "#", QoS::AtLeastOnce);
    let mut kept = message("t", "0", QoS::AtLeastOnce);
    kept.retain = true;
    world.publish(&sender, sending, kept);
    for n in 1..2_500 {
        world.publish(
            &sender,
            sending,
            message("t", &n.to_string(), QoS::AtLeastOnce),
        );
    }
    world.leave(&reader(2), reading, false);
    let (accepted, mut told) = world.connect(&reader(3));
    assert!(deliveries(&told).len() <= WORK_PER_APPLY_MAX as usize);
    let reading = reader(3).who(&accepted);
    told.extend(world.publish(&sender, sending, message("u", "live", QoS::AtLeastOnce)));
    told.extend(world.subscribe(&reader(3), reading, "t", QoS::AtLeastOnce));
    told.extend(world.publish(&sender, sending, message("t", "last", QoS::AtLeastOnce)));
    told.extend(world.finish());
    let got = deliveries(&told);
    let resent: Vec<u32> = got[..2_500]
        .iter()
        .map(|(_, p, _)| p.parse().unwrap())
        .collect();
    assert!(resent.into_iter().eq(0..2_500) && got[..2_500].iter().all(|(_, _, t)| t.dup));
    let rest: Vec<&str> = got[2_500..].iter().map(|(_, p, _)| &**p).collect();
    assert_eq!(
        rest,
        ["live", "0", "last"],
        "the retained one of the SUBSCRIBE, then the live one"
    );
}

/// The end of a session with 100,000 messages would stop the shard [F-60] [F-23].
#[test]
fn a_long_queue_is_given_back_in_steps() {
    let mut shard = Measured::new();
    let who = shard.reader(1, true, "t");
    shard.op(
        0,
        &Op::Detach(op::Detach {
            who,
            unsent: vec![],
            taken: u64::MAX,
        }),
    );
    for _ in 0..MANY {
        shard.send(sender(), message("t", "x", QoS::AtLeastOnce));
    }
    let end = op::EndSession {
        client: who.client,
        session: who.session,
    };
    shard.op(0, &Op::EndSession(end));
    let left = shard.world.shards[0].stats().stored_messages;
    assert!(left >= MANY - u64::from(WORK_PER_APPLY_MAX), "{left} left");
    let (_, ticks) = shard.finish();
    assert!(ticks >= 99);
    assert_eq!(shard.world.shards[0].stats().stored_messages, 0);
}

/// A will of each of 2,000 clients, each to 900 readers, would be published in one step [F-60].
#[test]
fn wills_of_a_lost_gateway_are_published_in_steps() {
    let mut shard = Measured::new();
    for n in 0..2_000u32 {
        let connect = op::Connect {
            client_id: format!("client-{n}").into(),
            clean_start: true,
            expiry: 0,
            will: Some(will("w", 0)),
            principal: None,
            asked_at: shard.world.now,
            protocol: 5,
            attachment: op::Attachment {
                conn: ConnId(u64::from(n)),
                ..Client::new("x", 1).attachment()
            },
        };
        shard.op(1, &Op::Connect(Box::new(connect)));
    }
    for n in 1..=900 {
        shard.reader(n, false, "w");
    }
    // The readers' gateway lives, that of the clients with wills does not.
    shard.most = 0;
    shard.input(Input::Gateways {
        version: 2,
        live: &[1],
    });
    for _ in 0..20_000 {
        if !shard.world.shards[0].has_deferred_work() {
            break;
        }
        let through = shard.world.shards[0].outbox(&GATEWAY).unwrap().last();
        shard.input(Input::Acked {
            origin: GATEWAY,
            through,
        });
        shard.input(Input::Tick);
    }
    assert!(!shard.world.shards[0].has_deferred_work());
    assert!(
        shard.most <= 2 * WORK_PER_APPLY_MAX as usize,
        "{} at once",
        shard.most
    );
    assert_eq!(shard.world.shards[0].stats().wills, 2_000);
}

/// A slow reader would fill the memory of the shard for everyone [F-63].
#[test]
fn publishes_are_refused_when_memory_runs_out() {
    let mut world = World::with(1, |settings| settings.buffer_bytes = 20_000);
    let reader = Client::lasting("reader", 1);
    let reading = world.join(&reader);
    world.subscribe(&reader, reading, "t", QoS::AtLeastOnce);
    world.leave(&reader, reading, false);
    let sender = Client::lasting("sender", 2);
    let who = world.join(&sender);
    let mut kept = message("kept", "x", QoS::AtLeastOnce);
    kept.retain = true;
    world.publish(&sender, who, kept);
    let mut inbound = publish(&sender, who, message("t", "x", QoS::ExactlyOnce));
    inbound.packet_id = 7;
    world.op(GATEWAY, 0, Op::Publish(inbound.clone()));
    let send = |world: &mut World, high_priority: bool| {
        let mut publish = publish(
            &sender,
            who,
            message("t", &"x".repeat(500), QoS::AtLeastOnce),
        );
        publish.high_priority = high_priority;
        published(&world.op(GATEWAY, 0, Op::Publish(publish)))[0]
    };
    let mut accepted = 0;
    while send(&mut world, false) == ReasonCode::Success {
        accepted += 1;
        assert!(accepted < 100);
    }
    let bytes = world.shards[0].stats().bytes;
    assert!(
        (15_000..16_000).contains(&bytes),
        "{bytes}: 75 % of the buffer"
    );
    assert_eq!(
        send(&mut world, true),
        ReasonCode::Success,
        "high priority has more room"
    );
    while send(&mut world, true) == ReasonCode::Success {}
    let bytes = world.shards[0].stats().bytes;
    assert!(
        (18_000..19_000).contains(&bytes),
        "{bytes}: 90 % of the buffer"
    );
    assert_eq!(
        published(&world.op(GATEWAY, 0, Op::Publish(inbound))),
        [ReasonCode::Success]
    );
    let mut clear = message("kept", "", QoS::AtLeastOnce);
    clear.retain = true;
    assert_eq!(
        published(&world.publish(&sender, who, clear)),
        [ReasonCode::NoMatchingSubscribers]
    );
    // The queue goes, and there is room again.
    world.disconnect(&sender, who, false, None);
    let again = Client {
        clean_start: true,
        ..Client::lasting("reader", 3)
    };
    world.join(&again);
    assert!(world.shards[0].stats().bytes < 5_000);
}

/// A full shard would take on sessions and subscriptions that it cannot serve [F-63].
#[test]
fn a_full_shard_refuses_new_sessions_and_subscriptions() {
    let mut world = World::with(1, |settings| settings.buffer_bytes = 2_000);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    let mut filler = message("w", &"x".repeat(2_000), QoS::AtLeastOnce);
    filler.retain = true;
    world.op(
        GATEWAY,
        0,
        Op::PublishWill(op::PublishWill {
            message: filler.into(),
        }),
    );
    let other = Client::lasting("b", 2);
    assert_eq!(
        connected(&world.ask(&other), other.conn),
        Some(Err(ReasonCode::QuotaExceeded))
    );
    for (filter, reason) in [
        ("u", ReasonCode::QuotaExceeded),
        ("t", ReasonCode::GrantedQos1),
    ] {
        let told = world.subscribe(&client, who, filter, QoS::AtLeastOnce);
        assert!(
            matches!(&told[0].1, Effect::Subscribed(s) if s.results[0].reason == reason),
            "{filter}"
        );
    }
    world.leave(&client, who, false);
    assert!(
        world.connect(&Client::lasting("a", 3)).0.session_present,
        "but an old one may resume"
    );
}

/// A gateway that does not drain would be given messages without end, or be forgotten once it drains [F-64].
#[test]
fn a_gateway_that_does_not_drain_gets_replies_alone() {
    let mut world = World::new(1);
    let reader = Client {
        window: 65_000,
        ..Client::lasting("reader", 1)
    };
    let member = Client {
        window: 65_000,
        ..Client::lasting("member", 3)
    };
    let (reading, sharing) = (world.join(&reader), world.join(&member));
    world.subscribe(&reader, reading, "t", QoS::AtLeastOnce);
    world.subscribe(&member, sharing, "$share/g/t", QoS::AtLeastOnce);
    let sender = Client {
        origin: GATEWAY_2,
        ..Client::new("sender", 2)
    };
    let who = world.join(&sender);
    world.op(GATEWAY, 0, Op::Noop);
    world.acknowledges = false;
    let big = "x".repeat(1 << 19);
    let mut told = vec![];
    for _ in 0..40 {
        told.extend(world.publish(&sender, who, message("t", &big, QoS::AtLeastOnce)));
        told.extend(world.op(
            GATEWAY,
            0,
            Op::Credit(op::Credit {
                who: reading,
                messages: 0,
                bytes: 2 << 20,
            }),
        ));
        told.extend(world.op(
            GATEWAY,
            0,
            Op::Credit(op::Credit {
                who: sharing,
                messages: 0,
                bytes: 2 << 20,
            }),
        ));
    }
    let held = world.shards[0].outbox(&GATEWAY).unwrap().bytes();
    assert!((16 << 20..19 << 20).contains(&held), "{held}");
    let told_now = world.subscribe(&reader, reading, "other", QoS::AtLeastOnce);
    assert!(
        matches!(told_now[..], [(_, Effect::Subscribed(_))]),
        "replies still go"
    );
    let sent = deliveries(&told).len();
    let mut got = 0;
    for _ in 0..100 {
        let through = world.shards[0].outbox(&GATEWAY).unwrap().last();
        world.apply(
            0,
            Input::Acked {
                origin: GATEWAY,
                through,
            },
        );
        let mut told = world.finish();
        for who in [reading, sharing] {
            let credit = Op::Credit(op::Credit {
                who,
                messages: 0,
                bytes: 2 << 20,
            });
            told.extend(world.op(GATEWAY, 0, credit));
        }
        got += deliveries(&told).len();
    }
    assert_eq!(sent + got, 80, "everything arrives once it drains");
}

/// A reader whose acknowledgement came while its gateway did not drain would wait for the next message [F-64].
#[test]
fn a_reader_that_made_room_meanwhile_is_served_once_the_gateway_drains() {
    let mut world = World::new(1);
    let reader = Client {
        window: 1,
        ..Client::lasting("reader", 1)
    };
    let flooded = Client {
        window: 1_000,
        ..Client::new("flooded", 3)
    };
    let (reading, flood) = (world.join(&reader), world.join(&flooded));
    world.subscribe(&reader, reading, "t", QoS::AtLeastOnce);
    world.subscribe(&flooded, flood, "big", QoS::AtMostOnce);
    let sender = Client {
        origin: GATEWAY_2,
        ..Client::new("sender", 2)
    };
    let who = world.join(&sender);
    let mut told = vec![];
    for payload in ["1", "2"] {
        told.extend(world.publish(&sender, who, message("t", payload, QoS::AtLeastOnce)));
    }
    world.acknowledges = false;
    for _ in 0..20 {
        world.publish(
            &sender,
            who,
            message("big", &"x".repeat(1 << 20), QoS::AtLeastOnce),
        );
    }
    let id = deliveries(&told)[0].2.packet_id;
    assert!(
        world
            .ack(&reader, reading, 0, id, op::AckKind::Done)
            .is_empty()
    );
    let through = world.shards[0].outbox(&GATEWAY).unwrap().last();
    world.apply(
        0,
        Input::Acked {
            origin: GATEWAY,
            through,
        },
    );
    assert_eq!(payloads(&world.finish(), &reader), ["2"]);
}

/// A session that nobody reads would grow without end, or lose what it could still use [F-65].
#[test]
fn a_full_queue_drops_expired_messages_and_then_the_oldest() {
    let mut world = World::with(1, |settings| {
        settings.queue_length_max = Some(3);
        settings.queue_drop_oldest = true;
    });
    let reader = Client {
        window: 1,
        ..Client::lasting("reader", 1)
    };
    let reading = world.join(&reader);
    world.subscribe(&reader, reading, "t", QoS::AtLeastOnce);
    let sender = Client::new("sender", 2);
    let who = world.join(&sender);
    let mut told = vec![];
    for n in 0..4 {
        let mut sent = message("t", &n.to_string(), QoS::AtLeastOnce);
        sent.expiry = (n == 2).then_some(1);
        told.extend(world.publish(&sender, who, sent));
    }
    world.now = world.now.plus_seconds(2);
    for n in 4..6 {
        world.publish(&sender, who, message("t", &n.to_string(), QoS::AtLeastOnce));
    }
    let stats = world.shards[0].stats();
    assert_eq!((stats.expired, stats.queue_dropped), (1, 1));
    for at in 0..10 {
        let Some((_, _, target)) = deliveries(&told).get(at).cloned() else {
            break;
        };
        told.extend(world.ack(&reader, reading, 0, target.packet_id, op::AckKind::Done));
    }
    assert_eq!(
        payloads(&told, &reader),
        ["0", "3", "4", "5"],
        "in flight is spared"
    );
}

/// The same for the queue of a group [F-65] [F-73].
#[test]
fn a_full_group_drops_expired_messages_and_then_the_oldest() {
    let mut world = World::with(1, |settings| {
        settings.queue_length_max = Some(2);
        settings.queue_drop_oldest = true;
    });
    let member = Client::lasting("member", 1);
    let who = world.join(&member);
    world.subscribe(&member, who, "$share/g/#", QoS::AtLeastOnce);
    world.leave(&member, who, false);
    let sender = Client::new("sender", 2);
    let sending = world.join(&sender);
    for n in 0..4 {
        let mut sent = message(&format!("t/{n}"), &n.to_string(), QoS::AtLeastOnce);
        sent.expiry = (n == 1).then_some(1);
        world.publish(&sender, sending, sent);
        world.now = world.now.plus_seconds(u32::from(n == 1) * 2);
    }
    let again = Client::lasting("member", 3);
    let (_, told) = world.connect(&again);
    let mut got = payloads(&told, &again);
    got.sort();
    assert_eq!(got, ["2", "3"]);
    let stats = world.shards[0].stats();
    assert_eq!((stats.expired, stats.queue_dropped), (1, 1));
}

/// Subscribers would miss messages because a match was remembered [F-67].
#[test]
fn the_match_cache_never_shows() {
    let mut world = World::new(1);
    let client = Client::new("a", 1);
    let who = world.join(&client);
    let topics = ["a", "a/b", "a/b/c", "/a", "b"];
    let filters = ["a", "#", "+", "a/#", "a/+", "a/b/#", "/+", "+/b", "a/b/c"];
    for round in 0..3 {
        for (n, filter) in filters.iter().enumerate() {
            if round == 1 {
                world.unsubscribe(&client, who, filter);
            } else {
                world.subscribe(&client, who, filter, QoS::AtMostOnce);
            }
            let subscribed = if round == 1 {
                &filters[n + 1..]
            } else {
                &filters[..=n]
            };
            for topic in topics {
                let expected = subscribed
                    .iter()
                    .any(|filter| catena_mqtt::filter::matches(filter, topic));
                let told = world.publish(&client, who, message(topic, "x", QoS::AtLeastOnce));
                assert_eq!(
                    !deliveries(&told).is_empty(),
                    expected,
                    "{topic} with {subscribed:?}"
                );
            }
        }
    }
}

/// A remembered topic would pin the buffer that it was read in [F-45] [F-67].
#[test]
fn readers_get_a_message_in_ascending_order_of_their_numbers() {
    let mut world = World::new(1);
    let names = ["a", "b", "c", "d"];
    let clients: Vec<Client> = (1..)
        .zip(names)
        .map(|(n, name)| Client::new(name, n))
        .collect();
    let who: Vec<Who> = clients.iter().map(|client| world.join(client)).collect();
    for n in [2, 0, 3, 1] {
        let filter = ["t/#", "t/+", "t/x", "+/x"][n];
        world.subscribe(&clients[n], who[n], filter, QoS::AtMostOnce);
    }
    let mut sent = message("t/x", "", QoS::AtLeastOnce);
    sent.payload = Bytes::from_static(b"x");
    let told = world.publish(&clients[0], who[0], sent);
    let order: Vec<u64> = deliveries(&told).iter().map(|(conn, ..)| conn.0).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}
