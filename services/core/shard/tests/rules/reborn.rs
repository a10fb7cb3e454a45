//! C-64: what becomes of a shard whose disk may lack what it had acknowledged.

use catena_mqtt::QoS;
use catena_shard::{Input, Op, Settings, Shard, Who, op};
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
    reborn_from(world, &bytes);
}

/// The same from what its disk had synced.
fn reborn_from(world: &mut World, synced: &[u8]) {
    world.shards[SHARD] = Shard::restore(synced).unwrap();
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

/// What a client sends with a packet id of its own, QoS 2.
fn publish_exactly_once(world: &mut World, client: &Client, who: Who, packet_id: u16) {
    let publish = op::Publish {
        packet_id,
        ..publish(client, who, message("own", "own", QoS::ExactlyOnce))
    };
    world.op(client.origin, SHARD, Op::Publish(publish));
}

fn release(world: &mut World, client: &Client, who: Who, packet_id: u16) {
    let release = op::Release {
        who,
        conn: client.conn,
        packet_id,
    };
    world.op(client.origin, SHARD, Op::Release(release));
}

/// Something happens in a session with a subscription of QoS 1, is synced, and the power goes. Whether the session is there then.
fn stays(happens: impl Fn(&mut World, &Client, Who)) -> bool {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    happens(&mut world, &client, who);
    reborn(&mut world);
    let (accepted, _) = world.connect(&Client {
        origin: GATEWAY_2,
        ..client
    });
    accepted.session_present
}

/// A client holds the packet id of a QoS 2 delivery until PUBREL, also if the shard has forgotten that it gave it: it would take the
/// next message with that id for the same one, and that message would be lost, though both sides acknowledged it.
#[test]
fn a_session_ends_whose_client_may_hold_packet_ids_that_we_have_forgotten() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::ExactlyOnce);
    let publisher = Client::new("b", 2);
    let publishes = world.join(&publisher);
    let synced = world.shards[SHARD].snapshot();
    let first = message("t", "forgotten", QoS::ExactlyOnce);
    let told = world.publish(&publisher, publishes, first);
    let held = deliveries(&told)[0].2.packet_id;
    world.ack(&client, who, SHARD, held, op::AckKind::Received);

    reborn_from(&mut world, &synced);
    let again = Client {
        origin: GATEWAY_2,
        ..client
    };
    let (accepted, _) = world.connect(&again);
    assert!(!accepted.session_present, "the client still holds {held}");
    // Which it does not when it was told so.
    world.subscribe(&again, again.who(&accepted), "t", QoS::ExactlyOnce);
    let next = message("t", "next", QoS::ExactlyOnce);
    let told = world.publish(&again, again.who(&accepted), next);
    assert_eq!(deliveries(&told)[0].2.packet_id, held);
}

/// Wherever a delivery of QoS 2 could come from, one may have been made that is forgotten; and without any, sessions stay.
#[test]
fn only_sessions_without_qos_2_stay() {
    let granted = |filter: &'static str| {
        stays(move |world, client, who| {
            world.subscribe(client, who, filter, QoS::ExactlyOnce);
        })
    };
    assert!(!granted("u") && !granted("u/#") && !granted("$share/group/u"));
    assert!(!granted("t"), "the same filter with another QoS");
    let waits = stays(|world, client, who| {
        world.subscribe(client, who, "u", QoS::ExactlyOnce);
        world.leave(client, who, false);
        let other = Client::new("b", 2);
        let others = world.join(&other);
        world.publish(&other, others, message("u", "waits", QoS::ExactlyOnce));
        let again = Client {
            conn: catena_shard::ConnId(3),
            window: 0,
            ..client.clone()
        };
        let (accepted, _) = world.connect(&again);
        world.unsubscribe(&again, again.who(&accepted), "u");
    });
    assert!(
        !waits,
        "messages outlive the subscription that they came by"
    );
    assert!(stays(|_, _, _| {}));
    assert!(stays(|world, client, who| {
        world.subscribe(client, who, "u/#", QoS::AtLeastOnce);
    }));
}

/// An id that the shard remembers may be released by now, and be that of another publish: it would be taken for the same one sent
/// again, acknowledged, and lost.
#[test]
fn a_session_ends_whose_client_may_have_released_packet_ids_that_we_remember() {
    assert!(!stays(|world, client, who| {
        publish_exactly_once(world, client, who, 5);
    }));
    assert!(stays(|world, client, who| {
        publish_exactly_once(world, client, who, 5);
        release(world, client, who, 5);
    }));
}

/// Its first subscription with QoS 2 may itself be what is forgotten, with what came by it.
#[test]
fn a_session_that_has_stayed_ends_when_its_client_asks_for_qos_2() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    world.join(&client);
    let synced = world.shards[SHARD].snapshot();
    reborn_from(&mut world, &synced);
    let again = Client {
        origin: GATEWAY_2,
        ..client
    };
    let (accepted, _) = world.connect(&again);
    assert!(accepted.session_present);
    let who = again.who(&accepted);
    let told = world.subscribe(&again, who, "t", QoS::AtLeastOnce);
    assert_eq!(kicked(&told), []);
    let told = world.subscribe(&again, who, "u", QoS::ExactlyOnce);
    let reason = catena_mqtt::ReasonCode::ImplementationSpecificError;
    assert_eq!(kicked(&told), [(again.conn, reason)]);

    let later = Client {
        conn: catena_shard::ConnId(2),
        ..again
    };
    let (accepted, _) = world.connect(&later);
    assert!(!accepted.session_present);
    let told = world.subscribe(&later, later.who(&accepted), "u", QoS::ExactlyOnce);
    assert_eq!(kicked(&told), []);
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

/// What a shard held for a session of another one is gone, though that one may not yet have heard that there was anything: the session
/// would be there, and its subscriptions here would not, and for a while nothing that its client publishes here would be answered.
#[test]
fn a_session_ends_of_which_home_hears_too_late_that_it_had_a_part_here() {
    let mut world = World::new(2);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let guest = homed(&world, 1 - SHARD, &names, 1);
    let here = world.topic_on("here", SHARD);
    world.carries = false;
    let who = world.join(&guest);
    world.subscribe(&guest, who, &here, QoS::AtLeastOnce);
    reborn(&mut world);
    let home = ShardId(1 - SHARD as u16);
    let mut settings = Settings::new(home, SlotTable::even(2, 0).unwrap());
    (settings.version, settings.generations[SHARD]) = (2, 2);
    world.apply(home.index(), Input::Configure(&settings));
    assert_eq!(kicked(&world.finish()), []);

    // What was in its outbox comes now.
    let peer = catena_shard::Origin::Shard {
        shard: ShardId(SHARD as u16),
        generation: 2,
    };
    let touched = Op::Touched(op::Touched {
        who,
        shard: ShardId(SHARD as u16),
        generation: 1,
    });
    let told = world.op(peer, home.index(), touched);
    let reason = catena_mqtt::ReasonCode::ImplementationSpecificError;
    assert_eq!(kicked(&told), [(guest.conn, reason)]);
    let (accepted, _) = world.connect(&guest);
    assert!(!accepted.session_present);
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
