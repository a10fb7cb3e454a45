//! Every process on a host of its own, and each host cut off in each direction: what comes in is lost, what goes out is
//! lost, or both, while all connections seem to stand.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use catena_tests::{
    broker::binary,
    cluster::{Cluster, Cut, Hosts, Network, Plan, Process, Recipe, START, leashed, new_directory},
    faults::Scene,
};

/// Longer than the time-out, so that somebody is given up in most cases.
const AWAY: Duration = Duration::from_secs(6);

/// Longer than a connection takes to a host that is there.
const REACHED: Duration = Duration::from_millis(500);

fn hosts() -> Option<Hosts> {
    let hosts = Hosts::new();
    hosts
        .inspect_err(|reason| {
            eprintln!("SKIPPED, this machine has no hosts to cut off: {reason}");
        })
        .ok()
}

fn is_reached(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, REACHED).is_ok()
}

// Were nothing cut, the other tests would show nothing.
#[test]
fn a_host_that_is_cut_off_is_not_reached() {
    let Some(hosts) = hosts() else { return };
    let mut network = Network::Hosts(hosts);
    let address = network.free_port("broker");
    let words = [
        &binary().display().to_string(),
        "standalone",
        "--in-memory",
        "--listen",
        &address.to_string(),
    ];
    let command = leashed(words.into_iter().map(str::to_owned));
    let recipe = Recipe {
        command: network.at_home("broker", command),
        environment: Vec::new(),
    };
    let directory = new_directory();
    let mut broker = Process::new("broker", recipe, &directory);
    broker.start();
    assert_eq!(broker.announced(START), Ok(address));
    let Network::Hosts(hosts) = &mut network else {
        unreachable!("it was made of hosts");
    };
    assert!(is_reached(address));
    for cut in [Cut::Incoming, Cut::Outgoing, Cut::Both] {
        hosts.cut("broker", cut);
        assert!(!is_reached(address), "{cut}");
        hosts.heal("broker");
        assert!(is_reached(address), "after {cut}");
    }
    drop(broker);
    let _ = fs::remove_dir_all(directory);
}

fn cut_each_way(which: impl Fn(&mut Cluster) -> String) {
    if hosts().is_none() {
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
