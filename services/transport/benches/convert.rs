//! What it costs to turn a publish into bytes and back, and a delivery; 256 bytes of payload, in batches of 64.

use std::{hint::black_box, sync::Arc};

use bytes::{Bytes, BytesMut};
use catena_chain::{Epoch, Generation, Stamp};
use catena_link::Batch;
use catena_mqtt::{QoS, ReasonCode};
use catena_replicated::{FromOrigin, ToOrigin};
use catena_shard::{
    ClientKey, ConnId, Effect, Message, Op, SessionId, Time, Who,
    effect::{Deliver, Published, Target},
    op::Publish,
};
use catena_slots::ShardId;
use catena_transport::wire::{
    decode_from_origin, decode_to_origin, encode_from_origin, encode_to_origin,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use smallvec::smallvec;

const BATCH: u64 = 64;

const PAYLOAD_BYTES: usize = 256;

fn message() -> Arc<Message> {
    Arc::new(Message {
        topic: "plant/7/line/3/temperature".into(),
        payload: Bytes::from(vec![7; PAYLOAD_BYTES]),
        properties: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        publisher: ClientKey(u128::MAX / 3),
        counter: 0,
    })
}

fn ops() -> FromOrigin {
    let publish = |token| {
        Op::Publish(Publish {
            who: Who {
                client: ClientKey(u128::MAX / 3),
                session: SessionId {
                    generation: 1,
                    counter: 123_456,
                    home: ShardId(3),
                },
                epoch: 17,
            },
            conn: ConnId(5 << 32 | 77),
            token,
            packet_id: 0,
            dup: false,
            high_priority: false,
            message: message(),
        })
    };
    FromOrigin::Ops {
        generation: Generation(1),
        acked_through: 1_000_000,
        batch: Arc::new(Batch {
            first: 1_000_000,
            ops: (0..BATCH as u32).map(publish).collect(),
        }),
    }
}

fn effects(effect: impl Fn(u32) -> Effect) -> ToOrigin {
    ToOrigin::Effects {
        generation: Generation(1),
        epoch: Epoch(9),
        first: 1_000_000,
        effects: (0..BATCH as u32).map(effect).collect(),
        committed: 1_000_000,
        direct: vec![],
        direct_through: 0,
        now: Stamp(1_700_000_000_000),
    }
}

fn deliver(number: u32) -> Effect {
    Effect::Deliver(Deliver {
        message: message(),
        expires_at: Time::NEVER,
        targets: smallvec![Target {
            conn: ConnId(5 << 32 | u64::from(number)),
            packet_id: 300,
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            counted: true,
            shared: false,
            subscription_ids: None,
        }],
    })
}

fn published(token: u32) -> Effect {
    Effect::Published(Published {
        conn: ConnId(5 << 32 | 77),
        token,
        reason: ReasonCode::Success,
    })
}

/// As gRPC has it: all messages of a read in one buffer, from which slices are split.
fn received(bytes: &Bytes) -> BytesMut {
    BytesMut::from(&bytes[..])
}

fn convert(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert");
    group.throughput(Throughput::Elements(BATCH));

    let ops = ops();
    let mut buffer = BytesMut::with_capacity(1 << 20);
    group.bench_function("encode publish ops", |b| {
        b.iter(|| {
            buffer.clear();
            encode_from_origin(ShardId(3), black_box(&ops), &mut buffer);
        });
    });
    let bytes = buffer.clone().freeze();
    group.bench_function("decode publish ops", |b| {
        b.iter_batched(
            || received(&bytes),
            |bytes| decode_from_origin(bytes).unwrap(),
            BatchSize::SmallInput,
        );
    });

    for (name, effects) in [
        ("deliver", effects(deliver)),
        ("published", effects(published)),
    ] {
        group.bench_function(format!("encode {name} effects"), |b| {
            b.iter(|| {
                buffer.clear();
                encode_to_origin(black_box(&effects), &mut buffer);
            });
        });
        let bytes = buffer.clone().freeze();
        group.bench_function(format!("decode {name} effects"), |b| {
            b.iter_batched(
                || received(&bytes),
                |bytes| decode_to_origin(bytes).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
