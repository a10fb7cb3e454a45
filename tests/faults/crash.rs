//! One process crashes: clients of a shard notice a pause at most, clients of a gateway go to another.

use catena_mqtt::Version;
use catena_tests::{client::Options, cluster::Plan, faults::Scene};

// The successor must have all that the head acknowledged, and origins must send the rest again.
#[test]
fn the_head_crashes() {
    let mut scene = Scene::begin(Plan::redundancy(2), "");
    let head = scene.cluster.wait_until_whole().shard(0).head().to_owned();
    scene.cluster.kill(&head);
    scene.go_on();
    scene.cluster.restart(&head);
    scene.recover();
    scene.end_unnoticed();
}

// The predecessor must go on with exactly the effects that the tail had not sent.
#[test]
fn the_tail_crashes() {
    let mut scene = Scene::begin(Plan::redundancy(2), "");
    let tail = scene.cluster.wait_until_whole().shard(0).tail().to_owned();
    scene.cluster.kill(&tail);
    scene.go_on();
    scene.cluster.restart(&tail);
    scene.recover();
    scene.end_unnoticed();
}

// A gateway has nothing that it could lose: its clients resume at another [F-24].
#[test]
fn a_gateway_crashes() {
    let mut scene = Scene::begin(Plan::redundancy(2), "");
    let other = scene.cluster.brokers()[1];
    let mut bystander = Options::new(Version::V5, "bystander").open_at(other);
    scene.cluster.kill("gateway-1");
    scene.go_on();
    scene.cluster.restart("gateway-1");
    scene.recover();
    // Who is connected elsewhere has nothing to do with it.
    bystander.ping();
    let report = scene.end();
    assert!(report.connections.resumed > 0, "{report:#?}");
}

// Nobody but the leader may reconfigure chains; when it is gone another must, and clients wait for neither [C-15].
#[test]
fn the_leader_crashes_and_then_a_head() {
    let mut scene = Scene::begin(Plan::redundancy(2), "");
    let leader = scene.cluster.leader();
    scene.cluster.kill(&leader);
    scene.go_on();
    let head = scene.cluster.wait_until_whole().shard(0).head().to_owned();
    scene.cluster.kill(&head);
    scene.go_on();
    scene.cluster.restart(&leader);
    scene.cluster.restart(&head);
    scene.recover();
    scene.end_unnoticed();
}
