//! F-20, F-21: wills.

use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{Input, Op, Will, op};

use crate::support::*;

fn watched(shards: usize) -> (World, Client) {
    let mut world = World::new(shards);
    let watcher = Client::new("watcher", 99);
    let who = world.join(&watcher);
    world.subscribe(&watcher, who, "#", QoS::AtMostOnce);
    (world, watcher)
}

fn with_will(conn: u64, expiry: u32, delay: u32) -> Client {
    Client {
        expiry,
        will: Some(will("w", delay)),
        ..Client::new("a", conn)
    }
}

/// A will would be published although its client left in order, or not when it did not [F-20].
#[test]
fn only_a_normal_disconnect_drops_the_will() {
    for normal in [true, false] {
        for shards in [1, 3] {
            let (mut world, watcher) = watched(shards);
            let client = with_will(1, 60, 0);
            let who = world.join(&client);
            let told = world.disconnect(&client, who, !normal, None);
            let expected: &[&str] = if normal { &[] } else { &["will"] };
            assert_eq!(payloads(&told, &watcher), expected, "{shards} shards");
            assert_eq!(
                payloads(&world.pass(70_000), &watcher),
                Vec::<String>::new()
            );
        }
    }
}

/// A will would come at once, or after the session that it tells the end of [F-20].
#[test]
fn a_will_waits_for_its_delay_but_not_longer_than_the_session() {
    for (expiry, delay, after) in [(60, 10, 10), (20, 30, 20), (0, 30, 0)] {
        let (mut world, watcher) = watched(1);
        let client = with_will(1, expiry, delay);
        let who = world.join(&client);
        let mut told = world.leave(&client, who, true);
        if after > 0 {
            told.extend(world.pass(after * 1000 - 100));
            assert_eq!(
                payloads(&told, &watcher),
                Vec::<String>::new(),
                "{expiry} {delay}"
            );
            told.extend(world.pass(100));
        }
        assert_eq!(payloads(&told, &watcher), ["will"], "{expiry} {delay}");
        assert_eq!(
            payloads(&world.pass(70_000), &watcher),
            Vec::<String>::new(),
            "once"
        );
    }
}

/// A client that came back in time would be declared dead [F-20].
#[test]
fn a_session_that_resumes_in_time_takes_its_will_back() {
    let (mut world, watcher) = watched(1);
    let client = with_will(1, 60, 10);
    let who = world.join(&client);
    world.leave(&client, who, true);
    world.pass(9_000);
    let again = Client::lasting("a", 2);
    world.join(&again);
    assert_eq!(
        payloads(&world.pass(20_000), &watcher),
        Vec::<String>::new()
    );
}

/// A clean start ends the session, and a will that waits for that would be lost [F-20].
#[test]
fn a_clean_start_publishes_the_will_that_waits() {
    let (mut world, watcher) = watched(1);
    let client = with_will(1, 60, 30);
    let who = world.join(&client);
    world.leave(&client, who, true);
    let clean = Client {
        clean_start: true,
        ..Client::lasting("a", 2)
    };
    let (_, told) = world.connect(&clean);
    assert_eq!(payloads(&told, &watcher), ["will"]);
}

/// A will that expired while it waited would never be seen [F-20].
#[test]
fn a_wills_expiry_starts_when_it_is_published() {
    let (mut world, _) = watched(1);
    let reader = Client::lasting("reader", 5);
    let reading = world.join(&reader);
    world.subscribe(&reader, reading, "w", QoS::AtLeastOnce);
    world.leave(&reader, reading, false);
    let mut late = message("w", "will", QoS::AtLeastOnce);
    late.expiry = Some(5);
    let client = Client {
        will: Some(Will {
            message: late.into(),
            delay: 20,
        }),
        ..Client::lasting("a", 1)
    };
    let who = world.join(&client);
    world.leave(&client, who, true);
    world.pass(21_000);
    let again = Client::lasting("reader", 6);
    let (_, told) = world.connect(&again);
    assert_eq!(payloads(&told, &again), ["will"]);
}

/// A lost gateway's clients would die unheard, or their wills would count from when the work was done [F-20] [F-24].
#[test]
fn wills_run_from_the_loss_of_the_gateway() {
    let mut world = World::new(1);
    let watcher = Client {
        origin: GATEWAY_2,
        ..Client::new("watcher", 99)
    };
    let watching = world.join(&watcher);
    world.subscribe(&watcher, watching, "#", QoS::AtMostOnce);
    world.join(&with_will(1, 60, 10));
    world.gateways(2, &[2]);
    world.now = world.now.plus_millis(9_900);
    world.apply(0, Input::Tick);
    assert_eq!(payloads(&world.settle(), &watcher), Vec::<String>::new());
    assert_eq!(payloads(&world.pass(100), &watcher), ["will"]);
}

/// A will op that a full shard refused would leave a dead client "online" [F-20] [F-63].
#[test]
fn a_will_is_never_refused() {
    let mut world = World::with(1, |settings| settings.buffer_bytes = 1);
    let told = world.ask(&Client::new("a", 1));
    assert_eq!(
        connected(&told, Client::new("a", 1).conn).unwrap().err(),
        None,
        "empty is not full"
    );
    let client = Client::new("b", 2);
    assert_eq!(
        connected(&world.ask(&client), client.conn),
        Some(Err(ReasonCode::QuotaExceeded))
    );
    let mut retained = message("w", "offline", QoS::AtLeastOnce);
    retained.retain = true;
    let peer = Op::PublishWill(op::PublishWill {
        message: retained.into(),
    });
    world.op(GATEWAY, 0, peer);
    assert_eq!(world.shards[0].stats().retained_messages, 1);
}

/// A retained "offline" could overwrite the "online" of the next connection [F-21].
#[test]
fn no_reply_leaves_before_the_will_is_acknowledged() {
    let mut world = World::new(3);
    let home = world.home("a");
    let far = (home + 1) % 3;
    let topic = world.topic_on("w", far);
    let old = Client {
        will: Some(will(&topic, 0)),
        ..Client::lasting("a", 1)
    };
    let who = world.join(&old);
    world.carries = false;
    world.disconnect(&old, who, true, None);
    let new = Client::lasting("a", 2);
    assert_eq!(connected(&world.ask(&new), new.conn), None);
    assert_eq!(connected(&world.pass(2_000), new.conn), None);
    world.apply(
        home,
        Input::PeerAck {
            shard: catena_slots::ShardId(far as u16),
            generation: 0,
            through: 100,
        },
    );
    assert_eq!(
        connected(&world.settle(), new.conn),
        None,
        "nor for an ack of another generation"
    );
    world.carries = true;
    let told = world.settle();
    assert!(connected(&told, new.conn).unwrap().unwrap().session_present);
}
