//! The packets of the hot path: a PUBLISH with and without properties, and its acknowledgement.
//! The aim is about 50 ns for each.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    decode::{Limits, Role, decode},
    packet::{PacketId, Publish, ack},
    property::Builder,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LIMITS: Limits = Limits {
    maximum_packet_size: 1 << 20,
    role: Role::Server,
};
/// Packets in one buffer, as they come from a busy connection.
const BATCH: usize = 64;

fn publish(qos: QoS, properties: Bytes) -> Publish {
    Publish {
        qos,
        packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
        properties,
        ..Publish::new("plant/line-4/press/temperature", vec![b'x'; 64])
    }
}

fn properties() -> Bytes {
    let builder = Builder::new()
        .content_type("application/json")
        .user("source", "press-7");
    builder.build().expect("valid properties")
}

fn rows() -> [(&'static str, Version, Publish); 5] {
    [
        (
            "v4 qos 0",
            Version::V4,
            publish(QoS::AtMostOnce, Bytes::new()),
        ),
        (
            "v4 qos 1",
            Version::V4,
            publish(QoS::AtLeastOnce, Bytes::new()),
        ),
        (
            "v5 qos 0",
            Version::V5,
            publish(QoS::AtMostOnce, Bytes::new()),
        ),
        (
            "v5 qos 1",
            Version::V5,
            publish(QoS::AtLeastOnce, Bytes::new()),
        ),
        (
            "v5 qos 1 with properties",
            Version::V5,
            publish(QoS::AtLeastOnce, properties()),
        ),
    ]
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut bench = |name: &str, version, one: &[u8]| {
        // From a growing buffer, and so with a shared count, as a reader makes it.
        let mut growing = BytesMut::new();
        growing.extend_from_slice(&one.repeat(BATCH));
        let batch = growing.split().freeze();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut buffer = batch.clone();
                while let Ok(Some(packet)) = decode(&mut buffer, Some(version), &LIMITS) {
                    black_box(packet);
                }
            });
        });
    };
    for (name, version, publish) in rows() {
        let mut one = BytesMut::new();
        publish.encode(version, &mut one);
        bench(&format!("publish {name}"), version, &one);
    }
    bench("puback", Version::V5, &[0x40, 2, 0, 1]);
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let mut out = BytesMut::with_capacity(1 << 16);
    for (name, version, publish) in rows() {
        let header = publish.header();
        group.bench_function(format!("publish {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(header).encode(version, publish.payload.len(), &mut out);
                out.extend_from_slice(&publish.payload);
                black_box(&out);
            });
        });
    }
    group.bench_function("puback", |bencher| {
        bencher.iter(|| {
            out.clear();
            let (kind, id) = (black_box(ack::Kind::Puback), black_box(PacketId::MIN));
            ack::encode_short(kind, id, ReasonCode::Success, Version::V5, &mut out);
            black_box(&out);
        });
    });
    group.finish();
}

fn size(criterion: &mut Criterion) {
    // Every packet moves through a few hands: this says how much is moved.
    println!("a Packet has {} bytes", std::mem::size_of::<Packet>());
    let _ = criterion;
}

criterion_group!(codec, size, decoding, encoding);
criterion_main!(codec);
