//! Servers that decide.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

use catena_authentication::{CONNECTIONS_MAX, Credentials, Verdict};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use crate::world::{Ca, Does, Web, World, attributes, enhanced, login, refused};

const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn method(web: &Web, more: &str) -> String {
    format!(
        "- method: Custom\n  customSettings:\n    endpoint: {}/check\n    caCertConfigMap: server-ca\n{more}",
        web.url()
    )
}

async fn world(does: impl Fn(&crate::world::Seen) -> Does + Send + Sync + 'static) -> (World, Web) {
    let (world, ca) = (World::new(), Ca::new());
    world.put("server-ca", "ca.crt", ca.pem());
    (world, Web::start(&ca, does).await)
}

/// A server that follows the protocol, and that we do not understand; or that does not understand us.
#[tokio::test]
async fn a_server_accepts_and_refuses() {
    let (world, web) = world(|seen| match seen.json()["username"].as_str() {
        Some("good") => Does::json(
            200,
            json!({"expiry": "2040-01-01T00:00:00Z", "attributes": {"site": "plant"}}),
        ),
        Some("bad") => Does::json(403, json!({"reason": 134, "message": "no such user"})),
        _ => Does::Answers(500, String::new()),
    })
    .await;
    let authenticator = world.authenticator(&method(&web, "    headers:\n      x-broker: catena"));
    let verdict = authenticator.connect(login("good", "secret")).await;
    let Verdict::Accepted {
        username,
        attributes: known,
        expires,
        ..
    } = verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(username.as_deref(), Some("good"));
    assert_eq!(known, attributes(&[("site", "plant")]));
    assert_eq!(
        expires,
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800))
    );
    let seen = web.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("POST", "/check?api-version=0.5.0")
    );
    assert_eq!(seen[0].headers["x-broker"], "catena");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[0].headers["host"], format!("localhost:{}", web.port));
    assert_eq!(
        seen[0].json(),
        json!({"type": "connect", "username": "good", "password": "c2VjcmV0"})
    );

    let verdict = authenticator.connect(login("bad", "secret")).await;
    assert_eq!(refused(&verdict), 0x86);
    assert!(format!("{verdict:?}").contains("no such user"));
    assert_eq!(
        refused(&authenticator.connect(Credentials::default()).await),
        0x87,
        "an error is no yes"
    );
    let counted = &world.means.counters().custom;
    let counted = [
        &counted.successes,
        &counted.denials,
        &counted.failures,
        &counted.unreachable,
    ];
    assert_eq!(
        counted.map(|counter| counter.load(Ordering::Relaxed)),
        [1, 1, 0, 1]
    );
}

/// A password for the server that has to be in the manifest, for all who may read it; or a server that takes us for a stranger
/// while the secret is away.
#[tokio::test]
async fn headers_may_be_in_a_secret() {
    let (world, web) = world(|seen| match seen.headers.get("authorization") {
        Some(value) if value == "Bearer of-us" => Does::json(200, json!({})),
        _ => Does::json(403, json!({})),
    })
    .await;
    let settings = "    headers: {authorization: none, x-broker: catena}\n    headersSecretRef: keys\n    onUnreachable: Deny";
    let authenticator = world.authenticator(&method(&web, settings));
    assert_eq!(refused(&authenticator.connect(login("a", "b")).await), 0x88);
    assert!(authenticator.problems()[0].contains("keys"));
    assert!(web.seen().is_empty());

    let put = |value: &[u8]| world.put("keys", "Authorization", value);
    put(b"Bearer of-us\n");
    let verdict = authenticator.connect(login("a", "b")).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert_eq!(web.seen()[0].headers["x-broker"], "catena");
    assert_eq!(authenticator.problems(), Vec::<String>::new());
    // It would end the header and begin another: what was good before stays.
    put(b"Bearer\r\nx-more: 1");
    let verdict = authenticator.connect(login("a", "b")).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert!(authenticator.problems()[0].contains("is no HTTP header"));
    // Another password counts from the next question on.
    put(b"Bearer of-others");
    assert_eq!(refused(&authenticator.connect(login("a", "b")).await), 0x87);
}

/// A connection that ends at its expiry though its client proved itself again; or is ended because the server was away for a moment.
#[tokio::test]
async fn a_client_proves_itself_again() {
    let (world, web) = world(|seen| match seen.json()["authenticationData"].as_str() {
        Some("Z29vZA==") => Does::json(200, json!({})),
        Some("YmFk") => Does::json(403, json!({"reason": 135})),
        _ => Does::Answers(503, String::new()),
    })
    .await;
    let authenticator = world.authenticator(&method(&web, ""));
    let verdict = authenticator.reauthenticate(enhanced("M", "good")).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert_eq!(web.seen()[0].json()["type"], "auth");
    assert_eq!(
        refused(&authenticator.reauthenticate(enhanced("M", "bad")).await),
        0x87
    );
    assert_eq!(
        authenticator.reauthenticate(enhanced("M", "else")).await,
        Verdict::TryAgain
    );
}

/// A server of another version is asked for ever, or never.
#[tokio::test]
async fn another_version_is_tried_once() {
    let (world, web) = world(|seen| {
        if seen.target.ends_with("api-version=0.6.0") && seen.json()["username"] == "good" {
            Does::json(200, json!({}))
        } else {
            Does::json(422, json!({"supportedVersions": ["0.6.0"]}))
        }
    })
    .await;
    let authenticator = world.authenticator(&method(&web, ""));
    assert!(matches!(
        authenticator.connect(login("good", "")).await,
        Verdict::Accepted { .. }
    ));
    assert_eq!(
        refused(&authenticator.connect(login("bad", "")).await),
        0x87
    );
    assert_eq!(web.seen().len(), 4);
}

