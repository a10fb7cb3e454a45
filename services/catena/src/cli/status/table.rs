//! A status as text, in columns.

use std::fmt::Write as _;

use catena_proto::admin::v1::{self as proto, Liveness, Role};

use super::health::Health;
use crate::cli::table::{NOTHING, Table};

/// The whole page.
pub fn page(status: &proto::Status, health: &Health) -> String {
    let mut page = format!("{}\n", health.headline());
    match health.problems.as_slice() {
        [] => {}
        [problem] => {
            let _ = writeln!(page, "  do: {}", problem.advice);
        }
        more => {
            for problem in more {
                let _ = writeln!(page, "  - {}\n    do: {}", problem.text, problem.advice);
            }
        }
    }
    page.push_str(&control_plane(status));
    for table in [nodes(status), gateways(status), shards(status)] {
        if !table.is_empty() {
            page.push('\n');
            page.push_str(&table.text());
        }
    }
    page
}

fn control_plane(status: &proto::Status) -> String {
    let control_plane = status.control_plane.clone().unwrap_or_default();
    let leader = match control_plane.leader.as_str() {
        "" => "no leader".to_owned(),
        leader => format!("leader {leader}"),
    };
    let others = control_plane
        .replicas
        .iter()
        .filter(|replica| **replica != control_plane.leader)
        .cloned()
        .collect::<Vec<_>>();
    let others = match others.len() {
        0 => String::new(),
        _ => format!(", with {}", others.join(", ")),
    };
    format!(
        "cluster {}: {leader}{others}; failure time-out {} ms; version {}\n",
        status.cluster, control_plane.failure_timeout_ms, status.version
    )
}

fn nodes(status: &proto::Status) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "STATE",
        "PARTITION",
        "REPLICAS",
        "HEADS",
        "ZONE",
        "ADDRESS",
    ]);
    for node in &status.nodes {
        let mut state = vec![liveness(node.liveness()).to_owned()];
        if node.gone {
            state = vec!["gone".to_owned()];
        }
        if node.draining {
            let done = if node.replicas == 0 {
                "drained"
            } else {
                "draining"
            };
            state.push(done.to_owned());
        }
        let address = node.addresses.first();
        let more = node.addresses.len().saturating_sub(1);
        table.row([
            node.name.clone(),
            state.join(", "),
            node.partition
                .map_or("spare".to_owned(), |partition| partition.to_string()),
            node.replicas.to_string(),
            node.heads.to_string(),
            node.zone.clone().unwrap_or_else(|| NOTHING.to_owned()),
            match (address, more) {
                (None, _) => NOTHING.to_owned(),
                (Some(address), 0) => address.clone(),
                (Some(address), more) => format!("{address} and {more} more"),
            },
        ]);
    }
    table
}

fn gateways(status: &proto::Status) -> Table {
    let mut table = Table::new(&["GATEWAY", "STATE", "INCARNATION"]);
    for gateway in &status.gateways {
        let state = match (gateway.live, gateway.registered, gateway.draining) {
            (_, false, _) => "lost",
            (false, true, _) => "new",
            (true, true, true) => "draining",
            (true, true, false) => "live",
        };
        table.row([
            gateway.name.clone(),
            state.to_owned(),
            gateway.incarnation.to_string(),
        ]);
    }
    table
}

fn shards(status: &proto::Status) -> Table {
    let mut table = Table::new(&[
        "SHARD",
        "CHAIN, HEAD FIRST",
        "EPOCH",
        "GENERATION",
        "INDEX",
        "COMMIT",
        "LAG",
    ]);
    for shard in &status.shards {
        let number = |number: Option<u64>| {
            number.map_or_else(|| NOTHING.to_owned(), |number| number.to_string())
        };
        let replicas = &shard.replicas;
        let members = || {
            replicas
                .iter()
                .filter(|replica| replica.role() != Role::Learner)
        };
        let lag = replicas.iter().filter_map(|replica| replica.lag).max();
        table.row([
            shard.shard.to_string(),
            chain(replicas),
            shard.epoch.to_string(),
            shard.generation.to_string(),
            number(members().next().and_then(|head| head.index)),
            number(members().next_back().and_then(|tail| tail.commit)),
            number(lag),
        ]);
    }
    table
}

