//! Clients in browsers and scripts: MQTT over WebSockets over TLS.

use std::process::{Command, Stdio};

use crate::world::{Ca, World, workspace};

const METHODS: &str =
    "- method: X509\n- method: Password\n  passwordSettings:\n    secretRef: users";
const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  protocol: WebSockets\n  authenticationRef: auth\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server";

fn world() -> World {
    let world = World::new();
    world.issue(&world.ca, "device", 7);
    world.issue(&Ca::new("Other CA"), "stranger", 8);
    world.passwd("me", "right");
    world.start(PORTS, METHODS)
}

/// Runs a script that connects, publishes to itself, and prints what CONNACK said: the reason, or return code.
fn connects(mut command: Command, world: &World, version: &str, more: &[&str]) -> String {
    command
        .args([&world.ports[0].port().to_string(), version, "ca.crt"])
        .args(more)
        .current_dir(world.directory.path());
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(
        !said.is_empty(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

fn all(client: impl Fn() -> Command) {
    let world = world();
    for (version, codes) in [("4", ["0", "4", "5"]), ("5", ["0", "134", "135"])] {
        let connects = |more: &[&str]| connects(client(), &world, version, more);
        assert_eq!(connects(&["me", "right", "", ""]), codes[0]);
        assert_eq!(connects(&["me", "wrong", "", ""]), codes[1]);
        assert_eq!(connects(&["", "", "", ""]), codes[2]);
        assert_eq!(connects(&["", "", "device.crt", "device.key"]), codes[0]);
        assert_eq!(
            connects(&["me", "right", "stranger.crt", "stranger.key"]),
            codes[2]
        );
    }
}

/// A dashboard that cannot log in, or that anybody can.
#[test]
fn paho_logs_in() {
    all(|| {
        let mut command = Command::new(workspace(".tools/venv/bin/python"));
        command.arg(workspace("tests/security/paho_wss.py"));
        command
    });
}

/// A web application that cannot log in, or that anybody can use.
#[test]
fn mqttjs_logs_in() {
    all(|| {
        let mut command = Command::new("node");
        command
            .arg(workspace("tests/security/mqttjs_wss.js"))
            .env("NODE_PATH", workspace(".tools/node/node_modules"));
        command
    });
}
