//! Crashes in turn: each place in a chain, each gateway, the store; and many by chance.

use std::env;

use catena_tests::{
    cluster::{Plan, Role},
    faults::{Chance, Scene, random_faults},
};

/// How many faults happen in a row.
const FAULTS: u32 = 30;

// Its neighbours find out from each other what is missing between them [C-20] [C-22].
#[test]
fn the_middle_crashes() {
    let mut scene = Scene::begin(Plan::redundancy(3), "");
    let status = scene.cluster.wait_until_whole();
    let middle = status.shard(0).middle().expect("three replicas").to_owned();
    scene.cluster.kill(&middle);
    scene.go_on();
    scene.cluster.restart(&middle);
    scene.recover();
    scene.end_unnoticed();
}

#[test]
fn each_gateway_crashes_in_turn() {
    let mut scene = Scene::begin(Plan::default(), "");
    for name in scene.cluster.names(Role::Gateway) {
        scene.cluster.kill(&name);
        scene.go_on();
        scene.cluster.restart(&name);
        scene.recover();
    }
    scene.end();
}

#[test]
fn each_backend_crashes_in_turn() {
    let mut scene = Scene::begin(Plan::default(), "");
    for name in scene.cluster.names(Role::Backend) {
        scene.cluster.kill(&name);
        scene.go_on();
        scene.cluster.restart(&name);
        scene.recover();
    }
    scene.end_unnoticed();
}

// With the store down nothing is reconfigured, and clients notice nothing.
#[test]
fn etcd_crashes() {
    let mut scene = Scene::begin(Plan::default(), "");
    scene.cluster.kill("etcd");
    scene.go_on();
    scene.cluster.restart("etcd");
    scene.recover();
    scene.end_unnoticed();
}

// Static stability: with all that decides away, whoever serves goes on.
#[test]
fn the_whole_control_plane_crashes() {
    let mut scene = Scene::begin(Plan::default(), "");
    let mut names = scene.cluster.names(Role::ControlPlane);
    names.push("etcd".to_owned());
    for name in &names {
        scene.cluster.kill(name);
    }
    scene.go_on();
    scene.go_on();
    scene.cluster.restart("etcd");
    for name in scene.cluster.names(Role::ControlPlane) {
        scene.cluster.restart(&name);
    }
    scene.recover();
    scene.end_unnoticed();
}

#[test]
fn many_random_faults() {
    let seed = env::var("CATENA_FAULT_SEED").ok();
    let seed = seed.map_or_else(
        || Chance::new(u64::from(std::process::id())).below(1_000_000),
        |seed| seed.parse().expect("a number"),
    );
    let count = env::var("CATENA_FAULTS").map_or(FAULTS, |count| count.parse().expect("a number"));
    let mut scene = Scene::begin(Plan::default(), "");
    random_faults(&mut scene, seed, count);
    scene.end();
}
