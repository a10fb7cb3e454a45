//! C-64: what becomes of a shard whose disk may lack what it had acknowledged.

use catena_mqtt::QoS;
use catena_shard::{Input, Settings, Shard};
use catena_slots::{ShardId, SlotTable};

use crate::support::*;

const SHARD: usize = 0;

/// A client with a session that lasts, whose home is `shard`.
fn homed(world: &World, shard: usize, names: &[&'static str], conn: u64) -> Client {
    let name = names.iter().find(|name| world.home(name) == shard);
    Client::lasting(name.expect("a name of that shard"), conn)
}

/// The shard comes back from its disk as generation 2, and a gateway that is new talks to it.
fn reborn(world: &mut World) {
    let bytes = world.shards[SHARD].snapshot();
    world.shards[SHARD] = Shard::restore(&bytes).unwrap();
    world.shards[SHARD].reborn(world.now, 2);
    // As every replica gets it that joins.
    let bytes = world.shards[SHARD].snapshot();
    assert!(Shard::restore(&bytes).unwrap().snapshot() == bytes);
    world.carries = false;
    let live = &[2];
    world.apply(SHARD, Input::Gateways { version: 9, live });
    let shard = ShardId(SHARD as u16);
    let mut settings = Settings::new(shard, SlotTable::even(world.shards.len(), 0).unwrap());
    (settings.version, settings.generations[SHARD]) = (2, 2);
    world.apply(SHARD, Input::Configure(&settings));
    world.finish();
}

/// A broker with one shard, or a session that is on one alone, would lose everything by a power cut that took a moment's worth.
#[test]
fn what_is_on_one_shard_alone_stays() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    let other = Client::new("b", 2);
    let others = world.join(&other);
    world.publish(&other, others, message("t", "in flight", QoS::AtLeastOnce));
    world.leave(&client, who, false);
    world.publish(&other, others, message("t", "queued", QoS::AtLeastOnce));
    let mut retained = message("r", "retained", QoS::AtLeastOnce);
    retained.retain = true;
    world.publish(&other, others, retained);

    reborn(&mut world);
    let again = Client {
        origin: GATEWAY_2,
        ..Client::lasting("a", 1)
    };
    let (accepted, told) = world.connect(&again);
    assert!(accepted.session_present);
    assert_eq!(payloads(&told, &again), ["in flight", "queued"]);
    assert_eq!(accepted.session.generation, 2);
    assert!(accepted.session > who.session, "older ops of it are stale");
    let told = world.subscribe(&again, again.who(&accepted), "r", QoS::AtLeastOnce);
    assert_eq!(payloads(&told, &again), ["retained"]);
    // A connection that nobody told of its end is over, with its session that was not to outlive it.
    let (accepted, _) = world.connect(&Client {
        origin: GATEWAY_2,
        ..Client::lasting("b", 3)
    });
    assert!(!accepted.session_present);
}

/// Other shards end what they hold for sessions of this one, and their own sessions that have a part here: were the other halves
/// kept, such sessions would be half there for ever.
#[test]
fn sessions_with_a_part_on_another_shard_end() {
    let mut world = World::new(2);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let spread = homed(&world, SHARD, &names, 1);
    let guest = homed(&world, 1 - SHARD, &names, 2);
    let empty = world.held()[SHARD];
    let (here, there) = (
        world.topic_on("here", SHARD),
        world.topic_on("there", 1 - SHARD),
    );
    let whose = world.join(&spread);
    world.subscribe(&spread, whose, &there, QoS::AtLeastOnce);
    world.subscribe(&spread, whose, &here, QoS::AtLeastOnce);
    let guests = world.join(&guest);
    world.subscribe(&guest, guests, &here, QoS::AtLeastOnce);
    world.leave(&guest, guests, false);
    world.publish(&spread, whose, message(&here, "queued", QoS::AtLeastOnce));
    assert!(world.held()[SHARD] > empty);

    reborn(&mut world);
    let again = Client {
        origin: GATEWAY_2,
        ..spread
    };
    let (accepted, told) = world.connect(&again);
    assert!(!accepted.session_present);
    assert!(payloads(&told, &again).is_empty());
    // Of the guest nothing is left either: nobody gets the message.
    let publisher = again.who(&accepted);
    let told = world.publish(&again, publisher, message(&here, "x", QoS::AtLeastOnce));
    assert_eq!(
        published(&told),
        [catena_mqtt::ReasonCode::NoMatchingSubscribers]
    );
    let (messages, stats) = (0, world.shards[SHARD].stats());
    assert_eq!(stats.stored_messages, messages);
}

/// Other shards have forgotten what we had taken, and we what they had: numbers go on where each is.
#[test]
fn links_between_shards_begin_anew() {
    let mut world = World::new(2);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let spread = homed(&world, SHARD, &names, 1);
    let there = world.topic_on("there", 1 - SHARD);
    let whose = world.join(&spread);
    world.subscribe(&spread, whose, &there, QoS::AtLeastOnce);
    let peer = catena_shard::Origin::Shard {
        shard: ShardId(1),
        generation: 1,
    };
    assert!(world.shards[SHARD].applied_through(&peer) > 0);
    reborn(&mut world);
    assert_eq!(world.shards[SHARD].applied_through(&peer), 0);
    world.apply(
        SHARD,
        Input::LinkOpen {
            origin: peer,
            first: 41,
        },
    );
    assert_eq!(world.shards[SHARD].applied_through(&peer), 40);
}
