//! F-65: long queues leave memory and come back as they were, those of shared subscriptions too `[F-70]`.

use catena_mqtt::QoS;
use catena_shard::{
    Answer, Command, Input, Op, Query, Shard, Who,
    census::Census,
    effect::Target,
    op,
    query::Named,
    segment::{Away, Segment},
};

use crate::support::*;

const BUFFER: u64 = 4 * 1024 * 1024;

/// A session's own queue, the lane of a group whose members take turns, and one of those that stick to a member.
const FILTERS: [&str; 3] = ["t", "$share/g/t", "$share/g/+"];

/// Payloads that fill a part in about fifty.
fn payload(n: u32) -> String {
    format!("{n:05} {}", "x".repeat(5_000))
}

fn number(payload: &str) -> u32 {
    payload[..5].parse().unwrap()
}

fn world(spill: u64) -> World {
    World::with(1, |settings| {
        settings.buffer_bytes = BUFFER;
        settings.spill_bytes_max = spill;
    })
}

/// Publishes numbered messages; how many were taken.
fn fill(world: &mut World, publisher: &Client, who: Who, numbers: std::ops::Range<u32>) -> usize {
    let mut taken = 0;
    for n in numbers {
        let told = world.publish(publisher, who, message("t", &payload(n), QoS::AtLeastOnce));
        taken += usize::from(!published(&told)[0].is_error());
    }
    taken
}

/// Comes back, and acknowledges all that is delivered, to the end: the numbers in their order.
fn drain(world: &mut World, client: &Client) -> Vec<u32> {
    let (accepted, mut told) = world.connect(client);
    let who = client.who(&accepted);
    told.extend(world.finish());
    let mut numbers = vec![];
    loop {
        let came = deliveries(&told);
        if came.is_empty() {
            world.leave(client, who, false);
            return numbers;
        }
        numbers.extend(payloads(&told, client).iter().map(|text| number(text)));
        let done = |(_, _, target): &(_, _, Target)| op::AckItem {
            packet_id: target.packet_id,
            kind: op::AckKind::Done,
        };
        let items = came.iter().map(done).collect();
        let ack = Op::Ack(op::Ack { who, items });
        told = world.op(client.origin, 0, ack);
        told.extend(world.finish());
    }
}

/// A session that waits for `filter`, and a publisher.
fn away_and_publisher(world: &mut World, filter: &str) -> (Client, Client, Who) {
    let away = Client::lasting("a", 10);
    let who = world.join(&away);
    world.subscribe(&away, who, filter, QoS::AtLeastOnce);
    world.leave(&away, who, false);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    (away, publisher, who)
}

fn away_sessions<const N: usize>(world: &mut World) -> [Client; N] {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    std::array::from_fn(|n| {
        let client = Client::lasting(NAMES[n], 10 + n as u64);
        let who = world.join(&client);
        world.subscribe(&client, who, "t", QoS::AtLeastOnce);
        world.leave(&client, who, false);
        client
    })
}

// An offline session would fill the memory that all others need, or lose what was acknowledged, or get it in another order.
#[test]
fn a_queue_longer_than_memory_comes_back_in_order() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        assert_eq!(
            fill(&mut world, &publisher, who, 0..4_000),
            4_000,
            "five times the memory"
        );
        let stats = world.shards[0].stats();
        assert!(stats.bytes < BUFFER * 6 / 10, "{stats:?}");
        assert!(stats.spilled_bytes > 4 * BUFFER);
        assert_eq!(drain(&mut world, &away), (0..4_000).collect::<Vec<_>>());
        let stats = world.shards[0].stats();
        assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
    }
}

// Messages that many wait for would be written for each of them; those that few wait for would stay in memory for ever.
#[test]
fn queues_that_share_messages_come_back_too() {
    for sessions in [3, 12] {
        let mut world = world(1 << 40);
        let all: [Client; 12] = away_sessions(&mut world);
        // The others are gone for good.
        for client in &all[sessions..] {
            let client = Client {
                clean_start: true,
                expiry: 0,
                ..client.clone()
            };
            let who = world.join(&client);
            world.leave(&client, who, false);
        }
        let publisher = Client::new("p", 1);
        let who = world.join(&publisher);
        let taken = fill(&mut world, &publisher, who, 0..2_000) as u32;
        let enough = if sessions == 3 { 2_000 } else { 500 };
        assert!(taken >= enough, "{sessions} sessions: {taken}");
        for client in &all[..sessions] {
            assert_eq!(
                drain(&mut world, client),
                (0..taken).collect::<Vec<_>>(),
                "{sessions}"
            );
        }
        let stats = world.shards[0].stats();
        assert_eq!(
            (stats.spilled_bytes, stats.stored_messages),
            (0, 0),
            "{sessions}"
        );
    }
}

