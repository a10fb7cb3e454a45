//! Nodes come, are replaced, go, and hold the chains in between.

use std::sync::Arc;

use catena_control_plane::store::{Compare, Key, Outcome, Store, Transaction, Write};
use catena_membership::{ControlPlane, NodeRegistration};
use catena_proto::{
    admin::v1 as admin,
    internal::v1::{self as proto, membership_client::MembershipClient},
};
use catena_slots::ShardId;
use catena_topology::{Chain, NodeName};
use tonic::Code;

use crate::{
    node::Node,
    server::Server,
    world::{self, LIMIT, NEVER, broker, embedded, etcd, eventually, is_complete, start, status},
};

fn registration(name: &str, process: u128) -> NodeRegistration {
    NodeRegistration {
        name: name.to_owned(),
        zone: Some("a".to_owned()),
        addresses: vec!["127.0.0.1:1".to_owned()],
        process,
        kept: Vec::new(),
    }
}

async fn registers_in_order(store: Arc<dyn Store>) {
    let server = start(store, broker(1, 1, NEVER)).await;
    let client = ControlPlane::new(vec![server.endpoint()]).unwrap();
    let first = client.register_node(registration("a", 1)).await;
    let again = client.register_node(registration("a", 1)).await;
    assert_eq!(first, again, "the same process");
    let other = client.register_node(registration("b", 2)).await;
    assert!(other > first, "unique in the cluster");
    let second = client.register_node(registration("a", 3)).await;
    assert!(second > other, "a new process");

    // The first process asks once more: it may never come back.
    let mut raw = MembershipClient::connect(server.endpoint()).await.unwrap();
    let late = proto::NodeRegistration {
        name: "a".to_owned(),
        zone: None,
        addresses: vec![],
        process: 1_u128.to_be_bytes().to_vec().into(),
        kept: vec![],
        protocol: catena_proto::PROTOCOL,
    };
    let request = proto::RegisterNodeRequest {
        registration: Some(late.clone()),
    };
    let refused = raw.register_node(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let slash = proto::RegisterNodeRequest {
        registration: Some(proto::NodeRegistration {
            name: "a/b".to_owned(),
            ..late
        }),
    };
    let refused = raw.register_node(slash).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    // And its heartbeats are answered by that it is of no use any more.
    let voice = client.node_voice("a".to_owned(), first, Default::default);
    let mut replaced = voice.is_replaced();
    tokio::time::timeout(LIMIT, replaced.wait_for(|replaced| *replaced))
        .await
        .unwrap()
        .unwrap();
    server.shutdown().await;
}

// An upgrade would end with processes that do not understand each other, or all of them would have to stop for it.
#[tokio::test(flavor = "multi_thread")]
async fn processes_of_one_version_more_or_less_are_taken_and_of_others_refused() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut raw = MembershipClient::connect(server.endpoint()).await.unwrap();
    let ours = catena_proto::PROTOCOL;
    let versions = [ours - 1, ours, ours + 1, ours + 2, ours + 9, u32::MAX];
    for (number, protocol) in (1_u128..).zip(versions) {
        let node = proto::RegisterNodeRequest {
            registration: Some(proto::NodeRegistration {
                name: format!("n{number}"),
                zone: None,
                addresses: vec!["127.0.0.1:9".to_owned()],
                process: number.to_be_bytes().to_vec().into(),
                kept: vec![],
                protocol,
            }),
        };
        let gateway = proto::RegisterGatewayRequest {
            name: format!("g{number}"),
            process: number.to_be_bytes().to_vec().into(),
            protocol,
        };
        let node = raw.register_node(node).await.map(drop);
        let gateway = raw.register_gateway(gateway).await.map(drop);
        for (who, answer) in [("node", node), ("gateway", gateway)] {
            if protocol.abs_diff(ours) <= 1 {
                assert!(answer.is_ok(), "{who} {protocol}: {answer:?}");
                continue;
            }
            let refused = answer.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{who} {protocol}");
            let said = refused.message();
            assert!(
                said.contains(&format!("version {protocol}"))
                    && said.contains("each minor version"),
                "{said}"
            );
        }
    }
    server.shutdown().await;
}

