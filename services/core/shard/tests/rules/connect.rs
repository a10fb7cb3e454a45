//! F-10 to F-26: connect, take over, leave.

use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{ClientKey, Effect, Input, Op, Settings, Shard, op};
use catena_slots::{ShardId, SlotTable};

use crate::support::*;

/// A client would wait for a second answer before its first SUBSCRIBE could go [F-10].
#[test]
fn connect_attaches_the_home_reader_in_the_same_op() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let (accepted, _) = world.connect(&client);
    assert!(!accepted.session_present);
    let who = client.who(&accepted);
    let told = world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    assert!(matches!(told[0].1, Effect::Subscribed(_)));
    let told = world.publish(&client, who, message("t", "x", QoS::AtLeastOnce));
    assert_eq!(payloads(&told, &client), ["x"]);
}

/// A resumed session would miss what its other shards hold [F-11].
#[test]
fn a_resumed_session_learns_its_shards_and_what_they_hold() {
    let mut world = World::new(3);
    let client = Client::lasting("a", 1);
    let home = world.home("a");
    let who = world.join(&client);
    world.subscribe(&client, who, "+/x", QoS::ExactlyOnce);
    let far = (home + 1) % 3;
    let topic = world.topic_on("q", far);
    let mut inbound = publish(&client, who, message(&topic, "x", QoS::ExactlyOnce));
    inbound.packet_id = 77;
    world.op(GATEWAY, far, Op::Publish(inbound));
    world.leave(&client, who, false);
    let again = Client::lasting("a", 2);
    let (accepted, _) = world.connect(&again);
    assert!(accepted.session_present);
    let shards: Vec<usize> = accepted.shards.iter().map(|shard| shard.index()).collect();
    assert_eq!(
        shards,
        (0..3).filter(|shard| *shard != home).collect::<Vec<_>>()
    );
    let told = world.attach(&again, again.who(&accepted), far);
    let Effect::Attached(attached) = &told[0].1 else {
        panic!("{told:?}")
    };
    assert_eq!(attached.held.inbound, [77]);
    assert_eq!(&**attached.held.filters[0].0.full(), "+/x");
    assert_eq!(attached.held.filters[0].1.qos, QoS::ExactlyOnce);
}

/// An Attach that is sent twice would send everything in flight twice [F-11] [F-22].
#[test]
fn attaching_again_changes_nothing() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    world.publish(&client, who, message("t", "x", QoS::AtLeastOnce));
    let told = world.attach(&client, who, 0);
    assert_eq!(told.len(), 1, "an answer, and no delivery: {told:?}");
}

/// Two connections of one session would both be served, and acks of the first would be lost [F-12].
#[test]
fn a_takeover_waits_until_the_old_connection_is_done() {
    let mut world = World::new(1);
    let (old, new) = (Client::lasting("a", 1), Client::lasting("a", 2));
    let was = world.join(&old);
    let told = world.ask(&new);
    assert_eq!(kicked(&told), [(old.conn, ReasonCode::SessionTakenOver)]);
    assert_eq!(connected(&told, new.conn), None);
    assert_eq!(connected(&world.pass(900), new.conn), None);
    let kicked = op::Disconnect {
        who: was,
        will: true,
        expiry: None,
    };
    let told = world.op(GATEWAY, 0, Op::Kicked(kicked));
    let accepted = connected(&told, new.conn).unwrap().unwrap();
    assert!(accepted.session_present);
    assert_eq!((accepted.session, accepted.epoch), (was.session, 2));
}

/// A gateway that hangs would keep a client out for ever [F-12].
#[test]
fn a_takeover_goes_on_without_an_answer() {
    for by in ["disconnect", "time", "gateway"] {
        let mut world = World::new(1);
        let old = Client::lasting("a", 1);
        let new = Client {
            origin: GATEWAY_2,
            ..Client::lasting("a", 2)
        };
        let was = world.join(&old);
        assert_eq!(connected(&world.ask(&new), new.conn), None);
        let told = match by {
            "disconnect" => world.disconnect(&old, was, false, None),
            "time" => world.pass(1_000),
            _ => {
                world.gateways(2, &[2]);
                world.finish()
            }
        };
        assert!(
            connected(&told, new.conn).unwrap().unwrap().session_present,
            "{by}"
        );
    }
}

/// Of three connections at once, two would be told that they own the session [F-12].
#[test]
fn a_connect_that_waits_is_overtaken_by_the_next() {
    let mut world = World::new(1);
    let was = world.join(&Client::lasting("a", 1));
    let (second, third) = (Client::lasting("a", 2), Client::lasting("a", 3));
    world.ask(&second);
    let told = world.ask(&third);
    assert_eq!(
        connected(&told, second.conn),
        Some(Err(ReasonCode::SessionTakenOver))
    );
    assert_eq!(kicked(&told), [], "one Kick is enough");
    let told = world.disconnect(&second, was, false, None);
    assert!(connected(&told, third.conn).unwrap().is_ok());
}

