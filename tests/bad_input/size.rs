//! Packets, topics and lists of sizes that nobody needs.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Client, Filter, Message, Options},
    wire::{Property, binary, packet, string, variable},
};

use crate::watch::Watch;

/// A fixed header that announces 268,435,455 bytes, of a kind.
fn announcement(first: u8) -> Vec<u8> {
    [&[first][..], &variable((1 << 28) - 1)].concat()
}

/// Memory follows what arrived, not what was announced: 40 connections announce 256 MiB each, in a
/// CONNECT, a PUBLISH or a SUBSCRIBE, and send 32 KiB of it. The broker closes them, or holds what came:
/// at most 16 MiB for the 1.25 MiB, as against 10 GiB.
#[test]
fn an_announcement_takes_no_memory() {
    let watch = Watch::start();
    let mut streams: Vec<TcpStream> = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(watch.broker.address).expect("the broker listens");
        let first = [0x10, 0x30, 0x32, 0x82][number % 4];
        if first != 0x10 {
            let name = unique("announcer");
            stream
                .write_all(&crate::samples::connect(
                    4 + (number % 8 / 4) as u8,
                    &name,
                    false,
                ))
                .expect("it is read");
            stream.read_exact(&mut [0; 4]).expect("a CONNACK");
        }
        let _ = stream.write_all(&announcement(first));
        streams.push(stream);
    }
    for _ in 0..32 {
        for stream in &mut streams {
            // In a PUBLISH: a topic of 257 bytes, then what may be payload. It may be closed by now.
            let _ = stream.write_all(&[1; 1024]);
        }
        let growth = watch.growth_mib();
        assert!(growth <= 16, "{growth} MiB for an announcement");
        thread::sleep(Duration::from_millis(20));
    }
    drop(streams);
    watch.finish(16);
}

/// Each of 20,000 levels is walked, none by recursion that would end the process. The message arrives
/// at the topic's own name, at `#` and at 20,000 times `+`; or the broker refuses with a reason.
#[test]
fn topics_and_filters_of_20_000_levels() {
    let watch = Watch::start();
    let levels = 20_000;
    let topic = format!("deep{}", "/a".repeat(levels - 1));
    let filters = [
        topic.clone(),
        format!("deep{}", "/+".repeat(levels - 1)),
        "deep/#".to_owned(),
    ];
    for version in [Version::V4, Version::V5] {
        let mut subscribers = Vec::new();
        for filter in &filters {
            let mut subscriber = Client::open(&watch.broker, version, &unique("deep"));
            let reasons = subscriber.subscribe_to(&[Filter::new(filter, 1)]);
            let granted = reasons == [ReasonCode::GrantedQos1];
            assert!(granted || reasons[0] as u8 >= 0x80, "{reasons:?}");
            subscribers.extend(granted.then_some(subscriber));
        }
        let mut publisher = Client::open(&watch.broker, version, &unique("deep"));
        let reason = publisher.publish(&Message::new(&topic, "down here").qos(1));
        if reason == ReasonCode::Success {
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.receive().topic, topic);
            }
        } else {
            assert!(reason as u8 >= 0x10, "{reason:?}");
        }
        // Retained, they are walked by those who subscribe later.
        publisher.publish(&Message::new(&topic, "kept").qos(1).retain());
        let mut late = Client::open(&watch.broker, version, &unique("deep"));
        late.subscribe_to(&[Filter::new(&filters[1], 0)]);
        late.ping();
        publisher.publish(&Message::new(&topic, "").qos(1).retain());
    }
    watch.finish(32);
}

/// 65,535 subscriptions of one client, in eight packets: each is answered in its place, the ones that
/// are granted work, and they are gone with the session. Three such clients, one after the other, leave
/// no more behind than one: 48 MiB may stay, for tables that were made large.
#[test]
fn subscriptions_by_the_thousand() {
    let watch = Watch::start();
    for _ in 0..3 {
        let mut client = Client::open(&watch.broker, Version::V5, &unique("subscriber"));
        let topic = unique("many");
        let names: Vec<String> = (0..65_535)
            .map(|number| format!("{topic}/{number}"))
            .collect();
        let mut granted = 0;
        for part in names.chunks(8192) {
            let filters: Vec<Filter> = part.iter().map(|name| Filter::new(name, 1)).collect();
            let reasons = client.subscribe_to(&filters);
            assert_eq!(reasons.len(), part.len());
            for reason in reasons {
                match reason {
                    ReasonCode::GrantedQos1 => granted += 1,
                    ReasonCode::QuotaExceeded => {}
                    other => panic!("a filter gets {other:?}"),
                }
            }
        }
        assert!(granted >= 1000, "only {granted} subscriptions");
        let mut publisher = Client::open(&watch.broker, Version::V5, &unique("publisher"));
        publisher.publish(&Message::new(&names[0], "first").qos(1));
        assert_eq!(client.receive().topic, names[0]);
        println!(
            "{granted} subscriptions granted, {} MiB more",
            watch.growth_mib()
        );
        publisher.disconnect();
        client.disconnect();
    }
    watch.finish(48);
}

