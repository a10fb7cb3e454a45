//! Messages that an administrator follows: every step of those that arrive, and why the others do not.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use catena_mqtt::Version;
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings, binary},
    client::{Message, Options},
    cluster::{Cluster, Plan, Role, new_directory, wait_for},
    wire::Property,
};
use serde_json::{Value, json};

use crate::metrics::{PATIENCE, ports::free_port};

/// A `catena trace` that runs.
struct Trace {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Trace {
    /// Begins, and waits until these processes know of it.
    fn start(admin: &Admin, of: &[&str], processes: &[&str]) -> Trace {
        let trace = Trace::run(admin, &[of, &["--for", "10m"]].concat());
        wait_for("all processes follow", PATIENCE, || {
            let events = trace.events();
            let joined = events.iter().filter(|event| event["event"] == "joined");
            let joined: BTreeSet<_> = joined
                .filter_map(|event| event["process"].as_str())
                .collect();
            match processes.iter().all(|process| joined.contains(process)) {
                true => Ok(()),
                false => Err(format!("{joined:?}")),
            }
        });
        trace
    }

    fn run(admin: &Admin, arguments: &[&str]) -> Trace {
        let mut child = Command::new(binary())
            .args(["trace", "-o", "json"])
            .args(arguments)
            .env("CATENA_ADMIN", &admin.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let events = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (child.stdout.take().expect("piped"), events.clone());
        thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("JSON");
                heard.lock().expect("no panic holds it").push(event);
            }
        });
        Trace { child, events }
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no panic holds it").clone()
    }

    /// The steps of one topic.
    fn steps(&self, topic: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["event"] == "step" && event["topic"] == topic);
        events
    }

    /// Waits for a step of a message to `topic`.
    fn expect(&self, topic: &str, kind: &str, detail: &str) -> Value {
        wait_for(&format!("{kind} of {topic}: {detail}"), PATIENCE, || {
            let steps = self.steps(topic);
            let is = |step: &&Value| {
                let says = step["detail"].as_str().unwrap_or_default();
                step["kind"] == kind && says.contains(detail)
            };
            let found = steps.iter().find(is).cloned();
            found.ok_or_else(|| format!("{steps:#?}"))
        })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn standalone() -> (Broker, Admin) {
    let broker = Broker::start(&Settings::shards(2));
    let admin = Admin::of(&broker);
    (broker, admin)
}

fn apply(admin: &Admin, manifest: &Value) {
    let directory = new_directory();
    let file = directory.join("manifest.json");
    fs::write(&file, manifest.to_string()).expect("the directory can be written");
    admin.say(&["apply", "-f", &file.display().to_string()]);
    let _ = fs::remove_dir_all(&directory);
}

/// The steps of one message that came through a cluster, in any order.
const WAY: &[&str] = &[
    "received",
    "authorized",
    "sent",
    "accepted",
    "replicated",
    "committed",
    "answered",
    "dispatched",
    "delivered",
    "acknowledged",
];

// A passport with a missing page sends the administrator to the wrong process; pages of other messages send him anywhere.
#[test]
fn a_message_has_one_complete_way_through_a_cluster() {
    let cluster = Cluster::start(Plan::redundancy(3));
    let processes: Vec<String> = [Role::Gateway, Role::Backend]
        .into_iter()
        .flat_map(|role| {
            let names = cluster.names(role);
            names
                .into_iter()
                .map(move |name| format!("{}/{name}", role.word()))
        })
        .collect();
    let processes: Vec<&str> = processes.iter().map(String::as_str).collect();
    let trace = Trace::start(
        &Admin(cluster.admin().urls()),
        &["--topic", "followed/+"],
        &processes,
    );
    let mut subscriber = Options::new(Version::V5, "subscriber")
        .persistent()
        .open_at(cluster.brokers()[1]);
    subscriber.subscribe("#", 1);
    let mut publisher = Options::new(Version::V5, "publisher").open_at(cluster.brokers()[0]);
    let sent = vec![Property::user("first", "1")];
    for topic in ["other/1", "followed/1", "followed/2"] {
        let mut message = Message::new(topic, "secret").qos(1);
        message.properties = sent.clone();
        publisher.publish(&message);
        let got = subscriber.receive();
        assert_eq!(got.properties, sent, "they come as they were sent");
    }
    let step = trace.expect("followed/2", "acknowledged", "PUBACK");
    assert_eq!(step["client_id"], "subscriber");
    trace.expect("followed/1", "acknowledged", "PUBACK");
    trace.expect("followed/2", "answered", "");
    trace.expect("followed/1", "replicated", "");
    trace.expect("followed/2", "replicated", "");
    for topic in ["followed/1", "followed/2"] {
        let steps = trace.steps(topic);
        let kinds: BTreeSet<&str> = steps.iter().filter_map(|s| s["kind"].as_str()).collect();
        let wanted: BTreeSet<&str> = WAY.iter().copied().collect();
        assert_eq!(kinds, wanted, "{steps:#?}");
        assert_eq!(steps.len(), WAY.len(), "each once: {steps:#?}");
        let names: BTreeSet<_> = steps.iter().map(|s| s["message_id"].to_string()).collect();
        assert!(names.len() == 1 && !names.contains("null"), "{steps:#?}");
        let by = |kind: &str| {
            let step = steps
                .iter()
                .find(|step| step["kind"] == kind)
                .expect("it is there");
            assert_eq!(step["publisher"], "publisher", "{step}");
            step["process"].as_str().expect("a process").to_owned()
        };
        assert!(by("received").starts_with("gateway/"));
        assert_ne!(by("received"), by("delivered"));
        assert_ne!(by("accepted"), by("committed"));
        assert!(by("committed").starts_with("backend/"));
    }
    assert!(trace.steps("other/1").is_empty());
    let all = format!("{:?}", trace.events());
    assert!(!all.contains("secret"), "payloads are nobody's business");
    cluster.stop();
}

// Who asks where a message is that nobody got, is to be told why nobody got it.
#[test]
fn a_message_that_goes_no_further_says_why() {
    let (broker, admin) = standalone();
    let trace = Trace::start(&admin, &["--topic", "#"], &["standalone"]);
    let open = |id: &str| Options::new(Version::V5, id);
    let mut publisher = open("publisher").open(&broker);

    publisher.publish(&Message::new("nobody", "x").qos(1));
    trace.expect("nobody", "dropped", "no subscription matches");

    let mut away = open("away").persistent().open(&broker);
    for filter in ["offline", "short", "queued", "ended"] {
        away.subscribe(filter, 1);
    }
    away.disconnect();
    publisher.send_message(&Message::new("offline", "x"));
    let step = trace.expect("offline", "dropped", "not connected");
    assert_eq!(step["client_id"], "away");

    publisher.publish(&Message::new("short", "x").qos(1).expiry(1));
    let step = trace.expect("short", "queued", "");
    assert_eq!(step["client_id"], "away");
    thread::sleep(Duration::from_secs(3));
    let away = open("away").persistent().clean_start(false).open(&broker);
    trace.expect("short", "dropped", "expired");
    away.disconnect();

    let mut broker_resource = admin.json(&["get", "broker", "default"]);
    let advanced = &mut broker_resource["spec"]["advanced"];
    advanced["clients"]["subscriberQueueLimit"] = json!({"length": 1, "strategy": "DropOldest"});
    advanced["retained"] = json!({"maxMessages": 1});
    apply(&admin, &broker_resource);
    // Shards hear of it a moment later.
    wait_for("the limit of the queue", PATIENCE, || {
        publisher.publish(&Message::new("queued", "x").qos(1));
        let steps = trace.steps("queued");
        let is = |step: &Value| step["kind"] == "dropped";
        steps
            .into_iter()
            .find(is)
            .map(drop)
            .ok_or("none yet".to_owned())
    });
    trace.expect("queued", "dropped", "the queue has its limit");

    for n in 0..20 {
        publisher.send_message(&Message::new(&format!("kept/{n}"), "x").qos(1).retain());
    }
    trace.expect("kept/0", "retained", "");
    trace.expect("kept/19", "dropped", "retained messages");

    publisher.publish(&Message::new("ended", "x").qos(1));
    trace.expect("ended", "queued", "");
    admin.say(&["sessions", "delete", "away"]);
    trace.expect("ended", "dropped", "session");

    let mut small = open("small").maximum_packet_size(100).open(&broker);
    small.subscribe("large", 1);
    publisher.publish(&Message::new("large", vec![0; 200]).qos(1));
    let step = trace.expect("large", "dropped", "larger than the client takes");
    assert_eq!(step["client_id"], "small");
}

// What a policy forbids looks, from the client's side, like a broker that loses messages.
#[test]
fn a_publish_that_is_not_allowed_and_a_reader_that_does_not_read_are_told() {
    let directory = new_directory();
    let secrets = directory.join("secrets").display().to_string();
    let mut passwd = Command::new(binary())
        .args(["passwd", "--secret", "users", "--stdin", "anna"])
        .args(["--secrets-dir", &secrets])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it can be run");
    let mut stdin = passwd.stdin.take().expect("piped");
    stdin.write_all(b"right").expect("it reads");
    drop(stdin);
    assert!(passwd.wait().expect("it is ours").success());
    let settings = Settings::shards(2)
        .argument("--secrets-dir")
        .argument(&secrets);
    let broker = Broker::start(&settings);
    let admin = Admin::of(&broker);
    let port = free_port();
    let resource = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "catena.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let password = json!({"method": "Password", "passwordSettings": {"secretRef": "users"}});
    let users = json!({"authenticationMethods": [password]});
    apply(&admin, &resource("BrokerAuthentication", "users", users));
    let rule = json!({
        "principals": {"usernames": ["anna"]},
        "brokerResources": [{"method": "Connect"}, {"method": "Publish", "topics": ["allowed"]}],
    });
    let rules = json!({"authorizationPolicies": {"rules": [rule]}});
    apply(&admin, &resource("BrokerAuthorization", "rules", rules));
    let ruled = json!({
        "port": port.port(), "address": "127.0.0.1", "authenticationRef": "users", "authorizationRef": "rules",
    });
    apply(
        &admin,
        &resource("BrokerListener", "ruled", json!({"ports": [ruled]})),
    );
    let trace = Trace::start(&admin, &["--client", "publisher"], &["standalone"]);
    wait_for("the port", PATIENCE, || {
        std::net::TcpStream::connect(port)
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let mut anna = Options::new(Version::V5, "publisher");
    anna.connect.username = Some("anna".into());
    anna.connect.password = Some(b"right".to_vec().into());
    let mut publisher = anna.open_at(port);
    publisher.publish(&Message::new("forbidden", "x").qos(1));
    trace.expect("forbidden", "denied", "policy");
    publisher.publish(&Message::new("allowed", "x").qos(1));
    trace.expect("allowed", "authorized", "by the policy");

    let mut deaf = Options::new(Version::V5, "deaf").open(&broker);
    deaf.subscribe("much", 0);
    let mut other = Options::new(Version::V5, "other").open(&broker);
    let follow = Trace::start(&admin, &["--client", "deaf"], &["standalone"]);
    // Nobody reads of `deaf` any more: what waits for it grows until it has no room.
    wait_for("a drop", PATIENCE, || {
        for _ in 0..20 {
            other.send_message(&Message::new("much", vec![0; 100_000]));
        }
        other.ping();
        let steps = follow.steps("much");
        let is = |step: &&Value| step["kind"] == "dropped" && step["client_id"] == "deaf";
        let dropped = steps.iter().find(is);
        match dropped.and_then(|step| step["detail"].as_str()) {
            Some(why) if why.contains("QoS 0") => Ok(()),
            other => Err(format!("{other:?} of {} steps", steps.len())),
        }
    });
    let of_others = follow.events();
    let is_other = |event: &Value| event["event"] == "step" && event["client_id"] != "deaf";
    assert!(
        !of_others.iter().any(is_other),
        "steps for others are nobody's business"
    );
    let _ = fs::remove_dir_all(&directory);
}

// Filters that match too much show an administrator what he did not ask for; those that match too little, nothing.
#[test]
fn a_trace_is_followed_by_its_id_and_a_client_by_what_comes_for_it() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (broker, admin) = standalone();
    let by_trace = Trace::start(&admin, &["--trace-id", TRACE], &["standalone"]);
    let by_client = Trace::start(&admin, &["--client", "reader"], &["standalone"]);
    let mut reader = Options::new(Version::V5, "reader").open(&broker);
    reader.subscribe("a", 2);
    let mut publisher = Options::new(Version::V5, "publisher").open(&broker);
    // The publisher does not want it traced: it is followed all the same.
    let parent = Property::user("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00"));
    publisher.publish(&Message::new("a", "1").qos(2).property(parent));
    reader.receive();
    publisher.publish(&Message::new("a", "2").qos(0));
    reader.receive();
    publisher.publish(&Message::new("b", "3").qos(1));

    by_trace.expect("a", "acknowledged", "PUBCOMP");
    let steps = by_trace.steps("a");
    assert!(
        steps.iter().all(|step| step["trace_id"] == TRACE),
        "{steps:#?}"
    );
    let received = steps.iter().filter(|step| step["kind"] == "received");
    assert_eq!(received.count(), 1, "{steps:#?}");

    by_client.expect("a", "delivered", "QoS 0");
    let step = by_client.expect("a", "delivered", "QoS 2");
    assert_eq!(
        (&step["publisher"], &step["client_id"]),
        (&json!("publisher"), &json!("reader"))
    );
    let steps = by_client.steps("a");
    assert!(
        !steps.iter().any(|step| step["kind"] == "received"),
        "{steps:#?}"
    );
    assert!(by_client.steps("b").is_empty());
}

// An administrator who goes home would leave a broker that follows messages for ever, or twenty of them one that is slow.
#[test]
fn following_ends_by_itself_and_is_bounded() {
    let (_broker, admin) = standalone();
    let mut short = Trace::run(&admin, &["--topic", "#", "--for", "1s"]);
    let ended = wait_for("the end", PATIENCE, || {
        let ended = short.child.try_wait().expect("it is ours");
        ended.ok_or_else(|| "it goes on".to_owned())
    });
    assert!(ended.success());
    for (wrong, why) in [
        (["--topic", "a/#/b"], "topic_filter"),
        (["--trace-id", "123"], "trace_id"),
        (["--client", ""], "client_id"),
    ] {
        let said = admin.fail(&[&["trace"][..], &wrong].concat());
        assert!(said.contains(why), "{said}");
    }
    let said = admin.fail(&["trace", "--topic", "#", "--for", "2h"]);
    assert!(said.contains("1s to 1h"), "{said}");
    let all: Vec<Trace> = (0..16)
        .map(|_| Trace::start(&admin, &["--topic", "#"], &["standalone"]))
        .collect();
    let said = admin.fail(&["trace", "--topic", "#"]);
    assert!(said.contains("as many already"), "{said}");
    drop(all);
    wait_for("room again", PATIENCE, || {
        admin.try_say(&["trace", "--topic", "#", "--for", "1s"])
    });
}
