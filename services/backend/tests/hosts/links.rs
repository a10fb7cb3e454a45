//! What a host owes the origins that are connected to it.

use std::{collections::BTreeSet, future::poll_fn, sync::Arc};

use catena_chain::{Epoch, Generation, Incarnation, Member, ReplicaId, message::Lane};
use catena_link::Batch;
use catena_membership::GatewayIncarnation;
use catena_replicated::{FromOrigin, ToOrigin};
use catena_shard::{Op, Origin};
use catena_transport::{Dial, LocalTransport, Transport};

use crate::{
    gateway::{Gateway, origin},
    world::{SHARD, World, run, until},
};

/// A shard with one replica.
async fn alone() -> World {
    let mut world = World::new(1);
    world.start(1);
    world.decide(SHARD, &[(1, 1)], None);
    // Settings and gateways are in its log.
    until(|| {
        world
            .progress(1, SHARD)
            .is_some_and(|progress| progress.last >= 2)
    })
    .await;
    world
}

/// A connection without a link behind it.
async fn open(world: &World, origin: Origin, lane: Lane, effects_through: u64) -> LocalTransport {
    let to = Member {
        id: ReplicaId(1),
        incarnation: Incarnation(1),
    };
    let mut transport = world.local.dial(SHARD, to).await.unwrap();
    let open = FromOrigin::Open {
        origin,
        lane,
        replica: to.id,
        epoch: Epoch(1),
        generation: Generation(1),
        first_uncommitted: 1,
        effects_through,
    };
    transport.send(open).unwrap();
    transport
}

async fn receive(transport: &mut LocalTransport) -> Option<ToOrigin> {
    poll_fn(|cx| transport.poll_receive(cx)).await.ok()
}

async fn send(transport: &mut LocalTransport, first: u64) {
    let batch = Arc::new(Batch {
        first,
        ops: vec![Op::Noop],
    });
    let ops = FromOrigin::Ops {
        generation: Generation(1),
        acked_through: 0,
        batch,
    };
    poll_fn(|cx| transport.poll_ready(cx)).await.unwrap();
    transport.send(ops).unwrap();
}

// A publisher that changes lanes would be heard in the wrong order by whoever is slow [F-41].
#[test]
fn the_lanes_keep_their_order_on_the_way_out() {
    run(|| async {
        let world = alone().await;
        let (mut slow, mut publisher) = (
            Gateway::new(&world, SHARD, 1),
            Gateway::new(&world, SHARD, 2),
        );
        slow.subscriber("slow", "t").await;
        let who = publisher.subscriber("publisher", "other").await;
        slow.is_slow = true;
        let (rounds, each) = (200, 150);
        for round in 0..rounds {
            let numbers = round * each..(round + 1) * each;
            if round % 2 == 0 {
                let last = publisher.publish(who, numbers);
                publisher.committed(last).await;
            } else {
                let last = publisher.publish_direct(who, numbers);
                publisher
                    .until(|publisher| publisher.uplink.direct_through() >= last)
                    .await;
            }
        }
        slow.is_slow = false;
        let all = rounds * each;
        slow.until(|slow| slow.delivered_count() >= all as usize)
            .await;
        assert!(slow.delivered().into_iter().eq(0..all));
        assert_eq!(world.pulse(1).counts().direct_dropped, 0);
    });
}

// Messages past the log for very many would stop the shard for as long as they take [F-60], or come out of order [F-41].
#[test]
fn ops_are_applied_while_messages_past_the_log_go_to_very_many() {
    run(|| async {
        let world = alone().await;
        let mut readers = Gateway::new(&world, SHARD, 1);
        let count = 3_000;
        for n in 0..count {
            readers.subscriber(&format!("reader-{n}"), "t").await;
        }
        let mut publisher = Gateway::new(&world, SHARD, 2);
        let who = publisher.connect("publisher", None).await;
        // So many that the test has its turn between them again and again: hosts have theirs more often.
        let messages = 0..600;
        let last = publisher.publish_direct(who, messages.clone());
        readers.taken.clear();
        while readers.taken.is_empty() {
            publisher.turn().await;
            readers.turn().await;
        }
        // Some have had the first message. One more comes, and is there before the last message is.
        publisher.connect("late", None).await;
        assert!(publisher.uplink.direct_through() < last);
        while publisher.uplink.direct_through() < last {
            publisher.turn().await;
            readers.turn().await;
        }
        let all = count * messages.len();
        readers.until(|readers| readers.targets() == all).await;
        assert!(readers.delivered().is_sorted(), "one after the other");
        let delivered: BTreeSet<u32> = readers.delivered().into_iter().collect();
        assert!(delivered.into_iter().eq(messages));
        assert_eq!(world.pulse(1).counts().direct_dropped, 0);
    });
}

