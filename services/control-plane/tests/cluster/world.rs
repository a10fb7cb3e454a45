//! Control planes on a store, and what is waited for.

use std::{sync::Arc, time::Duration};

use catena_control_plane::{
    ControlPlane, Options, Traffic,
    access::Access,
    store::{ClusterName, Embedded, Etcd, Store, config},
};
use catena_membership::Cluster;
use catena_proto::admin::v1::{self as admin, cluster_client::ClusterClient};
use catena_resources::{Broker, Place, Seconds, Switch};
use catena_slots::ShardId;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::server::Server;

/// Nothing in these tests takes nearly as long.
pub const LIMIT: Duration = Duration::from_secs(40);
/// A failure time-out that never ends within a test: what happens did not happen because of it.
pub const NEVER: Duration = Duration::from_secs(60);

/// A cluster of so many shards and replicas, whose traffic is plain text.
pub fn broker(shards: u16, redundancy: u16, timeout: Duration) -> Broker {
    let mut broker = Broker::default();
    broker.advanced.encrypt_internal_traffic = Switch::Disabled;
    broker.cardinality.backend_chain.workers = shards;
    broker.cardinality.backend_chain.redundancy_factor = redundancy;
    broker.advanced.failure_timeout_seconds = Seconds::from_millis(timeout.as_millis() as u64);
    broker
}

pub async fn start(store: Arc<dyn Store>, broker: Broker) -> ControlPlane {
    start_at(store, broker, "127.0.0.1:0").await
}

/// A replica that speaks plain text, on ports that the system chooses.
pub fn options(broker: Broker) -> Options {
    Options {
        cluster: "test".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        admin: Access::local("127.0.0.1:0".parse().unwrap()),
        advertise: None,
        broker,
        place: Place::Elsewhere,
        traffic: Traffic::plain(),
    }
}

pub async fn start_at(store: Arc<dyn Store>, broker: Broker, listen: &str) -> ControlPlane {
    let options = Options {
        listen: listen.parse().unwrap(),
        ..options(broker)
    };
    let control_plane = ControlPlane::start(store, options).await.unwrap();
    control_plane.reached().await;
    control_plane
}

/// A store in a directory that goes with it.
pub async fn embedded() -> (TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(&directory.path().join("store.redb")).await;
    (directory, Arc::new(store.unwrap()))
}

/// A cluster's store in a real etcd.
pub async fn etcd(server: &Server, name: &str) -> Arc<dyn Store> {
    let cluster = ClusterName::new(name).unwrap();
    let config = config::Etcd::new(vec![server.endpoint()], cluster);
    Arc::new(Etcd::open(&config).await.unwrap())
}

/// Waits until `look` finds what it looks for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(LIMIT, looking).await {
        Ok(found) => found,
        Err(_) => panic!("it did not happen: {what}"),
    }
}

pub async fn admin(endpoint: &str) -> ClusterClient<Channel> {
    ClusterClient::connect(endpoint.to_owned()).await.unwrap()
}

pub async fn status(endpoint: &str) -> admin::Status {
    let mut client = admin(endpoint).await;
    let answer = client.get_status(admin::GetStatusRequest {}).await;
    answer.unwrap().into_inner().status.unwrap()
}

/// Whether each of `shards` has a chain of so many members, and no learner.
pub fn is_complete(cluster: &Cluster, shards: u16, redundancy: usize) -> bool {
    (0..shards).all(|shard| {
        let chain = cluster.chains.get(&ShardId(shard));
        chain.is_some_and(|chain| chain.chain.len() == redundancy && chain.learner.is_none())
    })
}
