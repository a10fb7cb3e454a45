//! What a control plane knows of the cluster, under its names.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use catena_control_plane::ControlPlane;
use catena_membership::Cluster;
use catena_proto::admin::v1::{Liveness, Role, Status};
use catena_resources::Broker;
use catena_telemetry::{Health, Registry, Samples, Source, names};
use tokio::sync::watch;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What was seen last.
#[derive(Default)]
struct Seen {
    is_leader: bool,
    has_contact: bool,
    status: Option<Status>,
}

struct OfCluster {
    seen: Mutex<Seen>,
    told: watch::Receiver<Arc<Cluster>>,
}

/// Looks at the cluster at intervals, for ever, and tells `registry` and `health` of it.
pub async fn watch(control_plane: &ControlPlane, registry: Registry, health: Health) -> Infallible {
    health.misses("store", "not reached yet");
    let of_cluster = Arc::new(OfCluster {
        seen: Mutex::default(),
        told: control_plane.told(),
    });
    let source = of_cluster.clone();
    registry.add(move |samples: &mut Samples| source.collect(samples));
    loop {
        let has_contact = control_plane.has_store_contact();
        let is_known = of_cluster.told.borrow().version > 0;
        match (has_contact, is_known) {
            (true, true) => health.has("store"),
            (_, false) => health.misses("store", "not reached yet"),
            (false, true) => {
                health.misses("store", "out of reach: nothing can be changed or repaired")
            }
        }
        let is_leader = control_plane.is_leader();
        let status = match is_leader {
            true => control_plane.status().await,
            false => None,
        };
        let seen = Seen {
            is_leader,
            has_contact,
            status,
        };
        *of_cluster
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = seen;
        tokio::time::sleep(LOOK).await;
    }
}

impl Source for OfCluster {
    fn collect(&self, samples: &mut Samples) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.told.borrow().clone();
        samples.add(&names::CONTROL_PLANE_LEADS, [], seen.is_leader);
        samples.add(&names::CONTROL_PLANE_STORE, [], seen.has_contact);
        samples.add(&names::CONTROL_PLANE_REVISION, [], told.version);
        if let Some(status) = &seen.status {
            collect_status(status, &told.broker, samples);
        }
    }
}

fn collect_status(status: &Status, broker: &Broker, samples: &mut Samples) {
    let mut nodes = BTreeMap::from(
        ["live", "leaving", "silent", "lost", "gone"].map(|liveness| (liveness, 0_u64)),
    );
    for node in &status.nodes {
        let liveness = match node.liveness() {
            _ if node.gone => "gone",
            Liveness::Live => "live",
            Liveness::Leaving => "leaving",
            Liveness::Silent => "silent",
            Liveness::Lost | Liveness::Unspecified => "lost",
        };
        *nodes.entry(liveness).or_default() += 1;
    }
    for (liveness, count) in &nodes {
        samples.add(&names::CLUSTER_NODES, [liveness], *count);
    }
    let gateways = status.gateways.iter().filter(|gateway| gateway.live);
    let gateways = gateways.count();
    samples.add(&names::CLUSTER_GATEWAYS, [], gateways);
    let mut alarms = BTreeMap::<&str, u64>::new();
    for alarm in &status.alarms {
        *alarms.entry(&alarm.kind).or_default() += 1;
    }
    for kind in ALARMS {
        alarms.entry(kind).or_default();
    }
    for (kind, count) in alarms {
        samples.add(&names::CLUSTER_ALARMS, [kind], count);
    }
    let mut fewest = None;
    for shard in &status.shards {
        let name = &*shard.shard.to_string();
        let of_chain = || {
            shard
                .replicas
                .iter()
                .filter(|replica| replica.role() != Role::Learner)
        };
        let live = of_chain().filter(|replica| replica.liveness() == Liveness::Live);
        let live = live.count();
        fewest = Some(fewest.map_or(live, |fewest: usize| fewest.min(live)));
        samples.add(&names::CHAIN_LIVE, [name], live);
        let lag = of_chain().filter_map(|replica| replica.lag).max();
        samples.add(&names::CHAIN_LAG, [name], lag.unwrap_or_default());
        samples.add(&names::CHAIN_EPOCH, [name], shard.epoch);
        samples.add(
            &names::CHAIN_GENERATION,
            [name],
            u64::from(shard.generation),
        );
    }

    let cardinality = &broker.cardinality;
    let chain = &cardinality.backend_chain;
    let (partitions, redundancy) = (
        u64::from(chain.partitions),
        u64::from(chain.redundancy_factor),
    );
    samples.add(&names::AIO_BACKEND_REPLICAS, [], partitions * redundancy);
    samples.add(&names::AIO_BACKEND_REPLICAS_CURRENT, [], nodes["live"]);
    samples.add(&names::AIO_BACKEND_CHAIN, [], redundancy);
    samples.add(
        &names::AIO_BACKEND_CHAIN_CURRENT,
        [],
        fewest.unwrap_or_default(),
    );
    samples.add(&names::AIO_BACKEND_PARTITIONS, [], partitions);
    samples.add(&names::AIO_BACKEND_WORKERS, [], u64::from(chain.workers));
    samples.add(
        &names::AIO_FRONTEND_REPLICAS,
        [],
        u64::from(cardinality.frontend.replicas),
    );
    samples.add(&names::AIO_FRONTEND_REPLICAS_CURRENT, [], gateways);
    samples.add(
        &names::AIO_FRONTEND_WORKERS,
        [],
        u64::from(cardinality.frontend.workers),
    );
}

/// Kinds of alarms: each is there at 0, so that an alert sees it begin.
const ALARMS: [&str; 6] = [
    "epoch-ahead",
    "chain-waits",
    "diverged-again",
    "half-silent",
    "nodes-missing",
    "layout-is-fixed",
];
