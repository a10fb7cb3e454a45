//! A cluster of which all backends die at once, or everything.

use std::collections::BTreeMap;

use catena_tests::{
    cluster::{Cluster, Plan, Role},
    disk::{Disk, skipped},
    faults::{Chance, turn},
    verify::Load,
};

use crate::{
    LOAD, crashes,
    death::{assert_none_began_anew, kill_all},
    go_on, seed,
};

/// What crashes, and comes back.
fn survive(plan: Plan, crashes: u64, roles: &[Role], cut: impl Fn(), restore: impl Fn()) {
    let seed = seed();
    let mut chance = Chance::new(seed);
    let mut cluster = Cluster::start(plan);
    let before = cluster.wait_until_whole();
    let mut load = Load::start(&cluster.brokers_with_commas(), LOAD);
    for _ in 0..crashes {
        go_on(&mut load, &mut chance);
        kill_all(&mut cluster, &mut chance, roles, &cut, &restore);
        load.wait_for_more(1);
    }
    let after = cluster.wait_until_whole();
    load.wait_for_more(100);
    let report = load.end();
    assert!(report.passed, "seed {seed}: {report:#?}");
    assert_none_began_anew(&before, &after);
    cluster.assert_well();
    eprintln!(
        "seed {seed}: {crashes} crashes, {} acknowledged, {} delivered, {} sessions resumed: nothing is missing",
        report.acknowledged, report.delivered, report.connections.resumed
    );
}

#[test]
fn backends_that_are_all_killed_at_once_lose_nothing() {
    let _turn = turn();
    let plan = Plan {
        keeps: true,
        ..Plan::default()
    };
    survive(plan, crashes(1, 10), &[Role::Backend], || {}, || {});
}

const ALL: [Role; 4] = [Role::Backend, Role::ControlPlane, Role::Etcd, Role::Gateway];

#[test]
fn a_cluster_of_which_everything_is_killed_loses_nothing() {
    let _turn = turn();
    let plan = Plan {
        keeps: true,
        ..Plan::default()
    };
    survive(plan, crashes(1, 10), &ALL, || {}, || {});
}

#[test]
fn a_cluster_whose_disks_lose_power_loses_nothing() {
    let _turn = turn();
    let disk = match Disk::with_power(2048) {
        Ok(disk) => disk,
        Err(reason) => return skipped(&reason),
    };
    let names = ["etcd", "backend-1", "backend-2", "backend-3"];
    let disks = names.map(|name| (name.to_owned(), disk.path().join(name)));
    let plan = Plan {
        keeps: true,
        disks: BTreeMap::from(disks),
        ..Plan::default()
    };
    survive(
        plan,
        crashes(1, 5),
        &ALL,
        || disk.cut_power(),
        || disk.restore_power(),
    );
}
