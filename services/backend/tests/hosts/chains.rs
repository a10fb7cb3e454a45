//! Chains of several hosts, while members come and go.

use catena_chain::{ReplicaId, message::News};
use catena_shard::Who;
use catena_slots::ShardId;

use crate::{
    gateway::Gateway,
    world::{SHARD, World, run, until},
};

/// Enough to fill every queue on the way.
const MESSAGES: u32 = 20_000;

/// A chain of nodes 1 to `count`, with replica ids as they joined.
async fn chain(count: u64) -> (World, Vec<(u64, u64)>) {
    let mut world = World::new(1);
    for node in 1..=count {
        world.start(node);
    }
    let mut chain = vec![(1, 1)];
    world.decide(SHARD, &chain, None);
    for node in 2..=count {
        let learner = (10 * node, node);
        world.join(SHARD, &chain, learner).await;
        chain.push(learner);
    }
    (world, chain)
}

async fn subscriber(world: &World) -> (Gateway, Who) {
    let mut gateway = Gateway::new(world, SHARD, 1);
    let who = gateway.subscriber("c", "t").await;
    (gateway, who)
}

async fn all_delivered(gateway: &mut Gateway, count: u32) {
    gateway
        .until(|gateway| gateway.delivered_count() >= count as usize)
        .await;
    assert!(gateway.delivered().into_iter().eq(0..count));
}

#[test]
fn three_replicas_have_the_same() {
    run(|| async {
        let (world, _) = chain(3).await;
        let (mut gateway, who) = subscriber(&world).await;
        let last = gateway.publish(who, 0..MESSAGES);
        gateway.committed(last).await;
        all_delivered(&mut gateway, MESSAGES).await;
        world.alike(SHARD, &[1, 2, 3]).await;
        assert_eq!(world.pulse(2).counts().alarms, 0);
    });
}

/// Ends `victim` while messages are on their way everywhere, and evicts it once it is accused.
async fn lose(victim: usize) {
    let (mut world, mut chain) = chain(3).await;
    let (mut gateway, who) = subscriber(&world).await;
    gateway.stream(who, 0..MESSAGES / 2).await;
    assert!(
        gateway.delivered_count() < MESSAGES as usize / 2,
        "none is on its way"
    );
    let (_, node) = chain.remove(victim);
    world.kill(node);
    gateway.publish(who, MESSAGES / 2..MESSAGES);
    gateway.until(|_| world.is_accused(node)).await;
    world.decide(SHARD, &chain, None);
    all_delivered(&mut gateway, MESSAGES).await;
    let left: Vec<u64> = chain.iter().map(|(_, node)| *node).collect();
    // A new one takes the place, under a new name [C-1].
    world.start(9);
    world.join(SHARD, &chain, (90, 9)).await;
    gateway.stream(who, MESSAGES..2 * MESSAGES).await;
    all_delivered(&mut gateway, 2 * MESSAGES).await;
    world.alike(SHARD, &[left[0], left[1], 9]).await;
}

#[test]
fn a_head_that_dies_under_load_takes_nothing_with_it() {
    run(|| lose(0));
}

#[test]
fn a_middle_that_dies_under_load_takes_nothing_with_it() {
    run(|| lose(1));
}

#[test]
fn a_tail_that_dies_under_load_takes_nothing_with_it() {
    run(|| lose(2));
}

// What a learner lacks would be lost with those that it came from.
#[test]
fn a_learner_that_joined_under_load_can_be_the_last() {
    run(|| async {
        let (mut world, chain) = chain(1).await;
        let (mut gateway, who) = subscriber(&world).await;
        world.start(2);
        gateway.stream(who, 0..MESSAGES / 2).await;
        world.decide(SHARD, &chain, Some((20, 2)));
        let is_synced = |news: &News| matches!(news, News::LearnerSynced { .. });
        tokio::select! {
            _ = world.reported(SHARD, is_synced) => {}
            () = gateway.stream(who, MESSAGES / 2..2 * MESSAGES) => {}
        }
        world.decide(SHARD, &[(1, 1), (20, 2)], None);
        let published = gateway.published;
        assert!(published > MESSAGES / 2, "it joined under load");
        let all = published + MESSAGES / 2;
        gateway.stream(who, published..all).await;
        world.kill(1);
        world.decide(SHARD, &[(20, 2)], None);
        all_delivered(&mut gateway, all).await;
    });
}

// With the control plane away it learns of the epoch from its predecessor alone [C-11].
#[test]
fn a_replica_that_nobody_asked_yet_has_a_host_when_somebody_does() {
    run(|| async {
        let mut world = World::new(2);
        world.start(1);
        let late = world.start(2);
        world.decide(ShardId(1), &[(1, 1)], None);
        until(|| world.progress(1, ShardId(1)).is_some()).await;
        assert!(world.progress(2, ShardId(1)).is_none());
        use catena_transport::Accept as _;
        let stream = late.chain(ShardId(1)).unwrap();
        let nowhere = late.chain(ShardId(9)).unwrap();
        nowhere.closed().await;
        assert!(!stream.is_closed());
    });
}

// A replica whose tail has died stays as it is until somebody decides, and says whom it misses [C-24].
#[test]
fn a_silent_neighbour_is_reported() {
    run(|| async {
        let (mut world, _) = chain(2).await;
        world.kill(2);
        let is_suspect = |news: &News| {
            *news
                == News::Suspect {
                    neighbour: ReplicaId(20),
                }
        };
        let report = world.reported(SHARD, is_suspect).await;
        assert_eq!(report.from, ReplicaId(1));
    });
}