// A disk that is full, or slower than publishers, would be filled on and on, and what finds no place be lost.
#[test]
fn without_room_elsewhere_publishes_are_refused() {
    let mut world = world(2 * BUFFER);
    let [away] = away_sessions(&mut world);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    let taken = fill(&mut world, &publisher, who, 0..4_000) as u32;
    let messages = (2 * BUFFER + BUFFER * 3 / 4) / 5_000;
    assert!(
        (messages - 200..messages).contains(&u64::from(taken)),
        "{taken}"
    );
    let stats = world.shards[0].stats();
    assert!(stats.spilled_bytes <= 2 * BUFFER);
    let refused = 4_000 - u64::from(taken);
    let counted = (stats.publishes_refused, stats.publishes_refused_disk);
    assert_eq!(counted, (refused, refused), "the disk is why");

    world.apply(0, Input::Command(&Command::PauseSpill(true)));
    assert_eq!(drain(&mut world, &away).len() as u32, taken);
    let spilled = world.shards[0].stats().spilled;
    fill(&mut world, &publisher, who, 0..1_000);
    assert_eq!(
        world.shards[0].stats().spilled,
        spilled,
        "the head's host has no room"
    );
    assert_eq!(fill(&mut world, &publisher, who, 0..1), 0, "memory is full");
    world.apply(0, Input::Command(&Command::PauseSpill(false)));
    world.finish();
    // No queue has grown since: it recovers by itself.
    assert_eq!(fill(&mut world, &publisher, who, 1_000..1_001), 1);
    let session = drain(&mut world, &away);
    assert!(session.len() > 500 && session.is_sorted());
}

// An operator would look for a larger disk where there is none, or for memory where the disk is full.
#[test]
fn a_refusal_without_a_disk_is_not_counted_as_the_disk_s() {
    let mut world = world(0);
    let [_away] = away_sessions(&mut world);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    let taken = fill(&mut world, &publisher, who, 0..1_000) as u64;
    let stats = world.shards[0].stats();
    let counted = (stats.publishes_refused, stats.publishes_refused_disk);
    assert_eq!(counted, (1_000 - taken, 0));
    assert!(taken < 1_000);
}

#[derive(Debug)]
struct Elsewhere(bytes::Bytes);

impl Away for Elsewhere {
    fn read(&self) -> bytes::Bytes {
        self.0.clone()
    }

    fn fetch(&self) {}
}

fn put_all_away(shard: &Shard) -> usize {
    let segments = shard.take_segments();
    for segment in &segments {
        let bytes = Segment::here(segment).expect("nobody else puts it away");
        segment.put_away(Box::new(Elsewhere(bytes)));
    }
    segments.len()
}

// A replica that joins would lack what its predecessor has on its disk; and were the digests of a fast and of a slow disk different,
// the slow one would be taken out. [C-30] [C-52]
#[test]
fn a_snapshot_holds_what_is_elsewhere() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        fill(&mut world, &publisher, who, 0..2_000);
        let before = world.shards[0].snapshot();
        assert!(put_all_away(&world.shards[0]) > 10);
        assert!(world.shards[0].snapshot() == before);
        world.shards[0] = Shard::restore(&before).unwrap();
        assert!(
            put_all_away(&world.shards[0]) > 10,
            "they are to be put away here too"
        );
        assert_eq!(drain(&mut world, &away), (0..2_000).collect::<Vec<_>>());
    }
}

// A start from a disk would need as much memory as all queues that wait, or lose the order of what waits in them.
#[test]
fn a_state_is_written_and_read_with_one_part_in_memory_at_a_time() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        fill(&mut world, &publisher, who, 0..2_000);
        assert!(put_all_away(&world.shards[0]) > 10);
        let before = world.shards[0].snapshot();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        world.shards[0].freeze().write(&mut |piece| {
            // As a file gives it back: in other pieces.
            pieces.extend(piece.chunks(10_000).map(<[u8]>::to_vec));
            true
        });
        let mut pieces = pieces.into_iter();
        let mut next = || pieces.next();
        let (shard, mut parts) = Shard::read(&mut next).unwrap();
        let mut count = 0;
        while parts.fill_next(&shard).unwrap() {
            assert_eq!(
                put_all_away(&shard),
                1,
                "part {count} is to leave before the next one"
            );
            count += 1;
        }
        assert!(count > 10);
        assert!(shard.snapshot() == before);
        world.shards[0] = shard;
        assert_eq!(drain(&mut world, &away), (0..2_000).collect::<Vec<_>>());
    }
}

