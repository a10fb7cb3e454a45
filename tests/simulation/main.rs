//! The simulator: the real chain, link, control-plane and connection code in a world where everything goes wrong, from one
//! seed.
//!
//! One thread, one queue of events, one source of chance: a seed that fails is replayed by the command that is printed
//! with it. What is right is decided by checkers that stand outside the code (`watch.rs`, `writes.rs`, `mqtt/`). Start
//! reading at `world.rs`; `faults.rs` is what goes wrong.
//!
//! `CATENA_SIM_SEEDS` says how many seeds, `CATENA_SIM_SEED` the first, `CATENA_SIM_TRACE` tells what happens.

mod admin;
mod control;
mod disks;
mod faults;
mod gateway;
mod mqtt;
mod network;
mod node;
mod parcel;
mod plan;
mod random;
mod register;
mod rules;
mod scenario;
mod snapshots;
mod unsynced;
mod watch;
mod wires;
mod workload;
mod world;
mod writes;

use std::{collections::BTreeMap, sync::Mutex};

use mqtt::Clients;
use plan::{Kind, Loosened, Plan, Syncing};
use scenario::Script;
use workload::{Violation, Workload};
use world::World;
use writes::Writes;

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    trace: u64,
    commits: u64,
    empty_starts: u64,
    disk_starts: u64,
    commands: u64,
    ended_without_control: bool,
    /// Persistence was turned on and off.
    turned: bool,
    /// What was written counted before it was synced.
    unsynced: bool,
    /// How often a shard has gone on from a disk that may have lacked something.
    later_generations: u64,
}

/// Runs one seed; the trace of a run that kept all promises comes back.
fn run(kind: Kind, seed: u64, off: Option<Loosened>) -> Result<Outcome, Violation> {
    let plan = Plan::new(kind, seed, off);
    match kind {
        Kind::Writes => run_with::<Writes>(plan),
        Kind::Clients => run_with::<Clients>(plan),
    }
}

fn run_with<W: Workload>(plan: Plan) -> Result<Outcome, Violation> {
    let mut world = World::<W>::new(plan, Script::default());
    world.run()?;
    Ok(Outcome {
        trace: world.watch.trace(),
        commits: world.watch.commits,
        empty_starts: world.watch.empty_starts(),
        disk_starts: world.watch.disk_starts(),
        commands: world.commands_done,
        ended_without_control: world.plan.ends_without_control,
        turned: world.plan.turns_disks,
        unsynced: world.plan.syncing != Syncing::Always,
        later_generations: world.watch.later_generations,
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many threads share the seeds of a test. A run itself has one.
const THREADS: usize = 2;

/// Does the same for each item, in order, on a few threads.
fn parallel<T: Send, R: Send>(
    items: impl Iterator<Item = T> + Send,
    act: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items = Mutex::new(items.enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = items.lock().expect("nobody panics with it").next();
                    let Some((place, item)) = next else { break };
                    let result = act(item);
                    done.lock()
                        .expect("nobody panics with it")
                        .insert(place, result);
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panics with it");
    done.into_values().collect()
}

/// Runs as many seeds as were asked for, and says how to replay the first that fails.
fn sweep(kind: Kind, test: &str, default: u64) {
    let first = number("CATENA_SIM_SEED").unwrap_or(1);
    let is_one = number("CATENA_SIM_SEED").is_some() && number("CATENA_SIM_SEEDS").is_none();
    let count = if is_one {
        1
    } else {
        number("CATENA_SIM_SEEDS").unwrap_or(default)
    };
    let outcomes = parallel(first..first + count, |seed| (seed, run(kind, seed, None)));
    let (mut commits, mut empty, mut disk, mut commands, mut without_control) = (0, 0, 0, 0, 0);
    let (mut turned, mut unsynced, mut later) = (0, 0, 0);
    let mut failed = Vec::new();
    for (seed, outcome) in outcomes {
        match outcome {
            Ok(outcome) => {
                commits += outcome.commits;
                empty += u64::from(outcome.empty_starts > 0);
                disk += u64::from(outcome.disk_starts > 0);
                commands += outcome.commands;
                without_control += u64::from(outcome.ended_without_control);
                turned += u64::from(outcome.turned);
                unsynced += u64::from(outcome.unsynced);
                later += u64::from(outcome.later_generations > 0);
            }
            Err(violation) => failed.push(format!("seed {seed}: {violation}")),
        }
    }
    println!(
        "{count} seeds, {commits} commits, {commands} commands of administrators; in {empty} a shard started empty, in {disk} from \
         a disk, {without_control} ended without a control plane, in {turned} persistence was turned on and off; in {unsynced} what \
         was written counted before it was synced, in {later} of them a shard went on from a disk that may have lacked something"
    );
    if let Some(first) = failed.first() {
        let (all, seed) = (
            failed.join("\n"),
            first.split([' ', ':']).nth(1).unwrap_or_default(),
        );
        panic!(
            "{all}\n\nreplay the first: CATENA_SIM_TRACE=1 CATENA_SIM_SEED={seed} cargo test --package catena-tests --test \
             simulation {test} -- --nocapture\n"
        );
    }
    assert!(commits > count * 50, "next to nothing was committed");
    assert!(count < 50 || disk > 0, "no shard ever went on from a disk");
    assert!(
        count < 50 || turned > 0,
        "persistence was never turned on and off"
    );
    assert!(
        count < 50 || later > 0,
        "no shard ever went on from a disk that may have lacked something"
    );
    let is_administered = kind == Kind::Clients && count >= 50;
    assert!(
        !is_administered || commands > count,
        "next to nothing was asked for by administrators"
    );
}

/// Whatever dies, hangs or is cut off: nothing acknowledged is lost, nothing happens twice, and it all goes on.
#[test]
fn promises_are_kept() {
    sweep(Kind::Writes, "promises", 400);
}

/// MQTT from client to client: what was acknowledged arrives, QoS 2 once, in order; sessions, wills and retained messages
/// outlive gateways and shards.
#[test]
fn sessions_survive() {
    sweep(Kind::Clients, "sessions", 300);
}

/// A run that cannot be repeated explains nothing.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=10 {
        for kind in [Kind::Writes, Kind::Clients] {
            assert_eq!(
                run(kind, seed, None),
                run(kind, seed, None),
                "seed {seed} of {kind:?}"
            );
        }
    }
}
