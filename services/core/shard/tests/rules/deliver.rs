//! F-50 to F-59: deliveries and their acknowledgements.

use catena_mqtt::{QoS, ReasonCode};
use catena_shard::{
    Effect, Op, Origin, Who,
    op::{self, AckKind},
};

use crate::support::*;

type Told = Vec<(Origin, Effect)>;

/// A publisher, and a reader of `#` with this window.
struct Pair {
    world: World,
    sender: Client,
    sending: Who,
    reader: Client,
    reading: Who,
}

impl Pair {
    fn new(reader: Client) -> Pair {
        let mut world = World::new(1);
        let sender = Client {
            origin: GATEWAY_2,
            ..Client::new("sender", 1)
        };
        let sending = world.join(&sender);
        let reading = world.join(&reader);
        world.subscribe(&reader, reading, "#", QoS::ExactlyOnce);
        Pair {
            world,
            sender,
            sending,
            reader,
            reading,
        }
    }

    fn send(&mut self, payload: &str, qos: QoS) -> Told {
        self.world
            .publish(&self.sender, self.sending, message("t", payload, qos))
    }

    fn ack(&mut self, id: u16, kind: AckKind) -> Told {
        self.world.ack(&self.reader, self.reading, 0, id, kind)
    }

    /// The reader leaves, with these unwritten, and comes back.
    fn resume(&mut self, unsent: &[u16]) -> Told {
        self.world.detach(&self.reader, self.reading, 0, unsent);
        self.world
            .disconnect(&self.reader, self.reading, false, None);
        self.reader.conn.0 += 1;
        let (accepted, told) = self.world.connect(&self.reader);
        assert!(accepted.session_present);
        self.reading = self.reader.who(&accepted);
        told
    }
}

fn lasting(window: u32) -> Client {
    Client {
        window,
        ..Client::lasting("reader", 10)
    }
}

/// What is delivered, in short: payload, packet id, DUP; PUBRELs as "rel".
fn short(told: &Told) -> Vec<(String, u16, bool)> {
    let mut found = vec![];
    for (_, effect) in told {
        match effect {
            Effect::Deliver(d) => {
                let payload = String::from_utf8(d.message.payload.to_vec()).unwrap();
                found.extend(
                    d.targets
                        .iter()
                        .map(|t| (payload.clone(), t.packet_id, t.dup)),
                );
            }
            Effect::Pubrel(pubrel) => found.push(("rel".into(), pubrel.packet_id, false)),
            _ => {}
        }
    }
    found
}

/// Ephemeral readers would cost an op per message, or be sent more than their gateway holds [F-50].
#[test]
fn ephemeral_readers_need_credit_alone() {
    let mut pair = Pair::new(Client {
        window: 2,
        ..Client::new("reader", 10)
    });
    let mut got = vec![];
    for n in 0..5 {
        got.extend(pair.send(&n.to_string(), QoS::ExactlyOnce));
    }
    assert_eq!(payloads(&got, &pair.reader), ["0", "1"]);
    assert!(
        deliveries(&got)
            .iter()
            .all(|(_, _, t)| t.packet_id == 0 && t.counted)
    );
    let told = pair.world.credit(&pair.reader, pair.reading, 0, 2);
    assert_eq!(payloads(&told, &pair.reader), ["2", "3"]);
    assert_eq!(
        pair.world.shards[0].stats().stored_messages,
        1,
        "the rest is the gateway's"
    );
}

/// After a crash of its gateway a session would get messages twice as new ones, or in another order [F-51] [F-53].
#[test]
fn what_is_in_flight_is_resent_in_order_with_its_ids() {
    let mut pair = Pair::new(lasting(10));
    let mut first = vec![];
    for n in 0..4 {
        first.extend(pair.send(&n.to_string(), QoS::ExactlyOnce));
    }
    let ids: Vec<u16> = short(&first).iter().map(|(_, id, _)| *id).collect();
    assert_eq!(ids.len(), 4);
    let told = pair.ack(ids[1], AckKind::Received);
    assert!(matches!(told[0].1, Effect::Recorded(r) if r.packet_id == ids[1]));
    pair.ack(ids[2], AckKind::Done);
    let told = pair.resume(&[]);
    let expected = [
        ("0".to_owned(), ids[0], true),
        ("rel".to_owned(), ids[1], false),
        ("3".to_owned(), ids[3], true),
    ];
    assert_eq!(short(&told), expected);
    // Again, now under a third epoch.
    assert_eq!(
        short(&pair.resume(&ids)),
        expected,
        "what may have been written before stays so"
    );
}

