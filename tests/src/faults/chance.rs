//! Faults by chance: which process, what happens to it, and for how long, all from one seed.

use std::{fmt, thread, time::Duration};

use super::Scene;
use crate::cluster::{Cluster, END, Role};

/// Longest time for which a process is away, in milliseconds: the failure time-out, and some more.
const AWAY_MS_MAX: u64 = 6_000;
/// In one of so many rounds a process of another role fails at the same time.
const TWO_AT_ONCE: u64 = 4;

/// Numbers of a seed: xorshift.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of `seed`, which may be any.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// One of `all`, which is not empty.
    pub fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is killed, and started again.
    Crash,
    /// It does nothing for a while.
    Hang,
    /// It is asked to end, and started again.
    Restart,
}

#[derive(Debug, Clone)]
struct Fault {
    kind: Kind,
    name: String,
    away: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Crash => "crashes",
            Kind::Hang => "hangs",
            Kind::Restart => "ends",
        };
        write!(f, "{} {what} for {} ms", self.name, self.away.as_millis())
    }
}

/// Lets `count` faults happen, one after the other; between them everything becomes whole again, so no chain ever loses
/// its last replica.
///
/// # Panics
/// When it does not become whole, or clients do not go on.
pub fn random_faults(scene: &mut Scene, seed: u64, count: u32) {
    eprintln!("the faults of seed {seed}; again with CATENA_FAULT_SEED={seed}");
    let mut chance = Chance::new(seed);
    for number in 1..=count {
        let first = fault(&scene.cluster, &mut chance);
        let mut faults = vec![first];
        if chance.below(TWO_AT_ONCE) == 0 {
            let second = fault(&scene.cluster, &mut chance);
            if Role::of(&second.name) != Role::of(&faults[0].name) {
                faults.push(second);
            }
        }
        let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
        eprintln!("{number} of {count}: {}", words.join("; "));
        strike(&mut scene.cluster, &faults);
        scene.recover();
    }
}

fn fault(cluster: &Cluster, chance: &mut Chance) -> Fault {
    // What holds state and what holds connections fails more often than what decides.
    let roles = [
        Role::Backend,
        Role::Backend,
        Role::Backend,
        Role::Gateway,
        Role::Gateway,
        Role::ControlPlane,
        Role::Etcd,
    ];
    let names = cluster.names(*chance.choose(&roles));
    let name = chance.choose(&names).clone();
    let kinds = [Kind::Crash, Kind::Crash, Kind::Hang, Kind::Restart];
    Fault {
        kind: *chance.choose(&kinds),
        name,
        away: Duration::from_millis(chance.below(AWAY_MS_MAX)),
    }
}

fn strike(cluster: &mut Cluster, faults: &[Fault]) {
    for Fault { kind, name, .. } in faults {
        let process = cluster.process_mut(name);
        match kind {
            Kind::Crash => process.kill(),
            Kind::Hang => process.pause(),
            Kind::Restart => process.ask_to_end(),
        }
    }
    let mut passed = Duration::ZERO;
    let mut faults = faults.to_vec();
    faults.sort_by_key(|fault| fault.away);
    for Fault { kind, name, away } in faults {
        thread::sleep(away - passed);
        passed = away;
        let process = cluster.process_mut(&name);
        // That it serves is not waited for: it may need one that comes back later.
        match kind {
            Kind::Crash => process.start(),
            Kind::Hang => process.resume(),
            Kind::Restart => {
                process.wait_for_end(END);
                process.start();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A seed that is printed and does not repeat its faults is of no use.
    #[test]
    fn a_seed_repeats_itself() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| chance.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert!(numbers(0).iter().any(|number| *number != numbers(0)[0]));
    }
}