// Two processes with one incarnation would both play one replica; an old one that returns would undo proofs [C-1].
#[tokio::test(flavor = "multi_thread")]
async fn a_process_gets_one_incarnation_and_never_an_old_one() {
    let (_directory, store) = embedded().await;
    registers_in_order(store).await;
    let server = Server::start(&[]).await;
    registers_in_order(etcd(&server, "edge").await).await;
}

async fn founds_and_fails_over(store: Arc<dyn Store>) {
    let server = start(store, broker(2, 2, NEVER)).await;
    let endpoints = vec![server.endpoint()];
    let first = Node::start("a", endpoints.clone()).await;
    let second = Node::start("b", endpoints.clone()).await;
    eventually("two chains of two", async || {
        is_complete(&first.cluster(), 2, 2).then_some(())
    })
    .await;
    let third = Node::start("c", endpoints).await;
    let told = third.control_plane.watch();
    eventually("the third node knows all addresses", async || {
        (told.borrow().addresses.len() == 3).then_some(())
    })
    .await;
    let settings = told.borrow().shard_settings(ShardId(1)).unwrap();
    assert_eq!(settings.slots.shard_count(), 2);
    assert!(told.borrow().shard_settings(ShardId(2)).is_none());

    // Its process dies: the stream ends, the leader probes, and the refusal counts. The time-out is far away.
    let lost = second.incarnation;
    let before = told.borrow().chains.clone();
    second.kill();
    third.voice.accuse(lost);
    let chains = eventually("the lost node is in no chain", async || {
        let cluster = first.cluster();
        let without = cluster
            .chains
            .values()
            .all(|chain| chain.role_of(lost).is_none());
        without.then(|| cluster.chains.clone())
    })
    .await;
    for (shard, chain) in &chains {
        assert!(chain.epoch > before[shard].epoch);
        assert_eq!(chain.generation, before[shard].generation);
    }
    // The spare takes its place.
    eventually("the chains are whole again", async || {
        is_complete(&third.cluster(), 2, 2).then_some(())
    })
    .await;
    server.shutdown().await;
}

// This is what the control plane is for.
#[tokio::test(flavor = "multi_thread")]
async fn chains_are_founded_grow_and_lose_a_node_whose_port_refuses() {
    let (_directory, store) = embedded().await;
    founds_and_fails_over(store).await;
    let server = Server::start(&[]).await;
    founds_and_fails_over(etcd(&server, "edge").await).await;
}

