//! F-1 to F-4: who a session is.

use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{Input, Op, Settings, Shard, op};
use catena_slots::{ShardId, SlotTable};

use crate::support::*;

/// A session id that came again would let ops of a dead session act on a living one [F-1].
#[test]
fn session_ids_are_never_used_twice() {
    let mut world = World::new(1);
    let mut seen = vec![];
    for conn in 1..=5 {
        let client = Client {
            clean_start: true,
            ..Client::lasting("a", conn)
        };
        let who = world.join(&client);
        world.leave(&client, who, false);
        seen.push(who.session);
    }
    // The shard is lost and starts empty.
    world.shards[0] = Shard::new(ShardId(0), 2);
    let mut settings = Settings::new(ShardId(0), SlotTable::even(1, 0).unwrap());
    settings.generations = vec![2];
    world.apply(
        0,
        Input::Gateways {
            version: 9,
            live: &[2],
        },
    );
    world.apply(0, Input::Configure(&settings));
    let client = Client {
        origin: GATEWAY_2,
        ..Client::lasting("a", 9)
    };
    seen.push(world.join(&client).session);
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

/// Without the publisher's key, No Local would send a client its own messages back [F-2].
#[test]
fn no_local_compares_the_client_and_not_the_connection() {
    let mut world = World::new(1);
    let (me, other) = (Client::new("me", 1), Client::new("other", 2));
    let (my, others) = (world.join(&me), world.join(&other));
    let no_local = op::SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtLeastOnce)
    };
    world.subscribe_with(&me, my, "t", no_local);
    let told = world.publish(&me, my, message("t", "mine", QoS::AtLeastOnce));
    assert_eq!(payloads(&told, &me), Vec::<String>::new());
    assert_eq!(published(&told), [ReasonCode::NoMatchingSubscribers]);
    let told = world.publish(&other, others, message("t", "theirs", QoS::AtLeastOnce));
    assert_eq!(payloads(&told, &me), ["theirs"]);
}

/// A client would get its own retained message at SUBSCRIBE although it said No Local [F-2].
#[test]
fn no_local_holds_for_retained_messages() {
    let mut world = World::new(1);
    let (me, other) = (Client::new("me", 1), Client::new("other", 2));
    let (my, others) = (world.join(&me), world.join(&other));
    for (client, who, topic) in [(&me, my, "a"), (&other, others, "b")] {
        let mut retained = message(topic, topic, QoS::AtLeastOnce);
        retained.retain = true;
        world.publish(client, who, retained);
    }
    let no_local = op::SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtLeastOnce)
    };
    let told = world.subscribe_with(&me, my, "#", no_local);
    assert_eq!(payloads(&told, &me), ["b"]);
}

/// A publish or acknowledgement that a dead connection left in a slow link would act on the living one [F-3].
#[test]
fn ops_of_an_earlier_epoch_are_refused() {
    let mut world = World::new(1);
    let (old, new) = (Client::lasting("a", 1), Client::lasting("a", 2));
    let was = world.join(&old);
    world.subscribe(&old, was, "t", QoS::AtLeastOnce);
    world.leave(&old, was, false);
    let is = world.join(&new);
    assert_eq!((is.session, is.epoch), (was.session, 2));
    let told = world.publish(&old, was, message("t", "late", QoS::AtLeastOnce));
    assert!(told.is_empty(), "neither answered nor delivered: {told:?}");
    let told = world.publish(&new, is, message("t", "x", QoS::AtLeastOnce));
    let id = deliveries(&told)[0].2.packet_id;
    world.ack(&old, was, 0, id, op::AckKind::Done);
    world.detach(&old, was, 0, &[id]);
    world.leave(&new, is, false);
    let again = Client::lasting("a", 3);
    let (_, told) = world.connect(&again);
    assert_eq!(payloads(&told, &again), ["x"], "the stale ack did nothing");
    assert!(
        deliveries(&told)[0].2.dup,
        "and neither did the stale Detach"
    );
}

/// A shard that forgot a session with its last byte would let a late op of it begin it anew [F-3].
#[test]
fn an_ended_session_stays_refused_for_ten_seconds() {
    let mut world = World::new(1);
    let (ended, other) = (Client::new("a", 1), Client::new("b", 2));
    let who = world.join(&ended);
    let reading = world.join(&other);
    world.subscribe(&other, reading, "t", QoS::AtMostOnce);
    world.leave(&ended, who, false);
    world.pass(9_000);
    let told = world.publish(&ended, who, message("t", "late", QoS::AtLeastOnce));
    assert!(told.is_empty());
    world.pass(11_000);
    assert_eq!(world.shards[0].stats().stale, 1);
    world.leave(&other, reading, false);
    world.pass(11_000);
    assert_eq!(world.held(), [0], "and is forgotten then");
}

/// Whoever guesses a client id would take over someone else's session [F-4].
#[test]
fn another_principal_is_refused() {
    let mut world = World::new(1);
    let mut client = Client {
        principal: Some("ann"),
        ..Client::lasting("a", 1)
    };
    let who = world.join(&client);
    for (conn, principal) in [(2, Some("bob")), (3, None)] {
        let thief = Client {
            principal,
            clean_start: true,
            ..Client::lasting("a", conn)
        };
        let told = world.ask(&thief);
        assert_eq!(
            connected(&told, thief.conn),
            Some(Err(ReasonCode::NotAuthorized))
        );
        assert_eq!(kicked(&told), [], "and the owner notices nothing");
    }
    world.leave(&client, who, false);
    client.conn.0 = 4;
    assert!(world.connect(&client).0.session_present);
}

/// An op that was refused must be refused on every shard that the session touched [F-3] [F-23].
#[test]
fn a_session_that_ended_is_refused_on_other_shards() {
    let mut world = World::new(3);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "+/x", QoS::AtLeastOnce);
    world.disconnect(&client, who, false, Some(0));
    for shard in 0..3 {
        let topic = world.topic_on("t", shard);
        let told = world.op(
            GATEWAY,
            shard,
            Op::Publish(publish(
                &client,
                who,
                message(&topic, "x", QoS::AtLeastOnce),
            )),
        );
        assert!(told.is_empty(), "shard {shard}");
    }
}
