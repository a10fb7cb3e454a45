//! C-50: replicas of two versions agree on what a state is, or know that they do not.

use catena_mqtt::QoS;
use catena_shard::{LEVEL, Op, op};
use xxhash_rust::xxh3::xxh3_64;

use crate::support::*;

/// The snapshots of [`world`] in this level, hashed.
const OF_LEVEL: (u32, [u64; 2]) = (3, [5_017_330_802_994_864_885, 16_757_542_551_828_016_510]);

/// Something of all that a state can hold.
fn world() -> World {
    let mut world = World::with(2, |settings| settings.spill_bytes_max = 1 << 30);
    let publisher = Client::new("publisher", 1);
    let publishes = world.join(&publisher);
    let away = Client::lasting("away", 2);
    let there = Client {
        will: Some(will("last/words", 30)),
        principal: Some("somebody"),
        window: 1,
        ..Client::lasting("there", 3)
    };
    let passing = Client::new("passing", 4);
    for client in [&away, &there, &passing] {
        let who = world.join(client);
        for filter in ["a/b", "a/#", "$share/group/a/+"] {
            world.subscribe(client, who, filter, QoS::ExactlyOnce);
        }
        if client.id == "away" {
            world.leave(client, who, false);
        }
    }
    for (n, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
        let mut kept = message("a/b", &format!("{n}"), qos);
        kept.retain = true;
        kept.expiry = Some(1_000);
        world.publish(&publisher, publishes, kept);
    }
    for shard in 0..2 {
        let mut publish = message(&world.topic_on("a/", shard), "in flight", QoS::ExactlyOnce);
        publish.properties = vec![38, 0, 1, b'k', 0, 1, b'v'].into();
        world.op(
            publisher.origin,
            shard,
            Op::Publish(op::Publish {
                who: publishes,
                conn: publisher.conn,
                token: 9,
                packet_id: 7,
                dup: false,
                high_priority: false,
                message: publish.into(),
            }),
        );
    }
    world
}

// A version that changes what is in a state without saying so is joined to chains of the version before, and reads its state as another one.
#[test]
fn a_state_of_another_form_is_of_another_level() {
    let world = world();
    let hashes: Vec<u64> = world
        .shards
        .iter()
        .map(|shard| xxh3_64(&shard.snapshot()))
        .collect();
    assert_eq!(
        (LEVEL, &hashes[..]),
        (OF_LEVEL.0, &OF_LEVEL.1[..]),
        "the form of the state, or what these ops do to it, has changed: raise LEVEL, unless no release has it yet, and write the hashes here"
    );
}