// An administrator takes nodes out one after another: a wrong word must not lose a chain.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_drained_removed_and_declared_gone() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let endpoints = vec![server.endpoint()];
    let first = Node::start("a", endpoints.clone()).await;
    eventually("a chain", async || {
        is_complete(&first.cluster(), 1, 1).then_some(())
    })
    .await;
    let mut admin = world::admin(&server.admin_endpoint()).await;
    let name = || "a".to_owned();
    let gone = admin::DeclareGoneRequest { name: name() };
    let refused = admin.declare_gone(gone.clone()).await.unwrap_err();
    assert!(refused.message().contains("is heard of"), "{refused}");
    let remove = admin::RemoveNodeRequest { name: name() };
    let refused = admin.remove_node(remove.clone()).await.unwrap_err();
    assert!(
        refused.message().contains("catena node drain a"),
        "{refused}"
    );
    let nobody = admin::DrainNodeRequest {
        name: "nobody".to_owned(),
    };
    let refused = admin.drain_node(nobody).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    // With a second node it drains: the head moves.
    let mut second = Node::start("b", endpoints).await;
    let drain = admin::DrainNodeRequest { name: name() };
    admin.drain_node(drain).await.unwrap();
    eventually("the chain has moved", async || {
        let cluster = second.cluster();
        let chain = cluster.chains.get(&ShardId(0))?;
        let moved = chain.role_of(first.incarnation).is_none() && chain.learner.is_none();
        moved.then_some(())
    })
    .await;
    let node = |status: &admin::Status, name: &str| {
        let node = status.nodes.iter().find(|node| node.name == name);
        node.cloned().unwrap()
    };
    let seen = status(&server.admin_endpoint()).await;
    assert_eq!(seen.shards[0].replicas[0].node, "b");
    assert_eq!(
        seen.shards[0].replicas[0].role(),
        admin::Role::Alone,
        "{seen:?}"
    );
    assert_eq!(seen.shards[0].replicas[0].liveness(), admin::Liveness::Live);
    assert!(node(&seen, "a").draining);
    admin.remove_node(remove).await.unwrap();
    let mut replaced = first.voice.is_replaced();
    tokio::time::timeout(LIMIT, replaced.wait_for(|replaced| *replaced))
        .await
        .unwrap()
        .unwrap();

    // The last one dies for good: declared gone, its chain starts empty on a new node.
    second.close_port();
    let lost = second.incarnation;
    let control_plane = second.control_plane.clone();
    let third = Node::start("c", vec![server.endpoint()]).await;
    second.kill();
    third.voice.accuse(lost);
    eventually("its loss is seen", async || {
        let seen = status(&server.admin_endpoint()).await;
        (node(&seen, "b").liveness() == admin::Liveness::Lost).then_some(())
    })
    .await;
    let seen = status(&server.admin_endpoint()).await;
    assert!(
        seen.alarms.iter().any(|alarm| alarm.kind == "chain-waits"),
        "{seen:?}"
    );
    let gone = admin::DeclareGoneRequest {
        name: "b".to_owned(),
    };
    admin.declare_gone(gone).await.unwrap();
    let generation = eventually("the chain starts empty", async || {
        let cluster = control_plane.watch().borrow().clone();
        let chain = cluster.chains.get(&ShardId(0))?;
        (chain.role_of(third.incarnation).is_some()).then_some(chain.generation.0)
    })
    .await;
    assert_eq!(generation, 2);
    server.shutdown().await;
}

// Of a process that says it leaves, the chains must be rid before it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_node_is_let_go() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 2, std::time::Duration::from_secs(5))).await;
    let endpoints = vec![server.endpoint()];
    let first = Node::start("a", endpoints.clone()).await;
    let second = Node::start("b", endpoints).await;
    eventually("a chain of two", async || {
        is_complete(&first.cluster(), 1, 2).then_some(())
    })
    .await;
    first
        .leaving
        .store(true, std::sync::atomic::Ordering::Relaxed);
    eventually("it is in no chain", async || {
        let cluster = second.cluster();
        let mut chains = cluster.chains.values();
        chains
            .all(|chain| chain.role_of(first.incarnation).is_none())
            .then_some(())
    })
    .await;
    assert_eq!(first.name, "a");
    server.shutdown().await;
}

// A standalone broker is restarted: its shards must find their epochs where they were [C-60].
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_resources_and_topology() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let open = async || {
        let store = catena_control_plane::store::Embedded::open(&file);
        Arc::new(store.await.unwrap())
    };
    let store = open().await;
    let server = start(store.clone(), broker(3, 1, NEVER)).await;
    let node = Node::start("a", vec![server.endpoint()]).await;
    eventually("three chains", async || {
        is_complete(&node.cluster(), 3, 1).then_some(())
    })
    .await;
    let before = node.cluster();
    node.kill();
    server.shutdown().await;
    eventually("the file is let go", async || {
        (Arc::strong_count(&store) == 1).then_some(())
    })
    .await;
    let store = Arc::into_inner(store).unwrap();
    store.close().await;

    // Other options than the first time: the store's Broker counts.
    let server = start(open().await, broker(1, 1, NEVER)).await;
    let client = ControlPlane::new(vec![server.endpoint()]).unwrap();
    let mut told = client.watch();
    let told = told
        .wait_for(|told| told.version > 0)
        .await
        .unwrap()
        .clone();
    assert_eq!(told.chains, before.chains);
    assert_eq!(told.layout, before.layout);
    assert_eq!(told.broker, before.broker);
    assert_eq!(told.settings_version, before.settings_version);
    server.shutdown().await;
}

