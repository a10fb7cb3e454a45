//! Backups: what a frozen shard tells, and how its things come into another one.

use std::ops::ControlFlow;

use catena_mqtt::QoS;
use catena_shard::{
    Answer, ClientKey, Command, Input, Query, Restore, Saved, SessionId, Shard,
    query::{Named, Reader},
    saved::{Body, THINGS_MAX},
};
use catena_slots::ShardId;

use crate::support::*;

const BUFFER: u64 = 4 * 1024 * 1024;

fn world() -> World {
    World::with(1, |settings| {
        settings.buffer_bytes = BUFFER;
        settings.spill_bytes_max = 1 << 40;
    })
}

/// All that a shard tells.
fn saved(shard: &Shard) -> Vec<Saved> {
    let mut things = vec![];
    let told = shard.freeze().save(&mut |thing| {
        things.push(thing);
        ControlFlow::Continue(())
    });
    assert!(told.is_continue());
    things
}

fn text(body: &Body) -> String {
    match body {
        Body::Whole { message, .. } => String::from_utf8(message.payload.to_vec()).unwrap(),
        Body::Shared { .. } => panic!("only one waits for it"),
    }
}

/// A world with a session that is away, and so many messages for it that parts of its queue have left memory.
fn long_queue(count: u32) -> World {
    let mut world = world();
    let away = Client::lasting("away", 10);
    let who = world.join(&away);
    world.subscribe(&away, who, "t", QoS::AtLeastOnce);
    world.leave(&away, who, false);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    for n in 0..count {
        let payload = format!("{n:05} {}", "x".repeat(5_000));
        world.publish(&publisher, who, message("t", &payload, QoS::AtLeastOnce));
    }
    world
}

// Of a queue that is longer than memory only both ends would be in a backup, or in another order.
#[test]
fn a_queue_whose_parts_have_left_memory_is_told_whole_and_in_order() {
    let world = long_queue(2_000);
    assert!(world.shards[0].stats().spilled_bytes > BUFFER);
    let things = saved(&world.shards[0]);
    let queued = things.iter().filter_map(|thing| match thing {
        Saved::Queued { delivery, .. } => Some(text(&delivery.body)[..5].parse::<u32>().unwrap()),
        _ => None,
    });
    assert_eq!(
        queued.collect::<Vec<_>>(),
        (0..2_000).collect::<Vec<_>>(),
        "each once"
    );
    let sessions = things
        .iter()
        .filter(|thing| matches!(thing, Saved::Session(_)));
    assert_eq!(
        sessions.count(),
        1,
        "and none that ends with its connection"
    );
}

// Of a group's queue only the ends would be in a backup; or its messages would come back in the order of its lanes. [F-70]
#[test]
fn a_groups_queue_whose_parts_have_left_memory_is_told_whole_and_in_order() {
    const COUNT: u32 = 2_000;
    let mut source = world();
    let away = Client::lasting("away", 10);
    let who = source.join(&away);
    source.subscribe(&away, who, "$share/g/+", QoS::AtLeastOnce);
    source.leave(&away, who, false);
    let publisher = Client::new("p", 1);
    let who = source.join(&publisher);
    for n in 0..COUNT {
        let payload = format!("{n:05} {}", "x".repeat(5_000));
        let topic = format!("t{}", n % 7);
        source.publish(&publisher, who, message(&topic, &payload, QoS::AtLeastOnce));
    }
    assert!(source.shards[0].stats().spilled_bytes > BUFFER);
    let things = saved(&source.shards[0]);
    let number = |text: &str| text[..5].parse::<u32>().unwrap();
    let waiting = things.iter().filter_map(|thing| match thing {
        Saved::Grouped { body, .. } => Some(number(&text(body))),
        _ => None,
    });
    assert!(waiting.eq(0..COUNT), "each once, and in order");

    // And back it would fill the memory, or get lost.
    let mut world = world();
    assert!(restore(&mut world, 7, 1, vec![]));
    let things = renamed(things, 1_000);
    for (n, things) in things.chunks(100).enumerate() {
        assert!(restore(&mut world, 7, n as u64 + 2, things.to_vec()));
    }
    assert!(world.shards[0].stats().bytes < BUFFER * 6 / 10);
    let (accepted, mut told) = world.connect(&away);
    assert!(accepted.session_present);
    let who = away.who(&accepted);
    let mut due: Vec<u32> = (0..7).collect();
    let mut count = 0;
    while let came @ [_, ..] = &deliveries(&told)[..] {
        for (_, text, _) in came {
            let due = &mut due[(number(text) % 7) as usize];
            assert_eq!(*due, number(text));
            *due += 7;
            count += 1;
        }
        let ids: Vec<u16> = came.iter().map(|(_, _, target)| target.packet_id).collect();
        told = vec![];
        for id in ids {
            let done = catena_shard::op::AckKind::Done;
            told.extend(world.ack(&away, who, 0, id, done));
        }
        told.extend(world.finish());
    }
    assert_eq!(count, COUNT);
}

