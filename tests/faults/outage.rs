//! All replicas of one chain crash at once. What it held is lost, loudly; what it did not hold is not [C-14] [F-25].

use catena_mqtt::Version;
use catena_slots::{ShardId, SlotTable};
use catena_tests::{
    client::{Client, Message, Options},
    cluster::{Cluster, HEAL, Plan, Role, wait_for},
    faults::turn,
    verify::Load,
};

/// The one whose replicas all crash.
const LOST: ShardId = ShardId(0);
const OTHER: ShardId = ShardId(1);

/// A session, and what it has to do with the lost shard.
struct Guest {
    id: String,
    /// A topic that it subscribes to, and where that lives.
    topic: Option<(String, ShardId)>,
    /// Whether it also has a filter with a wildcard, which lives on every shard.
    is_everywhere: bool,
    home: ShardId,
}

impl Guest {
    fn touches_the_lost(&self) -> bool {
        let by_topic = matches!(&self.topic, Some((_, shard)) if *shard == LOST);
        self.home == LOST || by_topic || self.is_everywhere
    }

    fn options(&self) -> Options {
        Options::new(Version::V5, &self.id).persistent()
    }
}

/// A name that `place` puts on `shard`.
fn named(prefix: &str, shard: ShardId, place: impl Fn(&str) -> ShardId) -> String {
    (0..)
        .map(|number| format!("{prefix}-{number}"))
        .find(|name| place(name) == shard)
        .expect("names go to all shards")
}

fn guests(slots: &SlotTable) -> Vec<Guest> {
    let mut guests = Vec::new();
    for home in [LOST, OTHER] {
        for (kind, shard, is_everywhere) in [
            ("idle", None, false),
            ("lost", Some(LOST), false),
            ("other", Some(OTHER), false),
            ("wild", None, true),
        ] {
            let prefix = format!("{kind}-{}", home.0);
            let topic = shard.map(|shard| {
                let topic = named(&format!("{prefix}/t"), shard, |topic| slots.topic(topic));
                (topic, shard)
            });
            guests.push(Guest {
                id: named(&prefix, home, |id| slots.home(id)),
                topic,
                is_everywhere,
                home,
            });
        }
    }
    guests
}

#[test]
fn a_chain_that_lost_all_replicas_starts_empty_and_ends_the_sessions_that_touched_it() {
    let _turn = turn();
    let plan = Plan {
        partitions: 2,
        workers: 1,
        backends: 4,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan);
    let slots = SlotTable::even(2, 0).expect("two shards");
    let guests = guests(&slots);
    let brokers = cluster.brokers().to_vec();
    let connect = |(number, guest): (usize, &Guest)| {
        let mut client = guest.options().open_at(brokers[number % brokers.len()]);
        if let Some((topic, _)) = &guest.topic {
            client.subscribe(topic, 1);
        }
        if guest.is_everywhere {
            client.subscribe(&format!("{}/+/deep", guest.id), 1);
        }
        client
    };
    let mut clients: Vec<Client> = guests.iter().enumerate().map(connect).collect();

    let before = cluster.wait_until_whole();
    let nodes = before.shard(LOST.0).chain();
    for node in &nodes {
        cluster.kill(node);
    }
    for node in &nodes {
        cluster.restart(node);
    }
    wait_for("an empty start", HEAL, || {
        let status = cluster.status()?;
        let generation = status.shard(LOST.0).generation;
        let expected = before.shard(LOST.0).generation + 1;
        (generation == expected)
            .then_some(())
            .ok_or_else(|| format!("{status:?}"))
    });
    let after = cluster.wait_until_whole();
    assert_eq!(
        after.shard(OTHER.0).generation,
        before.shard(OTHER.0).generation,
        "the other chain lost nothing"
    );
    let loud = cluster.processes().any(|process| {
        let log = process.log();
        log.lines()
            .any(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains("empty"))
    });
    assert!(loud, "nobody wrote that a chain starts empty");

    for (number, (guest, client)) in guests.iter().zip(&mut clients).enumerate() {
        let broker = brokers[number % brokers.len()];
        if guest.touches_the_lost() {
            client.expect_close();
            let connack = guest.options().open_at(broker).connack().clone();
            assert!(!connack.session_present, "{} has half a session", guest.id);
            continue;
        }
        // Its connection stands, and what it subscribed to comes.
        client.ping();
        if let Some((topic, _)) = &guest.topic {
            let mut publisher = Options::new(Version::V5, "").open_at(broker);
            publisher.publish(&Message::new(topic, "after").qos(1));
            assert_eq!(client.receive().text(), "after");
        }
        let connack = guest.options().open_at(broker).connack().clone();
        assert!(connack.session_present, "{} lost its session", guest.id);
    }
    cluster.assert_well();
}

// Were it not noticed that everything is gone, the other tests would show nothing.
#[test]
fn a_load_notices_that_all_replicas_were_lost() {
    let _turn = turn();
    let plan = Plan {
        backends: 2,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan);
    let mut load = Load::start(&cluster.brokers_with_commas(), "--settle 3 --churn 0");
    load.wait_for_more(200);
    for name in cluster.names(Role::Backend) {
        cluster.kill(&name);
    }
    for name in cluster.names(Role::Backend) {
        cluster.restart(&name);
    }
    cluster.wait_until_whole();
    load.wait_for_more(200);
    let report = load.end();
    assert!(!report.passed, "{report:#?}");
    assert!(report.violations["session-lost"] > 0, "{report:#?}");
}
