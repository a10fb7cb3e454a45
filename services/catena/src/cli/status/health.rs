//! What is wrong with a cluster, and what to do.

use catena_proto::admin::v1::{self as proto, Liveness, Role};
use serde::Serialize;

/// Whether all is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The most important first. None: healthy.
    pub problems: Vec<Problem>,
    summary: String,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// For programs, as `node-lost`.
    pub kind: String,
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

impl Health {
    /// Judges a status.
    pub fn of(status: &proto::Status) -> Health {
        let mut problems = Vec::new();
        let mut add = |kind: &str, text: String, advice: &str| {
            problems.push(Problem {
                kind: kind.to_owned(),
                text,
                advice: advice.to_owned(),
            });
        };
        let control_plane = status.control_plane.clone().unwrap_or_default();
        if !control_plane.from_leader {
            add(
                "no-leader",
                "the control plane has no leader: clients are served, and nothing that fails is replaced".to_owned(),
                "look at the logs of its replicas, and whether they reach etcd",
            );
        }
        for alarm in &status.alarms {
            add(&alarm.kind, alarm.text.clone(), &alarm.advice);
        }
        for node in status.nodes.iter().filter(|node| !node.gone) {
            if node.liveness() == Liveness::Lost {
                add(
                    "node-lost",
                    format!("node {} is not heard of", node.name),
                    &format!(
                        "start it again; or, when it is not needed any more, catena node remove {}",
                        node.name
                    ),
                );
            }
        }
        match &status.layout {
            None => add(
                "no-layout",
                "the cluster has no shards yet".to_owned(),
                "start a backend: catena backend --name NAME --control-plane URL",
            ),
            Some(layout) => {
                for (text, advice) in shards(status, layout) {
                    add("shard-short", text, advice);
                }
            }
        }
        Health {
            problems,
            summary: summary(status),
        }
    }

    /// One line that says it all, when there is little to say.
    pub fn headline(&self) -> String {
        match self.problems.as_slice() {
            [] => format!("healthy: {}", self.summary),
            [problem] => format!("degraded: {}", problem.text),
            more => format!("degraded: {} problems", more.len()),
        }
    }
}

/// Shards that have fewer replicas than they should; many of them in one line.
fn shards(status: &proto::Status, layout: &proto::Layout) -> Vec<(String, &'static str)> {
    let count = layout.partitions * layout.workers;
    let mut short = Vec::new();
    let mut joins = false;
    for number in 0..count {
        let chain = status.shards.iter().find(|shard| shard.shard == number);
        let replicas = chain.map_or(&[][..], |chain| &chain.replicas);
        let members = replicas
            .iter()
            .filter(|replica| replica.role() != Role::Learner);
        let live = members
            .filter(|replica| !matches!(replica.liveness(), Liveness::Lost | Liveness::Silent))
            .count();
        if live < layout.redundancy as usize {
            joins |= replicas
                .iter()
                .any(|replica| replica.role() == Role::Learner);
            short.push((number, live));
        }
    }
    let advice = if joins {
        "new replicas are joining: wait"
    } else {
        "a replica is put on a node that has none as soon as there is one: see the nodes below"
    };
    match short.as_slice() {
        [] => Vec::new(),
        [(number, live)] => vec![(
            format!(
                "shard {number} has {live} of {} replicas",
                layout.redundancy
            ),
            advice,
        )],
        more => {
            let fewest = more.iter().map(|(_, live)| live).min();
            vec![(
                format!(
                    "{} of {count} shards have fewer than {} replicas, one has {}",
                    more.len(),
                    layout.redundancy,
                    fewest.unwrap_or(&0),
                ),
                advice,
            )]
        }
    }
}

fn summary(status: &proto::Status) -> String {
    let count = |count: usize, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    };
    let gateways = status.gateways.iter().filter(|gateway| gateway.live);
    let redundancy = status.layout.as_ref().map_or(0, |layout| layout.redundancy);
    format!(
        "{}, {}, {}, redundancy {redundancy}",
        count(status.nodes.len(), "node"),
        count(gateways.count(), "gateway"),
        count(status.shards.len(), "shard"),
    )
}