// A message that is on its way to many when the shard is frozen was acknowledged, and would miss most of them.
#[test]
fn a_message_that_has_not_reached_everybody_is_told_for_all() {
    let mut world = World::new(1);
    for n in 0..1_500_u64 {
        let id: &'static str = Box::leak(format!("away-{n}").into_boxed_str());
        let away = Client::lasting(id, 10 + n);
        let who = world.join(&away);
        world.subscribe(&away, who, "t", QoS::AtLeastOnce);
        world.leave(&away, who, false);
    }
    world.finish();
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    let told = world.publish(&publisher, who, message("t", "once", QoS::AtLeastOnce));
    assert!(!published(&told)[0].is_error());
    assert!(world.shards[0].has_deferred_work(), "it is not done");
    let things = saved(&world.shards[0]);
    let shared = things.iter().filter(|t| matches!(t, Saved::Message { .. }));
    assert_eq!(shared.count(), 1, "what many wait for is told once");
    let queued = things.iter().filter(|t| matches!(t, Saved::Queued { .. }));
    assert_eq!(queued.count(), 1_500);
}

/// Puts things into the one shard of a world, as a control plane does.
fn restore(world: &mut World, id: u64, number: u64, things: Vec<Saved>) -> bool {
    let is_last = false;
    let command = Command::Restore(Box::new(Restore {
        id,
        number,
        is_clearing: false,
        is_last,
        things,
    }));
    let acts = world.shards[0].would_act(&command);
    world.apply(0, Input::Command(&command));
    world.finish();
    acts
}

/// The things as they are called in the other world.
fn renamed(things: Vec<Saved>, counter: u64) -> Vec<Saved> {
    let session = SessionId {
        generation: 1,
        counter,
        home: ShardId(0),
    };
    let here = |of: Named| Named {
        client: of.client,
        session,
    };
    let rename = |thing| match thing {
        Saved::Session(mut record) => {
            record.id = session;
            Saved::Session(record)
        }
        Saved::Subscription {
            of,
            subscription,
            is_owed,
        } => Saved::Subscription {
            of: here(of),
            subscription,
            is_owed,
        },
        Saved::Queued { of, delivery } => Saved::Queued {
            of: here(of),
            delivery,
        },
        other => other,
    };
    things.into_iter().map(rename).collect()
}

fn reader(world: &World, counter: u64) -> Option<Reader> {
    let of = Named {
        client: ClientKey::of("away"),
        session: SessionId {
            generation: 1,
            counter,
            home: ShardId(0),
        },
    };
    let sessions = vec![of];
    match world.shards[0].query(&Query::Readers { sessions }) {
        Answer::Readers(mut readers) => readers.pop(),
        other => panic!("{other:?}"),
    }
}

// A command that comes again, or late, would give clients messages twice; one that is missing would be passed over unseen.
#[test]
fn each_command_of_a_restore_counts_once_and_in_its_turn() {
    let things = renamed(saved(&long_queue(20).shards[0]), 1_000);
    assert!(things.len() < THINGS_MAX);
    let mut world = world();
    assert!(!restore(&mut world, 7, 2, things.clone()), "not begun");
    assert!(restore(&mut world, 7, 1, vec![]));
    assert!(!restore(&mut world, 7, 1, vec![]), "begun already");
    assert!(!restore(&mut world, 7, 3, things.clone()), "not its turn");
    assert!(restore(&mut world, 7, 2, things.clone()));
    assert!(!restore(&mut world, 7, 2, things.clone()), "it has come");
    assert!(!restore(&mut world, 6, 1, things.clone()), "an older one");
    assert_eq!(reader(&world, 1_000).unwrap().queued, 20);
    // What came through the log is a state like any other.
    world.shards[0] = Shard::restore(&world.shards[0].snapshot()).unwrap();
    assert!(!restore(&mut world, 7, 2, things.clone()), "still");
    assert!(restore(&mut world, 8, 1, vec![]), "the next one");
    assert!(!restore(&mut world, 7, 3, things), "the one before is over");
    let away = Client::lasting("away", 10);
    let (accepted, told) = world.connect(&away);
    assert!(accepted.session_present);
    assert_eq!(accepted.session.counter, 1_000);
    let got = payloads(&told, &away);
    assert_eq!(got.len(), 20);
    assert!(got.is_sorted(), "in order");
    // And new sessions do not get its name.
    let other = world.join(&Client::lasting("other", 11));
    assert!(other.session.counter > 1_000);
}

// What is newer would be overwritten: a client that is there would lose its session.
#[test]
fn a_session_that_has_begun_meanwhile_stays() {
    let things = renamed(saved(&long_queue(3).shards[0]), 1_000);
    let sessions = things.into_iter();
    let sessions = sessions.filter(|thing| matches!(thing, Saved::Session(_)));
    let mut world = world();
    let away = Client::lasting("away", 10);
    let who = world.join(&away);
    assert!(restore(&mut world, 7, 1, vec![]));
    assert!(restore(&mut world, 7, 2, sessions.collect()));
    let told = world.publish(&away, who, message("t", "x", QoS::AtLeastOnce));
    assert!(!published(&told).is_empty(), "its ops are still taken");
    let client = ClientKey::of("away");
    match world.shards[0].query(&Query::Session { client }) {
        Answer::Session(Some(session)) => assert_eq!(session.id, who.session),
        other => panic!("{other:?}"),
    }
}
