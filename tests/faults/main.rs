//! What clients see when processes of a cluster fail: a selection that takes little time. `make faults` runs all.

mod crash;
mod outage;
mod rotate;

use std::env;

use catena_tests::{
    cluster::Plan,
    faults::{Scene, random_faults},
};

/// So many here; `make faults` lets more happen.
const FAULTS: u32 = 4;

// Faults that nobody thought of: one after the other from a seed.
#[test]
fn a_few_random_faults() {
    let seed = env::var("CATENA_FAULT_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut scene = Scene::begin(Plan::default(), "");
    random_faults(&mut scene, seed, FAULTS);
    scene.end();
}
