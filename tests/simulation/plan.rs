//! What a seed makes happen, and which rule a run goes without.

use catena_chain::{Rule, Switches};
use catena_mqtt::QoS;

use crate::random::Random;

/// A rule that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loosened {
    /// In the chain.
    Chain(Rule),
    /// In the shard.
    Shard(catena_shard::Rule),
    /// In the gateway's connections.
    Connection(catena_connection::Rule),
    /// The control plane promotes a learner that was not reported.
    C12,
    /// The control plane evicts although nobody that it leaves is live.
    C13,
    /// A time-out counts as proof of death.
    C14,
    /// Writes to the store compare nothing.
    C15,
    /// Any disk is gone on from, whatever it is of.
    C63,
    /// A disk that may lack something is gone on from as if nothing were missing.
    C64,
    /// A report counts in any epoch.
    C33,
    /// A learner that is lost is not dropped.
    C34,
    /// A node that returns is put at the end of the chain without joining.
    C35,
}

impl Loosened {
    pub fn switches(self) -> Switches {
        match self {
            Loosened::Chain(rule) => Switches::without(rule),
            Loosened::C35 => Switches::without(Rule::C35),
            _ => Switches::default(),
        }
    }

    pub fn name(self) -> String {
        let rule = match self {
            Loosened::Chain(rule) => format!("{rule:?}"),
            Loosened::Shard(rule) => format!("{rule:?}"),
            Loosened::Connection(rule) => format!("{rule:?}"),
            other => format!("{other:?}"),
        };
        let (letter, number) = rule.split_at(1);
        format!("{letter}-{number}")
    }
}

/// When what nodes write to their disks counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// When it is synced.
    Always,
    /// When it is written: a power cut takes what was not synced.
    Interval,
    /// That is changed while everything goes on.
    Changing,
}

/// Which clients a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a small machine that writes down what it applies.
    Writes,
    /// Of MQTT.
    Clients,
}

/// The shape of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub off: Option<Loosened>,
    pub nodes: usize,
    pub gateways: usize,
    pub controls: usize,
    pub partitions: u16,
    pub workers: u16,
    pub redundancy: usize,
    /// Nodes are of two zones.
    pub zones: bool,
    pub clients: usize,
    /// A script says what goes wrong and what clients do.
    pub is_scripted: bool,
    /// Microseconds.
    pub timeout: u64,
    /// Microseconds from the start to the first fault, and to when everything heals.
    pub faults_from: u64,
    pub faults_until: u64,
    /// Microseconds between faults, at most; 0: none.
    pub fault_gap: u64,
    /// Microseconds between what an administrator asks of shards, at most; 0: he is not there.
    pub command_gap: u64,
    /// Microseconds between the ops of a gateway, or of a client, at most.
    pub op_gap: u64,
    /// The control plane stays away when everything else heals `[C-11]`.
    pub ends_without_control: bool,
    /// Bytes of a snapshot that travel in one message, at most.
    pub snapshot_piece: usize,
    /// Bytes of entries that a tail keeps for its learner.
    pub learner_bytes: usize,
    /// Snapshots are made and read by other threads.
    pub offloads_snapshots: bool,
    /// Nodes keep what they have on disks.
    pub disks: bool,
    /// That is turned on and off while everything goes on.
    pub turns_disks: bool,
    pub syncing: Syncing,
    /// Of what clients subscribe and publish.
    pub qos_max: QoS,
    pub kind: Kind,
}

