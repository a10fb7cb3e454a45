use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{RetainHandling, Subscribe, SubscribeFilter, Unsubscribe},
};
use catena_shard::{Op, effect::SubscribeResult, op::FILTERS_PER_OP_MAX};
use catena_slots::ShardId;

use super::fake::{Bench, connect, packet_id, topic_of};
use crate::{Input, Settings};

const NEW: SubscribeResult = SubscribeResult {
    reason: ReasonCode::GrantedQos1,
    existed: false,
};
const KNOWN: SubscribeResult = SubscribeResult {
    reason: ReasonCode::GrantedQos1,
    existed: true,
};
const FULL: SubscribeResult = SubscribeResult {
    reason: ReasonCode::QuotaExceeded,
    existed: false,
};

fn live(shards: usize) -> Bench {
    Bench::live_with(shards, connect(Version::V5, 0), Settings::default())
}

fn codes(bench: &mut Bench) -> Vec<ReasonCode> {
    match bench.written().as_slice() {
        [Packet::Suback(suback)] => suback.codes.clone(),
        [Packet::Unsuback(unsuback)] => unsuback.codes.clone(),
        [] => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn unsubscribe(bench: &mut Bench, id: u16, filters: &[&str]) {
    let filters = filters.iter().map(|f| (*f).into()).collect();
    bench.packet(Packet::Unsubscribe(Unsubscribe::new(
        packet_id(id),
        filters,
    )));
}

fn tokens(ops: &[(ShardId, Op)]) -> Vec<(ShardId, u32)> {
    let token = |(shard, op): &(ShardId, Op)| match op {
        Op::Subscribe(op) => Some((*shard, op.token)),
        _ => None,
    };
    ops.iter().filter_map(token).collect()
}

// A message past the log would be matched by the options of a SUBSCRIBE that came after it. [F-41]
#[test]
fn a_request_does_not_overtake_publishes_past_the_log() {
    let mut bench = live(1);
    bench.publish("t", QoS::AtMostOnce, 0);
    bench.subscribe(1, &["t"]);
    assert_eq!(bench.ops(), []);
    assert_eq!(bench.fake.awaited, [ShardId(0)]);
    bench.fake.direct_through[0] = 1;
    bench.input(Input::Progress(ShardId(0)));
    assert!(matches!(bench.op(), Op::Subscribe(_)));
}

// A message could be stored where nobody looks for it. [F-30] [F-31]
#[test]
fn filters_go_to_their_shards_and_codes_come_back_in_order() {
    let mut bench = live(2);
    let [first, second] = [0, 1].map(|shard| topic_of(&bench.fake.slots, ShardId(shard)));
    bench.subscribe(1, &[second, "+", "a/#/b", first]);
    let ops = bench.ops();
    let names: Vec<(ShardId, Vec<_>)> = ops
        .iter()
        .filter_map(|(shard, op)| match op {
            Op::Subscribe(op) => {
                let names = op.subscriptions.iter().map(|s| s.filter.full().to_string());
                Some((*shard, names.collect()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        names[0],
        (ShardId(0), vec!["+".to_owned(), first.to_owned()])
    );
    assert_eq!(
        names[1],
        (ShardId(1), vec![second.to_owned(), "+".to_owned()])
    );
    let attaches = ops
        .iter()
        .filter(|(_, op)| matches!(op, Op::Attach(_)))
        .count();
    assert_eq!(attaches, 1, "home is attached by Connect");
    let tokens = tokens(&ops);
    bench.answer_subscribe(tokens[1].0, tokens[1].1, vec![NEW, NEW]);
    assert_eq!(codes(&mut bench), []);
    bench.answer_subscribe(tokens[0].0, tokens[0].1, vec![NEW, FULL]);
    let granted = ReasonCode::GrantedQos1;
    let expected = [
        granted,
        granted,
        ReasonCode::TopicFilterInvalid,
        ReasonCode::QuotaExceeded,
    ];
    assert_eq!(codes(&mut bench), expected);
}

// A shard would be stopped by one packet. [F-31]
#[test]
fn a_large_packet_goes_in_rounds() {
    let mut bench = live(1);
    let names: Vec<String> = (0..600).map(|n| format!("t/{n}")).collect();
    let filters: Vec<&str> = names.iter().map(|name| &**name).collect();
    bench.subscribe(1, &filters);
    for expected in [
        FILTERS_PER_OP_MAX,
        FILTERS_PER_OP_MAX,
        600 - 2 * FILTERS_PER_OP_MAX,
    ] {
        let ops = bench.ops();
        assert!(matches!(&ops[..], [(_, Op::Subscribe(op))] if op.subscriptions.len() == expected));
        bench.answer_all(&ops, false);
    }
    assert_eq!(codes(&mut bench).len(), 600);
}

// What is published after SUBSCRIBE would miss it. [F-32]
#[test]
fn later_publishes_wait_for_subscribe_but_not_for_ever() {
    let mut bench = live(1);
    bench.subscribe(1, &["a"]);
    bench.publish("b", QoS::AtMostOnce, 0);
    assert!(bench.fake.direct.is_empty());
    let ops = bench.ops();
    bench.answer_all(&ops, false);
    assert_eq!(bench.fake.direct.len(), 1);
    unsubscribe(&mut bench, 2, &["a"]);
    bench.publish("b", QoS::AtMostOnce, 0);
    bench.pass(4_999);
    assert_eq!(bench.fake.direct.len(), 1);
    bench.pass(1);
    assert_eq!(bench.fake.direct.len(), 2);
    assert_eq!(codes(&mut bench).len(), 1, "UNSUBACK never times out");
}

// A subscription that the client was denied would go on on some shards. [F-33]
#[test]
fn a_silent_shard_is_refused_and_what_is_new_is_taken_back() {
    let mut bench = live(3);
    bench.subscribe(1, &["+"]);
    let ops = bench.ops();
    let tokens = tokens(&ops);
    bench.answer_subscribe(tokens[0].0, tokens[0].1, vec![NEW]);
    bench.answer_subscribe(tokens[1].0, tokens[1].1, vec![KNOWN]);
    bench.pass(5_000);
    assert_eq!(codes(&mut bench), [ReasonCode::UnspecifiedError]);
    let ops = bench.ops();
    assert!(
        matches!(&ops[..], [(ShardId(0), Op::Unsubscribe(_))]),
        "{ops:?}"
    );
    bench.answer_subscribe(tokens[2].0, tokens[2].1, vec![NEW]);
    let ops = bench.ops();
    assert!(
        matches!(&ops[..], [(ShardId(2), Op::Unsubscribe(_))]),
        "{ops:?}"
    );
    bench.answer_subscribe(tokens[2].0, tokens[2].1, vec![NEW]);
    assert_eq!(bench.ops(), []);
}

// Retained messages would be missing from the shards that knew the filter. [F-35]
#[test]
fn a_filter_that_existed_on_some_shards_is_new() {
    let mut bench = live(2);
    let mut filter = SubscribeFilter::new("+", QoS::AtLeastOnce);
    filter.retain_handling = RetainHandling::SendIfNew;
    let subscribe = Subscribe::new(packet_id(1), vec![filter]);
    bench.packet(Packet::Subscribe(subscribe));
    let tokens = tokens(&bench.ops());
    bench.answer_subscribe(tokens[0].0, tokens[0].1, vec![NEW]);
    bench.answer_subscribe(tokens[1].0, tokens[1].1, vec![KNOWN]);
    let ops = bench.ops();
    assert!(matches!(&ops[..], [(ShardId(1), Op::Replay(op))] if op.filters.len() == 1));
}

// A client could not tell which of its packets was answered. [MQTT-3.8.4-1]
#[test]
fn requests_are_answered_in_order() {
    let mut bench = live(1);
    bench.subscribe(1, &["a"]);
    unsubscribe(&mut bench, 2, &["#/a", "b"]);
    bench.subscribe(1, &["c"]);
    let ops = bench.ops();
    assert_eq!(ops.len(), 1);
    bench.answer_all(&ops, false);
    let ops = bench.ops();
    bench.answer_all(&ops, false);
    let written = bench.written();
    let [
        Packet::Suback(first),
        Packet::Unsuback(second),
        Packet::Suback(third),
    ] = &written[..]
    else {
        panic!("{written:?}")
    };
    assert_eq!(first.packet_id.get(), 1);
    let none = ReasonCode::NoSubscriptionExisted;
    assert_eq!(second.codes, [ReasonCode::TopicFilterInvalid, none]);
    assert_eq!(third.codes, [ReasonCode::PacketIdentifierInUse]);
}

// [MQTT-3.8.3-4]: a shared subscription that skips some of its group's messages loses them.
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut bench = live(1);
    let mut filter = SubscribeFilter::new("$share/g/a", QoS::AtLeastOnce);
    filter.no_local = true;
    bench.packet(Packet::Subscribe(Subscribe::new(
        packet_id(1),
        vec![filter],
    )));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
}

// Clients of 3.1.1 know one word for no. v3.1.1 [MQTT-3.9.3-2]
#[test]
fn below_5_a_refused_filter_is_0x80() {
    let mut bench = Bench::live(Version::V4, 0);
    bench.subscribe(1, &["a/#/b"]);
    assert_eq!(codes(&mut bench), [ReasonCode::UnspecifiedError]);
}
