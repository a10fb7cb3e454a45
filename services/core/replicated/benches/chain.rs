//! What replication costs beside the state machine, and what a snapshot of many sessions takes. No wires: what a
//! transport adds is measured where transports are.

mod rig;

use catena_chain::Machine;
use catena_replicated::Replicated;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rig::{Rig, publish};

const BATCH: u64 = 64;

/// Offline sessions in the snapshot, each with [`SUBSCRIPTIONS`].
const SESSIONS: u64 = 100_000;
const SUBSCRIPTIONS: u64 = 3;

/// QoS 1 publishes to an ephemeral subscriber, through a whole chain and back to the gateway.
fn publishes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(BATCH));
    for redundancy in 1..=3 {
        let mut rig = Rig::new(redundancy);
        let subscriber = rig.join("subscriber", 1, 0);
        rig.subscribe(subscriber, &["bench/#".to_owned()]);
        let publisher = rig.join("publisher", 2, 0);
        let ops: Vec<_> = (0..1_000)
            .map(|topic| publish(publisher, 2, &format!("bench/{topic}")))
            .collect();
        let mut next = 0;
        group.bench_function(
            format!("publish qos 1, redundancy {redundancy}"),
            |bencher| {
                bencher.iter(|| {
                    let before = rig.effects;
                    for _ in 0..BATCH {
                        next = (next + 1) % ops.len();
                        rig.push(ops[next].clone());
                    }
                    rig.credit(subscriber, BATCH as u32);
                    rig.run();
                    assert_eq!(
                        rig.effects,
                        before + 2 * BATCH,
                        "an answer and a delivery each"
                    );
                });
            },
        );
    }
    group.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let mut rig = Rig::new(1);
    for session in 0..SESSIONS {
        let who = rig.join(&format!("device-{session:06}"), session, 3_600);
        let filters: Vec<String> = (0..SUBSCRIPTIONS)
            .map(|number| format!("plant/{session}/device/{number}"))
            .collect();
        rig.subscribe(who, &filters);
    }
    let machine = rig.replicas[0].machine().expect("a founder has state");
    let write = |machine: &Replicated| {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        Replicated::write(machine.freeze(), &mut |piece| {
            pieces.push(piece.to_vec());
            true
        });
        pieces
    };
    let pieces = write(machine);
    println!(
        "{SESSIONS} sessions with {SUBSCRIPTIONS} subscriptions: {} bytes of snapshot",
        pieces.iter().map(Vec::len).sum::<usize>()
    );
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SESSIONS));
    group.bench_function("frozen", |bencher| bencher.iter(|| machine.freeze()));
    group.bench_function("frozen and written", |bencher| {
        bencher.iter(|| write(machine));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut pieces = pieces.iter().cloned();
            Replicated::read(&mut || pieces.next(), &mut |_| ()).expect("a snapshot")
        });
    });
    group.finish();
}

criterion_group!(benches, publishes, snapshots);
criterion_main!(benches);
