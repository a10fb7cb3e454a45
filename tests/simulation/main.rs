//! The simulator: the real chain and link code in a world where everything goes wrong, from one seed.
//!
//! One thread, one queue of events, one source of chance: a seed that fails is replayed by the command that is printed
//! with it. What is right is decided by checkers that stand outside the code (`watch.rs`, `writes.rs`). Start reading at
//! `world.rs`; `faults.rs` is what goes wrong.
//!
//! `CATENA_SIM_SEEDS` says how many seeds, `CATENA_SIM_SEED` the first, `CATENA_SIM_TRACE` tells what happens.

mod control;
mod control_plane;
mod faults;
mod network;
mod plan;
mod random;
mod register;
mod rules;
mod sessions;
mod watch;
mod workload;
mod world;
mod writes;

use plan::{Loosened, Plan};
use sessions::Sessions;
use workload::{Violation, Workload};
use world::World;
use writes::Writes;

/// Runs one seed; the trace of a run that kept all promises comes back.
fn run(seed: u64, off: Option<Loosened>) -> Result<Outcome, Violation> {
    run_with::<Writes>(seed, off)
}

fn run_with<W: Workload>(seed: u64, off: Option<Loosened>) -> Result<Outcome, Violation> {
    let mut world = World::<W>::new(Plan::new(seed, off));
    world.run()?;
    Ok(Outcome {
        trace: world.watch.trace(),
        commits: world.watch.commits,
        ended_without_control: world.plan.ends_without_control,
    })
}

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    trace: u64,
    commits: u64,
    ended_without_control: bool,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs as many seeds as were asked for, and says how to replay the first that fails.
fn sweep<W: Workload>(test: &str, default: u64) {
    let first = number("CATENA_SIM_SEED").unwrap_or(1);
    let is_one = number("CATENA_SIM_SEED").is_some() && number("CATENA_SIM_SEEDS").is_none();
    let count = if is_one {
        1
    } else {
        number("CATENA_SIM_SEEDS").unwrap_or(default)
    };
    let (mut commits, mut without_control) = (0, 0);
    for seed in first..first + count {
        match run_with::<W>(seed, None) {
            Ok(outcome) => {
                commits += outcome.commits;
                without_control += u64::from(outcome.ended_without_control);
            }
            Err(violation) => panic!(
                "seed {seed}: {violation}\n\nreplay it: CATENA_SIM_TRACE=1 CATENA_SIM_SEED={seed} cargo test --package \
                 catena-tests --test simulation {test} -- --nocapture\n"
            ),
        }
    }
    println!("{count} seeds, {commits} commits, {without_control} ended without a control plane");
    assert!(commits > count * 50, "next to nothing was committed");
}

/// Whatever dies, hangs or is cut off: nothing acknowledged is lost, nothing happens twice, and it all goes on.
#[test]
fn promises_are_kept() {
    sweep::<Writes>("promises", 200);
}

/// The same with the real shard: a QoS 1 publish that was answered is delivered once and in order `[F-40]` `[F-58]`.
#[test]
fn sessions_survive() {
    sweep::<Sessions>("sessions", 100);
}

/// A run that cannot be repeated explains nothing.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=10 {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
        let sessions = || run_with::<Sessions>(seed, None);
        assert_eq!(sessions(), sessions(), "seed {seed} with sessions");
    }
}
