//! What of a broker's disk comes back, and what does not: with `sync: Interval`, with modes, and with another key.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use catena_mqtt::Version;
use catena_tests::{
    broker::binary,
    client::{Client, Message, Options},
    cluster::{HEAL, new_directory, wait_for},
    faults::turn,
    wire::Property,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    crashes, seed,
    standalone::{Standalone, survive},
};

/// Where a state's meta names the boot, and its checksum (docs/storage-format.md).
const BOOT: std::ops::Range<usize> = 112..128;
const CHECKED: usize = 152;

/// A directory with a Broker whose persistence says this, and secrets.
struct Given {
    directory: PathBuf,
}

impl Given {
    fn persistence(says: &str) -> Given {
        let directory = new_directory();
        fs::create_dir(directory.join("resources")).expect("it is ours");
        let broker = format!(
            "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec:\n  persistence: {{maxSize: 1Gi, {says}}}\n"
        );
        fs::write(directory.join("resources/broker.yaml"), broker).expect("it is ours");
        Given { directory }
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.directory.join("secrets/disk").join(name)
    }

    fn broker(&self, shards: usize) -> Standalone {
        let at = self.directory.display();
        let more = format!("--resources {at}/resources --secrets-dir {at}/secrets");
        Standalone::start(Some(&self.data()), shards, &more)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn client(broker: &Standalone, id: &str) -> Client {
    Options::new(Version::V5, id)
        .persistent()
        .open_at(broker.address)
}

fn publish(broker: &Standalone, message: Message) {
    let mut publisher = Options::new(Version::V5, "").open_at(broker.address);
    publisher.publish(&message.qos(1));
}

/// The end of a process takes nothing of what it wrote: were something held back in the process, it would be gone.
#[test]
fn a_broker_that_syncs_at_intervals_loses_nothing_when_it_is_killed() {
    let _turn = turn();
    let given = Given::persistence("sync: Interval");
    let mut broker = given.broker(2);
    survive(&mut broker, crashes(2, 10), seed(), "", Standalone::kill);
    assert!(!broker.process.log().contains("may be missing"));
}

/// After a loss of power acknowledged messages may be missing, and whoever goes on must hear of it; but what is there is used.
#[test]
fn a_broker_that_syncs_at_intervals_goes_on_after_a_loss_of_power() {
    let _turn = turn();
    let given = Given::persistence("sync: Interval");
    let mut broker = given.broker(1);
    let mut subscriber = client(&broker, "subscriber");
    subscriber.subscribe("queue", 1);
    subscriber.abort();
    publish(&broker, Message::new("queue", "waits"));
    publish(&broker, Message::new("state", "is retained").retain());
    broker.kill();
    // It is another boot from here on.
    for meta in metas(&given.data()) {
        let mut bytes = fs::read(&meta).expect("it is there");
        bytes[BOOT].fill(0x5a);
        let check = xxh3_64(&bytes[..CHECKED]).to_le_bytes();
        bytes[CHECKED..].copy_from_slice(&check);
        fs::write(&meta, bytes).expect("it is ours");
    }
    for life in 2..4 {
        broker.serve();
        let mut subscriber = client(&broker, "subscriber");
        assert!(subscriber.connack().session_present, "in life {life}");
        assert_eq!(subscriber.expect_message().text(), "waits");
        subscriber.abort();
        let mut reader = Options::new(Version::V5, "").open_at(broker.address);
        reader.subscribe("state", 0);
        assert_eq!(reader.receive().text(), "is retained");
        broker.kill();
        // The second time nothing can be missing any more.
        let told = broker.process.log().matches("may be missing").count();
        assert_eq!(told, 1, "in life {life}");
    }
}

fn metas(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(metas(&path));
        } else if path.ends_with("meta") {
            found.push(path);
        }
    }
    found
}

/// [C-59] What the Broker does not keep must not come back as if it were new, and what it keeps must.
#[test]
fn what_the_modes_do_not_keep_does_not_come_back() {
    let _turn = turn();
    let given = Given::persistence(
        "retain: {mode: Custom, retainSettings: {topics: ['state/#'], dynamic: {mode: Enabled}}}, subscriberQueue: {mode: Custom, \
         subscriberQueueSettings: {subscriberClientIds: ['named-*'], dynamic: {mode: Enabled}}}",
    );
    let mut broker = given.broker(2);
    let asks = || Property::user("aio-persistence", "true");
    let who = ["named-1", "asks", "neither"];
    for id in who {
        let mut options = Options::new(Version::V5, id).persistent();
        if id == "asks" {
            let properties = &mut options.connect.user_properties;
            properties.push("aio-persistence", "true");
        }
        let mut client = options.open_at(broker.address);
        client.subscribe("queue", 1);
        client.abort();
    }
    publish(&broker, Message::new("queue", "old"));
    publish(&broker, Message::new("state/a", "named").retain());
    publish(
        &broker,
        Message::new("x/a", "asked for").retain().property(asks()),
    );
    publish(&broker, Message::new("x/b", "neither").retain());
    broker.kill();
    broker.serve();
    publish(&broker, Message::new("queue", "new"));
    for id in who {
        let mut client = client(&broker, id);
        assert!(client.connack().session_present, "sessions always are kept");
        if id != "neither" {
            assert_eq!(client.receive().text(), "old", "{id}");
        }
        assert_eq!(client.receive().text(), "new", "{id}");
    }
    let mut reader = Options::new(Version::V5, "").open_at(broker.address);
    reader.subscribe("#", 0);
    let mut found = [reader.receive().text(), reader.receive().text()];
    found.sort();
    assert_eq!(found, ["asked for", "named"]);
    reader.expect_nothing();
}

/// Were an older key needed for ever, nobody could ever take one away that somebody else has seen.
#[test]
fn an_older_key_may_go_when_the_command_says_so() {
    let _turn = turn();
    let given = Given::persistence("encryption: {keySecretRef: disk}");
    fs::create_dir_all(given.secret("")).expect("it is ours");
    let put = |name: &str, key: u8| {
        let (new, at) = (given.directory.join("new-key"), given.secret(name));
        fs::write(&new, [key; 32]).expect("it is ours");
        fs::rename(new, at).expect("it is ours");
    };
    put("key", 1);
    let mut broker = given.broker(2);
    publish(&broker, Message::new("state", "is retained").retain());
    put("before", 1);
    assert!(ask(&given).status.success(), "one key, by two names");
    put("key", 2);
    let said = ask(&given);
    assert!(!said.status.success(), "{said:?}");
    wait_for("files that need the new key alone", HEAL, || {
        let said = ask(&given);
        said.status
            .success()
            .then_some(())
            .ok_or_else(|| format!("{said:?}"))
    });
    publish(&broker, Message::new("other", "is retained").retain());
    fs::remove_file(given.secret("before")).expect("it is there");
    broker.kill();
    broker.serve();
    let mut reader = Options::new(Version::V5, "").open_at(broker.address);
    reader.subscribe("#", 0);
    let mut found = [reader.receive().text(), reader.receive().text()];
    found.sort();
    assert_eq!(found, ["is retained", "is retained"]);
    // With neither key nothing is served.
    put("key", 3);
    broker.kill();
    broker.process.start();
    assert!(broker.process.announced(HEAL).is_err());
    assert!(broker.process.log().contains("which was not given"));
}

fn ask(given: &Given) -> Output {
    Command::new(binary())
        .arg("disk-keys")
        .arg(given.data())
        .arg("--secret")
        .arg(given.secret(""))
        .output()
        .expect("it can be run")
}