/// A reader would be sent more than its client takes, or a large message never [F-52].
#[test]
fn a_persistent_reader_has_a_window() {
    let mut pair = Pair::new(lasting(2));
    let mut got = vec![];
    for n in 0..5 {
        got.extend(pair.send(&n.to_string(), QoS::AtLeastOnce));
    }
    assert_eq!(payloads(&got, &pair.reader), ["0", "1"]);
    let id = short(&got)[1].1;
    assert_eq!(payloads(&pair.ack(id, AckKind::Done), &pair.reader), ["2"]);
    let mut pair = Pair::new(lasting(10));
    let huge = "x".repeat(2 << 20);
    assert_eq!(
        deliveries(&pair.send(&huge, QoS::AtLeastOnce)).len(),
        1,
        "one always fits"
    );
    assert_eq!(deliveries(&pair.send("x", QoS::AtLeastOnce)).len(), 0);
}

/// A client would be told "duplicate" of what it never saw, or get it out of order [F-53].
#[test]
fn what_was_never_written_returns_without_dup() {
    let mut pair = Pair::new(lasting(3));
    let mut got = vec![];
    for n in 0..5 {
        got.extend(pair.send(&n.to_string(), QoS::AtLeastOnce));
    }
    let ids: Vec<u16> = short(&got).iter().map(|(_, id, _)| *id).collect();
    let told = pair.resume(&ids[1..]);
    let seen: Vec<(String, bool)> = short(&told)
        .into_iter()
        .map(|(p, _, dup)| (p, dup))
        .collect();
    let expected = [("0", true), ("1", false), ("2", false)].map(|(p, dup)| (p.to_owned(), dup));
    assert_eq!(seen, expected);
}

/// Messages that nobody will send would hold their place in flight for ever [F-54].
#[test]
fn a_discarded_delivery_is_over() {
    let mut pair = Pair::new(lasting(1));
    let got = pair.send("0", QoS::ExactlyOnce);
    pair.send("1", QoS::ExactlyOnce);
    let told = pair.ack(short(&got)[0].1, AckKind::Discarded);
    assert_eq!(payloads(&told, &pair.reader), ["1"]);
}

/// A message in flight would vanish because its expiry came before its acknowledgement [F-54].
#[test]
fn messages_expire_in_the_queue_but_not_in_flight() {
    let mut pair = Pair::new(lasting(1));
    for n in 0..3 {
        let mut short = message("t", &n.to_string(), QoS::AtLeastOnce);
        short.expiry = (n < 2).then_some(5);
        pair.world.publish(&pair.sender, pair.sending, short);
    }
    pair.world.pass(6_000);
    let told = pair.resume(&[]);
    assert_eq!(payloads(&told, &pair.reader), ["0"], "in flight");
    let id = short(&told)[0].1;
    assert_eq!(
        payloads(&pair.ack(id, AckKind::Done), &pair.reader),
        ["2"],
        "1 expired"
    );
    assert_eq!(pair.world.shards[0].stats().expired, 1);
}

/// A thousand readers behind one gateway would cost a thousand copies of the message [F-55].
#[test]
fn one_deliver_carries_one_message_for_all_readers_of_a_gateway() {
    let mut world = World::new(1);
    let names = ["a", "b", "c", "d"];
    for (n, name) in names.into_iter().enumerate() {
        let client = Client {
            origin: if n < 3 { GATEWAY } else { GATEWAY_2 },
            ..Client::new(name, n as u64 + 1)
        };
        let who = world.join(&client);
        world.subscribe(&client, who, "t", QoS::AtLeastOnce);
    }
    let sender = Client::new("sender", 9);
    let sending = world.join(&sender);
    let told = world.publish(&sender, sending, message("t", "x", QoS::AtLeastOnce));
    let sizes: Vec<usize> = told
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Deliver(d) => Some(d.targets.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [3, 1]);
}

