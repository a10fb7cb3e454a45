//! `catena verify` and its like through what clients use: TLS, WebSockets, passwords and certificates.

use std::process::Command;

use catena_tests::{broker::binary, verify::verify};

use crate::world::World;

const METHODS: &str =
    "- method: X509\n- method: Password\n  passwordSettings:\n    secretRef: users";

/// Two ports with TLS, one of which is of WebSockets.
fn ports() -> String {
    let port = |number: usize, protocol: &str| {
        format!(
            "- port: PORT{number}\n  address: 127.0.0.1\n  protocol: {protocol}\n  authenticationRef: auth\n  \
             tls:\n    mode: Manual\n    manual:\n      secretRef: server\n"
        )
    };
    [port(0, "Mqtt"), port(1, "WebSockets")].concat()
}

/// What TLS and WebSockets cost could not be measured, or something else would be.
#[test]
fn what_they_cost_is_measured() {
    let world = World::new();
    world.issue(&world.ca, "device", 7);
    let world = world.start(&ports(), METHODS);
    let [tls, web] = [0, 1].map(|number: usize| world.ports[number].port());
    let bench = |scenario: &[&str], host: &str| {
        let output = Command::new(binary())
            .args([&["bench"], scenario, &["--json", "-H", host]].concat())
            .args([
                "--cafile",
                "ca.crt",
                "--cert",
                "device.crt",
                "--key",
                "device.key",
            ])
            .current_dir(world.directory.path())
            .output()
            .expect("there is a catena");
        assert!(output.status.success(), "{scenario:?} {host}: {output:?}");
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        result
    };
    for host in [
        format!("mqtts://localhost:{tls}"),
        format!("wss://localhost:{web}"),
    ] {
        let result = bench(&["connect", "--clients", "2", "--duration", "0.2"], &host);
        assert!(result["cycles"].as_u64() > Some(0), "{result}");
        let result = bench(&["idle", "--connections", "20", "--hold", "0.1"], &host);
        assert_eq!(result["connections"], 20, "{result}");
        let result = bench(&["sessions", "--sessions", "5", "--hold", "0.1"], &host);
        assert_eq!(result["sessions"], 5, "{result}");
    }
    for qos in ["0", "1", "2"] {
        let load = ["pairs", "--pairs", "3", "--qos", qos, "--messages", "3000"];
        let result = bench(&load, &format!("mqtts://localhost:{tls}"));
        assert_eq!(result["checks"]["passed"], true, "{result}");
    }
    let load = [
        "fan-out",
        "--subscribers",
        "5",
        "--qos",
        "1",
        "--size",
        "50000",
        "--messages",
        "200",
    ];
    let result = bench(&load, &format!("mqtts://localhost:{tls}"));
    assert_eq!(result["checks"]["passed"], true, "{result}");
}

/// What is promised could be watched on ports only that nobody opens to the world.
#[test]
fn what_is_promised_holds_behind_tls() {
    let world = World::new();
    world.issue(&world.ca, "device", 7);
    world.passwd("me", "right");
    let world = world.start(&ports(), METHODS);
    let [tls, web] = [0, 1].map(|number: usize| world.ports[number].port());
    let file = |name: &str| world.path(name).display().to_string();
    let ca = file("ca.crt");
    let places = format!("mqtts://localhost:{tls},wss://localhost:{web}/mqtt");
    let report = verify(
        &places,
        &format!("--cafile {ca} -u me -P right --duration 2 --churn 0.5 --settle 10"),
    );
    assert!(report.passed, "{report:#?}");
    assert!(report.connections.resumed > 0, "{report:#?}");
    let (cert, key) = (file("device.crt"), file("device.key"));
    let report = verify(
        &format!("localhost:{tls}"),
        &format!("--cafile {ca} --cert {cert} --key {key} --messages 100 --churn 0 -V 4"),
    );
    assert!(report.passed, "{report:#?}");
    // Who is not let in, or meets somebody else's certificate, says so.
    for wrong in [
        &["--cafile", &ca, "-u", "me", "-P", "wrong"][..],
        &["--tls", "-u", "me", "-P", "right"],
    ] {
        let output = Command::new(binary())
            .args([
                "verify",
                "-b",
                &format!("localhost:{tls}"),
                "--messages",
                "1",
            ])
            .args(wrong)
            .output()
            .expect("there is a catena");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
