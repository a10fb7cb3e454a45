//! What is not allowed, and what clients hear of it.

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Client, Filter, Message, Options},
};

use crate::{
    mosquitto,
    world::{World, authentication, authorization, connack, listener, login},
};

/// On the first port the rules hold, on the second everything is allowed.
const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth\n  authorizationRef: the-rules\n\
                     - port: PORT1\n  address: 127.0.0.1";
const METHODS: &str = "- method: Password\n  passwordSettings:\n    secretRef: users";
const RULES: &str = "rules:\n- principals:\n    usernames: [me]\n  brokerResources:\n  - method: Connect\n    clientIds: [\"me-*\"]\n  \
                     - method: Publish\n    topics: [\"ok/#\"]\n  - method: Subscribe\n    topics: [\"ok/#\"]";

fn world() -> World {
    let world = World::new();
    world.passwd("me", "right");
    let manifests = [
        listener(PORTS),
        authentication("auth", METHODS),
        authorization("the-rules", RULES),
    ];
    world.start_with(&manifests, &[])
}

fn me(version: Version) -> Options {
    let mut options = login(version, "me", "right");
    options.connect.client_id = unique("me").into();
    options
}

/// By which code a version says no.
fn no(version: Version) -> ReasonCode {
    match version {
        Version::V5 => ReasonCode::NotAuthorized,
        _ => ReasonCode::UnspecifiedError,
    }
}

/// Somebody does what nobody has allowed; or a client takes a denial for something else, and tries for ever or gives up for good.
#[test]
fn each_denial_says_no_as_its_version_does() {
    let world = world();
    let mut watcher = Options::new(Version::V5, "watcher").open_at(world.ports[1]);
    watcher.subscribe("#", 2);
    for version in [Version::V4, Version::V5] {
        let refused = if version == Version::V5 { 0x87 } else { 5 };
        let connack = |options: &Options| connack(world.ports[0], options);
        // CONNECT, by its client id, and by its will at any QoS.
        let mut other = me(version);
        other.connect.client_id = unique("other").into();
        assert_eq!(connack(&other), refused);
        for qos in 0..=2 {
            let will = |topic: &str| me(version).will(&Message::new(topic, "x").qos(qos), 0);
            assert_eq!(connack(&will("no/will")), refused);
            assert_eq!(connack(&will("ok/will")), 0);
            assert_eq!(watcher.receive().topic, "ok/will");
        }
        let mut client = me(version).open_at(world.ports[0]);
        publishes(&mut client, version, &mut watcher);
        subscribes(&mut client, version, &mut watcher);
        if version == Version::V5 {
            by_alias(&mut client, &mut watcher);
        }
        // And it is there still.
        client.ping();
    }
    let log = world.log().join("\n");
    assert!(
        log.contains("the-rules") && log.contains("other-"),
        "nobody hears of it: {log}"
    );
}

fn publishes(client: &mut Client, version: Version, watcher: &mut Client) {
    for qos in 0..=2 {
        for retain in [false, true] {
            let topic = format!("no/{qos}");
            let mut message = Message::new(&topic, "x").qos(qos);
            message.retain = retain;
            let id = client.send_message(&message);
            let is_v5 = version == Version::V5;
            match (qos, is_v5) {
                (0, _) => {}
                (1, true) => assert_eq!(client.expect_puback(id).reason, no(version)),
                (1, false) => drop(client.expect_puback(id)),
                (_, true) => assert_eq!(client.expect_pubrec(id).reason, no(version)),
                (_, false) => {
                    client.expect_pubrec(id);
                    client.send_pubrel(id);
                    client.expect_pubcomp(id);
                }
            }
        }
        let allowed = Message::new("ok/x", "x").qos(qos);
        assert_eq!(client.publish(&allowed), ReasonCode::Success);
        assert_eq!(
            watcher.receive().topic,
            "ok/x",
            "nothing that is not allowed"
        );
    }
    // Nothing of it is retained, either.
    watcher.unsubscribe(&["#"]);
    watcher.subscribe("#", 2);
    watcher.expect_nothing();
}

