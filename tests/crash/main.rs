//! `kill -9` of everything, and power cuts, at random points from a seed, while `catena verify` watches: whatever was
//! acknowledged is there after it, with sessions, subscriptions, retained messages and what was in flight.
//!
//! `CATENA_CRASHES` says how often in all, `CATENA_CRASH_SEED` from which seed: `make crash`.

mod cluster;
mod death;
mod disks;
mod joined;
mod kept;
mod spilled;
mod standalone;
mod turned;

use std::{env, thread, time::Duration};

use catena_tests::{faults::Chance, verify::Load};

/// What the load is in all tests: it waits long enough for a will that only the end of a registration publishes.
const LOAD: &str = "--settle 60 --reconnect-max 0.5 --churn 2";

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn seed() -> u64 {
    number("CATENA_CRASH_SEED").unwrap_or(1)
}

/// How often a test crashes something: `few` times, or its part, in percent, of what `make crash` asks for.
fn crashes(few: u64, percent: u64) -> u64 {
    number("CATENA_CRASHES").map_or(few, |all| (all * percent).div_ceil(100))
}

/// Lets the load go on to some point that the seed chooses.
fn go_on(load: &mut Load, chance: &mut Chance) {
    load.wait_for_more(1 + chance.below(400));
    // Somewhere within an exchange, an fsync or a snapshot.
    thread::sleep(Duration::from_micros(chance.below(20_000)));
}