/// A server that anybody could stand in for.
#[tokio::test]
async fn a_server_that_another_ca_vouches_for_is_not_asked() {
    let (world, web) = world(|_| Does::json(200, json!({}))).await;
    world.put("server-ca", "ca.crt", Ca::new().pem());
    let verdict = world
        .authenticator(&method(&web, ""))
        .connect(login("good", ""))
        .await;
    assert_eq!(refused(&verdict), 0x87);
    assert!(web.seen().is_empty(), "and no password goes there");
    let deny = world.authenticator(&method(&web, "    onUnreachable: Deny"));
    assert_eq!(refused(&deny.connect(login("good", "")).await), 0x88);
}

/// A server that wants to know us is shown nothing, or what was good yesterday.
#[tokio::test]
async fn a_server_is_shown_our_certificate() {
    let (world, ca, clients) = (World::new(), Ca::new(), Ca::new());
    let web = Web::demanding(&ca, Some(&clients), |_| Does::json(200, json!({}))).await;
    world.put("server-ca", "ca.crt", ca.pem());
    let with = method(&web, "    auth:\n      x509:\n        secretRef: own");
    let with = world.authenticator(&with);
    assert_eq!(refused(&with.connect(Credentials::default()).await), 0x87);
    assert!(
        with.problems()[0].contains("tls.crt"),
        "{:?}",
        with.problems()
    );
    let (certificate, key) = clients.issue("broker", ExtendedKeyUsagePurpose::ClientAuth);
    world.put("own", "tls.crt", certificate);
    world.put("own", "tls.key", key.serialize_pem());
    assert!(matches!(
        with.connect(Credentials::default()).await,
        Verdict::Accepted { .. }
    ));
    assert_eq!(with.problems(), Vec::<String>::new());
    let without = world.authenticator(&method(&web, ""));
    assert_eq!(
        refused(&without.connect(Credentials::default()).await),
        0x87
    );
}

/// A server that is broken keeps out those whom another method knows.
#[tokio::test]
async fn an_unreachable_server_leaves_it_to_the_next_method() {
    let (world, web) = world(|seen| match seen.json()["username"].as_str() {
        Some("flood") => Does::Floods,
        Some("trickle") => Does::Trickles,
        Some("hang") => Does::Hangs,
        _ => Does::Answers(200, "<html>".to_owned()),
    })
    .await;
    let hash = catena_authentication::hash::make(b"right", &[7; 16]).unwrap();
    for user in ["flood", "trickle", "hang", "garbage"] {
        world.put("users", user, &hash);
    }
    world.put("users", "other", HASH);
    let next = "- method: Password\n  passwordSettings:\n    secretRef: users";
    let authenticator = world.authenticator(&format!("{}{next}", method(&web, "")));
    let connect = |user: &'static str| authenticator.connect(login(user, "right"));
    let verdicts = tokio::join!(
        connect("flood"),
        connect("trickle"),
        connect("hang"),
        connect("garbage")
    );
    for verdict in [verdicts.0, verdicts.1, verdicts.2, verdicts.3] {
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    }
    assert_eq!(
        world
            .means
            .counters()
            .custom
            .unreachable
            .load(Ordering::Relaxed),
        4
    );
    assert_eq!(refused(&connect("other").await), 0x86);
}

/// A server that hangs takes the sockets and the memory of the broker with it, client by client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_of_a_server_that_hangs() {
    let (world, web) = world(|_| Does::Hangs).await;
    let authenticator = world.authenticator(&method(&web, ""));
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..1_000 {
        let authenticator = authenticator.clone();
        clients.spawn(async move { authenticator.connect(login(&client.to_string(), "")).await });
    }
    let mut answered = 0;
    while let Some(verdict) = clients.join_next().await {
        assert!(matches!(refused(&verdict.unwrap()), 0x87 | 0x89));
        answered += 1;
    }
    assert_eq!(answered, 1_000);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "each of them within the time of a call: {:?}",
        begun.elapsed()
    );
    // The server hears of a closed connection after the next one may be open, and on a slow machine clients come in several lots: what is bounded for sure is far below one for each.
    assert!(
        web.made.load(Ordering::SeqCst) <= 4 * CONNECTIONS_MAX,
        "{} in all",
        web.made.load(Ordering::SeqCst)
    );
    // And who comes now is not kept waiting.
    let begun = Instant::now();
    for _ in 0..100 {
        authenticator.connect(Credentials::default()).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// A handshake for each client, which costs both sides a thousand times what the question does.
#[tokio::test]
async fn connections_are_used_again() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (world, web) = world(|_| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        Does::json(200, json!({}))
    })
    .await;
    let authenticator = world.authenticator(&method(&web, ""));
    for _ in 0..50 {
        assert!(matches!(
            authenticator.connect(Credentials::default()).await,
            Verdict::Accepted { .. }
        ));
    }
    // A secret that has nothing to do with it.
    world.put("other", "key", "value");
    assert!(matches!(
        authenticator.connect(Credentials::default()).await,
        Verdict::Accepted { .. }
    ));
    assert_eq!(ASKED.load(Ordering::SeqCst), 51);
    assert_eq!(web.made.load(Ordering::SeqCst), 1);
}
