//! A broker whose memory is full of messages that nobody takes.

use std::{
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::{Broker, Settings, unique},
    client::{Client, Event, Message, Options},
};

/// Held for 10 s, with time to spare.
const HELD: Duration = Duration::from_secs(15);

/// A client of MQTT 3.1.1 that publishes into a full broker gets no acknowledgement, is closed after 10 s, and is told that the server
/// is not available when it is back at once; its message is not lost, for it was never acknowledged. Others come and go, and when there is
/// room again it publishes, after the time that it was kept away for. [F-63]
#[test]
fn a_client_that_cannot_be_told_stays_away_for_a_while() {
    let broker = Broker::start(&Settings::shards(1).argument("--memory-profile=tiny"));
    let topic = unique("full");
    let mut away = Options::new(Version::V5, &unique("away"))
        .persistent()
        .open(&broker);
    away.subscribe(&topic, 1);
    away.abort();
    let mut publisher = Client::open(&broker, Version::V5, &unique("publisher"));
    let payload = vec![7; 256 * 1024];
    // Tiny has 16 MiB for messages: publishes are refused from 12 MiB on.
    let refused = (0..64)
        .map(|_| publisher.publish(&Message::new(&topic, &payload).qos(1)))
        .find(|reason| *reason != ReasonCode::Success);
    assert_eq!(refused, Some(ReasonCode::QuotaExceeded));

    let name = unique("cannot be told");
    let mut client = Client::open(&broker, Version::V4, &name);
    client.send_message(&Message::new(&topic, "again").qos(1));
    assert_eq!(client.next(HELD), Event::Closed, "no acknowledgement");
    let closed = Instant::now();
    let connect = |version| {
        let mut client = Options::new(version, &name).dial(&broker);
        (client.expect_connack().reason, client)
    };
    assert_eq!(connect(Version::V4).0, ReasonCode::ServerUnavailable);
    // One that can be told, and one that did nothing, are let in.
    assert_eq!(connect(Version::V5).0, ReasonCode::Success);
    Client::open(&broker, Version::V4, &unique("other")).disconnect();

    let mut client = loop {
        let (reason, client) = connect(Version::V4);
        if reason == ReasonCode::Success {
            break client;
        }
        assert_eq!(reason, ReasonCode::ServerUnavailable);
        assert!(closed.elapsed() < HELD, "it is kept away for ever");
        thread::sleep(Duration::from_millis(100));
    };
    client.ping();
}