fn subscribes(client: &mut Client, version: Version, watcher: &mut Client) {
    let asked = [
        ("ok/a", true),
        ("no/filter", false),
        ("ok/#", true),
        ("#", false),
        ("+/a", false),
        ("$share/group/ok/a", true),
        ("$share/group/no/a", false),
    ];
    let filters = asked.map(|(filter, _)| Filter::new(filter, 1));
    let expected = asked.map(|(_, is_allowed)| match is_allowed {
        true => ReasonCode::GrantedQos1,
        false => no(version),
    });
    assert_eq!(client.subscribe_to(&filters), expected);
    // What was denied is not delivered.
    watcher.publish(&Message::new("no/filter", "x").qos(1));
    watcher.publish(&Message::new("ok/a", "x").qos(1));
    assert_eq!(client.receive().topic, "ok/a");
    assert_eq!(
        [watcher.receive().topic, watcher.receive().topic],
        ["no/filter", "ok/a"]
    );
}

/// A topic alias is no way around the rules, and what was denied has set it all the same. v5 3.3.2.3.4
fn by_alias(client: &mut Client, watcher: &mut Client) {
    let mut publish =
        |topic: &str, qos: u8| client.publish(&Message::new(topic, "x").qos(qos).alias(1));
    for qos in [1, 2] {
        assert_eq!(publish("no/alias", 0), ReasonCode::Success);
        assert_eq!(publish("", qos), ReasonCode::NotAuthorized);
        assert_eq!(publish("ok/alias", qos), ReasonCode::Success);
        assert_eq!(publish("", qos), ReasonCode::Success);
        for _ in 0..2 {
            assert_eq!(watcher.receive().topic, "ok/alias");
        }
        assert_eq!(publish("no/alias", qos), ReasonCode::NotAuthorized);
        assert_eq!(publish("", qos), ReasonCode::NotAuthorized);
    }
    watcher.expect_nothing();
}

/// mosquitto's clients, which people have, would hang or say that all is well.
#[test]
fn mosquitto_hears_of_it() {
    let world = world();
    let me = ["-u", "me", "-P", "right"];
    let run = |program: &str, more: &[&str]| {
        let id = unique("me");
        let output = mosquitto::run(
            &world,
            program,
            0,
            &[&me[..], &["-d", "-i", &id], more].concat(),
        );
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    for (version, reason) in [("mqttv311", "128"), ("mqttv5", "135")] {
        let (_, said) = run("mosquitto_sub", &["-V", version, "-t", "no/filter"]);
        assert!(
            said.contains(&format!("Subscribed (mid: 1): {reason}")),
            "{said}"
        );
        assert!(
            said.contains("All subscription requests were denied"),
            "{said}"
        );
        let will = ["--will-topic", "no/will", "--will-payload", "x"];
        let (code, said) = run(
            "mosquitto_sub",
            &[&["-V", version, "-t", "ok/a"][..], &will].concat(),
        );
        assert!(
            code != Some(0) && said.to_lowercase().contains("not authori"),
            "{code:?} {said}"
        );
        for qos in ["1", "2"] {
            let (code, said) = run(
                "mosquitto_pub",
                &["-V", version, "-t", "no/x", "-m", "x", "-q", qos],
            );
            let is_told = said.contains("Not authorized");
            assert_eq!((code, is_told), (Some(0), version == "mqttv5"), "{said}");
        }
    }
}

/// A client that ignores a denial floods the log, and the lines that matter are lost among its own.
#[test]
fn who_asks_again_and_again_does_not_fill_the_log() {
    let world = world();
    let mut client = me(Version::V5).open_at(world.ports[0]);
    for number in 0..500 {
        client.send_message(&Message::new(&format!("no/{number}"), "x"));
    }
    client.send(&Packet::Pingreq);
    client.expect("PINGRESP", |packet| {
        (*packet == Packet::Pingresp).then_some(())
    });
    let lines = world
        .log()
        .into_iter()
        .filter(|line| line.contains("the-rules"));
    let count = lines.count();
    assert!((1..100).contains(&count), "{count} lines");
}
