//! How many publishes one core applies: one subscriber, a warm match cache.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use catena_mqtt::QoS;
use catena_shard::{Effects, Entry, Input, Op, Origin, Time};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Client, GATEWAY, World, message, publish};

const BATCH: u64 = 64;

/// QoS 1 publishes of 256 bytes over 1,000 topics, to an ephemeral subscriber that gives credit back, in batches of 64
/// with one acknowledgement each.
fn publishes(criterion: &mut Criterion) {
    let mut world = World::new(1);
    let subscriber = Client {
        window: 65_535,
        ..Client::new("subscriber", 1)
    };
    let publisher = Client::new("publisher", 2);
    let reading = world.join(&subscriber);
    world.subscribe(&subscriber, reading, "bench/#", QoS::AtLeastOnce);
    let who = world.join(&publisher);
    let ops: Vec<Op> = (0..1_000)
        .map(|n| {
            let mut body = message(&format!("bench/{n}"), "", QoS::AtLeastOnce);
            body.payload = Bytes::from(vec![0u8; 256]);
            let mut publish = publish(&publisher, who, body);
            publish.message = Arc::new((*publish.message).clone());
            Op::Publish(publish)
        })
        .collect();
    let credit = Op::Credit(catena_shard::op::Credit {
        who: reading,
        messages: BATCH as u32,
        bytes: BATCH * 400,
    });
    let shard = &mut world.shards[0];
    let mut effects = Effects::default();
    let mut number = shard.applied_through(&GATEWAY);
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("publish qos 1, one subscriber", |bencher| {
        let mut apply = |op: &Op, acked_through: u64| {
            number += 1;
            let origin: Origin = GATEWAY;
            let input = Input::Op {
                origin,
                number,
                acked_through,
                op: black_box(op),
            };
            shard.apply(
                &Entry {
                    at: Time(2_000_000),
                    input,
                },
                &mut effects,
            );
            effects.drain();
            shard.outbox(&GATEWAY).map_or(0, |outbox| outbox.last())
        };
        let mut next = 0;
        let mut taken = apply(&credit, 0);
        bencher.iter(|| {
            for _ in 0..BATCH {
                next = (next + 1) % ops.len();
                apply(&ops[next], 0);
            }
            let last = apply(&credit, taken + 2 * BATCH);
            // An answer and a delivery each: a reader without a window would be fast for nothing.
            assert_eq!(last, taken + 2 * BATCH);
            taken = last;
        });
    });
    group.finish();
}

criterion_group!(benches, publishes);
criterion_main!(benches);