/// 50,000 user properties in one message arrive as they were sent, and as many in a packet that keeps
/// none of them take no memory for longer than it takes to read them: 32 MiB may stay.
#[test]
fn user_properties_by_the_thousand() {
    let watch = Watch::start();
    let topic = unique("wordy");
    let mut subscriber = Client::open(&watch.broker, Version::V5, &unique("wordy"));
    subscriber.subscribe(&topic, 1);
    let mut publisher = Client::open(&watch.broker, Version::V5, &unique("wordy"));
    let property = Property::user("n", "v");
    let properties = vec![property.clone(); 50_000];
    let message = Message {
        properties: properties.clone(),
        ..Message::new(&topic, "payload").qos(1)
    };
    assert_eq!(publisher.publish(&message), ReasonCode::Success);
    assert_eq!(subscriber.receive().properties, properties);

    // In SUBSCRIBE and UNSUBSCRIBE, where nobody gets them.
    let section = property.bytes().repeat(50_000);
    let section = [variable(section.len()), section].concat();
    for first in [0x82, 0xA2] {
        let mut body = [&[0, 9][..], &section, &string("elsewhere")].concat();
        if first == 0x82 {
            body.push(0);
        }
        publisher.send_bytes(&packet(first, &body));
        publisher.expect_packet();
    }
    watch.finish(32);
}

/// What is larger than the Maximum Packet Size of CONNACK is refused at its header, before it arrives:
/// 0x95 in MQTT 5, closed below. What is as large passes.
#[test]
fn packets_above_the_maximum_are_refused_at_their_header() {
    let watch = Watch::start_with(
        &catena_tests::broker::Settings::shards(4)
            .config("[clients]\nmax_packet_size_bytes = 65536\n"),
    );
    let mut client = Client::open(&watch.broker, Version::V5, &unique("large"));
    assert_eq!(client.connack().maximum_packet_size, Some(65_536));
    // First byte, three of length, two of the topic's length.
    let topic = unique("large");
    let payload = vec![7; 65_536 - 4 - 2 - topic.len() - 1];
    client.subscribe(&topic, 0);
    client.publish(&Message::new(&topic, &payload));
    assert_eq!(client.receive().payload, payload);

    for version in [Version::V4, Version::V5] {
        let mut client = Client::open(&watch.broker, version, &unique("large"));
        // One byte more, and nothing of it sent but the header.
        client.send_bytes(&[&[0x30][..], &variable(65_537 - 4)].concat());
        client.expect_closed_for(ReasonCode::PacketTooLarge);
    }
    let mut stream = TcpStream::connect(watch.broker.address).expect("the broker listens");
    stream.write_all(&announcement(0x10)).expect("it is read");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a TCP socket");
    let begun = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "a CONNECT of 256 MiB is waited for"
    );
    watch.finish(16);
}

/// Strings and binary data of 65,535 bytes in each field of a CONNECT that may have them.
#[test]
fn the_longest_fields_are_taken_or_refused() {
    let watch = Watch::start();
    let longest = "x".repeat(65_535);
    for version in [Version::V4, Version::V5] {
        let mut options = Options::new(version, &longest);
        options.connect.username = Some(longest.as_str().into());
        options.connect.password = Some(longest.clone().into_bytes().into());
        let options = options.will(&Message::new(&longest, &longest), 0);
        let mut client = options.dial(&watch.broker);
        let reason = client.expect_connack().reason;
        assert!(
            reason == ReasonCode::Success || reason as u8 >= 0x80,
            "{reason:?}"
        );
    }
    // A topic of that length, in a PUBLISH made by hand.
    let mut client = Client::open(&watch.broker, Version::V4, &unique("long"));
    client.send_bytes(&packet(
        0x30,
        &[binary(longest.as_bytes()), b"payload".to_vec()].concat(),
    ));
    client.ping();
    watch.finish(16);
}
