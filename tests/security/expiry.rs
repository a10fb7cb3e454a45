//! Proofs that expire, and connections that end with them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Client, Message, Options},
};
use jiff::Timestamp;
use rcgen::date_time_ymd;
use serde_json::json;

use crate::{
    https::Https,
    issuer::{self, Issuer, expect_auth, now, prove_again},
    service_accounts::{self, Kubernetes},
    world::{Ca, World, authentication, is_alive, is_closed, listener},
};

/// How long what expires is good for. All of it is opened well before, or the test says so.
const SECONDS: i64 = 8;

/// One that leaves a will, so that somebody sees that it is gone.
fn options(method: Option<(&str, &str)>) -> Options {
    let will = Message::new("gone", unique("will")).qos(1);
    let options = Options::new(Version::V5, &unique("client")).will(&will, 0);
    match method {
        Some((method, data)) => options.authentication(method, data.as_bytes()),
        None => options,
    }
}

/// A device whose token was stolen, whose account was closed or whose certificate has ended stays connected for ever; or a
/// device that proves itself in time is thrown out all the same; or it is told something that no client expects.
#[test]
fn connections_end_with_their_proof_and_live_on_with_a_new_one() {
    let world = World::new();
    let (issuer, kubernetes) = (Issuer::new(), Kubernetes::start(&world));
    world.put("keys", "jwks.json", &issuer.key_set());
    let servers = Ca::new("Server CA");
    world.put("auth-ca", "ca.crt", &servers.pem());
    // The decider says until when it believes; it is asked anew at AUTH.
    let until = Arc::new(AtomicI64::new(0));
    let believes = until.clone();
    let is_ill = Arc::new(AtomicBool::new(false));
    let falls_ill = is_ill.clone();
    let decider = Https::start(&servers, None, move |_| {
        if falls_ill.load(Ordering::SeqCst) {
            return (500, String::new());
        }
        let expiry = Timestamp::from_second(believes.load(Ordering::SeqCst)).expect("a time");
        (200, json!({"expiry": expiry.to_string()}).to_string())
    });
    let custom = format!(
        "- method: Custom\n  customSettings:\n    endpoint: https://localhost:{}\n    caCertConfigMap: auth-ca",
        decider.port
    );
    let port = |number: usize, authentication: &str| {
        format!(
            "- port: PORT{number}\n  address: 127.0.0.1\n  authenticationRef: {authentication}\n"
        )
    };
    let tls = "  tls:\n    mode: Manual\n    manual:\n      secretRef: server\n";
    let open = "- port: PORT4\n  address: 127.0.0.1\n";
    let ports = [
        &port(0, "jwt"),
        &port(1, "sat"),
        &port(2, "custom"),
        &port(3, "x509"),
        tls,
        open,
    ];
    let manifests = [
        listener(&ports.map(String::from).concat()),
        authentication("jwt", issuer::METHODS),
        authentication("sat", service_accounts::METHODS),
        authentication("custom", &custom),
        authentication("x509", "- method: X509"),
    ];
    let arguments = kubernetes.arguments(&world);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let world = world.start_with(&manifests, &arguments);
    let mut watcher = Options::new(Version::V5, "watcher").open_at(world.ports[4]);
    watcher.subscribe("gone", 1);

    let begun = now();
    let short = [
        issuer.token("me", SECONDS),
        kubernetes.token("sensor", SECONDS),
    ];
    let long = [issuer.token("me", 600), kubernetes.token("sensor", 600)];
    let methods = ["JWT", "K8S-SAT", "any"];
    until.store(begun + SECONDS, Ordering::SeqCst);
    let connect = |number: usize| {
        let data = short.get(number).map_or("data", String::as_str);
        options(Some((methods[number], data))).open_at(world.ports[number])
    };
    let mut ends: Vec<Client> = (0..3).map(connect).collect();
    let mut renewed: Vec<Client> = (0..3).map(connect).collect();
    // What cannot be decided changes nothing: the client may ask again, and ends when it would have.
    let mut undecided = connect(2);
    is_ill.store(true, Ordering::SeqCst);
    prove_again(&mut undecided, methods[2], "data");
    assert_eq!(
        expect_auth(&mut undecided),
        ReasonCode::ContinueAuthentication
    );
    is_ill.store(false, Ordering::SeqCst);
    ends.push(undecided);
    let device = world.ca.issue_with("device", 7, |params| {
        let seconds = u64::try_from(begun + SECONDS).expect("after 1970");
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    });
    world.write_pair("device", &device);
    let stream = world.dial_tls(3, Some("device"));
    ends.push(options(None).open_over(stream.expect("TLS")));
    assert!(
        now() < begun + SECONDS,
        "this machine is too slow for this test"
    );

    until.store(begun + 600, Ordering::SeqCst);
    for (number, client) in renewed.iter_mut().enumerate() {
        let data = long.get(number).map_or("data", String::as_str);
        prove_again(client, methods[number], data);
        assert_eq!(
            expect_auth(client),
            ReasonCode::Success,
            "{}",
            methods[number]
        );
    }
    for client in &mut ends {
        is_closed(client, None);
        assert!(now() >= begun + SECONDS, "it ended before its proof");
    }
    // Each has left its will.
    for _ in &ends {
        assert!(watcher.receive().text().starts_with("will"));
    }
    renewed.iter_mut().for_each(is_alive);
    watcher.expect_nothing();
    // A certificate of yesterday does not get in at all.
    let stream = world.dial_tls(3, Some("device")).expect("TLS asks nobody");
    assert_eq!(
        options(None).dial_over(stream).expect_connack().reason,
        ReasonCode::NotAuthorized
    );
    // A proof that is refused ends what it was to prolong, at once.
    for (number, method) in ["JWT", "K8S-SAT"].into_iter().enumerate() {
        prove_again(&mut renewed[number], method, "x.y.z");
        is_closed(&mut renewed[number], Some(ReasonCode::NotAuthorized));
    }
}
