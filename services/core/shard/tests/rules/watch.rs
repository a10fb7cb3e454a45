//! The passport of messages: what is told of each, and that telling changes nothing.

use std::sync::Arc;

use catena_mqtt::QoS;
use catena_shard::{
    ClientKey, Shard,
    watch::{STEPS_MAX, Wanted, Watch, What, Which, Why},
};

use crate::support::*;

fn watch(of: Which) -> Arc<Watch> {
    let wanted = vec![Wanted { order: 7, of }];
    Arc::new(Watch { wanted })
}

/// What was told of each message since this was last asked, with whom it concerns.
fn told(shard: &Shard) -> Vec<(String, Option<ClientKey>, What)> {
    let (steps, dropped) = shard.take_steps();
    assert_eq!(dropped, 0);
    let step = |step: catena_shard::watch::Step| {
        assert_eq!(step.orders, [7]);
        (step.message.topic.to_string(), step.reader, step.what)
    };
    steps.into_iter().map(step).collect()
}

// An administrator who follows a message would be told less than happened, or of messages that he did not ask for.
#[test]
fn each_fate_of_a_message_is_told_once() {
    let mut world = World::with(1, |settings| {
        settings.queue_length_max = Some(1);
        settings.queue_drop_oldest = true;
    });
    world.shards[0].watch(&watch(Which::topic("a/#").unwrap()));
    let (here, away) = (Client::new("here", 1), Client::lasting("away", 2));
    let (of_here, of_away) = (world.join(&here), world.join(&away));
    world.subscribe(&here, of_here, "a/b", QoS::AtLeastOnce);
    world.subscribe(&away, of_away, "a/+", QoS::AtLeastOnce);
    world.leave(&away, of_away, false);
    let keys = (ClientKey::of("here"), ClientKey::of("away"));
    let publish = |world: &mut World, topic: &str, qos| {
        world.publish(&here, of_here, message(topic, "x", qos));
        told(&world.shards[0])
    };
    let step = |topic: &str, reader, what| (topic.to_owned(), reader, what);
    assert_eq!(publish(&mut world, "other", QoS::AtLeastOnce), []);
    let mut first = publish(&mut world, "a/b", QoS::AtLeastOnce);
    first.sort_by_key(|(_, reader, _)| *reader == Some(keys.1));
    assert_eq!(
        first,
        [
            step("a/b", None, What::Applied),
            step("a/b", Some(keys.0), What::Sent),
            step("a/b", Some(keys.1), What::Queued),
        ]
    );
    assert_eq!(
        publish(&mut world, "a/c", QoS::AtLeastOnce),
        [
            step("a/c", None, What::Applied),
            step("a/c", Some(keys.1), What::Queued),
            step("a/b", Some(keys.1), What::Dropped(Why::QueueLimit)),
        ]
    );
    assert_eq!(
        publish(&mut world, "a/c", QoS::AtMostOnce)[1..],
        [step("a/c", Some(keys.1), What::Dropped(Why::NotConnected))]
    );
    assert_eq!(
        publish(&mut world, "a/x/y", QoS::AtLeastOnce)[1..],
        [step("a/x/y", None, What::Dropped(Why::NoSubscriber))]
    );
    let back = world.join(&Client::lasting("away", 3));
    assert_eq!(
        told(&world.shards[0]),
        [step("a/c", Some(keys.1), What::Sent)]
    );
    assert_eq!(back.client, keys.1);
}

// Who follows a client is told of what it publishes and what becomes of messages for it, and of nothing that is for others.
#[test]
fn a_client_is_followed_in_both_directions() {
    let mut world = World::new(1);
    world.shards[0].watch(&watch(Which::Client(ClientKey::of("a"))));
    let (a, b) = (Client::new("a", 1), Client::new("b", 2));
    let (of_a, of_b) = (world.join(&a), world.join(&b));
    world.subscribe(&a, of_a, "t", QoS::AtLeastOnce);
    world.subscribe(&b, of_b, "t", QoS::AtLeastOnce);
    world.publish(&b, of_b, message("t", "x", QoS::AtLeastOnce));
    let for_a = ("t".to_owned(), Some(ClientKey::of("a")), What::Sent);
    assert_eq!(told(&world.shards[0]), [for_a]);
    world.publish(&a, of_a, message("u", "x", QoS::AtLeastOnce));
    assert_eq!(told(&world.shards[0]).len(), 2);
}

// A replica that is watched and one that is not would part for good, or the memory of one that nobody asks would grow for ever.
#[test]
fn watching_changes_nothing_and_is_bounded() {
    let mut world = World::new(1);
    world.twins = vec![Shard::restore(&world.shards[0].snapshot()).unwrap()];
    world.shards[0].watch(&watch(Which::topic("#").unwrap()));
    let client = Client::new("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "#", QoS::AtLeastOnce);
    for _ in 0..STEPS_MAX {
        // The world compares the twins.
        world.publish(&client, who, message("t", "x", QoS::AtMostOnce));
    }
    let (steps, dropped) = world.shards[0].take_steps();
    assert_eq!(steps.len(), STEPS_MAX);
    assert_eq!(dropped as usize, 2 * STEPS_MAX - steps.len());
    world.shards[0].watch(&Arc::default());
    world.publish(&client, who, message("t", "x", QoS::AtLeastOnce));
    assert_eq!(told(&world.shards[0]), []);
}
