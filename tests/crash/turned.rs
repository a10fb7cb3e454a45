//! Persistence is turned on and off in a cluster that runs, while everything in it crashes.

use std::{fs, path::Path};

use catena_tests::{
    cluster::{Cluster, HEAL, Plan, Role, wait_for},
    faults::{Chance, turn},
    verify::Load,
};

use crate::{
    LOAD, crashes,
    death::{assert_none_began_anew, kill_all},
    go_on, seed,
};

/// Nothing of any shard is in any data directory.
fn nothing_is_kept(cluster: &Cluster) -> Result<(), String> {
    for name in cluster.names(Role::Backend) {
        let shards = cluster.directory().join(format!("{name}-data/shards"));
        if let Some(left) = first_directory(&shards) {
            return Err(format!("{left} is left of {name}"));
        }
    }
    Ok(())
}

fn first_directory(path: &Path) -> Option<String> {
    let listed = fs::read_dir(path).ok()?;
    let mut directories = listed.flatten().filter(|entry| entry.path().is_dir());
    Some(directories.next()?.path().display().to_string())
}

fn kill_backends(cluster: &mut Cluster, chance: &mut Chance) {
    kill_all(cluster, chance, &[Role::Backend], || {}, || {});
}

fn turn_on(cluster: &Cluster) {
    cluster.keep(true);
    wait_for("replicas that are on disk", HEAL, || cluster.all_are_kept());
}

fn turn_off(cluster: &Cluster) {
    cluster.keep(false);
    wait_for("empty disks", HEAL, || nothing_is_kept(cluster));
}

/// Whoever turns it on must be able to rely on it from then on, without a restart; and off it must neither cost anything nor leave
/// anything that a later start takes for what was acknowledged last.
#[test]
fn persistence_is_turned_on_and_off_while_everything_goes_on() {
    let _turn = turn();
    let seed = seed();
    let mut chance = Chance::new(seed);
    let mut cluster = Cluster::start(Plan::default());
    let before = cluster.wait_until_whole();
    assert_eq!(nothing_is_kept(&cluster), Ok(()));
    let mut load = Load::start(&cluster.brokers_with_commas(), LOAD);
    for _ in 0..crashes(1, 5) {
        go_on(&mut load, &mut chance);
        turn_on(&cluster);
        go_on(&mut load, &mut chance);
        kill_backends(&mut cluster, &mut chance);
        load.wait_for_more(1);
        cluster.wait_until_whole();
        turn_off(&cluster);
        load.wait_for_more(100);
    }
    // One of them dies while it is turned on, and another while it is turned off: the others have everything.
    for keeps in [true, false] {
        cluster.keep(keeps);
        let name = format!("backend-{}", 1 + chance.below(3));
        cluster.kill(&name);
        load.wait_for_more(1);
        cluster.restart(&name);
        cluster.wait_until_whole();
    }
    wait_for("empty disks", HEAL, || nothing_is_kept(&cluster));
    turn_on(&cluster);
    kill_backends(&mut cluster, &mut chance);
    let after = cluster.wait_until_whole();
    load.wait_for_more(100);
    let report = load.end();
    assert!(report.passed, "seed {seed}: {report:#?}");
    assert_none_began_anew(&before, &after);
    cluster.assert_well();
}
