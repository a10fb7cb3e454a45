//! Alarms in the words of an administrator: what is the matter, and what to do.

use catena_slots::ShardId;
use catena_topology::{Alarm, Partition};

/// An alarm in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// For programs, as `chain-waits`.
    pub kind: &'static str,
    pub text: String,
    pub advice: &'static str,
}

/// What an alarm is about.
pub type About = (Option<ShardId>, Option<Partition>);

/// The alarm in words.
pub fn of(alarm: &Alarm) -> Words {
    match alarm {
        Alarm::EpochAhead {
            shard,
            stored,
            reported,
        } => Words {
            kind: "epoch-ahead",
            text: format!(
                "nodes know epoch {} of shard {shard}, the store {}: nothing is reconfigured",
                reported.0,
                stored.map_or("none".to_owned(), |epoch| epoch.0.to_string()),
            ),
            advice: "if the store was restored from a backup, take over what the nodes have: catena adopt",
        },
        Alarm::ChainWaits { shard } => Words {
            kind: "chain-waits",
            text: format!("no replica of shard {shard} is live: its clients wait"),
            advice: "bring one of its nodes back; when all are lost for good, say so: catena node gone NAME",
        },
        Alarm::DivergedAgain { shard } => Words {
            kind: "diverged-again",
            text: format!(
                "replicas of shard {shard} differ again within the hour: nobody is evicted"
            ),
            advice: "keep the logs of its nodes and report it: this is a fault of Catena or of a machine",
        },
        Alarm::HalfSilent => Words {
            kind: "half-silent",
            text: "half of the nodes or more are silent at once: only those are evicted whom others miss too"
                .to_owned(),
            advice: "look at the network between the control plane and the nodes",
        },
        Alarm::NodesMissing {
            partition,
            usable,
            wanted,
        } => Words {
            kind: "nodes-missing",
            text: format!(
                "partition {} has {usable} of {wanted} nodes, and there is no spare",
                partition.0
            ),
            advice: "start another backend, or ask for a lower redundancy",
        },
        Alarm::LayoutIsFixed => Words {
            kind: "layout-is-fixed",
            text: "the Broker asks for other partitions or workers than the cluster was made with"
                .to_owned(),
            advice: "set cardinality.backendChain back: slots do not move between shards yet",
        },
    }
}

/// What it is about: two alarms of one kind and of the same are one.
pub fn about(alarm: &Alarm) -> About {
    match alarm {
        Alarm::EpochAhead { shard, .. }
        | Alarm::ChainWaits { shard }
        | Alarm::DivergedAgain { shard } => (Some(*shard), None),
        Alarm::NodesMissing { partition, .. } => (None, Some(*partition)),
        Alarm::HalfSilent | Alarm::LayoutIsFixed => (None, None),
    }
}
