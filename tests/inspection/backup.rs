//! A backup is made under load, and goes back into brokers with other shards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings, binary, unique},
    client::{Client, Filter, Message, Options},
    cluster::{Cluster, Plan},
    wire::Property,
};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = unique(&format!("catena-backup-{}", std::process::id()));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Directory(directory)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn broker(shards: u32) -> (Broker, Admin) {
    let settings = Settings::shards(shards);
    let broker = Broker::start(&settings.argument("--admin").argument("127.0.0.1:0"));
    let admin = Admin::of(&broker);
    (broker, admin)
}

fn lasting(id: &str) -> Options {
    Options::new(Version::V5, id).persistent()
}

/// So many messages, and no more.
fn take(client: &mut Client, count: usize) -> Vec<Message> {
    let messages = (0..count).map(|_| client.receive()).collect();
    client.expect_nothing();
    messages
}

fn texts(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().map(Message::text).collect()
}

/// Messages that were acknowledged before the backup began, of each topic.
#[derive(Default)]
struct Acknowledged(Vec<AtomicUsize>);

const TOPICS: usize = 20;

// What clients were told is safe would be missing on the day that the backup is needed.
#[test]
fn all_that_was_acknowledged_before_is_there_with_other_shards() {
    let (source, admin) = broker(4);
    let directory = Directory::new();
    let file = directory.file("backup");
    // By a filter with a wildcard, and by topics.
    for n in 0..10 {
        let mut away = lasting(&format!("all-{n}")).open(&source);
        away.subscribe("t/+", 1);
        away.disconnect();
        let mut away = lasting(&format!("one-{n}")).open(&source);
        away.subscribe(&format!("t/{n}"), 2);
        away.disconnect();
    }
    let mut ephemeral = Options::new(Version::V5, "ephemeral").open(&source);
    ephemeral.subscribe("nothing/#", 1);
    for n in 0..50 {
        let mut publisher = Options::new(Version::V5, "retainer").open(&source);
        publisher.publish(
            &Message::new(&format!("r/{n}"), format!("{n}"))
                .qos(1)
                .retain(),
        );
        publisher.disconnect();
    }
    let acknowledged = Arc::new(Acknowledged(
        (0..TOPICS).map(|_| AtomicUsize::new(0)).collect(),
    ));
    let is_over = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..2)
        .map(|publisher| {
            let (acknowledged, is_over) = (acknowledged.clone(), is_over.clone());
            let mut client = Options::new(Version::V5, &format!("load-{publisher}")).open(&source);
            thread::spawn(move || {
                for number in 1.. {
                    for topic in (publisher..TOPICS).step_by(2) {
                        let name = format!("t/{topic}");
                        let message = Message::new(&name, format!("{number}")).qos(1);
                        assert_eq!(client.publish(&message), ReasonCode::Success);
                        acknowledged.0[topic].store(number, Ordering::SeqCst);
                    }
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            })
        })
        .collect();
    while acknowledged.0[0].load(Ordering::SeqCst) < 20 {
        thread::sleep(Duration::from_millis(5));
    }
    let before: Vec<usize> = (acknowledged.0.iter())
        .map(|number| number.load(Ordering::SeqCst))
        .collect();
    let said = admin.run(&["backup", &file]);
    let said = String::from_utf8(said.stderr).unwrap();
    is_over.store(true, Ordering::SeqCst);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert!(
        said.contains("saved: 20 sessions, 20 subscriptions") && said.contains("50 retained"),
        "{said}"
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "clients' words are for the owner");
    let names: Vec<_> = fs::read_dir(&directory.0).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing half-written is left: {names:?}");
    drop(ephemeral);
    drop(source);

    for shards in [3, 1, 4] {
        let (target, admin) = broker(shards);
        admin.say(&["restore", &file]);
        // Of each topic it comes last.
        let mut publisher = Options::new(Version::V5, "p").open(&target);
        for topic in 0..TOPICS {
            publisher.publish(&Message::new(&format!("t/{topic}"), "end").qos(1));
        }
        publisher.disconnect();
        assert_eq!(admin.ids(&[]).len(), 20, "{shards} shards");
        let retained = admin.lines(&["retained", "list"]);
        assert_eq!(retained.len(), 50, "{shards} shards");
        for n in 0..10 {
            for (id, topics) in [
                (format!("all-{n}"), (0..TOPICS).collect::<BTreeSet<_>>()),
                (format!("one-{n}"), BTreeSet::from([n])),
            ] {
                let mut client = lasting(&id).clean_start(false).open(&target);
                assert!(client.connack().session_present);
                let mut got = BTreeMap::<String, Vec<usize>>::new();
                let mut ends = 0;
                while ends < topics.len() {
                    let message = client.receive();
                    match message.text().parse() {
                        Ok(number) => got.entry(message.topic).or_default().push(number),
                        Err(_) => ends += 1,
                    }
                }
                for topic in topics {
                    let got = got.remove(&format!("t/{topic}")).unwrap_or_default();
                    let expected: Vec<usize> = (1..=got.len()).collect();
                    assert_eq!(got, expected, "{id} {topic}: in order, each once");
                    assert!(got.len() >= before[topic], "{id} {topic}: {before:?}");
                }
                assert_eq!(got.len(), 0, "{id}: {got:?}");
                client.disconnect();
            }
        }
        // Subscriptions work, and everything is gone that was acknowledged.
        let mut publisher = Options::new(Version::V5, "p").open(&target);
        publisher.publish(&Message::new("t/3", "new").qos(1));
        for id in ["all-7", "one-3"] {
            let mut client = lasting(id).clean_start(false).open(&target);
            assert_eq!(client.receive().text(), "new", "{id} {shards} shards");
        }
        let mut late = Options::new(Version::V5, "late").open(&target);
        late.subscribe("r/#", 1);
        let got = take(&mut late, 50);
        let topics: BTreeSet<&String> = got.iter().map(|message| &message.topic).collect();
        assert_eq!(topics.len(), 50);
    }
}

