//! The probe, on a cluster that is well and on one that is not.

use std::process::Command;

use catena_mqtt::Version;
use catena_tests::{
    broker::binary,
    client::Options,
    cluster::{Cluster, Plan},
};

fn once(cluster: &Cluster, timeout: &str) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(["probe", "--once", "--timeout", timeout, "--gateway"])
        .arg(cluster.brokers_with_commas())
        .args(["--admin", &cluster.admin().urls()])
        .output()
        .expect("the binary is there");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

// Everything else may say that all is well while no client gets a message.
#[test]
fn the_probe_goes_every_route_and_says_which_is_broken() {
    let mut plan = Plan::redundancy(1);
    plan.backends = 1;
    let mut cluster = Cluster::start(plan);
    let mut everything = Options::new(Version::V5, "everything").open_at(cluster.brokers()[0]);
    everything.subscribe("#", 1);
    let (code, said) = once(&cluster, "15");
    assert_eq!(code, Some(0), "{said}");
    // Two gateways, two shards.
    let routes = said
        .lines()
        .filter(|line| line.contains("unsubscribe"))
        .count();
    assert_eq!(routes, 4, "{said}");
    everything.expect_nothing();
    cluster.kill("backend-1");
    let (code, said) = once(&cluster, "3");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("failed: "), "{said}");
    cluster.restart("backend-1");
    cluster.stop();
}