// What a gateway had handed over when its connection broke would be missing, and counted nowhere [F-59].
#[test]
fn messages_past_the_log_that_go_with_their_connection_are_counted() {
    run(|| async {
        let world = alone().await;
        let mut readers = Gateway::new(&world, SHARD, 1);
        for n in 0..3_000 {
            readers.subscriber(&format!("reader-{n}"), "t").await;
        }
        let mut publisher = Gateway::new(&world, SHARD, 2);
        let who = publisher.connect("publisher", None).await;
        let messages = 600;
        publisher.publish_direct(who, 0..messages);
        readers.taken.clear();
        while readers.taken.is_empty() {
            publisher.turn().await;
            readers.turn().await;
        }
        drop(publisher);
        let dropped = || world.pulse(1).counts().direct_dropped;
        for _ in 0..10_000 {
            readers.turn().await;
            if dropped() > 0 {
                break;
            }
        }
        assert!(dropped() > 0);
        let delivered: BTreeSet<u32> = readers.delivered().into_iter().collect();
        // One of them may have reached some.
        let all = delivered.len() as u64 + dropped();
        assert!(all <= u64::from(messages) + 1, "{all}");
    });
}

// One that takes nothing would stop all others if their messages shared a queue.
#[test]
fn a_slow_origin_holds_up_nobody() {
    run(|| async {
        let world = alone().await;
        let (mut slow, mut fast) = (
            Gateway::new(&world, SHARD, 1),
            Gateway::new(&world, SHARD, 2),
        );
        slow.subscriber("slow", "t").await;
        let who = fast.subscriber("fast", "t").await;
        slow.is_slow = true;
        let count = 50_000;
        let last = fast.publish(who, 0..count);
        fast.until(|fast| fast.delivered_count() == count as usize)
            .await;
        fast.committed(last).await;
        slow.is_slow = false;
        slow.until(|slow| slow.delivered_count() == count as usize)
            .await;
        assert!(slow.delivered().into_iter().eq(0..count));
    });
}

// An origin that knows too little would wait for an answer that never comes [C-4].
#[test]
fn a_gap_is_told() {
    run(|| async {
        let world = alone().await;
        let mut ops = open(&world, origin(1), Lane::Ops, 0).await;
        let opened = receive(&mut ops).await;
        assert!(matches!(
            opened,
            Some(ToOrigin::OpsOpened {
                applied_through: 0,
                ..
            })
        ));
        send(&mut ops, 1).await;
        send(&mut ops, 3).await;
        let gap = receive(&mut ops).await;
        assert!(
            matches!(gap, Some(ToOrigin::Gap { applied_through: 1 })),
            "{gap:?}"
        );
    });
}

// Two connections of one origin would each get a part of the effects [C-41].
#[test]
fn each_connection_gets_all_effects_that_it_asks_for() {
    run(|| async {
        let world = alone().await;
        let mut gateway = Gateway::new(&world, SHARD, 1);
        // Nothing is acknowledged before 256 effects, so that all of them are there.
        gateway.subscriber("c", "t").await;
        let mut numbers = Vec::new();
        for _ in 0..2 {
            let mut effects = open(&world, origin(1), Lane::Effects, 0).await;
            match receive(&mut effects).await {
                Some(ToOrigin::Effects { first, effects, .. }) => numbers.push((first, effects)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(numbers[0], numbers[1]);
    });
}

// Nothing is made of an unknown gateway; one that is over would wait for ever [C-43].
#[test]
fn gateways_that_are_not_known_and_not_any_more_are_told_so() {
    run(|| async {
        let world = alone().await;
        for lane in [Lane::Ops, Lane::Effects] {
            let mut later = open(&world, origin(7), lane, 0).await;
            let answer = receive(&mut later).await;
            assert!(
                matches!(answer, Some(ToOrigin::NotYet { .. })),
                "{answer:?}"
            );
            assert!(receive(&mut later).await.is_none(), "it is closed");
        }
        let mut gateway = Gateway::new(&world, SHARD, 1);
        gateway.subscriber("c", "t").await;
        until(|| world.pulse(1).said().linked == [GatewayIncarnation(1)].into()).await;
        world.tell(|cluster| {
            cluster.gateways_version = 3;
            cluster.gateways = [2].into();
        });
        gateway.until(|gateway| gateway.is_refused).await;
        let mut over = open(&world, origin(1), Lane::Ops, 0).await;
        let answer = receive(&mut over).await;
        assert!(matches!(answer, Some(ToOrigin::Refused)), "{answer:?}");
    });
}

// A shard that is idle for hours would keep a processor busy.
#[test]
fn an_idle_shard_only_ticks() {
    run(|| async {
        let world = alone().await;
        let turns = || world.progress(1, SHARD).unwrap().turns;
        let before = turns();
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        let passed = turns() - before;
        assert!(
            (100..=200).contains(&passed),
            "{passed} turns in ten time-outs"
        );
    });
}
