//! A backend joins behind one whose queues are many times what memory has room for: neither needs more of it for that.

use catena_mqtt::Version;
use catena_tests::{
    client::Options,
    cluster::{Cluster, Plan, Role},
    faults::turn,
};

use crate::spilled::{Had, Queue, RECEIVE_MAXIMUM, TOPIC, messages, peak_kib, publish, take};

/// What the profile Tiny says of a backend with one shard (docs/memory.md).
const MEMORY_KIB_MAX: u64 = 102 * 1024;

const SPEC: &str = "  memoryProfile: Tiny\n  diskBackedMessageBuffer: {maxSize: 8Gi}\n";

fn assert_within_memory(cluster: &Cluster, when: &str) {
    for name in cluster.names(Role::Backend) {
        let peak = peak_kib(cluster.process(&name));
        eprintln!("{when}: {name} took {} MiB at most", peak / 1024);
        assert!(peak < MEMORY_KIB_MAX, "{name}: {peak} KiB {when}");
    }
}

// The snapshot would be in memory as a whole, on both sides: a chain that is repaired would lose the other replica too. [C-30]
#[test]
fn a_backend_joins_behind_long_queues_within_the_memory_of_the_profile() {
    let _turn = turn();
    let queue = Queue {
        filter: TOPIC,
        messages: messages(20_000, 60_000),
        bytes: 16 * 1024,
        window: 16,
    };
    let mut cluster = Cluster::start(Plan {
        backends: 2,
        workers: 1,
        spec: SPEC.to_owned(),
        ..Plan::default()
    });
    cluster.wait_until_whole();
    let broker = cluster.brokers()[0];
    let away = Options::new(Version::V5, "away")
        .persistent()
        .clean_start(false)
        .receive_maximum(RECEIVE_MAXIMUM);
    let mut client = away.open_at(broker);
    client.subscribe(queue.filter, 1);
    client.disconnect();
    let mut accepted = Vec::new();
    publish(broker, &queue, 0, queue.messages, &mut accepted);
    assert_within_memory(&cluster, "all are there");

    // One after the other: so each sends all, and each is sent all.
    for name in cluster.names(Role::Backend) {
        cluster.kill(&name);
        cluster.restart(&name);
        cluster.wait_until_whole();
        assert_within_memory(&cluster, &format!("{name} has joined"));
    }
    let mut client = away.open_at(broker);
    assert!(client.connack().session_present, "the session is gone");
    take(
        &mut client,
        &queue,
        &accepted,
        accepted.len(),
        &mut Had::default(),
    );
    assert_eq!(accepted.len(), queue.messages as usize);
    cluster.assert_well();
}
