//! `catena verify` against a real broker: it blames nobody for connections that break, and finds what is
//! broken in the stream. What breaks it is a proxy between the two: [`proxy::Proxy`].

mod proxy;

use std::{thread, time::Duration};

use catena_tests::{
    broker::{Broker, Settings},
    verify::verify,
};

use self::proxy::{Proxy, Tamper};

/// Two seconds of load without moves: what is found is the proxy's doing.
const STILL: &str = "--duration 2 --churn 0 --settle 1";

// Were it to find something here, nobody would believe what it finds elsewhere.
#[test]
fn cut_connections_are_no_violation() {
    let broker = Broker::start(&Settings::shards(2));
    let seed = 4711;
    let proxies = [
        Proxy::cutting(broker.address, seed),
        Proxy::cutting(broker.address, seed + 1),
    ];
    let places = format!("{},{}", proxies[0].address, proxies[1].address);
    let report = verify(&places, "--duration 4 --churn 1 --settle 10 --seed 4711");
    assert!(report.passed, "{report:#?}\n{:#?}", broker.log());
    assert!(report.connections.broken > 10, "{report:#?}");
    assert!(report.connections.resumed > 10, "{report:#?}");
    assert!(report.acknowledged > 500, "{report:#?}");
    assert!(report.wills_received > 0, "{report:#?}");
}

#[test]
fn an_old_client_is_served_as_well() {
    let broker = Broker::start(&Settings::shards(1));
    let proxy = Proxy::cutting(broker.address, 7);
    let report = verify(
        &proxy.address.to_string(),
        "--duration 2 --churn 1 --protocol 4",
    );
    assert!(report.passed, "{report:#?}");
}

#[test]
fn a_delivery_that_is_swallowed_is_found() {
    let broker = Broker::start(&Settings::shards(1));
    let proxy = Proxy::tampering(broker.address, Tamper::Swallow);
    let report = verify(&proxy.address.to_string(), STILL);
    assert!(!report.passed);
    assert_eq!(report.violations["lost"], 1, "{report:#?}");
}

#[test]
fn a_delivery_that_comes_twice_at_qos_2_is_found() {
    let broker = Broker::start(&Settings::shards(1));
    let proxy = Proxy::tampering(broker.address, Tamper::Repeat);
    let report = verify(&proxy.address.to_string(), STILL);
    assert!(!report.passed);
    assert_eq!(report.violations["doubled"], 1, "{report:#?}");
}

#[test]
fn an_acknowledgement_for_a_message_that_never_arrived_is_found() {
    let broker = Broker::start(&Settings::shards(1));
    let proxy = Proxy::tampering(broker.address, Tamper::Pretend);
    let report = verify(&proxy.address.to_string(), STILL);
    assert!(!report.passed);
    // One for each subscriber whose filter matches.
    assert!(report.violations["lost"] >= 1, "{report:#?}");
}

// A broker whose state is in memory has none when it starts again, and cannot hide it.
#[test]
fn a_broker_that_forgets_is_found_out() {
    let mut broker = Broker::start(&Settings::shards(1));
    let proxy = Proxy::tampering(broker.address, Tamper::Nothing);
    let address = proxy.address.to_string();
    let running = thread::spawn(move || {
        verify(
            &address,
            "--duration 3 --churn 0 --settle 4 --reconnect-max 0.3",
        )
    });
    proxy.wait_for_publishes(200);
    broker = {
        drop(broker);
        Broker::start(&Settings::shards(1))
    };
    proxy.lead_to(broker.address);
    let report = running.join().expect("verify ends");
    assert!(!report.passed);
    // Four publishers, three persistent subscribers, three members of a group, the watcher of wills.
    assert!(report.violations["session-lost"] >= 11, "{report:#?}");
    let longest = report.gaps["publisher"].milliseconds;
    assert!(
        longest < Duration::from_secs(20).as_millis() as f64,
        "{report:#?}"
    );
}
