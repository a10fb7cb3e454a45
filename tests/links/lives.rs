//! What becomes of clients when a shard, the control plane or the gateway's registration is lost, and when the gateway
//! drains.

use std::{
    thread,
    time::{Duration, Instant},
};

use catena_chain::{Incarnation, Member, ReplicaId};
use catena_gateway::worker::Ended;
use catena_mqtt::{Packet, ReasonCode, Version};
use catena_slots::ShardId;
use catena_tests::client::{Client, Event, Filter, Message, Options};

use crate::cluster::{Cluster, Plan};

const CLIENTS: usize = 16;

/// A backend that does not exist.
const NOBODY: Incarnation = Incarnation(99);

fn whole(shards: usize) -> Cluster {
    Cluster::of(Plan {
        shards,
        workers: 2,
        breaking: None,
    })
}

fn open(cluster: &Cluster, name: &str) -> Client {
    Options::new(Version::V5, name)
        .persistent()
        .open_at(cluster.address)
}

fn open_all(cluster: &Cluster) -> Vec<Client> {
    (0..CLIENTS)
        .map(|number| open(cluster, &format!("client-{number}")))
        .collect()
}

/// Whether the client is closed, and why; not if it is left alone for `patience`.
fn closed(client: &mut Client, patience: Duration) -> Option<ReasonCode> {
    match client.next(patience) {
        Event::Packet(Packet::Disconnect(disconnect)) => Some(disconnect.reason),
        Event::Silence => None,
        other => panic!("{other:?}"),
    }
}

/// How many were closed for `reason`; the others are, and answer.
fn count_closed(clients: &mut [Client], reason: ReasonCode, patience: Duration) -> usize {
    let until = Instant::now() + patience;
    let mut count = 0;
    for client in clients {
        let left = until.saturating_duration_since(Instant::now());
        match closed(client, left.max(Duration::from_millis(1))) {
            Some(why) => {
                assert_eq!(why, reason);
                count += 1;
            }
            None => client.ping(),
        }
    }
    count
}

/// [F-25] [C-2] A shard that has lost everything is the home of nobody's session any more: its clients hear of it, and
/// none goes on with half a session. Whoever has nothing there notices nothing.
#[test]
fn a_shard_that_starts_empty_sends_its_clients_away() {
    let mut cluster = whole(2);
    let mut clients = open_all(&cluster);
    let other = cluster.start_backend();
    cluster.start_empty(ShardId(0), other);
    let lost = ReasonCode::ImplementationSpecificError;
    let count = count_closed(&mut clients, lost, Duration::from_secs(2));
    assert!((1..CLIENTS).contains(&count), "{count} of {CLIENTS} closed");
    // What counts begins anew on both sides: effects of the new shard are taken, and its publishes answered.
    let mut subscriber = open(&cluster, "subscriber");
    subscriber.subscribe_to(&[Filter::new("#", 1)]);
    for number in 0..CLIENTS {
        let mut client = open(&cluster, &format!("client-{number}"));
        let topic = format!("topic/{number}");
        client.publish(&Message::new(&topic, "after").qos(1));
        assert_eq!(subscriber.receive().topic, topic);
    }
}

/// [C-2] An op that the lost shard had not answered is answered by the new one.
#[test]
fn what_is_unanswered_goes_to_the_shard_that_starts_empty() {
    let mut cluster = whole(1);
    let address = cluster.address;
    let move_to = |to| {
        cluster.change(ShardId(0), |chain| {
            chain.chain = vec![Member {
                id: ReplicaId(5),
                incarnation: to,
            }];
        });
    };
    move_to(NOBODY);
    thread::sleep(Duration::from_millis(100));
    let waiting = thread::spawn(move || {
        // Its home is not there: CONNECT waits.
        Options::new(Version::V5, "early").open_at(address).ping();
    });
    thread::sleep(Duration::from_millis(200));
    let other = cluster.start_backend();
    cluster.start_empty(ShardId(0), other);
    waiting.join().expect("CONNECT is answered");
    assert!(cluster.accused().contains(&NOBODY));
}

/// [C-45] With the control plane in reach, a shard that is not is its business; without, clients that need the shard
/// would wait for ever for what they believe to be well.
#[test]
fn clients_that_need_a_lost_shard_are_closed_when_nobody_sees_to_it() {
    let cluster = whole(2);
    let mut clients = open_all(&cluster);
    cluster.change(ShardId(0), |chain| chain.chain[0].incarnation = NOBODY);
    let busy = ReasonCode::ServerBusy;
    let patience = Duration::from_secs(1);
    assert_eq!(count_closed(&mut clients, busy, patience), 0);
    cluster.set_heard(false);
    let count = count_closed(&mut clients, busy, patience);
    assert!((1..CLIENTS).contains(&count), "{count} of {CLIENTS} closed");
}

/// [C-43] Shards say that the incarnation is over: everybody is closed, and all workers end, so that the gateway can
/// begin a new life.
#[test]
fn a_gateway_that_is_not_live_any_more_ends_its_life() {
    let cluster = whole(2);
    let mut clients = open_all(&cluster);
    cluster.tell(|told| {
        told.gateways_version += 1;
        told.gateways = [].into();
    });
    let away = ReasonCode::ServerShuttingDown;
    for client in &mut clients {
        // A drop by the shard comes with the next thing that the link says.
        client.send_message(&Message::new("topic", "m").qos(1));
        loop {
            match client.next(Duration::from_secs(10)) {
                Event::Packet(Packet::Disconnect(disconnect)) => {
                    assert_eq!(disconnect.reason, away);
                    break;
                }
                Event::Packet(Packet::Puback(_)) => {}
                Event::Closed => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!([cluster.ended(), cluster.ended()], [Ended::Over; 2]);
}

/// [F-26] Nobody is taken any more, and those that are there are told to go elsewhere.
#[test]
fn a_gateway_that_drains_tells_its_clients_to_leave() {
    let cluster = whole(2);
    let mut clients = open_all(&cluster);
    cluster.drain();
    let away = ReasonCode::ServerShuttingDown;
    let count = count_closed(&mut clients, away, Duration::from_secs(5));
    assert_eq!(count, CLIENTS);
    drop(clients);
    assert_eq!([cluster.ended(), cluster.ended()], [Ended::Drained; 2]);
}