/// A broker with one of everything.
fn one_of_everything(broker: &Broker) {
    let mut away = lasting("away").session_expiry(600).open(broker);
    away.subscribe_with_id(&[Filter::new("q/#", 2).no_local()], Some(7));
    away.disconnect();
    let mut member = lasting("member").open(broker);
    member.subscribe("$share/g/s/#", 1);
    member.disconnect();
    let mut busy = lasting("busy").receive_maximum(10).open(broker);
    busy.subscribe("f/#", 2);
    let mut publisher = Options::new(Version::V5, "p").open(broker);
    let user = Property::user("k", "v");
    publisher.publish(
        &Message::new("q/1", "kept")
            .qos(2)
            .property(user)
            .expiry(900),
    );
    publisher.publish(&Message::new("q/2", "gone").qos(1).expiry(1));
    for n in 0..10 {
        publisher.publish(&Message::new(&format!("s/{n}"), format!("{n}")).qos(1));
    }
    // One was only received, of one PUBREC is through, one is of QoS 1.
    publisher.publish(&Message::new("f/1", "sent").qos(2));
    let sent = busy.expect_message();
    publisher.publish(&Message::new("f/2", "recorded").qos(2));
    let recorded = busy.expect_message();
    busy.send_pubrec(recorded.packet_id);
    busy.expect_pubrel(recorded.packet_id);
    publisher.publish(&Message::new("f/3", "once").qos(1));
    busy.expect_message();
    assert_ne!(sent.packet_id, recorded.packet_id);
    // Its PUBREL never came.
    busy.send_message(&Message::new("q/3", "from busy").qos(2).packet_id(77));
    busy.expect_pubrec(77);
    busy.abort();
    let will = Message::new("q/will", "last words").qos(1);
    let mut dying = lasting("dying").will(&will, 1).open(broker);
    dying.ping();
    // It is connected when the backup is made.
    std::mem::forget(dying);
}

// Clients would get something twice, or in another way than before, or a session would be gone before they come back.
#[test]
fn sessions_go_on_as_they_were() {
    for (from, to) in [(4, 4), (4, 3), (1, 5)] {
        let (source, admin) = broker(from);
        let directory = Directory::new();
        let file = directory.file("backup");
        one_of_everything(&source);
        admin.say(&["backup", "--quiet", &file]);
        drop(source);
        // What expires, expires meanwhile.
        thread::sleep(Duration::from_millis(1_100));
        let (target, admin) = broker(to);
        let mut early = Options::new(Version::V5, "early").open(&target);
        early.subscribe("q/will", 1);
        admin.say(&["restore", &file]);
        let what = format!("{from} to {to} shards");
        assert_eq!(early.receive().text(), "last words", "{what}");

        let mut away = lasting("away").clean_start(false).open(&target);
        let got = take(&mut away, 3);
        let expected = ["from busy", "kept", "last words"].map(str::to_owned);
        assert_eq!(texts(&got), BTreeSet::from(expected), "{what}");
        let kept = got.iter().find(|m| m.text() == "kept").unwrap();
        assert_eq!((kept.qos, &kept.subscription_ids), (2, &vec![7]), "{what}");
        assert_eq!(kept.properties, [Property::user("k", "v")], "{what}");
        let left = kept.expiry.unwrap();
        assert!((800..900).contains(&left), "{what}: {left}");

        let mut member = lasting("member").clean_start(false).open(&target);
        let got = texts(&take(&mut member, 10));
        assert_eq!(got.len(), 10, "{what}: {got:?}");

        let mut busy = lasting("busy").clean_start(false).open(&target);
        // Sent before and not answered; and PUBREL for what was recorded.
        let mut got = Vec::new();
        let mut released = 0;
        for _ in 0..3 {
            let next = busy.expect("PUBLISH or PUBREL", |packet| match packet {
                Packet::Publish(publish) => Some(Some(publish.clone())),
                Packet::Pubrel(_) => Some(None),
                _ => None,
            });
            match next {
                Some(publish) => {
                    assert!(publish.dup || publish.qos as u8 == 1, "{what}: {publish:?}");
                    got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                }
                None => released += 1,
            }
        }
        got.sort();
        assert_eq!(
            (got, released),
            (vec!["once".into(), "sent".into()], 1),
            "{what}"
        );
        // The publish is known: its PUBREL is answered, and it is not published again.
        busy.send_message(&Message::new("q/3", "from busy").qos(2).packet_id(77).dup());
        busy.expect_pubrec(77);
        busy.send_pubrel(77);
        busy.expect_pubcomp(77);
        if from == to {
            away.expect_nothing();
        }
    }
}

