//! Several replicas: one leads, the others forward, and another takes over.

use std::time::Duration;

use catena_control_plane::ControlPlane as Replica;
use catena_membership::ControlPlane;
use catena_proto::admin::v1 as admin;
use catena_slots::ShardId;

use crate::{
    node::Node,
    server::Server,
    world::{LIMIT, NEVER, broker, etcd, eventually, is_complete, start, status},
};

async fn leader_of(replicas: &[Replica]) -> usize {
    eventually("one leads", async || {
        replicas.iter().position(Replica::is_leader)
    })
    .await
}

// Nodes do not know who leads: whomever they ask must do.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_forwards_what_only_the_leader_takes() {
    let server = Server::start(&[]).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let store = etcd(&server, "edge").await;
        replicas.push(start(store, broker(1, 2, NEVER)).await);
    }
    let leader = leader_of(&replicas).await;
    let follower = &replicas[1 - leader];
    let endpoints = vec![follower.endpoint()];
    let first = Node::start("a", endpoints.clone()).await;
    let second = Node::start("b", endpoints).await;
    let mut heard = first.voice.is_heard();
    tokio::time::timeout(LIMIT, heard.wait_for(|heard| *heard))
        .await
        .unwrap()
        .unwrap();
    // Reports reach the leader too.
    eventually("a chain of two", async || {
        is_complete(&second.cluster(), 1, 2).then_some(())
    })
    .await;
    let seen = status(&follower.admin_endpoint()).await;
    let control_plane = seen.control_plane.unwrap();
    assert!(control_plane.from_leader);
    assert_eq!(control_plane.leader, replicas[leader].advertise());
    assert_eq!(seen.nodes.len(), 2);
    assert!(
        seen.nodes
            .iter()
            .all(|node| node.liveness() == admin::Liveness::Live)
    );
    eventually("both replicas are shown", async || {
        let seen = status(&follower.admin_endpoint()).await;
        (seen.control_plane?.replicas.len() == 2).then_some(())
    })
    .await;
    // Accusations as well.
    let lost = first.incarnation;
    first.kill();
    second.voice.accuse(lost);
    eventually("it is evicted", async || {
        let cluster = second.cluster();
        let chain = cluster.chains.get(&ShardId(0))?;
        chain.role_of(lost).is_none().then_some(())
    })
    .await;
    for replica in replicas {
        replica.shutdown().await;
    }
}

// A new leader has heard nobody: it must not take that for their death, and must go on.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_and_gives_grace() {
    let server = Server::start(&[]).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let store = etcd(&server, "edge").await;
        replicas.push(start(store, broker(2, 2, Duration::from_secs(2))).await);
    }
    let endpoints: Vec<String> = replicas.iter().map(Replica::endpoint).collect();
    let first = Node::start("a", endpoints.clone()).await;
    let second = Node::start("b", endpoints.clone()).await;
    let third = Node::start("c", endpoints).await;
    let before = eventually("two chains of two", async || {
        let cluster = first.cluster();
        is_complete(&cluster, 2, 2).then_some(cluster)
    })
    .await;
    // As by kill -9: nobody steps back, the lease has to expire.
    let leader = leader_of(&replicas).await;
    drop(replicas.remove(leader));
    leader_of(&replicas).await;
    eventually("the new leader hears all", async || {
        let seen = status(&replicas[0].admin_endpoint()).await;
        let live = seen
            .nodes
            .iter()
            .filter(|node| node.liveness() == admin::Liveness::Live);
        (live.count() == 3).then_some(())
    })
    .await;
    for node in [&first, &second, &third] {
        assert_eq!(node.cluster().chains, before.chains, "nothing was changed");
    }
    // And it goes on.
    let lost = second.incarnation;
    second.kill();
    eventually("the chains are whole without the lost node", async || {
        let cluster = first.cluster();
        let mut chains = cluster.chains.values();
        let without = chains.all(|chain| chain.role_of(lost).is_none());
        (without && is_complete(&cluster, 2, 2)).then_some(())
    })
    .await;
    for replica in replicas {
        replica.shutdown().await;
    }
}

// Gateways that are told by a replica that is cut off from the store would never learn of a failover [C-15].
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_is_told_and_all_is_kept() {
    let mut server = Server::start(&[]).await;
    let store = etcd(&server, "edge").await;
    let replica = start(store, broker(1, 1, Duration::from_secs(1))).await;
    let node = Node::start("a", vec![replica.endpoint()]).await;
    eventually("a chain", async || {
        is_complete(&node.cluster(), 1, 1).then_some(())
    })
    .await;
    let before = node.cluster();
    server.kill().await;
    let client = ControlPlane::new(vec![replica.endpoint()]).unwrap();
    eventually("streams are ended", async || {
        use catena_proto::internal::v1::{WatchRequest, membership_client::MembershipClient};
        let mut raw = MembershipClient::connect(replica.endpoint()).await.unwrap();
        raw.watch(WatchRequest {}).await.is_err().then_some(())
    })
    .await;
    assert_eq!(node.cluster(), before, "what was told stays");
    server.restart().await;
    let mut told = client.watch();
    let told = tokio::time::timeout(LIMIT, told.wait_for(|told| told.version > 0)).await;
    assert_eq!(told.unwrap().unwrap().chains, before.chains);
    let mut heard = node.voice.is_heard();
    tokio::time::timeout(LIMIT, heard.wait_for(|heard| *heard))
        .await
        .unwrap()
        .unwrap();
    replica.shutdown().await;
}
