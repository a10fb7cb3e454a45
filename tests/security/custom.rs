//! A server of the operator's that decides.

use catena_mqtt::Version;
use serde_json::json;

use crate::{
    https::{Answer, Asked, Https},
    world::{CHANGE, Ca, World, authentication, connack, connack_of, listener, login, within},
};

fn port(number: usize, authentication: &str) -> String {
    format!("- port: PORT{number}\n  address: 127.0.0.1\n  authenticationRef: {authentication}")
}

fn method(server: u16, on_unreachable: &str) -> String {
    format!(
        "- method: Custom\n  customSettings:\n    endpoint: https://localhost:{server}/check\n    caCertConfigMap: auth-ca\n    \
         auth:\n      x509:\n        secretRef: broker-client\n    headers:\n      x-broker: plant-1\n    \
         onUnreachable: {on_unreachable}"
    )
}

/// The server's CA, and the one that the broker's own certificate is of.
fn authorities(world: &World) -> (Ca, Ca) {
    let (servers, brokers) = (Ca::new("Server CA"), Ca::new("Broker CA"));
    world.put("auth-ca", "ca.crt", &servers.pem());
    world.put_pair("broker-client", &brokers.issue("broker", 1));
    (servers, brokers)
}

fn decide(asked: &Asked) -> Answer {
    let said = asked.json();
    let is_certified = said["certs"]
        .as_str()
        .is_some_and(|certs| certs.contains("BEGIN CERTIFICATE"));
    // "right", in base64.
    let is_right = said["password"] == "cmlnaHQ=";
    match (said["username"].as_str(), asked.target.as_str()) {
        (Some("device"), _) if is_certified => (200, "{}".to_owned()),
        (Some("banned"), _) => (
            403,
            json!({"reason": 0x8A, "message": "not before monday"}).to_string(),
        ),
        (Some("wrong"), _) => (403, json!({"reason": 0x86}).to_string()),
        (Some("modern"), "/check?api-version=0.5.0") => {
            (422, json!({"supportedVersions": ["0.6.0"]}).to_string())
        }
        (Some("modern"), "/check?api-version=0.6.0") => (200, "{}".to_owned()),
        (Some("broken"), _) => (500, "{}".to_owned()),
        (Some("me"), _) if is_right => (200, json!({"attributes": {"site": "north"}}).to_string()),
        _ => (403, String::new()),
    }
}

/// Whom the server lets in stays outside, or whom it does not gets in; or it cannot tell our broker from a stranger.
#[test]
fn a_server_decides() {
    let world = World::new();
    let (servers, brokers) = authorities(&world);
    world.issue(&world.ca, "device", 7);
    let server = Https::start(&servers, Some(&brokers), decide);
    let secure = "\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server";
    let ports = format!("{}\n{}{secure}", port(0, "auth"), port(1, "auth"));
    let world = world.start(&ports, &method(server.port, "Deny"));
    for (version, refused) in [(Version::V4, [5, 4, 5]), (Version::V5, [0x8A, 0x86, 0x87])] {
        let connack = |username: &str, password: &str| {
            connack(world.ports[0], &login(version, username, password))
        };
        assert_eq!(connack("me", "right"), 0);
        assert_eq!(connack("modern", "any"), 0);
        assert_eq!(connack("banned", "secret"), refused[0]);
        assert_eq!(connack("wrong", "secret"), refused[1]);
        assert_eq!(connack("me", "secret"), refused[2]);
    }
    for seen in server.seen() {
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.headers["x-broker"], "plant-1");
        assert_eq!(seen.json()["type"], "connect");
        assert_eq!(seen.json().get("certs"), None, "nobody showed one");
    }
    // With a certificate, which the broker hands on unread.
    let device = [
        "--cert",
        "device.crt",
        "--key",
        "device.key",
        "-u",
        "device",
    ];
    for version in ["mqttv311", "mqttv5"] {
        let sent = world.mosquitto_pub(1, &[&device[..], &["-V", version]].concat());
        assert!(sent.status.success(), "{sent:?}");
        let refused = world.mosquitto_pub(1, &["-u", "device", "-V", version]);
        assert!(!refused.status.success(), "{refused:?}");
    }
    let log = world.log().join("\n");
    assert!(log.contains("not before monday"), "{log}");
    assert!(
        !log.contains("secret\"") && !log.contains("c2VjcmV0"),
        "{log}"
    );
}

/// A server that is away lets everybody in, or keeps out those whom the next method knows; or it stays away for ever.
#[test]
fn a_server_that_is_away() {
    let world = World::new();
    let (servers, brokers) = authorities(&world);
    world.passwd("me", "known");
    let server = Https::start(&servers, Some(&brokers), decide);
    let number = server.port;
    let next = "\n- method: Password\n  passwordSettings:\n    secretRef: users";
    let manifests = [
        listener(&format!("{}\n{}", port(0, "lenient"), port(1, "strict"))),
        authentication("lenient", &(method(number, "NextMethod") + next)),
        authentication("strict", &(method(number, "Deny") + next)),
    ];
    let world = world.start_with(&manifests, &[]);
    let codes = |username: &str, password: &str| {
        [Version::V4, Version::V5].map(|version| {
            [0, 1].map(|port| connack(world.ports[port], &login(version, username, password)))
        })
    };
    // While it is there, it alone decides.
    assert_eq!(codes("me", "right"), [[0, 0], [0, 0]]);
    assert_eq!(codes("me", "known"), [[5, 5], [0x87, 0x87]]);
    // What it says is no answer.
    world.passwd("broken", "known");
    assert!(within(CHANGE, || codes("broken", "known") == [[0, 3], [0, 0x88]]));
    drop(server);
    assert_eq!(codes("me", "known"), [[0, 3], [0, 0x88]]);
    assert_eq!(codes("me", "right"), [[4, 3], [0x86, 0x88]]);
    // Somebody else at its place, whom none of its CAs vouches for, and one to whom our certificate means nothing.
    let impostor = Https::start_at(number, &Ca::new("Server CA"), None, |_| {
        (200, "{}".to_owned())
    });
    assert_eq!(codes("me", "right"), [[4, 3], [0x86, 0x88]]);
    assert!(impostor.seen().is_empty());
    drop(impostor);
    let stranger = Https::start_at(number, &servers, Some(&Ca::new("Broker CA")), decide);
    assert_eq!(codes("me", "right"), [[4, 3], [0x86, 0x88]]);
    drop(stranger);
    // It is asked again once it is back, and not before that is certain.
    let _server = Https::start_at(number, &servers, Some(&brokers), decide);
    assert!(within(CHANGE, || {
        let options = login(Version::V5, "me", "right");
        connack_of(options.dial_at(world.ports[1]), Version::V5) == 0
    }));
    assert_eq!(codes("me", "known"), [[5, 5], [0x87, 0x87]]);
}
