//! How long one message takes here, with the script of a gateway around it. Not a test of anything:
//! `cargo test --release speed -- --ignored --nocapture`, on a machine that does nothing else.

use std::{hint::black_box, time::Instant};

use catena_mqtt::{Packet, QoS, ReasonCode, Version};
use catena_shard::{Op, effect::Published};
use catena_slots::ShardId;

use super::fake::{Bench, CONN, ack, message, publish, target};
use crate::{Input, input::Effect};

const MESSAGES: u32 = 2_000_000;

fn report(what: &str, started: Instant) {
    println!(
        "{what}: {} ns",
        started.elapsed().as_nanos() / u128::from(MESSAGES)
    );
}

#[test]
#[ignore = "prints times"]
fn speed() {
    let mut bench = Bench::live(Version::V5, 0);
    let now = bench.now();
    let qos0 = publish("sensors/kitchen/temperature", QoS::AtMostOnce, 0);
    let started = Instant::now();
    for _ in 0..MESSAGES {
        let packet = Packet::Publish(qos0.clone());
        bench
            .connection
            .handle(Input::Packet(packet), now, &mut bench.fake);
        bench.fake.direct.clear();
    }
    report("QoS 0 in", started);

    let mut bench = Bench::live(Version::V5, 0);
    let mut qos1 = publish("sensors/kitchen/temperature", QoS::AtLeastOnce, 1);
    let started = Instant::now();
    for n in 0..MESSAGES {
        qos1.packet_id = catena_mqtt::packet::PacketId::new(1 + (n % 60_000) as u16);
        let packet = Packet::Publish(qos1.clone());
        bench
            .connection
            .handle(Input::Packet(packet), now, &mut bench.fake);
        let Some((_, Op::Publish(op))) = bench.fake.ops.pop() else {
            panic!()
        };
        let reason = ReasonCode::Success;
        let published = Published {
            conn: CONN,
            token: op.token,
            reason,
        };
        let effect = Input::Effect(ShardId(0), Effect::Published(published));
        bench.connection.handle(effect, now, &mut bench.fake);
        bench.fake.output.clear();
    }
    report("QoS 1 in, with PUBACK", started);

    let message = message("sensors/kitchen/temperature", "21.5 degrees");
    for (what, qos) in [
        ("QoS 0 out", QoS::AtMostOnce),
        ("QoS 1 out", QoS::AtLeastOnce),
    ] {
        let mut bench = Bench::live(Version::V5, 0);
        let target = target(qos, 0);
        let started = Instant::now();
        for n in 0..MESSAGES {
            let delivery = crate::input::Delivery {
                message: &message,
                expires_at: catena_shard::Time::NEVER,
                shard_now: catena_shard::Time(0),
                target: &target,
            };
            let input = Input::Effect(ShardId(0), Effect::Deliver(delivery));
            bench.connection.handle(input, now, &mut bench.fake);
            if qos == QoS::AtLeastOnce {
                let id = 1 + (n % 65_535) as u16;
                let packet = Packet::Puback(ack(id));
                bench
                    .connection
                    .handle(Input::Packet(packet), now, &mut bench.fake);
            }
            if n % 1000 == 0 {
                let written = bench.fake.output.len();
                bench.fake.output.advance(written);
                black_box(&mut bench.fake.ops).clear();
            }
        }
        report(what, started);
        assert_eq!(bench.connection.unacknowledged, 0);
    }
}
