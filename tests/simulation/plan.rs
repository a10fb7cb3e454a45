//! What a seed makes happen, and which rule a run goes without.

use catena_chain::{Rule, Switches};

use crate::random::Random;

/// A rule that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loosened {
    /// In the chain.
    Chain(Rule),
    /// The control plane promotes a learner that was not reported.
    C12,
    /// A time-out counts as proof of death.
    C14,
    /// A report counts in any epoch.
    C33,
    /// A node that returns is put at the end of the chain without joining.
    C35,
}

impl Loosened {
    pub fn switches(self) -> Switches {
        match self {
            Loosened::Chain(rule) => Switches::without(rule),
            Loosened::C35 => Switches::without(Rule::C35),
            Loosened::C12 | Loosened::C14 | Loosened::C33 => Switches::default(),
        }
    }

    pub fn name(self) -> String {
        match self {
            Loosened::Chain(rule) => name(&format!("{rule:?}")),
            other => name(&format!("{other:?}")),
        }
    }
}

fn name(rule: &str) -> String {
    format!("C-{}", rule.trim_start_matches('C'))
}

/// The shape of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub off: Option<Loosened>,
    pub nodes: usize,
    pub gateways: usize,
    pub shards: usize,
    pub redundancy: usize,
    /// Microseconds.
    pub timeout: u64,
    pub faults_until: u64,
    /// Microseconds between faults, at most.
    pub fault_gap: u64,
    /// Microseconds between the ops of a gateway, at most.
    pub op_gap: u64,
    /// The control plane stays away when everything else heals `[C-11]`.
    pub ends_without_control: bool,
    pub snapshot_part: usize,
    /// Bytes of entries that a tail keeps for its learner.
    pub learner_bytes: usize,
}

impl Plan {
    pub fn new(seed: u64, off: Option<Loosened>) -> Plan {
        let mut random = Random::new(seed ^ 0xc0ff_ee00);
        let nodes = random.within(3, 5) as usize;
        Plan {
            seed,
            off,
            nodes,
            gateways: random.within(1, 2) as usize,
            shards: random.within(1, 2) as usize,
            redundancy: random.within(2, 3.min(nodes as u64 - 1)) as usize,
            timeout: 400_000,
            faults_until: random.within(4_000_000, 12_000_000),
            fault_gap: random.within(150_000, 1_500_000),
            op_gap: random.within(5_000, 40_000),
            ends_without_control: random.once_in(4),
            snapshot_part: random.within(64, 4_096) as usize,
            learner_bytes: random.within(1_500, 60_000) as usize,
        }
    }
}
