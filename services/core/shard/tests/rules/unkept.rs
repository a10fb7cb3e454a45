//! C-59: what outlives a start from disk, and what does not.

use catena_mqtt::QoS;
use catena_shard::{
    Command, Input, Shard,
    unkept::{Durable, Keeps, Which},
};

use crate::support::*;

fn asks() -> (bytestring::ByteString, bytestring::ByteString) {
    ("aio-persistence".into(), "true".into())
}

fn world(durable: &Durable) -> World {
    World::with(1, |settings| settings.durable = durable.clone())
}

/// A client with something in its queue, which has left.
fn with_queue(world: &mut World, id: &'static str, conn: u64, keeps: Keeps) -> Client {
    let client = Client {
        keeps,
        ..Client::lasting(id, conn)
    };
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    world.leave(&client, who, false);
    client
}

/// The shard comes back from its disk, and is told so; then everything that is put off is done.
fn start_from_disk(world: &mut World) {
    let bytes = world.shards[0].snapshot();
    world.shards[0] = Shard::restore(&bytes).unwrap();
    let through = world.shards[0].sequence();
    let command = Command::DropUnkept { through };
    assert!(world.shards[0].would_act(&command));
    world.apply(0, Input::Command(&command));
    assert!(!world.shards[0].would_act(&command), "twice");
}

fn retained(topic: &str, asks: bool) -> catena_shard::Message {
    let mut message = message(topic, "kept?", QoS::AtLeastOnce);
    message.retain = true;
    if asks {
        let (name, value) = ("aio-persistence", "true");
        let mut properties = vec![0x26, 0, name.len() as u8];
        properties.extend(name.bytes());
        properties.extend([0, value.len() as u8]);
        properties.extend(value.bytes());
        message.properties = properties.into();
    }
    message
}

fn publisher(world: &mut World) -> (Client, catena_shard::Who) {
    let client = Client::new("publisher", 99);
    let who = world.join(&client);
    (client, who)
}

/// What waits for the client now.
fn waits(world: &mut World, client: &Client) -> Vec<String> {
    let (accepted, told) = world.connect(client);
    assert!(accepted.session_present, "the session itself always stays");
    payloads(&told, client)
}

/// Were more dropped than the settings say, messages would be lost; were less, old commands would come back as if they were new.
#[test]
fn queues_go_unless_they_are_named_or_asked_for() {
    let (named, asked) = (true, true);
    let cases = [
        (Which::All, [true, true, true]),
        (Which::None, [false, false, false]),
        (Which::Custom { asked: false }, [false, true, false]),
        (Which::Custom { asked: true }, [false, true, true]),
    ];
    for (queues, expected) in cases {
        // Something is always to go, so that there is an entry.
        let mut world = world(&Durable {
            queues,
            retained: Which::None,
            property: asks(),
            ..Durable::default()
        });
        let clients = [
            with_queue(&mut world, "a", 1, Keeps::default()),
            with_queue(
                &mut world,
                "b",
                2,
                Keeps {
                    named,
                    asked: false,
                },
            ),
            with_queue(
                &mut world,
                "c",
                3,
                Keeps {
                    named: false,
                    asked,
                },
            ),
        ];
        let (from, who) = publisher(&mut world);
        world.publish(&from, who, message("t", "old", QoS::AtLeastOnce));
        start_from_disk(&mut world);
        // What came since is not of before.
        world.publish(&from, who, message("t", "new", QoS::AtLeastOnce));
        world.finish();
        for (client, keeps) in clients.iter().zip(expected) {
            let wanted: &[&str] = if keeps { &["old", "new"] } else { &["new"] };
            assert_eq!(
                waits(&mut world, client),
                wanted,
                "{} with {queues:?}",
                client.id
            );
        }
    }
}

/// As for queues.
#[test]
fn retained_messages_go_unless_they_are_named_or_asked_for() {
    let cases = [
        (Which::None, vec![]),
        (Which::Custom { asked: false }, vec!["state/a"]),
        (Which::Custom { asked: true }, vec!["state/a", "x/asked"]),
    ];
    for (which, expected) in cases {
        let mut world = world(&Durable {
            retained: which,
            retained_topics: vec!["state/#".into()],
            property: asks(),
            ..Durable::default()
        });
        let (from, who) = publisher(&mut world);
        for (topic, asks) in [("state/a", false), ("x/asked", true), ("x/b", false)] {
            world.publish(&from, who, retained(topic, asks));
        }
        start_from_disk(&mut world);
        world.publish(&from, who, retained("new", false));
        world.finish();
        let reader = Client::new("reader", 5);
        let readers = world.join(&reader);
        let told = world.subscribe(&reader, readers, "#", QoS::AtLeastOnce);
        assert_eq!(
            payloads(&told, &reader).len(),
            expected.len() + 1,
            "{which:?}"
        );
        for topic in expected {
            let told = world.subscribe(&reader, readers, topic, QoS::AtLeastOnce);
            assert_eq!(
                payloads(&told, &reader),
                ["kept?"],
                "{topic} with {which:?}"
            );
        }
    }
}

