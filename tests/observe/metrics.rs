//! What is counted is what happened.

use std::{net::SocketAddr, time::Duration};

use catena_mqtt::Version;
use catena_tests::{
    broker::{Broker, Settings},
    client::{Message, Options},
    cluster::wait_for,
    http::{get, metric},
};

use crate::metrics::ports::free_port;

pub mod ports {
    //! Ports for processes that are told where to be.

    use std::net::{SocketAddr, TcpListener};

    /// A port that nobody has, just now.
    pub fn free_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        listener.local_addr().expect("it is bound")
    }
}

/// How long something may take to be seen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that serves its metrics.
pub fn start() -> (Broker, SocketAddr) {
    let metrics = free_port();
    let settings = Settings::shards(2)
        .argument("--metrics-address")
        .argument(&metrics.to_string());
    (Broker::start(&settings), metrics)
}

/// Waits until a metric is `value`: some are looked at a few times in a second.
pub fn expect(metrics: SocketAddr, name: &str, with: &[&str], value: f64) {
    wait_for(&format!("{name}{with:?}"), PATIENCE, || {
        match metric(metrics, name, with) {
            Some(seen) if seen == value => Ok(()),
            seen => Err(format!("{seen:?} and not {value}")),
        }
    });
}

// Numbers on a dashboard that nobody compared with what happened are wrong, sooner or later.
#[test]
fn what_clients_do_is_counted() {
    let (broker, metrics) = start();
    let mut subscriber = Options::new(Version::V5, "subscriber").open_at(broker.address);
    subscriber.subscribe("t/#", 1);
    let mut publisher = Options::new(Version::V5, "publisher").open_at(broker.address);
    for n in 0..5 {
        publisher.publish(
            &Message::new(&format!("t/{n}"), "0123456789")
                .qos(1)
                .retain(),
        );
        subscriber.expect_message();
    }
    let old = Options::new(Version::V4, "old").open_at(broker.address);

    expect(
        metrics,
        "aio_broker_publishes_received",
        &["category=\"uncategorized\""],
        5.0,
    );
    expect(metrics, "aio_broker_payload_bytes_received", &[], 50.0);
    expect(metrics, "aio_broker_publishes_sent", &[], 5.0);
    expect(metrics, "aio_broker_payload_bytes_sent", &[], 50.0);
    expect(
        metrics,
        "aio_broker_connected_sessions",
        &["mqtt_version=\"5\""],
        2.0,
    );
    expect(
        metrics,
        "aio_broker_connected_sessions",
        &["mqtt_version=\"3.1.1\""],
        1.0,
    );
    expect(
        metrics,
        "aio_broker_store_retained_messages",
        &["is_tail=\"true\""],
        5.0,
    );
    expect(metrics, "aio_broker_total_sessions", &[], 3.0);
    // One with a wildcard is on each of the two shards.
    expect(metrics, "aio_broker_total_subscriptions", &[], 2.0);
    expect(metrics, "catena_gateway_connected_total", &[], 3.0);
    expect(metrics, "catena_gateway_connections", &[], 3.0);
    expect(metrics, "catena_shard_publishes_total", &[], 5.0);
    expect(metrics, "catena_gateway_links_whole", &[], 4.0);

    old.disconnect();
    drop(publisher);
    expect(metrics, "aio_broker_connected_sessions", &[], 1.0);
    expect(
        metrics,
        "catena_gateway_disconnected_total",
        &["NormalDisconnection"],
        1.0,
    );
    expect(
        metrics,
        "catena_gateway_disconnected_total",
        &["UnspecifiedError"],
        1.0,
    );
    expect(metrics, "aio_broker_total_sessions", &[], 1.0);
}

// A dashboard of Azure's would show nothing for what it asks by category or by host.
#[test]
fn clients_are_told_apart_by_the_category_that_they_name() {
    let (broker, metrics) = start();
    let mut options = Options::new(Version::V5, "a");
    options
        .connect
        .user_properties
        .push("metriccategory", "press");
    let mut client = options.open_at(broker.address);
    client.publish(&Message::new("t", "x").qos(1));
    expect(
        metrics,
        "aio_broker_publishes_received",
        &["category=\"press\""],
        1.0,
    );
    let (_, text) = get(metrics, "/metrics").expect("it is served");
    let azure = text.lines().filter(|line| line.starts_with("aio_broker_"));
    let without: Vec<&str> = azure
        .filter(|line| !line.contains("{hostname=\""))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}
