//! F-80: time comes with the entries.

use catena_mqtt::QoS;
use catena_shard::{Effect, Time};

use crate::support::*;

/// A new head whose clock is behind would bring expired messages back to life [F-80].
#[test]
fn time_never_goes_back() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    let before = world.shards[0].now();
    world.now = Time(5);
    let mut short = message("t", "x", QoS::AtLeastOnce);
    short.expiry = Some(10);
    let told = world.publish(&client, who, short);
    assert_eq!(world.shards[0].now(), before);
    let Effect::Deliver(deliver) = &told[0].1 else {
        panic!("{told:?}")
    };
    assert_eq!(
        deliver.expires_at,
        before.plus_seconds(10),
        "absolute, in shard time"
    );
}

/// Timers would fire in whatever op comes next, and not alike on a replica that batches otherwise [F-80].
#[test]
fn timers_fire_by_ticks_alone() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.leave(&client, who, false);
    let held = world.shards[0].stats().bytes;
    world.now = world.now.plus_seconds(4_000);
    let other = Client::new("b", 2);
    world.join(&other);
    assert!(world.shards[0].next_timer().unwrap() <= world.now);
    assert!(world.shards[0].stats().bytes > held);
    world.pass(200);
    assert!(world.shards[0].next_timer().is_none_or(|at| at > world.now));
}