/// As `a > b (lost), c joins`.
fn chain(replicas: &[proto::Replica]) -> String {
    let mut text = String::new();
    for (position, replica) in replicas.iter().enumerate() {
        let is_learner = replica.role() == Role::Learner;
        text.push_str(match (position, is_learner) {
            (0, _) => "",
            (_, true) => ", ",
            (_, false) => " > ",
        });
        text.push_str(match replica.node.as_str() {
            "" => "?",
            node => node,
        });
        if is_learner {
            text.push_str(" joins");
        }
        match replica.liveness() {
            Liveness::Lost if replica.dead => text.push_str(" (dead)"),
            Liveness::Lost => text.push_str(" (lost)"),
            Liveness::Silent => text.push_str(" (silent)"),
            Liveness::Leaving => text.push_str(" (leaving)"),
            Liveness::Live | Liveness::Unspecified => {}
        }
    }
    text
}

fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Unspecified => "unknown",
        Liveness::Live => "live",
        Liveness::Leaving => "leaving",
        Liveness::Silent => "silent",
        Liveness::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node: &str, role: Role, liveness: Liveness) -> proto::Replica {
        proto::Replica {
            id: 1,
            node: node.to_owned(),
            role: role.into(),
            liveness: liveness.into(),
            index: Some(1_200),
            commit: Some(1_190),
            lag: Some(10),
            ..proto::Replica::default()
        }
    }

    fn status() -> proto::Status {
        let node = |name: &str, liveness: Liveness| proto::Node {
            name: name.to_owned(),
            partition: Some(0),
            liveness: liveness.into(),
            addresses: vec!["10.0.0.1:9720".to_owned(), "10.0.0.1:9721".to_owned()],
            replicas: 1,
            ..proto::Node::default()
        };
        proto::Status {
            version: 41,
            cluster: "edge".to_owned(),
            control_plane: Some(proto::ControlPlane {
                leader: "a:9701".to_owned(),
                replicas: vec!["a:9701".to_owned(), "b:9701".to_owned()],
                from_leader: true,
                store_contact: true,
                failure_timeout_ms: 3_000,
            }),
            layout: Some(proto::Layout {
                partitions: 1,
                workers: 1,
                redundancy: 2,
            }),
            nodes: vec![node("backend-0", Liveness::Live), node("b", Liveness::Live)],
            gateways: vec![proto::Gateway {
                name: "gateway-0".to_owned(),
                incarnation: 7,
                registered: true,
                live: true,
                draining: false,
            }],
            shards: vec![proto::Shard {
                shard: 0,
                epoch: 3,
                generation: 1,
                replicas: vec![
                    replica("backend-0", Role::Head, Liveness::Live),
                    replica("b", Role::Tail, Liveness::Live),
                ],
                ..proto::Shard::default()
            }],
            alarms: vec![],
        }
    }

    // The one page that is read in a hurry: what is wrong stands first, and columns are columns.
    #[test]
    fn a_healthy_cluster_reads_like_this() {
        let status = status();
        let page = page(&status, &Health::of(&status));
        let expected = "\
healthy: 2 nodes, 1 gateway, 1 shard, redundancy 2
cluster edge: leader a:9701, with b:9701; failure time-out 3000 ms; version 41

NODE       STATE  PARTITION  REPLICAS  HEADS  ZONE  ADDRESS
backend-0  live   0          1         0      -     10.0.0.1:9720 and 1 more
b          live   0          1         0      -     10.0.0.1:9720 and 1 more

GATEWAY    STATE  INCARNATION
gateway-0  live   7

SHARD  CHAIN, HEAD FIRST  EPOCH  GENERATION  INDEX  COMMIT  LAG
0      backend-0 > b      3      1           1200   1190    10
";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let mut status = status();
        status.nodes[1].liveness = Liveness::Lost.into();
        status.shards[0].replicas[1] = replica("c", Role::Learner, Liveness::Live);
        let health = Health::of(&status);
        assert_eq!(health.problems.len(), 2);
        let page = page(&status, &health);
        assert!(page.starts_with("degraded: 2 problems\n  - node b is not heard of\n    do: "));
        assert!(page.contains("shard 0 has 1 of 2 replicas"), "{page}");
        assert!(page.contains("backend-0, c joins"), "{page}");
        // Without the leader nobody knows who is alive, and nobody is called lost.
        let mut status = super::tests::status();
        status.control_plane = None;
        let health = Health::of(&status);
        assert_eq!(health.problems[0].kind, "no-leader");
    }
}