/// A long queue would hold up everybody, were it dropped by one entry; and its memory would be counted for ever, were it not given back.
#[test]
fn a_long_queue_goes_in_steps_and_its_memory_with_it() {
    let mut world = world(&Durable {
        queues: Which::None,
        ..Durable::default()
    });
    let client = with_queue(&mut world, "a", 1, Keeps::default());
    let (from, who) = publisher(&mut world);
    let before = world.held()[0];
    for _ in 0..3_000 {
        world.publish(&from, who, message("t", "old", QoS::AtLeastOnce));
    }
    start_from_disk(&mut world);
    world.apply(0, Input::Tick);
    let stats = world.shards[0].stats();
    assert!(stats.unkept_dropped > 0 && stats.unkept_dropped < 3_000);
    world.finish();
    assert_eq!(world.shards[0].stats().unkept_dropped, 3_000);
    assert_eq!(world.held()[0], before);
    assert!(waits(&mut world, &client).is_empty());
}

/// The queue of a shared subscription is the queue of its members.
#[test]
fn a_shared_queue_stays_if_that_of_a_member_does() {
    for (named, expected) in [(false, 0), (true, 1)] {
        let mut world = world(&Durable {
            queues: Which::Custom { asked: false },
            ..Durable::default()
        });
        let client = Client {
            keeps: Keeps {
                named,
                asked: false,
            },
            ..Client::lasting("a", 1)
        };
        let member = world.join(&client);
        world.subscribe(&client, member, "$share/g/t", QoS::AtLeastOnce);
        world.leave(&client, member, false);
        let (from, who) = publisher(&mut world);
        world.publish(&from, who, message("t", "old", QoS::AtLeastOnce));
        start_from_disk(&mut world);
        world.finish();
        assert_eq!(waits(&mut world, &client).len(), expected);
    }
}

/// Somebody who asks in vain would believe that his messages are safe: it is counted, by whether it helps.
#[test]
fn who_asks_is_counted() {
    let mut world = world(&Durable {
        queues: Which::Custom { asked: true },
        property: asks(),
        ..Durable::default()
    });
    let keeps = Keeps {
        named: false,
        asked: true,
    };
    with_queue(&mut world, "a", 1, keeps);
    let (from, who) = publisher(&mut world);
    world.publish(&from, who, retained("t", true));
    world.publish(&from, who, retained("t", false));
    let stats = world.shards[0].stats();
    assert_eq!((stats.asked_allowed, stats.asked_denied), (1, 1));
}

/// What had left memory would outlive a start that it is not to outlive; or what came since would go with it.
#[test]
fn parts_that_have_left_memory_go_too() {
    const BUFFER: u64 = 4 * 1024 * 1024;
    for filter in ["t", "$share/g/t", "$share/g/+"] {
        let mut world = World::with(1, |settings| {
            settings.buffer_bytes = BUFFER;
            settings.spill_bytes_max = 1 << 40;
            settings.durable = Durable {
                queues: Which::None,
                ..Durable::default()
            };
        });
        let client = Client::lasting("a", 1);
        let who = world.join(&client);
        world.subscribe(&client, who, filter, QoS::AtLeastOnce);
        world.leave(&client, who, false);
        let (from, who) = publisher(&mut world);
        for _ in 0..2_000 {
            let old = message("t", &"old".repeat(2_000), QoS::AtLeastOnce);
            world.publish(&from, who, old);
        }
        assert!(world.shards[0].stats().spilled_bytes > BUFFER, "{filter}");
        start_from_disk(&mut world);
        world.publish(&from, who, message("t", "new", QoS::AtLeastOnce));
        world.finish();
        assert_eq!(waits(&mut world, &client), ["new"], "{filter}");
        assert_eq!(world.shards[0].stats().spilled_bytes, 0, "{filter}");
    }
}
