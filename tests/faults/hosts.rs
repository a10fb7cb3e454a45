//! Every process on a host of its own, and each host cut off in each direction: what comes in is lost, what goes out is
//! lost, or both, while all connections seem to stand.

use std::time::Duration;

use catena_tests::{
    cluster::{Cluster, Cut, Hosts, Plan},
    faults::Scene,
};

/// Longer than the time-out, so that somebody is given up in most cases.
const AWAY: Duration = Duration::from_secs(6);

fn cut_each_way(which: impl Fn(&mut Cluster) -> String) {
    if let Err(reason) = Hosts::new() {
        eprintln!("SKIPPED, this machine has no hosts to cut off: {reason}");
        return;
    }
    let plan = Plan {
        hosts: true,
        ..Plan::default()
    };
    // Only silence tells a client that its gateway is cut off.
    let mut scene = Scene::begin(plan, "--keepalive 2");
    for cut in [Cut::Incoming, Cut::Outgoing, Cut::Both] {
        let name = which(&mut scene.cluster);
        eprintln!("{name} is cut off: {cut}");
        scene.cluster.cut(&name, cut, AWAY);
        scene.go_on();
        scene.recover();
    }
    scene.end();
}

#[test]
fn the_head_is_cut_off() {
    cut_each_way(|cluster| cluster.wait_until_whole().shard(0).head().to_owned());
}

#[test]
fn the_tail_is_cut_off() {
    cut_each_way(|cluster| cluster.wait_until_whole().shard(0).tail().to_owned());
}

#[test]
fn a_gateway_is_cut_off() {
    cut_each_way(|_| "gateway-1".to_owned());
}

#[test]
fn the_leader_is_cut_off() {
    cut_each_way(|cluster| cluster.leader());
}

#[test]
fn etcd_is_cut_off() {
    cut_each_way(|_| "etcd".to_owned());
}