// Half a snapshot would be taken for a whole one.
#[test]
fn a_state_whose_parts_are_cut_is_not_read() {
    let mut world = world(1 << 40);
    let [_away] = away_sessions(&mut world);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    fill(&mut world, &publisher, who, 0..2_000);
    let mut bytes = Vec::new();
    world.shards[0].freeze().write(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    for cut in [1, 1_000, bytes.len() - 10] {
        let mut piece = Some(bytes[..bytes.len() - cut].to_vec());
        let mut next = || piece.take();
        let read = Shard::read(&mut next).and_then(|(shard, mut parts)| {
            while parts.fill_next(&shard)? {}
            Ok(shard)
        });
        assert!(read.is_err(), "without the last {cut} bytes");
    }
}

// What has expired would be read, one after the other, for nobody; and its room would be held for ever.
#[test]
fn what_has_expired_elsewhere_is_given_up() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        for n in 0..2_000 {
            let message = message("t", &payload(n), QoS::AtLeastOnce);
            let message = catena_shard::Message {
                expiry: Some(60),
                ..message
            };
            world.publish(&publisher, who, message);
        }
        world.pass(61_000);
        fill(&mut world, &publisher, who, 2_000..2_100);
        assert_eq!(drain(&mut world, &away), (2_000..2_100).collect::<Vec<_>>());
        assert_eq!(world.shards[0].stats().spilled_bytes, 0);
    }
}

// A session that ends would leave its parts behind, in memory's account and on the disk.
#[test]
fn the_end_of_a_session_gives_everything_up() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let before = world.shards[0].stats().bytes;
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        fill(&mut world, &publisher, who, 0..2_000);
        let ended = Client {
            clean_start: true,
            expiry: 0,
            ..away
        };
        let ended_who = world.join(&ended);
        world.leave(&ended, ended_who, false);
        world.leave(&publisher, who, false);
        world.settle();
        world.pass(20_000);
        let stats = world.shards[0].stats();
        assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
        assert_eq!(stats.bytes, before);
    }
}

// A limit on the length of a queue would be kept for its ends alone. [F-65]
#[test]
fn the_oldest_is_dropped_wherever_it_is() {
    for filter in FILTERS {
        let mut world = World::with(1, |settings| {
            settings.buffer_bytes = BUFFER;
            settings.spill_bytes_max = 1 << 40;
            settings.queue_length_max = Some(1_500);
            settings.queue_drop_oldest = true;
        });
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        assert_eq!(fill(&mut world, &publisher, who, 0..4_000), 4_000);
        assert_eq!(drain(&mut world, &away), (2_500..4_000).collect::<Vec<_>>());
    }
}

