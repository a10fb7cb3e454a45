//! What a broker writes of what happens, and how that is changed.

use catena_mqtt::Version;
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings},
    client::Options,
    cluster::wait_for,
};

use crate::{metrics::PATIENCE, traces::diagnose};

fn expect_line(broker: &Broker, words: &[&str]) {
    wait_for(&format!("a line with {words:?}"), PATIENCE, || {
        let log = broker.log();
        let found = log
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)));
        found.then_some(()).ok_or(format!("{log:#?}"))
    });
}

// An operator who is asked why a device was away would find nothing.
#[test]
fn who_comes_and_goes_is_logged() {
    let broker = Broker::start(
        &Settings::shards(1)
            .argument("--log-format")
            .argument("json"),
    );
    let first = Options::new(Version::V5, "twin").open_at(broker.address);
    let second = Options::new(Version::V5, "twin").open_at(broker.address);
    expect_line(&broker, &["\"connected\"", "\"client_id\":\"twin\""]);
    expect_line(
        &broker,
        &["\"disconnected\"", "\"twin\"", "SessionTakenOver"],
    );
    drop(first);
    second.disconnect();
    wait_for("the end of the second", PATIENCE, || {
        let log = broker.log();
        let lines = log.iter().filter(|line| line.contains("\"disconnected\""));
        let without_reason = lines.filter(|line| !line.contains("reason")).count();
        (without_reason == 1)
            .then_some(())
            .ok_or(format!("{log:#?}"))
    });
    for line in broker
        .log()
        .iter()
        .filter(|line| line.contains("\"level\""))
    {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

// To look closer at a fault, one would have to end the process that has it.
#[test]
fn how_much_is_logged_changes_while_the_broker_runs() {
    let broker = Broker::start(&Settings::shards(1));
    let admin = Admin::of(&broker);
    let is_detailed = || broker.log().iter().any(|line| line.contains("DEBUG"));
    Options::new(Version::V5, "a")
        .open_at(broker.address)
        .disconnect();
    expect_line(&broker, &["disconnected"]);
    assert!(!is_detailed());
    diagnose(&admin, |diagnostics| {
        diagnostics["logs"] = serde_json::json!({"level": "info,gateway=debug"});
    });
    expect_line(&broker, &["what is logged has changed"]);
    Options::new(Version::V5, "b")
        .open_at(broker.address)
        .disconnect();
    expect_line(&broker, &["DEBUG", "catena_gateway"]);
}
