//! F-40 to F-45: publishes come in.

use bytes::Bytes;
use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{Effect, Message, Op, message::compact, op};

use crate::support::*;

fn exactly_once(
    world: &mut World,
    client: &Client,
    who: catena_shard::Who,
    packet_id: u16,
    dup: bool,
    payload: &str,
) -> Vec<(catena_shard::Origin, Effect)> {
    let mut op = publish(client, who, message("t", payload, QoS::ExactlyOnce));
    (op.packet_id, op.dup) = (packet_id, dup);
    world.op(client.origin, 0, Op::Publish(op))
}

/// A publisher would not learn that nobody listens, or wait for ever for its PUBACK [F-40].
#[test]
fn a_publish_is_answered() {
    let mut world = World::new(1);
    let client = Client::new("a", 1);
    let who = world.join(&client);
    let told = world.publish(&client, who, message("t", "x", QoS::AtLeastOnce));
    assert_eq!(published(&told), [ReasonCode::NoMatchingSubscribers]);
    world.subscribe(&client, who, "t", QoS::AtMostOnce);
    let told = world.publish(&client, who, message("t", "x", QoS::AtLeastOnce));
    assert_eq!(published(&told), [ReasonCode::Success]);
    assert_eq!(deliveries(&told)[0].2.qos, QoS::AtMostOnce);
}

/// QoS 0 past the log would change state that only the tail has, or miss readers [F-41].
#[test]
fn the_direct_lane_delivers_without_a_change_of_state() {
    let mut world = World::new(1);
    let (client, stale) = (Client::lasting("a", 2), Client::lasting("a", 1));
    let was = world.join(&stale);
    world.leave(&stale, was, false);
    let who = world.join(&client);
    world.subscribe(&client, who, "t/#", QoS::ExactlyOnce);
    world.subscribe(&client, who, "$share/g/t/+", QoS::ExactlyOnce);
    let before = world.shards[0].snapshot();
    let now = world.now;
    let mut sent = message("t/1", "x", QoS::AtMostOnce);
    sent.expiry = Some(3);
    let out = passed_by(&world.shards[0], &publish(&client, who, sent.clone()), now);
    assert_eq!(payloads(&out, &client), ["x", "x"]);
    assert!(
        deliveries(&out)
            .iter()
            .all(|(_, _, target)| target.packet_id == 0 && !target.counted)
    );
    assert!(matches!(&out[0].1, Effect::Deliver(d) if d.expires_at == now.plus_seconds(3)));
    let out = passed_by(&world.shards[0], &publish(&stale, was, sent), now);
    assert!(out.is_empty(), "a stale connection's are dropped");
    assert_eq!(world.shards[0].snapshot(), before);
}

/// A message for very many would hold up everything else [F-60]; or some would get it twice, or not at all [F-41].
#[test]
fn a_message_past_the_log_goes_to_very_many_in_steps() {
    let mut world = World::new(1);
    let readers: Vec<(Client, catena_shard::Who)> = (0..2_500_u64)
        .map(|n| {
            let id: &'static str = Box::leak(format!("r{n}").into_boxed_str());
            let client = Client::new(id, 10 + n);
            let who = world.join(&client);
            world.subscribe(&client, who, "t", QoS::AtMostOnce);
            (client, who)
        })
        .collect();
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    let before = world.shards[0].snapshot();
    let sent = publish(&publisher, who, message("t", "x", QoS::AtMostOnce));
    let (mut out, mut work) = (vec![], 1_000);
    let rest = world.shards[0].direct(&sent, world.now, &mut work, &mut out);
    assert_eq!((work, deliveries(&out).len()), (0, 999));
    assert_eq!(world.shards[0].snapshot(), before);

    // Meanwhile others go on: one who has had it leaves, one who has not leaves, and one comes, for whom it is too old.
    let (first, first_who) = &readers[0];
    world.leave(first, *first_who, false);
    let (last, last_who) = &readers[2_499];
    world.leave(last, *last_who, false);
    let late = Client::new("late", 9);
    let late_who = world.join(&late);
    world.subscribe(&late, late_who, "t", QoS::AtMostOnce);

    let (mut rest, mut steps) = (rest, 1);
    while let Some(left) = rest {
        let (mut work, before) = (1_000, deliveries(&out).len());
        rest = world.shards[0].direct_more(left, &mut work, &mut out);
        assert!(deliveries(&out).len() <= before + 1_000);
        steps += 1;
    }
    assert_eq!(steps, 3);
    let mut conns: Vec<u64> = deliveries(&out).iter().map(|(conn, ..)| conn.0).collect();
    conns.sort_unstable();
    assert!(conns.into_iter().eq(10..10 + 2_499), "each of them once");
}