/// A session that ends with its connection would outlive it by a takeover [F-13].
#[test]
fn a_takeover_ends_a_session_without_expiry() {
    let mut world = World::new(1);
    let watcher = Client::new("watcher", 9);
    let watching = world.join(&watcher);
    world.subscribe(&watcher, watching, "w", QoS::AtMostOnce);
    let old = Client {
        will: Some(will("w", 0)),
        ..Client::new("a", 1)
    };
    let was = world.join(&old);
    let new = Client::new("a", 2);
    world.ask(&new);
    let told = world.leave(&old, was, true);
    assert_eq!(payloads(&told, &watcher), ["will"]);
    let accepted = connected(&told, new.conn).unwrap().unwrap();
    assert!(!accepted.session_present);
    assert_ne!(accepted.session, was.session);
}

/// A client could not shorten its session, or could make one last whose readers are gone [F-14].
#[test]
fn disconnect_changes_the_expiry_but_not_from_zero() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.disconnect(&client, who, false, Some(5));
    world.pass(6_000);
    assert!(!world.connect(&Client::lasting("a", 2)).0.session_present);
    let short = Client::new("b", 3);
    let who = world.join(&short);
    world.disconnect(&short, who, true, Some(100));
    assert!(!world.connect(&Client::lasting("b", 4)).0.session_present);
}

/// A client that gave up long ago would take the session from the one that came after it [F-15].
#[test]
fn an_old_connect_is_refused() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let connect = op::Connect {
        client_id: "a".into(),
        clean_start: false,
        expiry: 60,
        will: None,
        principal: None,
        asked_at: world.now,
        protocol: 5,
        attachment: client.attachment(),
    };
    world.now = world.now.plus_millis(5_001);
    let told = world.op(GATEWAY, 0, Op::Connect(Box::new(connect)));
    assert_eq!(
        connected(&told, client.conn),
        Some(Err(ReasonCode::ServerUnavailable))
    );
    assert_eq!(world.held(), [0]);
}

/// An ephemeral session would hold memory after its connection or gateway is gone [F-17].
#[test]
fn ephemeral_sessions_end_on_every_shard() {
    for gateway_lost in [false, true] {
        let mut world = World::new(3);
        let client = Client {
            window: 1,
            ..Client::new("a", 1)
        };
        let who = world.join(&client);
        world.subscribe(&client, who, "#", QoS::AtLeastOnce);
        for shard in 0..3 {
            for _ in 0..3 {
                let topic = world.topic_on("t", shard);
                world.publish(&client, who, message(&topic, "x", QoS::AtLeastOnce));
            }
        }
        if gateway_lost {
            world.gateways(2, &[2]);
        } else {
            world.leave(&client, who, false);
        }
        world.finish();
        assert!(
            world
                .shards
                .iter()
                .all(|shard| shard.stats().stored_messages == 0)
        );
        world.pass(11_000);
        assert_eq!(world.held(), [0, 0, 0], "gateway lost: {gateway_lost}");
    }
}

/// A failover to another replica would make a live session absent [F-18].
#[test]
fn a_session_survives_restore() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.leave(&client, who, false);
    world.shards[0] = Shard::restore(&world.shards[0].snapshot()).unwrap();
    assert!(world.connect(&Client::lasting("a", 2)).0.session_present);
}

/// Two devices with one client id would take the session from each other as fast as they can [F-19].
#[test]
fn a_fight_over_a_client_id_is_slowed_down() {
    let mut world = World::new(1);
    let mut was = world.join(&Client::lasting("a", 1));
    for conn in 2..=6 {
        let client = Client::lasting("a", conn);
        world.ask(&client);
        let told = world.disconnect(&client, was, false, None);
        was = client.who(&connected(&told, client.conn).unwrap().unwrap());
    }
    let client = Client::lasting("a", 7);
    world.ask(&client);
    let told = world.disconnect(&client, was, false, None);
    assert_eq!(
        connected(&told, client.conn),
        None,
        "the sixth within 10 s waits"
    );
    assert_eq!(connected(&world.pass(900), client.conn), None);
    assert!(connected(&world.pass(100), client.conn).is_some());
}

/// A shard that nobody knows of would keep a session's queue for ever [F-22] [F-23].
#[test]
fn home_learns_of_touched_shards_and_ends_the_session_there() {
    let mut world = World::new(3);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "#", QoS::AtLeastOnce);
    world.leave(&client, who, false);
    let clean = Client {
        clean_start: true,
        ..Client::new("a", 2)
    };
    let (accepted, _) = world.connect(&clean);
    assert_eq!(
        (accepted.session_present, accepted.shards.len()),
        (false, 0)
    );
    let who = clean.who(&accepted);
    world.leave(&clean, who, false);
    world.pass(11_000);
    assert_eq!(world.held(), [0, 0, 0]);
}

/// A shard that was touched for a session that is over would never be told to forget it [F-22].
#[test]
fn a_touch_after_the_end_is_answered_by_the_end() {
    let mut world = World::new(3);
    let client = Client::lasting("a", 1);
    let home = world.home("a");
    let (accepted, _) = world.connect(&client);
    let who = client.who(&accepted);
    world.carries = false;
    let far = (home + 1) % 3;
    world.attach(&client, who, far);
    world.disconnect(&client, who, false, Some(0));
    world.carries = true;
    world.settle();
    world.pass(21_000);
    assert_eq!(world.held(), [0, 0, 0]);
}

