//! `kill -9` of everything at random points, from a seed, while `catena verify` watches: whatever was acknowledged is there
//! after it, with sessions, subscriptions, retained messages and what was in flight.
//!
//! `CATENA_CRASHES` says how often, `CATENA_CRASH_SEED` from which seed: `make crash`.

mod cluster;
mod standalone;

use std::{env, thread, time::Duration};

use catena_tests::{faults::Chance, verify::Load};

/// What the load is in all tests: it waits long enough for a will that only the end of a registration publishes.
const LOAD: &str = "--settle 60 --reconnect-max 0.5 --churn 2";

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}

fn seed() -> u64 {
    number("CATENA_CRASH_SEED", 1)
}

/// Lets the load go on to some point that the seed chooses.
fn go_on(load: &mut Load, chance: &mut Chance) {
    load.wait_for_more(1 + chance.below(400));
    // Somewhere within an exchange, an fsync or a snapshot.
    thread::sleep(Duration::from_micros(chance.below(20_000)));
}
