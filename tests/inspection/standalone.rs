//! A standalone broker: its shards are in the same process as its control plane.

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings},
    client::{Message, Options},
};

fn broker() -> (Broker, Admin) {
    let broker = Broker::start(
        &Settings::shards(4)
            .argument("--admin")
            .argument("127.0.0.1:0"),
    );
    let admin = Admin::of(&broker);
    (broker, admin)
}

// An operator would look at a client that does not get its messages, and not find why.
#[test]
fn a_session_is_shown_with_all_that_it_has() {
    let (broker, admin) = broker();
    let mut away = Options::new(Version::V5, "away").persistent().open(&broker);
    away.subscribe("a/b", 1);
    away.subscribe("a/#", 2);
    away.disconnect();
    let mut publisher = Options::new(Version::V4, "publisher").open(&broker);
    for n in 0..20 {
        publisher.publish(&Message::new(&format!("a/{n}"), "hello").qos(1));
    }
    let shown = admin.json(&["sessions", "show", "away"]);
    let session = &shown["session"];
    assert_eq!(session["connected"], false, "{shown}");
    assert_eq!(session["queued"], 20, "{shown}");
    assert_eq!(session["protocol"], 5);
    assert!(session["ends_at"].is_string(), "{shown}");
    let shards = shown["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 4, "a wildcard is on all of them");
    let sum = |name: &str| {
        shards
            .iter()
            .map(|shard| shard[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("queued"), 20);
    assert!(sum("queued_bytes") > 20 * "hello".len() as u64);
    let subscriptions = shown["subscriptions"].as_array().unwrap();
    let filters: Vec<_> = subscriptions
        .iter()
        .map(|s| (s["filter"].as_str().unwrap(), s["qos"].as_u64().unwrap()))
        .collect();
    assert_eq!(filters, [("a/#", 2), ("a/b", 1)]);
    let text = admin.say(&["sessions", "show", "away"]);
    assert!(
        text.contains("20 messages") && text.contains("a/#"),
        "{text}"
    );
    let connected = admin.lines(&["sessions", "list", "--connected"]);
    assert_eq!(connected.len(), 1, "{connected:?}");
    assert_eq!(connected[0]["client_id"], "publisher");
    assert_eq!(connected[0]["gateway"], "standalone");
    assert_eq!(connected[0]["protocol"], 4);
    let table = admin.say(&["sessions", "list"]);
    assert!(table.starts_with("CLIENT ID"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let error = admin.fail(&["sessions", "show", "nobody"]);
    assert!(error.contains("\"nobody\" has no session"), "{error}");
    let error = admin.fail(&["sessions", "list", "--gateway", "none"]);
    assert!(error.contains("no gateway called"), "{error}");
}

// A client that is sent away would not know why, or its will would be lost with it [F-26].
#[test]
fn a_client_is_disconnected_and_its_will_is_published() {
    let (broker, admin) = broker();
    let mut watcher = Options::new(Version::V5, "watcher").open(&broker);
    watcher.subscribe("last/words", 1);
    let will = Message::new("last/words", "gone").qos(1);
    let mut client = (Options::new(Version::V5, "client").persistent())
        .will(&will, 0)
        .open(&broker);
    admin.say(&["sessions", "disconnect", "client", "--reason", "a test"]);
    client.expect_closed_for(ReasonCode::AdministrativeAction);
    assert_eq!(watcher.receive().payload, b"gone");
    let error = admin.fail(&["sessions", "disconnect", "client"]);
    assert!(error.contains("is not connected"), "{error}");
    // Nothing keeps it away, and its session has waited.
    let again = Options::new(Version::V5, "client")
        .persistent()
        .open(&broker);
    assert!(again.connack().session_present);
    assert!(
        broker.log().iter().any(|line| line.contains("a test")),
        "no line of it"
    );
}

// What stays of a deleted session on another shard would go to the client id's next session.
#[test]
fn a_deleted_session_is_gone_from_every_shard() {
    let (broker, admin) = broker();
    let mut client = Options::new(Version::V5, "client")
        .persistent()
        .open(&broker);
    client.subscribe("#", 1);
    client.disconnect();
    let mut publisher = Options::new(Version::V5, "publisher").open(&broker);
    for n in 0..20 {
        publisher.publish(&Message::new(&format!("t/{n}"), "x").qos(1));
    }
    let said = admin.say(&["sessions", "delete", "client"]);
    assert_eq!(said, "the session of client is deleted\n");
    assert!(
        admin
            .fail(&["sessions", "show", "client"])
            .contains("has no session")
    );
    let none = publisher.publish(&Message::new("t/1", "x").qos(1));
    assert_eq!(none, ReasonCode::NoMatchingSubscribers);
    let mut again = Options::new(Version::V5, "client")
        .persistent()
        .open(&broker);
    assert!(!again.connack().session_present);
    again.expect_nothing();
    // One that is connected is told.
    admin.say(&["sessions", "delete", "client"]);
    again.expect_closed_for(ReasonCode::AdministrativeAction);
    assert_eq!(admin.ids(&["client"]), [""; 0]);
}

// A message that nobody publishes any more would greet every new subscriber for ever.
#[test]
fn retained_messages_are_listed_shown_and_deleted() {
    let (broker, admin) = broker();
    let mut publisher = Options::new(Version::V5, "publisher").open(&broker);
    for n in 0..30 {
        publisher.publish(
            &Message::new(&format!("r/{n:02}/a"), format!("{n}"))
                .qos(1)
                .retain(),
        );
    }
    publisher.publish(&Message::new("other", "x").qos(1).retain());
    let topics = |filter: &str| -> Vec<String> {
        let found = admin.lines(&["retained", "list", filter]);
        let topic = |found: &serde_json::Value| found["topic"].as_str().unwrap().to_owned();
        found.iter().map(topic).collect()
    };
    let expected: Vec<String> = (0..30).map(|n| format!("r/{n:02}/a")).collect();
    assert_eq!(topics("r/+/a"), expected, "in order, over all shards");
    assert_eq!(topics("r/07/a"), ["r/07/a"]);
    assert_eq!(topics("#").len(), 31);
    let shown = admin.json(&["retained", "show", "r/07/a"]);
    assert_eq!(
        (&shown["payload"], &shown["qos"]),
        (&"7".into(), &1.into()),
        "{shown}"
    );
    assert_eq!(admin.say(&["retained", "show", "r/07/a", "-o", "raw"]), "7");
    admin.say(&["retained", "delete", "r/07/a"]);
    assert!(
        admin
            .fail(&["retained", "show", "r/07/a"])
            .contains("no retained message")
    );
    assert_eq!(topics("r/#").len(), 29);
    let mut subscriber = Options::new(Version::V5, "subscriber").open(&broker);
    subscriber.subscribe("r/07/a", 1);
    subscriber.expect_nothing();
    let error = admin.fail(&["retained", "list", "a/#/b"]);
    assert!(error.contains("filter:"), "{error}");
}