// A store that was restored from a backup would take nodes back to chains that they have left [C-16].
#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_know_beyond_the_store_is_adopted_by_word_alone() {
    let (_directory, store) = embedded().await;
    let server = start(store.clone(), broker(1, 2, NEVER)).await;
    let address = server.address().to_string();
    let endpoints = vec![server.endpoint()];
    let first = Node::start("a", endpoints.clone()).await;
    let second = Node::start("b", endpoints.clone()).await;
    let known = eventually("a chain of two", async || {
        let cluster = second.cluster();
        is_complete(&cluster, 1, 2).then(|| cluster.chains[&ShardId(0)].clone())
    })
    .await;
    server.shutdown().await;

    // The chain as it began.
    let name = NodeName(first.name.clone());
    let backup = Chain::founded(ShardId(0), None, &name, first.incarnation);
    let key = Key::new("topology/chains/0").unwrap();
    let now = store.get(&key).await.unwrap().unwrap();
    let put = |key: &str, value: Vec<u8>| Write::Put {
        key: Key::new(key).unwrap(),
        value: value.into(),
        lease: None,
    };
    // The second node registered after the backup.
    let restore = Transaction {
        compare: vec![Compare::unchanged(&now)],
        writes: vec![
            put("topology/chains/0", serde_json::to_vec(&backup).unwrap()),
            put("topology/incarnations", b"1".to_vec()),
            Write::Delete(Key::new("nodes/b").unwrap()),
        ],
    };
    let restored = store.commit(restore).await.unwrap();
    assert!(matches!(restored, Outcome::Committed(_)));
    let server = world::start_at(store, broker(1, 2, NEVER), &address).await;
    let alarms = eventually("an alarm", async || {
        let status = status(&server.admin_endpoint()).await;
        (!status.alarms.is_empty()).then_some(status.alarms)
    })
    .await;
    assert_eq!(alarms[0].kind, "epoch-ahead", "{alarms:?}");
    // What was told once stays valid.
    let told = first.cluster();
    assert_eq!(told.chains[&ShardId(0)], known);
    assert!(told.addresses.contains_key(&second.incarnation));
    assert!(!*second.voice.is_replaced().borrow());

    let mut admin = world::admin(&server.admin_endpoint()).await;
    // Nodes tell what they know a moment after the watch has told them less; who has not been heard by then is adopted by another word.
    let mut adopted = Vec::new();
    eventually("both nodes and the chain are adopted", async || {
        if let Ok(answer) = admin.adopt(admin::AdoptRequest {}).await {
            adopted.extend(answer.into_inner().shards);
        }
        let seen = status(&server.admin_endpoint()).await;
        (seen.nodes.len() == 2).then_some(())
    })
    .await;
    assert_eq!(adopted, [0]);
    let chain = eventually("the adopted chain is told", async || {
        let chain = first.cluster().chains[&ShardId(0)].clone();
        (chain.epoch > known.epoch).then_some(chain)
    })
    .await;
    assert_eq!(chain.chain, known.chain);
    // No later node gets an incarnation that is in use.
    let third = Node::start("c", vec![server.endpoint()]).await;
    assert!(third.incarnation > second.incarnation);
    eventually("the alarm is over", async || {
        let status = status(&server.admin_endpoint()).await;
        status.alarms.is_empty().then_some(())
    })
    .await;
    let refused = admin.adopt(admin::AdoptRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    server.shutdown().await;
}