// A backup that is of no use would take the place of what is there, or be half put in.
#[test]
fn a_restore_changes_nothing_unless_it_is_sure() {
    let directory = Directory::new();
    let file = directory.file("backup");
    {
        let (source, admin) = broker(2);
        let mut away = lasting("saved").open(&source);
        away.subscribe("a/#", 1);
        away.disconnect();
        let mut publisher = Options::new(Version::V5, "p").open(&source);
        publisher.publish(&Message::new("a/b", "waits").qos(1).retain());
        admin.say(&["backup", &file]);
        let piped = admin.run(&["backup", "-"]);
        assert!(piped.status.success() && piped.stdout.starts_with(b"CATENABK"));
        let error = admin.fail(&["backup", &directory.file("none/backup")]);
        assert!(error.contains("No such file"), "{error}");
    }
    let (target, admin) = broker(3);
    let mut away = lasting("there").open(&target);
    away.subscribe("b", 1);
    away.disconnect();
    let mut publisher = Options::new(Version::V5, "p").open(&target);
    publisher.publish(&Message::new("kept", "there").qos(1).retain());
    let bytes = fs::read(&file).unwrap();
    let cut = directory.file("cut");
    for length in [0, 11, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&cut, &bytes[..length]).unwrap();
        let error = admin.fail(&["restore", "--replace", &cut]);
        assert!(error.contains("it is cut"), "{length}: {error}");
    }
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&cut, &flipped).unwrap();
    let error = admin.fail(&["restore", "--replace", &cut]);
    assert!(error.contains("damaged"), "{error}");
    let error = admin.fail(&["restore", &file]);
    assert!(
        error.contains("not empty") && error.contains("--replace"),
        "{error}"
    );
    let said = admin.say(&["restore", "--check", &file]);
    assert!(
        said.contains("1 sessions, 1 subscriptions, 1 messages, 1 retained"),
        "{said}"
    );
    assert_eq!(admin.ids(&[]), ["p", "there"], "nothing was changed");
    let mut here = lasting("here").open(&target);
    here.subscribe("c", 1);
    admin.say(&["restore", "--replace", &file]);
    here.expect_closed_for(ReasonCode::AdministrativeAction);
    publisher.expect_closed_for(ReasonCode::AdministrativeAction);
    assert_eq!(admin.ids(&[]), ["saved"]);
    let retained = admin.lines(&["retained", "list"]);
    assert_eq!(retained.len(), 1, "{retained:?}");
    // And once more: sessions have new names each time.
    admin.say(&["restore", "--replace", &file]);
    let mut saved = lasting("saved").clean_start(false).open(&target);
    assert_eq!(
        texts(&take(&mut saved, 1)),
        BTreeSet::from(["waits".to_owned()])
    );
}

// A client that is quicker than the restore would lose what it has done since.
#[test]
fn a_session_that_is_there_already_stays_as_it_is() {
    let directory = Directory::new();
    let file = directory.file("backup");
    {
        let (source, admin) = broker(4);
        for id in ["early", "late"] {
            let mut client = lasting(id).open(&source);
            client.subscribe("a/#", 1);
            client.disconnect();
        }
        let mut publisher = Options::new(Version::V5, "p").open(&source);
        for n in 0..8 {
            publisher.publish(&Message::new(&format!("a/{n}"), "old").qos(1));
        }
        admin.say(&["backup", &file]);
    }
    let (target, admin) = broker(3);
    // It ends with its connection: the cluster counts as empty.
    let mut early = Options::new(Version::V5, "early").open(&target);
    early.subscribe("a/#", 1);
    admin.say(&["restore", &file]);
    let mut publisher = Options::new(Version::V5, "p").open(&target);
    for n in 0..8 {
        let message = Message::new(&format!("a/{n}"), "new").qos(1);
        assert_eq!(publisher.publish(&message), ReasonCode::Success);
    }
    for message in take(&mut early, 8) {
        assert_eq!(message.text(), "new");
    }
    let mut late = lasting("late").clean_start(false).open(&target);
    assert_eq!(take(&mut late, 16).len(), 16);
}

