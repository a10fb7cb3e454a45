//! A cluster: sessions on two gateways, shards in chains of two, one of which loses its tail.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    admin::Admin,
    client::{Client, Message, Options},
    cluster::{Cluster, Plan},
};

/// More than a page has.
const AWAY: usize = 1_100;
const CONNECTED: usize = 6;

fn lasting(id: &str) -> Options {
    Options::new(Version::V5, id).persistent()
}

// Each part of what an administrator sees and does crosses processes, and goes on when one of them dies.
#[test]
fn a_cluster_is_looked_into_while_a_tail_dies() {
    let mut cluster = Cluster::start(Plan::redundancy(2));
    let admin = Admin(cluster.admin().urls());
    let brokers = cluster.brokers().to_vec();
    for n in 0..AWAY {
        lasting(&format!("away-{n:04}"))
            .open_at(brokers[n % 2])
            .disconnect();
    }
    let mut clients: Vec<Client> = (0..CONNECTED)
        .map(|n| lasting(&format!("here-{n}")).open_at(brokers[n % 2]))
        .collect();
    let all: BTreeSet<String> = (0..AWAY)
        .map(|n| format!("away-{n:04}"))
        .chain((0..CONNECTED).map(|n| format!("here-{n}")))
        .collect();
    let listed = admin.ids(&[]);
    assert_eq!(listed.len(), all.len(), "each once");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    assert_eq!(admin.ids(&["--connected"]).len(), CONNECTED);
    assert_eq!(admin.ids(&["--disconnected", "--limit", "5"]).len(), 5);
    assert_eq!(
        admin.ids(&["--gateway", "gateway-1"]),
        ["here-0", "here-2", "here-4"]
    );
    assert_eq!(admin.ids(&["away-000?"]).len(), 10);

    // While it is listed over and over, a tail dies.
    let is_over = Arc::new(AtomicBool::new(false));
    let lister = {
        let (admin, is_over) = (admin.clone(), is_over.clone());
        thread::spawn(move || {
            let mut lists = 0;
            while !is_over.load(Ordering::Relaxed) || lists == 0 {
                let ids: BTreeSet<String> = admin.ids(&["away-*"]).into_iter().collect();
                assert_eq!(ids.len(), AWAY);
                lists += 1;
            }
        })
    };
    let tail = cluster.wait_until_whole().shard(0).tail().to_owned();
    cluster.kill(&tail);
    cluster.restart(&tail);
    cluster.wait_until_whole();
    is_over.store(true, Ordering::Relaxed);
    lister.join().expect("every list was whole");

    // Changes are replicated: the next tail knows of them.
    let mut here = clients.remove(0);
    here.subscribe("#", 1);
    admin.say(&["sessions", "disconnect", "here-0"]);
    here.expect_closed_for(ReasonCode::AdministrativeAction);
    let mut publisher = Options::new(Version::V5, "publisher").open_at(brokers[1]);
    for n in 0..20 {
        let message = Message::new(&format!("t/{n}"), "x").qos(1).retain();
        assert_eq!(publisher.publish(&message), ReasonCode::Success);
    }
    let shown = admin.json(&["sessions", "show", "here-0"]);
    assert_eq!(shown["session"]["queued"], 20, "{shown}");
    admin.say(&["sessions", "delete", "here-0"]);
    for n in 0..20 {
        admin.say(&["retained", "delete", &format!("t/{n}")]);
    }
    let tail = cluster.wait_until_whole().shard(0).tail().to_owned();
    cluster.kill(&tail);
    cluster.restart(&tail);
    cluster.wait_until_whole();
    assert!(
        admin
            .fail(&["sessions", "show", "here-0"])
            .contains("has no session")
    );
    assert!(admin.lines(&["retained", "list", "t/#"]).is_empty());
    let mut again = lasting("here-0").open_at(brokers[1]);
    assert!(!again.connack().session_present);
    again.expect_nothing();
    drop(clients);
    cluster.stop();
}