// An administrator who looks for what fills the disk would be shown a short queue.
#[test]
fn a_queue_is_weighed_with_all_its_parts() {
    let mut world = world(1 << 40);
    let away = Client::lasting("a", 10);
    let away_who = world.join(&away);
    world.subscribe(&away, away_who, "t", QoS::AtLeastOnce);
    world.leave(&away, away_who, false);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    fill(&mut world, &publisher, who, 0..2_000);
    let of = Named {
        client: away_who.client,
        session: away_who.session,
    };
    let (mut weighed, mut from) = (0, 0);
    loop {
        let Answer::Queue(slice) = world.shards[0].query(&Query::Queue { of, from }) else {
            panic!("asked for a queue");
        };
        weighed += slice.bytes;
        match slice.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let weight = message("t", &payload(0), QoS::AtLeastOnce).weight() as u64;
    assert_eq!(weighed, 2_000 * weight);
}

// A group has many lanes, of which none may ever be long: together they would fill the memory.
#[test]
fn a_group_whose_messages_are_of_many_topics_leaves_memory_too() {
    let mut world = world(1 << 40);
    let (away, publisher, who) = away_and_publisher(&mut world, "$share/g/+");
    let topics = 100;
    for n in 0..4_000 {
        let topic = format!("t{}", n % topics);
        let told = world.publish(
            &publisher,
            who,
            message(&topic, &payload(n), QoS::AtLeastOnce),
        );
        assert!(!published(&told)[0].is_error(), "{n}");
    }
    let mut next: Vec<u32> = (0..topics).collect();
    for n in drain(&mut world, &away) {
        let due = &mut next[(n % topics) as usize];
        assert_eq!(*due, n, "each topic in order");
        *due += topics;
    }
    assert!(next.into_iter().eq(4_000..4_000 + topics), "all of them");
    let stats = world.shards[0].stats();
    assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
}

/// The message that a member of a group holds while later ones leave memory, and how many there are.
const HELD: u32 = 80;
const ALL: u32 = 900;

/// Member `a` holds one message of a group while all later ones, 81 to 899, have left memory or wait; the others of before are done.
struct Held {
    world: World,
    slow: Client,
    slow_who: Who,
    fast: Client,
    publisher: Client,
    who: Who,
    /// The number that it was first sent.
    first: u32,
}

/// Messages expire after `expiry` seconds, the one that is held, 80, after `held_expiry`.
fn held_by_a_member(expiry: Option<u32>, held_expiry: Option<u32>) -> Held {
    let mut world = world(1 << 40);
    let lasting = |id, conn, window| Client {
        window,
        ..Client::lasting(id, conn)
    };
    let (slow, fast) = (lasting("a", 10, 1), lasting("b", 11, 150));
    let join = |world: &mut World, client: &Client| {
        let who = world.join(client);
        world.subscribe(client, who, "$share/g/t", QoS::AtLeastOnce);
        who
    };
    let (slow_who, fast_who) = (join(&mut world, &slow), join(&mut world, &fast));
    let publisher = Client {
        origin: GATEWAY_2,
        ..Client::new("p", 1)
    };
    let who = world.join(&publisher);
    let publish = |world: &mut World, numbers: std::ops::Range<u32>| {
        let mut told = vec![];
        for n in numbers {
            let message = catena_shard::Message {
                expiry: if n == HELD { held_expiry } else { expiry },
                ..message("t", &payload(n), QoS::AtLeastOnce)
            };
            told.extend(world.publish(&publisher, who, message));
        }
        told
    };
    let told = publish(&mut world, 0..HELD);
    let first = deliveries(&told);
    let first = first.iter().find(|(conn, ..)| *conn == slow.conn);
    let (_, _, target) = first.expect("it has its turn").clone();
    let done = op::AckKind::Done;
    world.ack(&slow, slow_who, 0, target.packet_id, done);
    let held = publish(&mut world, HELD..HELD + 1);
    assert_eq!(payloads(&held, &slow).len(), 1, "it is its turn again");
    publish(&mut world, HELD + 1..140);
    // What the fast one had returns, and is parted between 80, which it has not had; then that returns.
    world.leave(&fast, fast_who, false);
    publish(&mut world, 140..ALL);
    assert!(world.shards[0].stats().spilled_bytes > BUFFER / 4);
    put_all_away(&world.shards[0]);
    let first = number(&payloads(&told, &slow)[0]);
    Held {
        world,
        slow,
        slow_who,
        fast,
        publisher,
        who,
        first,
    }
}

// What a member gives back would overtake what has left memory before it, or be overtaken. [F-72]
#[test]
fn what_returns_to_a_group_finds_its_place_among_what_has_left() {
    let mut held = held_by_a_member(None, None);
    let world = &mut held.world;
    let before = world.shards[0].snapshot();
    world.leave(&held.slow, held.slow_who, false);
    assert_ne!(world.shards[0].snapshot(), before);
    let mut expected: Vec<u32> = (0..ALL).collect();
    expected.remove(held.first as usize);
    assert_eq!(drain(world, &held.fast), expected);
    let stats = world.shards[0].stats();
    assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
}

/// Ends a session for good.
fn end(world: &mut World, client: &Client) {
    let client = Client {
        clean_start: true,
        expiry: 0,
        ..client.clone()
    };
    let who = world.join(&client);
    world.leave(&client, who, false);
}

// What came back to a part that is given up unread would stay in memory for ever.
#[test]
fn what_returned_to_a_part_goes_with_it() {
    let mut held = held_by_a_member(None, None);
    let world = &mut held.world;
    world.leave(&held.slow, held.slow_who, false);
    end(world, &held.slow);
    end(world, &held.fast);
    world.leave(&held.publisher, held.who, false);
    world.settle();
    world.pass(20_000);
    let stats = world.shards[0].stats();
    assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
    let nothing = self::world(1 << 40).shards[0].stats().bytes;
    assert!(stats.bytes < nothing + 10_000, "{stats:?}");
}

// An operator would not see it, and the queue would be said to hold what it does not; or a message would go with those around it
// although it lives longer.
#[test]
fn what_returned_to_a_part_expires_with_it_or_lives_on() {
    for (held_expiry, lives) in [(60, false), (600, true)] {
        let mut held = held_by_a_member(Some(60), Some(held_expiry));
        let world = &mut held.world;
        world.leave(&held.slow, held.slow_who, false);
        world.pass(61_000);
        let before = world.shards[0].stats().expired;
        let came = drain(world, &held.fast);
        assert_eq!(came, if lives { vec![HELD] } else { vec![] });
        let stats = world.shards[0].stats();
        // All but the one that was answered.
        let expired = u64::from(ALL) - 1 - u64::from(lives);
        assert_eq!(before, 0, "nobody had looked");
        assert_eq!(stats.expired, expired);
        assert_eq!((stats.spilled_bytes, stats.stored_messages), (0, 0));
        let mut census = Census::default();
        for _ in 0..10 {
            census.go_on(&world.shards[0], 1_000);
        }
        assert_eq!(census.counted().queued, 0);
    }
}

// A lane of which nothing is left would be taken for one in which others wait: what comes next would wait behind nothing, for ever.
#[test]
fn a_lane_all_of_whose_parts_have_expired_is_as_new() {
    for filter in FILTERS {
        let mut world = self::world(1 << 40);
        let (away, publisher, who) = away_and_publisher(&mut world, filter);
        world.shards[0].part_early(4 * 5_000);
        let (mut n, mut parts) = (0, 0);
        // From the second part on, everything behind the front has left once one leaves.
        while parts < 5 {
            let spilled = world.shards[0].stats().spilled;
            let message = catena_shard::Message {
                expiry: Some(60),
                ..message("t", &payload(n), QoS::AtLeastOnce)
            };
            world.publish(&publisher, who, message);
            parts += usize::from(world.shards[0].stats().spilled > spilled);
            n += 1;
        }
        world.pass(61_000);
        let (accepted, mut told) = world.connect(&away);
        told.extend(world.finish());
        assert!(payloads(&told, &away).is_empty());
        let stats = world.shards[0].stats();
        assert_eq!((stats.expired, stats.spilled_bytes), (n.into(), 0));
        let mut told = world.publish(&publisher, who, message("t", &payload(n), QoS::AtLeastOnce));
        told.extend(world.finish());
        let came: Vec<u32> = payloads(&told, &away)
            .iter()
            .map(|text| number(text))
            .collect();
        assert_eq!(came, [n], "{filter}");
        world.leave(&away, away.who(&accepted), false);
    }
}

// The queue that fills the disk would not be among the longest, because it is a group's.
#[test]
fn queues_of_groups_are_counted() {
    let mut world = world(1 << 40);
    let names = ["a", "b"];
    for (name, filter) in names.into_iter().zip(["$share/g/t", "t"]) {
        let away = Client::lasting(name, 10);
        let who = world.join(&away);
        world.subscribe(&away, who, filter, QoS::AtLeastOnce);
        world.leave(&away, who, false);
    }
    let short = Client::lasting("c", 12);
    let short_who = world.join(&short);
    world.subscribe(&short, short_who, "$share/h/+", QoS::AtLeastOnce);
    world.leave(&short, short_who, false);
    let publisher = Client::new("p", 1);
    let who = world.join(&publisher);
    for n in 0..30 {
        world.publish(
            &publisher,
            who,
            message(&format!("u{n}"), "x", QoS::AtLeastOnce),
        );
    }
    fill(&mut world, &publisher, who, 0..2_000);
    let mut census = Census::default();
    // One place at a time, twice.
    for _ in 0..100 {
        census.go_on(&world.shards[0], 1);
    }
    let counted = census.counted();
    assert_eq!(counted.longest, [2_030, 2_000, 2_000, 0, 0]);
    assert_eq!(counted.queued, 6_030);
}
