//! Certificates and CAs are replaced, and processes fail, while everybody speaks TLS: clients notice nothing of it.

use std::time::Duration;

use catena_tests::{
    cluster::{Cluster, Plan, Role, wait_for},
    faults::Scene,
};

const LIMIT: Duration = Duration::from_secs(120);

fn plan() -> Plan {
    Plan {
        internal_tls: true,
        ..Plan::redundancy(2)
    }
}

/// Waits until all members have a certificate that the last CA has signed.
fn wait_until_renewed(cluster: &Cluster, signed_before: &[usize]) {
    let names = members(cluster);
    wait_for("new certificates", LIMIT, || {
        for (name, before) in names.iter().zip(signed_before) {
            if issued(cluster, name) <= *before {
                return Err(format!("{name} has its old certificate"));
            }
        }
        Ok(())
    });
}

fn members(cluster: &Cluster) -> Vec<String> {
    let roles = [Role::Backend, Role::Gateway];
    roles.iter().flat_map(|role| cluster.names(*role)).collect()
}

/// How many certificates a process was issued so far.
fn issued(cluster: &Cluster, name: &str) -> usize {
    let log = cluster.process(name).log();
    log.matches("a certificate was issued").count()
}

// A CA that is replaced under load, and crashes in between: what was acknowledged is there, and nothing comes twice.
#[test]
fn a_ca_is_replaced_and_processes_crash_under_load() {
    let mut scene = Scene::begin(plan(), "");
    scene.go_on();
    let before: Vec<usize> = members(&scene.cluster)
        .iter()
        .map(|name| issued(&scene.cluster, name))
        .collect();
    scene.cluster.ca("rotate");
    wait_until_renewed(&scene.cluster, &before);
    scene.go_on();
    scene.cluster.ca("rotate --finish");
    // Links and chains are made anew with the new CA alone.
    let head = scene.cluster.wait_until_whole().shard(0).head().to_owned();
    scene.cluster.kill(&head);
    scene.go_on();
    scene.cluster.restart(&head);
    scene.recover();
    let leader = scene.cluster.leader();
    scene.cluster.kill(&leader);
    scene.go_on();
    scene.cluster.restart(&leader);
    scene.recover();
    scene.end_unnoticed();
}