/// A QoS 2 message that is sent again would arrive twice, or a new one under an old id not at all [F-42].
#[test]
fn qos_2_is_taken_once_until_its_release() {
    let mut world = World::new(1);
    let client = Client::lasting("a", 1);
    let who = world.join(&client);
    world.subscribe(&client, who, "t", QoS::AtMostOnce);
    let told = exactly_once(&mut world, &client, who, 5, false, "1");
    assert_eq!(payloads(&told, &client), ["1"]);
    let told = exactly_once(&mut world, &client, who, 5, true, "1");
    assert_eq!(
        (published(&told), payloads(&told, &client)),
        (vec![ReasonCode::Success], vec![])
    );
    world.leave(&client, who, false);
    let client = Client::lasting("a", 2);
    let (accepted, _) = world.connect(&client);
    assert_eq!(accepted.held.inbound, [5]);
    let who = client.who(&accepted);
    let told = exactly_once(&mut world, &client, who, 5, true, "1");
    assert_eq!(
        payloads(&told, &client),
        Vec::<String>::new(),
        "also under a later epoch"
    );
    let told = exactly_once(&mut world, &client, who, 5, false, "2");
    assert_eq!(
        payloads(&told, &client),
        ["2"],
        "without DUP it is a new one"
    );
    let told = exactly_once(&mut world, &client, who, 5, false, "2");
    assert_eq!(payloads(&told, &client), Vec::<String>::new());
    for found in [true, false] {
        let release = op::Release {
            who,
            conn: client.conn,
            packet_id: 5,
        };
        let told = world.op(GATEWAY, 0, Op::Release(release));
        assert!(matches!(told[0].1, Effect::Released(r) if r.found == found && r.packet_id == 5));
    }
    let told = exactly_once(&mut world, &client, who, 5, true, "3");
    assert_eq!(payloads(&told, &client), ["3"]);
}

/// Ten bytes that are kept would pin the megabyte that they were read in [F-45].
#[test]
fn what_is_stored_is_copied_out_of_a_large_buffer() {
    let buffer = Bytes::from(vec![b'x'; 1 << 20]);
    let small = Message {
        payload: buffer.slice(10..20),
        ..message("t", "", QoS::AtLeastOnce)
    };
    let own = compact(&small.clone().into());
    assert_eq!(*own, small);
    let pinned = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
    assert!(!pinned.contains(&(own.payload.as_ptr() as usize)));
    let large = Message {
        payload: buffer.clone(),
        ..small
    };
    assert_eq!(
        compact(&large.into()).payload.as_ptr(),
        buffer.as_ptr(),
        "not copied"
    );
}

/// An op that a closed connection no longer wants would still be done [F-43].
#[test]
fn a_noop_keeps_the_number_and_does_nothing() {
    let mut world = World::new(1);
    let before = world.shards[0].stats();
    assert!(world.op(GATEWAY, 0, Op::Noop).is_empty());
    assert_eq!(world.shards[0].applied_through(&GATEWAY), 1);
    // The link itself is all that is new.
    let after = catena_shard::Stats { links: 1, ..before };
    assert_eq!(world.shards[0].stats(), after);
}
