//! A process does nothing for a while, and its connections stay open. Below the time-out it is waited for; above it, it is
//! left out of its chains, and must not play its old part when it wakes up [C-1] [C-3].

use std::time::Duration;

use catena_tests::{
    cluster::{Cluster, Plan},
    faults::Scene,
};

/// Well below the time-out, and well above.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

fn hang(which: impl Fn(&mut Cluster) -> String, length: Duration) -> Scene {
    let mut scene = Scene::begin(Plan::redundancy(2), "");
    let name = which(&mut scene.cluster);
    scene.cluster.hang(&name, length);
    scene.go_on();
    scene.recover();
    scene
}

fn head(cluster: &mut Cluster) -> String {
    cluster.wait_until_whole().shard(0).head().to_owned()
}

fn tail(cluster: &mut Cluster) -> String {
    cluster.wait_until_whole().shard(0).tail().to_owned()
}

#[test]
fn the_head_hangs_for_a_moment() {
    hang(head, SHORT).end_unnoticed();
}

#[test]
fn the_tail_hangs_for_a_moment() {
    hang(tail, SHORT).end_unnoticed();
}

#[test]
fn the_head_hangs_until_it_is_given_up() {
    hang(head, LONG).end_unnoticed();
}

#[test]
fn the_tail_hangs_until_it_is_given_up() {
    hang(tail, LONG).end_unnoticed();
}

// It comes back with clients that are connected elsewhere by then, and must close them, not serve them [C-43].
#[test]
fn a_gateway_hangs_until_it_is_given_up() {
    hang(|_| "gateway-1".to_owned(), LONG).end();
}

// A leader that wakes up must not decide by what it saw before [C-15].
#[test]
fn the_leader_hangs_until_another_leads() {
    hang(|cluster| cluster.leader(), LONG).end_unnoticed();
}

#[test]
fn etcd_hangs() {
    hang(|_| "etcd".to_owned(), LONG).end_unnoticed();
}