// Who may only look would take all messages away, or put others in.
#[test]
fn viewers_neither_back_up_nor_restore() {
    let directory = Directory::new();
    let (tokens, viewer, admin) = (
        directory.file("tokens"),
        directory.file("viewer"),
        directory.file("admin"),
    );
    let mut lines = String::new();
    for (role, file) in [("viewer", &viewer), ("admin", &admin)] {
        let token = format!("{role}-{role}-{role}");
        fs::write(file, &token).unwrap();
        let hash = Command::new("sh")
            .args([
                "-c",
                &format!("printf %s {token} | sha256sum | cut -d' ' -f1"),
            ])
            .output()
            .unwrap();
        let hash = String::from_utf8(hash.stdout).unwrap();
        lines += &format!("{role}: {} {role}\n", hash.trim());
    }
    fs::write(&tokens, lines).unwrap();
    let settings = Settings::shards(1)
        .argument("--admin")
        .argument("127.0.0.1:0");
    let broker = Broker::start(&settings.argument("--admin-tokens").argument(&tokens));
    let place = Admin::of(&broker).0;
    let run = |token: &str, arguments: &[&str]| {
        Command::new(binary())
            .args(arguments)
            .env("CATENA_ADMIN", &place)
            .env("CATENA_ADMIN_TOKEN_FILE", token)
            .output()
            .unwrap()
    };
    let file = directory.file("backup");
    let refused = run(&viewer, &["backup", &file]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("may only read"), "{said}");
    assert!(fs::metadata(&file).is_err(), "there is no file");
    assert!(run(&admin, &["backup", &file]).status.success());
    let refused = run(&viewer, &["restore", &file]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("may only read"), "{said}");
    assert!(run(&admin, &["restore", &file]).status.success());
    let log = broker.log().join("\n");
    for method in ["Backups/CreateBackup", "Backups/RestoreBackup"] {
        let audited = log.lines().filter(|line| line.contains(method));
        assert_eq!(audited.count(), 2, "{method} in {log}");
    }
}

// Between processes things would be lost on the way, or only one replica would have them.
#[test]
fn a_cluster_has_what_was_restored_on_all_replicas() {
    let directory = Directory::new();
    let file = directory.file("backup");
    let mut cluster = Cluster::start(Plan::redundancy(2));
    let admin = Admin(cluster.admin().urls());
    let brokers = cluster.brokers().to_vec();
    let mut publisher = Options::new(Version::V5, "p").open_at(brokers[0]);
    for n in 0..30 {
        let mut away = lasting(&format!("away-{n}")).open_at(brokers[n % 2]);
        away.subscribe("a/#", 1);
        away.disconnect();
    }
    // More than a batch: others wait while it is written.
    let payload = vec![b'x'; 20_000];
    for n in 0..100 {
        publisher.publish(&Message::new(&format!("a/{n}"), &payload).qos(1));
    }
    admin.say(&["backup", &file]);
    let size = fs::metadata(&file).unwrap().len();
    assert!(size < 5_000_000, "a message of many is saved once: {size}");
    for n in 0..30 {
        admin.say(&["sessions", "delete", &format!("away-{n}")]);
    }
    admin.say(&["restore", "--replace", &file]);
    // What a new tail has is what the log had.
    let tail = cluster.wait_until_whole().shard(0).tail().to_owned();
    cluster.kill(&tail);
    cluster.wait_until_whole();
    for n in 0..30 {
        let mut client = lasting(&format!("away-{n}")).clean_start(false);
        client = client.receive_maximum(200);
        let mut client = client.open_at(brokers[(n + 1) % 2]);
        let topics: BTreeSet<String> = (0..100).map(|_| client.receive().topic).collect();
        assert_eq!(topics.len(), 100);
    }
    let (target, admin) = broker(3);
    admin.say(&["restore", &file]);
    let mut client = lasting("away-3").clean_start(false).open(&target);
    let topics: BTreeSet<String> = (0..100).map(|_| client.receive().topic).collect();
    assert_eq!(topics.len(), 100);
}
