//! A cluster whose backends all die at once.

use catena_tests::{
    cluster::{Cluster, Plan, Role},
    faults::{Chance, turn},
    verify::Load,
};

use crate::{LOAD, go_on, number, seed};

/// So often here; `make crash` says how often there.
const CRASHES: u64 = 1;

#[test]
fn backends_that_are_all_killed_at_once_lose_nothing() {
    let _turn = turn();
    let (seed, crashes) = (seed(), number("CATENA_CRASHES", CRASHES));
    let mut chance = Chance::new(seed);
    let plan = Plan {
        keeps: true,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan);
    let before = cluster.wait_until_whole();
    let mut load = Load::start(&cluster.brokers_with_commas(), LOAD);
    for _ in 0..crashes {
        go_on(&mut load, &mut chance);
        let mut backends = cluster.names(Role::Backend);
        for name in &backends {
            cluster.kill(name);
        }
        // In another order each time: whoever is first, founds.
        let first = chance.below(backends.len() as u64) as usize;
        backends.rotate_left(first);
        for name in &backends {
            cluster.restart(name);
        }
        load.wait_for_more(1);
    }
    let after = cluster.wait_until_whole();
    load.wait_for_more(100);
    let report = load.end();
    assert!(report.passed, "seed {seed}: {report:#?}");
    for (before, after) in before.shards.iter().zip(&after.shards) {
        assert_eq!(before.generation, after.generation, "a shard began empty");
    }
    cluster.assert_well();
}