/// A connection would never hear of a shard that its session touched just before it came [F-22].
#[test]
fn a_late_touch_is_told_to_the_newer_connection() {
    let mut world = World::new(3);
    let (old, new) = (Client::lasting("a", 1), Client::lasting("a", 2));
    let home = world.home("a");
    let (accepted, _) = world.connect(&old);
    let was = old.who(&accepted);
    world.carries = false;
    let far = (home + 1) % 3;
    world.attach(&old, was, far);
    world.disconnect(&old, was, false, None);
    let (accepted, _) = world.connect(&new);
    assert!(accepted.shards.is_empty());
    world.carries = true;
    let told = world.settle();
    let also: Vec<_> = told
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::AlsoAttach(also) => Some((also.conn, also.shard.index())),
            _ => None,
        })
        .collect();
    assert_eq!(also, [(new.conn, far)]);
}

/// Sessions of a lost gateway would stay attached to nothing, and their messages would vanish [F-24].
#[test]
fn a_lost_gateway_detaches_its_readers_as_of_that_entry() {
    let mut world = World::new(1);
    let reader = Client::lasting("reader", 1);
    let sender = Client {
        origin: GATEWAY_2,
        ..Client::new("sender", 2)
    };
    let who = world.join(&reader);
    world.subscribe(&reader, who, "t", QoS::AtLeastOnce);
    let sending = world.join(&sender);
    world.gateways(2, &[2]);
    // Before any Tick has worked on it:
    let told = world.publish(&sender, sending, message("t", "x", QoS::AtLeastOnce));
    assert_eq!(published(&told), [ReasonCode::Success]);
    assert!(deliveries(&told).is_empty());
    let again = Client {
        origin: GATEWAY_2,
        ..Client::lasting("reader", 3)
    };
    let (accepted, told) = world.connect(&again);
    assert!(accepted.session_present);
    assert_eq!(payloads(&told, &again), ["x"]);
    let late = op::Credit {
        who,
        messages: 1,
        bytes: 1,
    };
    assert!(
        world.op(GATEWAY, 0, Op::Credit(late)).is_empty(),
        "its ops are ignored"
    );
}

/// A session of which one shard lost its part would go on as half a session [F-25].
#[test]
fn sessions_that_touched_a_lost_shard_end() {
    let mut world = World::new(2);
    let client = Client::lasting("a", 1);
    let home = world.home("a");
    let lost = 1 - home;
    let who = world.join(&client);
    world.subscribe(&client, who, "#", QoS::AtLeastOnce);
    let mut settings = Settings::new(ShardId(home as u16), SlotTable::even(2, 0).unwrap());
    settings.version = 2;
    settings.generations[lost] = 2;
    world.carries = false;
    world.apply(home, Input::Configure(&settings));
    let told = world.finish();
    assert_eq!(
        kicked(&told),
        [(client.conn, ReasonCode::ImplementationSpecificError)]
    );
    assert!(!world.connect(&Client::lasting("a", 2)).0.session_present);
}

/// Readers whose session record is lost could never be ended by it [F-25].
#[test]
fn readers_of_a_lost_home_go() {
    let mut world = World::new(2);
    let client = Client::lasting("a", 1);
    let lost = world.home("a");
    let other = 1 - lost;
    let who = world.join(&client);
    world.subscribe(&client, who, "#", QoS::AtLeastOnce);
    let mut settings = Settings::new(ShardId(other as u16), SlotTable::even(2, 0).unwrap());
    settings.version = 2;
    settings.generations[lost] = 2;
    world.carries = false;
    world.apply(other, Input::Configure(&settings));
    world.finish();
    for _ in 0..110 {
        world.now = world.now.plus_millis(100);
        world.apply(other, Input::Tick);
    }
    let publisher = Client::new("b", 9);
    let told = world.op(
        GATEWAY,
        other,
        Op::Publish(publish(
            &publisher,
            catena_shard::Who {
                client: ClientKey::of("b"),
                session: who.session,
                epoch: 1,
            },
            message(&world.topic_on("t", other), "x", QoS::AtLeastOnce),
        )),
    );
    assert_eq!(published(&told), [ReasonCode::NoMatchingSubscribers]);
}

/// A peer whose new generation goes on with its old numbers would be taken for one with a gap [F-25].
#[test]
fn a_link_begins_where_the_peer_says_even_if_it_was_written_to_before() {
    let mut world = World::new(2);
    let me = Client::lasting("a", 1);
    let home = world.home("a");
    let far = 1 - home;
    let (accepted, _) = world.connect(&me);
    world.carries = false;
    // The far shard writes to the home shard before it hears from it.
    world.attach(&me, me.who(&accepted), far);
    let peer = catena_shard::Origin::Shard {
        shard: ShardId(home as u16),
        generation: 1,
    };
    world.apply(
        far,
        Input::LinkOpen {
            origin: peer,
            first: 51,
        },
    );
    assert_eq!(world.shards[far].applied_through(&peer), 50);
}
