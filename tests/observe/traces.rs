//! One trace of one message, from the publisher's span to its delivery, over all processes that it passed.

use std::{collections::BTreeMap, fs};

use catena_mqtt::Version;
use catena_tests::{
    admin::Admin,
    client::{Message, Options},
    cluster::{Cluster, Plan, new_directory, wait_for},
    wire::Property,
};

use crate::{
    collector::{Collector, text},
    metrics::PATIENCE,
};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const PARENT: u64 = 0x00f0_67aa_0ba9_02b7;

/// Changes what the Broker says of diagnostics, as an administrator would.
pub fn diagnose(admin: &Admin, change: impl Fn(&mut serde_json::Value)) {
    let mut broker = admin.json(&["get", "broker", "default"]);
    change(&mut broker["spec"]["diagnostics"]);
    let directory = new_directory();
    let file = directory.join("broker.json");
    fs::write(&file, broker.to_string()).expect("the directory can be written");
    admin.say(&["apply", "-f", &file.display().to_string()]);
    let _ = fs::remove_dir_all(&directory);
}

// A trace with a hole in it blames the wrong process; one that begins anew in the broker explains nothing.
#[test]
fn one_trace_connects_publisher_gateway_head_tail_and_delivery() {
    let cluster = Cluster::start(Plan::redundancy(2));
    let collector = Collector::start();
    let endpoint = format!("http://{}", collector.address);
    diagnose(&Admin(cluster.admin().urls()), |diagnostics| {
        diagnostics["opentelemetry"] = serde_json::json!({"endpoint": endpoint, "interval": "1s"});
    });
    // Each process has heard of the collector once it has sent something there.
    wait_for("metrics of all processes", PATIENCE, || {
        let metrics = collector.metrics();
        let has = |service: &str, name: &str| {
            let wanted = (service.to_owned(), name.to_owned());
            metrics
                .contains(&wanted)
                .then_some(())
                .ok_or(format!("no {name} of {service}"))
        };
        has("gateway", "aio_broker_publishes_received")?;
        has("gateway", "catena_gateway_failover_gap_seconds")?;
        has("backend", "catena_shard_commit_index")?;
        has("control-plane", "catena_control_plane_leads")
    });

    let mut subscriber = Options::new(Version::V5, "subscriber").open_at(cluster.brokers()[1]);
    subscriber.subscribe("traced", 1);
    let mut publisher = Options::new(Version::V5, "publisher").open_at(cluster.brokers()[0]);
    let parent = format!("00-{TRACE:032x}-{PARENT:016x}-01");
    let user = |name: &str, value: &str| Property::user(name, value);
    let sent = vec![user("first", "1"), user("traceparent", &parent)];
    // Each process may still be about to begin: messages are published until a trace is whole.
    let spans = wait_for("a whole trace", PATIENCE, || {
        let mut message = Message::new("traced", "x").qos(1);
        message.properties = sent.clone();
        publisher.publish(&message);
        let got = subscriber.expect_message();
        assert_eq!(got.properties, sent, "they come as they were sent");
        let spans = collector.spans(&TRACE.to_be_bytes());
        let mut by_name = BTreeMap::new();
        for (service, span) in &spans {
            by_name.insert((service.as_str(), span.name.as_str()), span.clone());
        }
        let wanted = [
            ("gateway", "catena.publish"),
            ("backend", "catena.head"),
            ("backend", "catena.tail"),
            ("gateway", "catena.deliver"),
        ];
        match wanted.iter().all(|step| by_name.contains_key(step)) {
            true => Ok(spans),
            false => Err(format!("{:?}", by_name.keys().collect::<Vec<_>>())),
        }
    });
    let publishes: Vec<_> = spans
        .iter()
        .filter(|(_, span)| span.name == "catena.publish")
        .collect();
    let ids: Vec<&[u8]> = publishes.iter().map(|(_, span)| &*span.span_id).collect();
    for (service, span) in &spans {
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano,
            "{service} {span:?}"
        );
        match span.name.as_str() {
            "catena.publish" => {
                assert_eq!(span.parent_span_id, PARENT.to_be_bytes());
                assert_eq!(
                    text(&span.attributes, "messaging.destination.name"),
                    "traced"
                );
                assert_eq!(text(&span.attributes, "messaging.client.id"), "publisher");
            }
            _ => assert!(
                ids.contains(&&*span.parent_span_id),
                "{service} {span:?} hangs in the air"
            ),
        }
    }
    cluster.stop();
}
