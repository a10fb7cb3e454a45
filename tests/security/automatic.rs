//! Certificates that the broker's own CA issues.

use std::{
    fs,
    process::{Command, Stdio},
};

use catena_mqtt::Version;
use catena_tests::{
    broker::binary,
    client::Options,
    stream::{Stream, tls},
};

use crate::world::{CHANGE, World, is_alive, listener, within};

fn port(tls: &str) -> String {
    listener(&format!(
        "- port: PORT0\n  address: 127.0.0.1\n  tls: {tls}"
    ))
}

const MANUAL: &str = "{mode: Manual, manual: {secretRef: server}}";
const AUTOMATIC: &str = "{mode: Automatic}";
const ELSEWHERE: &str =
    "{mode: Automatic, certManagerCertificateSpec: {san: {dns: [elsewhere.example]}}}";

/// Whether a client that trusts this file alone, and looks at the name, gets in.
fn gets_in(world: &World, trusts: &str) -> bool {
    let port = world.ports[0].port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "localhost", "-p", &port, "-t", "test", "-m", "hi"]);
    command
        .args(["-q", "1", "--cafile"])
        .arg(world.path(trusts));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let done = command.status().expect("mosquitto_pub is installed");
    done.success()
}

// An operator without a CA writes `Automatic`, and has what its clients need to trust; a name that is not asked for, a CA that
// is not the broker's, or a change that closes connections, and it is of no use.
#[test]
fn the_broker_issues_its_own_certificates_for_the_names_that_are_asked_for() {
    let mut world = World::new().start_with(&[port(AUTOMATIC)], &[]);
    let shown = Command::new(binary())
        .args(["ca", "show", "--pem", "--secrets-dir"])
        .arg(world.path("secrets"))
        .output()
        .expect("the broker's binary runs");
    fs::write(world.path("own.crt"), shown.stdout).expect("it can be written");
    assert!(gets_in(&world, "own.crt"));
    assert!(!gets_in(&world, "ca.crt"), "it is not the CA of the test");

    // A client from before all changes.
    let stream = Stream::dial_tls(world.ports[0], &tls(&world.path("own.crt"), None));
    let mut client =
        Options::new(Version::V5, "watching").open_over(stream.expect("it is trusted"));

    world.apply(&[port(ELSEWHERE)]);
    assert!(within(CHANGE, || !gets_in(&world, "own.crt")));
    world.apply(&[port(MANUAL)]);
    assert!(within(CHANGE, || gets_in(&world, "ca.crt")));
    world.apply(&[port(AUTOMATIC)]);
    assert!(within(CHANGE, || gets_in(&world, "own.crt")));
    is_alive(&mut client);
}
