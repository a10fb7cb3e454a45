//! Runs the clients that are not written in Rust: one process per scenario.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use catena_tests::broker::Broker;

/// How long a scenario may take. Its own steps give up sooner and say why.
const SCENARIO: Duration = Duration::from_secs(60);

pub fn paho_v3(broker: &Broker, scenario: &str) {
    paho(broker, "3.1.1", scenario);
}

pub fn paho_v5(broker: &Broker, scenario: &str) {
    paho(broker, "5", scenario);
}

pub fn mqttjs_v3(broker: &Broker, scenario: &str) {
    mqttjs(broker, "3.1.1", scenario);
}

pub fn mqttjs_v5(broker: &Broker, scenario: &str) {
    mqttjs(broker, "5", scenario);
}

/// An installed program or package.
///
/// # Panics
/// When it is missing.
pub fn installed(path: &Path) -> &Path {
    assert!(
        path.exists(),
        "{} is missing: `make clients-installed` installs it",
        path.display()
    );
    path
}

fn paho(broker: &Broker, version: &str, scenario: &str) {
    let venv = workspace().join(".tools/venv");
    installed(&venv.join("installed.txt"));
    let mut command = Command::new(installed(&venv.join("bin/python")));
    command.arg(workspace().join("tests/clients/paho_mqtt.py"));
    run(command, broker, version, scenario);
}

fn mqttjs(broker: &Broker, version: &str, scenario: &str) {
    let modules = workspace().join(".tools/node/node_modules");
    installed(&modules.join("mqtt"));
    let mut command = Command::new("node");
    command
        .arg(workspace().join("tests/clients/mqttjs.js"))
        .env("NODE_PATH", modules);
    run(command, broker, version, scenario);
}

/// Runs a client's script for one scenario, with what it printed if it fails.
fn run(mut command: Command, broker: &Broker, version: &str, scenario: &str) {
    let (host, port) = (
        broker.address.ip().to_string(),
        broker.address.port().to_string(),
    );
    let mut script = command
        .args([&host, &port, version, scenario])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let mut errors = script.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let passed = ends_well(&mut script);
    let errors = errors.join().expect("reading does not panic");
    assert!(passed, "{command:?} fails:\n{errors}");
}

/// Waits for a process, not for ever.
fn ends_well(script: &mut Child) -> bool {
    let deadline = Instant::now() + SCENARIO;
    while Instant::now() < deadline {
        if let Some(status) = script.try_wait().expect("it is our child") {
            return status.success();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = script.kill();
    let _ = script.wait();
    false
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}