/// A PUBREL that leaves before the PUBREC is kept would lose the message at the next crash [F-56].
#[test]
fn a_pubrec_is_answered_when_it_is_kept() {
    let mut pair = Pair::new(lasting(5));
    let id = short(&pair.send("x", QoS::ExactlyOnce))[0].1;
    for _ in 0..2 {
        let told = pair.ack(id, AckKind::Received);
        assert!(matches!(told[..], [(_, Effect::Recorded(r))] if r.packet_id == id));
        assert_eq!(pair.world.shards[0].stats().stored_messages, 0);
    }
    assert_eq!(short(&pair.resume(&[])), [("rel".to_owned(), id, false)]);
    pair.ack(id, AckKind::Done);
    assert!(short(&pair.resume(&[])).is_empty());
}

/// Messages of one publisher would overtake each other on their way through queue and window [F-58].
#[test]
fn order_holds_through_queue_window_and_resume() {
    let mut pair = Pair::new(lasting(3));
    let mut got = vec![];
    for n in 0..20 {
        got.extend(pair.send(&n.to_string(), QoS::AtLeastOnce));
        if n == 7 {
            let unsent: Vec<u16> = short(&got).iter().map(|(_, id, _)| *id).collect();
            got = pair.resume(&unsent);
        }
    }
    for at in 0..100 {
        let Some((_, id, _)) = short(&got).get(at).cloned() else {
            break;
        };
        got.extend(pair.ack(id, AckKind::Done));
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&got, &pair.reader), expected);
}

/// QoS 0 would fill the memory of a session that is away [F-59].
#[test]
fn qos_0_is_dropped_and_counted_without_a_connection() {
    let mut pair = Pair::new(lasting(3));
    pair.world.leave(&pair.reader, pair.reading, false);
    let told = pair.send("x", QoS::AtMostOnce);
    assert_eq!(published(&told), [ReasonCode::Success]);
    let stats = pair.world.shards[0].stats();
    assert_eq!((stats.qos0_dropped, stats.stored_messages), (1, 0));
}

/// A wrong acknowledgement would free a place that is still taken [F-53].
#[test]
fn unknown_acks_are_ignored() {
    let mut pair = Pair::new(lasting(1));
    let id = short(&pair.send("0", QoS::AtLeastOnce))[0].1;
    pair.send("1", QoS::AtLeastOnce);
    for kind in [
        AckKind::Done,
        AckKind::Received,
        AckKind::Returned,
        AckKind::Discarded,
    ] {
        assert!(pair.ack(id + 1, kind).is_empty());
    }
}

/// A delivery that crossed its gateway's Detach would come back with DUP, though nobody ever wrote it [F-53].
#[test]
fn what_left_after_the_last_effect_taken_was_never_written() {
    let mut pair = Pair::new(lasting(10));
    pair.send("written", QoS::AtLeastOnce);
    pair.send("unsent", QoS::AtLeastOnce);
    let taken = pair.world.shards[0].outbox(&GATEWAY).unwrap().last();
    pair.send("crossed", QoS::ExactlyOnce);
    pair.send("crossed too", QoS::AtLeastOnce);
    let who = pair.reading;
    let unsent = vec![2];
    let detach = op::Detach { who, unsent, taken };
    pair.world.op(GATEWAY, 0, Op::Detach(detach));
    let told = pair.resume(&[]);
    let came: Vec<(String, bool)> = short(&told)
        .into_iter()
        .map(|(payload, _, dup)| (payload, dup))
        .collect();
    let expected = [
        ("written", true),
        ("unsent", false),
        ("crossed", false),
        ("crossed too", false),
    ];
    assert_eq!(
        came,
        expected.map(|(payload, dup)| (payload.to_owned(), dup))
    );
}