impl Plan {
    pub fn new(kind: Kind, seed: u64, off: Option<Loosened>) -> Plan {
        let mut random = Random::new(seed ^ 0xc0ff_ee00);
        let nodes = random.within(3, 5) as usize;
        let redundancy = random.within(2, 3.min(nodes as u64 - 1)) as usize;
        // Two partitions only where there is a spare node beside them.
        let partitions = if 2 * redundancy < nodes && random.once_in(2) {
            2
        } else {
            1
        };
        let workers = if partitions == 2 {
            1
        } else {
            random.within(1, 2) as u16
        };
        let plan = Plan {
            seed,
            off,
            nodes,
            gateways: random.within(1, 2) as usize,
            controls: random.within(1, 3) as usize,
            partitions,
            workers,
            redundancy,
            zones: random.once_in(2),
            clients: 0,
            is_scripted: false,
            timeout: 400_000,
            faults_from: 700_000,
            faults_until: random.within(4_000_000, 12_000_000),
            fault_gap: random.within(150_000, 1_500_000),
            command_gap: 0,
            op_gap: random.within(5_000, 40_000),
            ends_without_control: random.once_in(4),
            snapshot_piece: random.within(64, 4_096) as usize,
            learner_bytes: random.within(1_500, 60_000) as usize,
            offloads_snapshots: random.once_in(2),
            disks: match off {
                None => Random::new(seed ^ 0xd15c).once_in(2),
                Some(
                    Loosened::Chain(Rule::C62 | Rule::C65 | Rule::C66)
                    | Loosened::C63
                    | Loosened::C64,
                ) => true,
                // The other rules were there before disks, and are found out without them.
                Some(_) => false,
            },
            turns_disks: match off {
                None => Random::new(seed ^ 0x0ff0).once_in(3),
                Some(off) => matches!(off, Loosened::Chain(Rule::C65 | Rule::C66)),
            },
            syncing: match off {
                None => match Random::new(seed ^ 0x1a7e).below(6) {
                    0..=1 => Syncing::Interval,
                    2 => Syncing::Changing,
                    _ => Syncing::Always,
                },
                Some(Loosened::C64) => Syncing::Interval,
                Some(_) => Syncing::Always,
            },
            qos_max: QoS::ExactlyOnce,
            kind,
        };
        let plan = Plan {
            turns_disks: plan.disks && plan.turns_disks,
            syncing: if plan.disks {
                plan.syncing
            } else {
                Syncing::Always
            },
            ..plan
        };
        // Where a rule matters at all.
        let plan = match off {
            Some(Loosened::Chain(Rule::C11)) => Plan {
                ends_without_control: true,
                ..plan
            },
            Some(Loosened::Chain(Rule::C42)) if partitions == 1 => Plan { workers: 2, ..plan },
            _ => plan,
        };
        // Of clients more is checked with one shard: no session has a part elsewhere [C-64].
        let mut alone = Random::new(seed ^ 0x0a10);
        let is_alone = plan.syncing != Syncing::Always && alone.below(3) > 0;
        match kind {
            Kind::Writes => plan,
            Kind::Clients => Plan {
                partitions: if is_alone { 1 } else { plan.partitions },
                workers: if is_alone { 1 } else { plan.workers },
                // And no session ends because QoS 2 has a part in it.
                qos_max: if is_alone && alone.once_in(2) {
                    QoS::AtLeastOnce
                } else {
                    plan.qos_max
                },
                gateways: random.within(2, 3) as usize,
                clients: random.within(4, 6) as usize,
                faults_until: random.within(4_000_000, 9_000_000),
                fault_gap: random.within(300_000, 2_000_000),
                op_gap: random.within(30_000, 120_000),
                snapshot_piece: random.within(1_024, 16_384) as usize,
                learner_bytes: random.within(20_000, 500_000) as usize,
                ends_without_control: random.once_in(8),
                // The rules were there before him, and are found out without him.
                command_gap: match off {
                    None if random.once_in(2) => random.within(200_000, 1_500_000),
                    _ => 0,
                },
                ..plan
            },
        }
    }

    pub fn shards(&self) -> usize {
        usize::from(self.partitions) * usize::from(self.workers)
    }

    /// Microseconds from when everything heals to when all must be well.
    pub fn settles_in(&self) -> u64 {
        match self.kind {
            Kind::Writes => 26 * self.timeout,
            Kind::Clients => 40 * self.timeout,
        }
    }
}
