//! The cluster at a glance, of what this replica knows and what the leader saw.

use std::collections::BTreeMap;

use catena_chain::{Incarnation, ReplicaId};
use catena_proto::admin::v1 as proto;
use catena_slots::ShardId;
use catena_topology::{Alarm, Chain, NodeName, Progress, Sight, observed::Standing};

use crate::{leader::Seen, view::View, words};

/// What does not come from the view.
#[derive(Debug, Default)]
pub struct About {
    pub cluster: String,
    pub leader: String,
    pub store_contact: bool,
}

/// The status by `view`; `seen` is what the leader added, if he could be asked.
pub fn status(view: &View, seen: Option<&Seen>, about: About) -> proto::Status {
    let broker = view.broker.clone().unwrap_or_default();
    let progress = progress(seen);
    let chains = view.topology.chains.values();
    let layout = view.topology.layout.as_ref();
    proto::Status {
        version: view.revision.0,
        cluster: about.cluster,
        control_plane: Some(proto::ControlPlane {
            leader: about.leader,
            replicas: view.replicas.iter().cloned().collect(),
            from_leader: seen.is_some(),
            store_contact: about.store_contact,
            failure_timeout_ms: broker.failure_timeout().as_millis() as u64,
        }),
        layout: layout.map(|layout| proto::Layout {
            partitions: layout.partitions.into(),
            workers: layout.workers.into(),
            redundancy: broker.cardinality.backend_chain.redundancy_factor.into(),
        }),
        nodes: view
            .nodes
            .keys()
            .filter_map(|name| node(view, seen, name))
            .collect(),
        gateways: gateways(view),
        shards: chains
            .map(|chain| shard(view, seen, &progress, chain))
            .collect(),
        alarms: seen
            .map(|seen| seen.alarms.iter().map(alarm).collect())
            .unwrap_or_default(),
    }
}

type Told<'a> = BTreeMap<(ShardId, ReplicaId), &'a Progress>;

fn progress(seen: Option<&Seen>) -> Told<'_> {
    let heard = seen.into_iter().flat_map(|seen| seen.heard.values());
    heard
        .flat_map(|heard| &heard.heartbeat.replicas)
        .map(|progress| ((progress.shard, progress.replica), progress))
        .collect()
}

fn node(view: &View, seen: Option<&Seen>, name: &NodeName) -> Option<proto::Node> {
    let record = view.nodes.get(name)?;
    let heard = seen.and_then(|seen| {
        let heard = seen.heard.get(name)?;
        let is_now = heard.heartbeat.incarnation == record.incarnation;
        is_now.then(|| seen.now_ms.saturating_sub(heard.at_ms))
    });
    let liveness = seen.map_or(proto::Liveness::Unspecified, |seen| {
        seen_as(seen, name, record.incarnation)
    });
    Some(proto::Node {
        name: name.0.clone(),
        incarnation: record.incarnation.0,
        zone: record.zone.as_ref().map(|zone| zone.0.clone()),
        partition: record.partition.map(|partition| partition.0.into()),
        liveness: liveness.into(),
        addresses: record.addresses.clone(),
        draining: record.draining,
        gone: record.gone,
        replicas: view.topology.replica_count(name) as u32,
        heads: view.topology.head_count(name) as u32,
        silent_ms: heard,
    })
}

fn seen_as(seen: &Seen, name: &NodeName, incarnation: Incarnation) -> proto::Liveness {
    match seen.observed.sight(name, incarnation) {
        Sight::Live => proto::Liveness::Live,
        Sight::Leaving => proto::Liveness::Leaving,
        Sight::Silent => proto::Liveness::Silent,
        Sight::Lost => proto::Liveness::Lost,
    }
}

fn gateways(view: &View) -> Vec<proto::Gateway> {
    let registered = view.gateways().present;
    let mut all = registered.clone();
    let live = &view.topology.gateways.live;
    all.extend(live.iter().map(|(gateway, name)| (*gateway, name.clone())));
    all.into_iter()
        .map(|(gateway, name)| proto::Gateway {
            name: name.0,
            incarnation: gateway.0,
            registered: registered.contains_key(&gateway),
            live: live.contains_key(&gateway),
            draining: view.draining.contains(&gateway),
        })
        .collect()
}

fn shard(view: &View, seen: Option<&Seen>, progress: &Told<'_>, chain: &Chain) -> proto::Shard {
    let configuration = &chain.configuration;
    let shard = configuration.shard;
    let head = configuration.head().and_then(|head| {
        let progress = progress.get(&(shard, head.id))?;
        Some(progress.last)
    });
    let last = configuration.chain.len().saturating_sub(1);
    let replicas = configuration
        .members()
        .enumerate()
        .map(|(position, member)| {
            let told = progress.get(&(shard, member.id));
            let standing =
                seen.map(|seen| seen.observed.standing(&view.topology, chain, member.id));
            let role = match position {
                _ if position > last => proto::Role::Learner,
                0 if last == 0 => proto::Role::Alone,
                0 => proto::Role::Head,
                _ if position == last => proto::Role::Tail,
                _ => proto::Role::Middle,
            };
            let home = chain.homes.get(&member.id);
            proto::Replica {
                id: member.id.0,
                node: home.map(|name| name.0.clone()).unwrap_or_default(),
                role: role.into(),
                liveness: liveness(standing).into(),
                epoch: told.map(|told| told.epoch.0),
                index: told.map(|told| told.last),
                commit: told.map(|told| told.committed),
                lag: told
                    .zip(head)
                    .map(|(told, head)| head.saturating_sub(told.last)),
                dead: standing == Some(Standing::Dead),
            }
        });
    let partition = view.topology.layout.as_ref();
    proto::Shard {
        shard: shard.0.into(),
        partition: partition.map_or(0, |layout| layout.partition(shard).0.into()),
        epoch: configuration.epoch.0,
        generation: configuration.generation.0,
        replicas: replicas.collect(),
    }
}

fn liveness(standing: Option<Standing>) -> proto::Liveness {
    match standing {
        None => proto::Liveness::Unspecified,
        Some(Standing::Live) => proto::Liveness::Live,
        Some(Standing::Leaving) => proto::Liveness::Leaving,
        Some(Standing::Silent) => proto::Liveness::Silent,
        Some(Standing::Lost | Standing::Dead) => proto::Liveness::Lost,
    }
}

fn alarm(alarm: &Alarm) -> proto::Alarm {
    let words = words::of(alarm);
    let (shard, partition) = words::about(alarm);
    proto::Alarm {
        kind: words.kind.to_owned(),
        text: words.text,
        advice: words.advice.to_owned(),
        shard: shard.map(|shard| shard.0.into()),
        partition: partition.map(|partition| partition.0.into()),
    }
}
