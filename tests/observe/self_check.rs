//! The gateway's own client: what it finds is a condition of the Broker and is measured, and it follows what the Broker says.

use std::time::Duration;

use catena_mqtt::Version;
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings},
    client::Options,
    cluster::{Cluster, Plan, wait_for},
    http::{get, metric},
};
use serde_json::Value;

use crate::{
    collector::Collector,
    metrics::{PATIENCE, expect, start},
    traces::diagnose,
};

/// Waits until the Broker's condition is `status`, and returns it.
fn condition(admin: &Admin, status: &str) -> Value {
    wait_for(
        &format!("BrokerProbeFailed: {status}"),
        3 * PATIENCE,
        || {
            let broker = admin.json(&["get", "broker", "default"]);
            let condition = broker["status"]["conditions"][0].clone();
            let is = condition["type"] == "BrokerProbeFailed" && condition["status"] == status;
            if is {
                Ok(condition)
            } else {
                Err(broker["status"].to_string())
            }
        },
    )
}

/// Says something of the self-check: a change counts at once.
fn check(admin: &Admin, mode: &str, interval: u16) {
    diagnose(admin, |diagnostics| {
        diagnostics["selfCheck"] =
            serde_json::json!({"mode": mode, "intervalSeconds": interval, "timeoutSeconds": 5});
    });
}

// A broker that does not work says that it is well, until somebody calls.
#[test]
fn what_it_finds_is_a_condition_of_the_broker() {
    let mut plan = Plan::redundancy(1);
    plan.backends = 1;
    let mut cluster = Cluster::start(plan);
    let admin = Admin(cluster.admin().urls());
    check(&admin, "Enabled", 31);
    assert_eq!(condition(&admin, "False")["reason"], "AllRoutesWork");
    cluster.kill("backend-1");
    check(&admin, "Enabled", 32);
    let failed = condition(&admin, "True");
    assert_eq!(failed["reason"], "RouteFailed");
    let message = failed["message"].as_str().expect("it says what is wrong");
    assert!(message.contains("gateway-1: to shard 0: "), "{message}");
    cluster.restart("backend-1");
    check(&admin, "Enabled", 33);
    condition(&admin, "False");
    check(&admin, "Disabled", 33);
    assert_eq!(condition(&admin, "Unknown")["reason"], "Disabled");
    cluster.stop();
}

// A number that nobody measures stays at what it was; one of clients' that counts the broker's own is wrong.
#[test]
fn what_it_finds_is_measured_and_seen_by_nobody() {
    let (broker, metrics) = start();
    let admin = Admin::of(&broker);
    let mut everything = Options::new(Version::V5, "everything").open(&broker);
    everything.subscribe("#", 1);
    check(&admin, "Enabled", 31);
    condition(&admin, "False");
    for operation in ["connect", "publish", "subscribe", "unsubscribe"] {
        let name = format!("aio_broker_{operation}_route_replication_correctness");
        // One of each shard.
        expect(
            metrics,
            &name,
            &["gateway=\"standalone\"", "shard=\"0\""],
            1.0,
        );
        expect(metrics, &name, &["shard=\"1\""], 1.0);
        for what in ["route_ms", "last_value_ms", "mu_ms", "sigma_ms"] {
            let name = format!("aio_broker_{operation}_latency_{what}");
            assert!(metric(metrics, &name, &[]).is_some(), "{name}");
        }
    }
    expect(
        metrics,
        "aio_broker_ping_correctness",
        &["shard=\"1\""],
        1.0,
    );
    expect(
        metrics,
        "aio_broker_payload_check_total_messages_lost",
        &[],
        0.0,
    );
    expect(
        metrics,
        "aio_broker_payload_check_total_messages_received",
        &[],
        2.0,
    );
    let own = &["category=\"broker_selftest\""];
    expect(metrics, "aio_broker_publishes_received", own, 2.0);
    let others = &["category=\"uncategorized\""];
    expect(metrics, "aio_broker_publishes_received", others, 0.0);
    everything.expect_nothing();
    let said = broker.log().join("\n");
    assert!(
        !said.contains("catena-probe-"),
        "no lines of what comes every 30 s: {said}"
    );
    check(&admin, "Disabled", 31);
    wait_for("no measures", PATIENCE, || {
        let (_, text) = get(metrics, "/metrics").expect("it is served");
        let is_there = text.contains("aio_broker_connect_route_replication_correctness{");
        if is_there {
            Err("they are there".to_owned())
        } else {
            Ok(())
        }
    });
}

// Traces of the broker's own tell how it is when no client traces anything; where they are not wanted they cost.
#[test]
fn its_messages_are_traced_as_the_broker_says() {
    let broker = Broker::start(&Settings::shards(1));
    let (admin, collector) = (Admin::of(&broker), Collector::start());
    let endpoint = format!("http://{}", collector.address);
    let trace = |mode: &str, interval: u16| {
        diagnose(&admin, |diagnostics| {
            diagnostics["opentelemetry"] =
                serde_json::json!({"endpoint": endpoint, "interval": "1s"});
            diagnostics["traces"]["sampleRatio"] = serde_json::json!(0);
            diagnostics["traces"]["selfTracing"] =
                serde_json::json!({"mode": mode, "intervalSeconds": 1});
            diagnostics["selfCheck"]["intervalSeconds"] = interval.into();
        });
    };
    trace("Disabled", 31);
    condition(&admin, "False");
    // It is found at a second look: spans come a moment after what they are of.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(collector.names(), Vec::<String>::new());
    trace("Enabled", 32);
    wait_for("a trace", PATIENCE, || {
        let names = collector.names();
        let wanted = ["catena.publish", "catena.head_and_tail", "catena.deliver"];
        let has_all = wanted
            .iter()
            .all(|name| names.iter().any(|made| made == name));
        if has_all {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    });
}
