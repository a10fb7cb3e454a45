//! A status as JSON: the names of the admin API, and the health beside.

use catena_proto::admin::v1::{self as proto, Liveness, Role};
use serde::Serialize;

use super::health::{Health, Problem};

/// The whole.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    healthy: bool,
    summary: String,
    problems: &'a [Problem],
    version: u64,
    cluster: &'a str,
    control_plane: ControlPlane<'a>,
    layout: Option<Layout>,
    nodes: Vec<Node<'a>>,
    gateways: Vec<Gateway<'a>>,
    shards: Vec<Shard<'a>>,
    alarms: Vec<Alarm<'a>>,
}

#[derive(Debug, Serialize)]
struct ControlPlane<'a> {
    leader: &'a str,
    replicas: &'a [String],
    from_leader: bool,
    store_contact: bool,
    failure_timeout_ms: u64,
}

#[derive(Debug, Serialize)]
struct Layout {
    partitions: u32,
    workers: u32,
    redundancy: u32,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a str,
    incarnation: u64,
    zone: Option<&'a str>,
    /// `null`: a spare.
    partition: Option<u32>,
    liveness: &'static str,
    addresses: &'a [String],
    draining: bool,
    gone: bool,
    replicas: u32,
    heads: u32,
    silent_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Gateway<'a> {
    name: &'a str,
    incarnation: u64,
    registered: bool,
    live: bool,
    draining: bool,
}

#[derive(Debug, Serialize)]
struct Shard<'a> {
    shard: u32,
    partition: u32,
    epoch: u64,
    generation: u32,
    /// Head first, then the learner.
    replicas: Vec<Replica<'a>>,
}

#[derive(Debug, Serialize)]
struct Replica<'a> {
    id: u64,
    node: &'a str,
    role: &'static str,
    liveness: &'static str,
    epoch: Option<u64>,
    index: Option<u64>,
    commit: Option<u64>,
    lag: Option<u64>,
    dead: bool,
}

#[derive(Debug, Serialize)]
struct Alarm<'a> {
    kind: &'a str,
    text: &'a str,
    advice: &'a str,
    shard: Option<u32>,
    partition: Option<u32>,
}

impl<'a> Report<'a> {
    /// The report of a status and what was made of it.
    pub fn new(status: &'a proto::Status, health: &'a Health) -> Report<'a> {
        Report {
            healthy: health.problems.is_empty(),
            summary: health.headline(),
            problems: &health.problems,
            version: status.version,
            cluster: &status.cluster,
            control_plane: control_plane(status.control_plane.as_ref()),
            layout: status.layout.as_ref().map(|layout| Layout {
                partitions: layout.partitions,
                workers: layout.workers,
                redundancy: layout.redundancy,
            }),
            nodes: status.nodes.iter().map(node).collect(),
            gateways: status.gateways.iter().map(gateway).collect(),
            shards: status.shards.iter().map(shard).collect(),
            alarms: status.alarms.iter().map(alarm).collect(),
        }
    }
}

fn control_plane(control_plane: Option<&proto::ControlPlane>) -> ControlPlane<'_> {
    ControlPlane {
        leader: control_plane.map_or("", |it| &it.leader),
        replicas: control_plane.map_or(&[], |it| &it.replicas),
        from_leader: control_plane.is_some_and(|it| it.from_leader),
        store_contact: control_plane.is_some_and(|it| it.store_contact),
        failure_timeout_ms: control_plane.map_or(0, |it| it.failure_timeout_ms),
    }
}

fn node(node: &proto::Node) -> Node<'_> {
    Node {
        name: &node.name,
        incarnation: node.incarnation,
        zone: node.zone.as_deref(),
        partition: node.partition,
        liveness: liveness(node.liveness()),
        addresses: &node.addresses,
        draining: node.draining,
        gone: node.gone,
        replicas: node.replicas,
        heads: node.heads,
        silent_ms: node.silent_ms,
    }
}

fn gateway(gateway: &proto::Gateway) -> Gateway<'_> {
    Gateway {
        name: &gateway.name,
        incarnation: gateway.incarnation,
        registered: gateway.registered,
        live: gateway.live,
        draining: gateway.draining,
    }
}

fn shard(shard: &proto::Shard) -> Shard<'_> {
    Shard {
        shard: shard.shard,
        partition: shard.partition,
        epoch: shard.epoch,
        generation: shard.generation,
        replicas: shard.replicas.iter().map(replica).collect(),
    }
}

fn replica(replica: &proto::Replica) -> Replica<'_> {
    Replica {
        id: replica.id,
        node: &replica.node,
        role: role(replica.role()),
        liveness: liveness(replica.liveness()),
        epoch: replica.epoch,
        index: replica.index,
        commit: replica.commit,
        lag: replica.lag,
        dead: replica.dead,
    }
}

fn alarm(alarm: &proto::Alarm) -> Alarm<'_> {
    Alarm {
        kind: &alarm.kind,
        text: &alarm.text,
        advice: &alarm.advice,
        shard: alarm.shard,
        partition: alarm.partition,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Head => "head",
        Role::Middle => "middle",
        Role::Tail => "tail",
        Role::Alone => "alone",
        Role::Learner => "learner",
    }
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
