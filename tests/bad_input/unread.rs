//! Clients that do not read what the broker sends them.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::Version;
use catena_tests::{
    broker::unique,
    client::{Client, Message},
    wire::{packet, string},
};

use crate::watch::Watch;

/// Messages of 16 KiB to a subscriber that does not read: 128 MiB.
const MESSAGES: usize = 8_192;
/// How long one asks that does not read.
const ASKING: Duration = Duration::from_secs(8);

/// A QoS 0 subscriber that never reads gets what its connection holds, and the rest is dropped [F-59];
/// the others get every message in time. 48 MiB may be taken for it, of 128 MiB sent.
#[test]
fn a_subscriber_that_never_reads_harms_nobody() {
    let watch = Watch::start();
    let topic = unique("unread");
    let mut deaf = Client::open(&watch.broker, Version::V5, &unique("deaf"));
    deaf.subscribe(&topic, 0);
    let mut subscriber = Client::open(&watch.broker, Version::V5, &unique("hearing"));
    subscriber.subscribe(&topic, 1);
    let mut publisher = Client::open(&watch.broker, Version::V5, &unique("publisher"));
    let payload = [7; 16 * 1024];
    let mut growth = 0;
    for number in 0..MESSAGES {
        publisher.publish(&Message::new(&topic, payload).qos(1));
        assert_eq!(subscriber.receive().payload.len(), payload.len());
        if number % 64 == 0 {
            growth = growth.max(watch.growth_mib());
        }
    }
    println!("at most {growth} MiB more");
    assert!(
        growth <= 48,
        "{growth} MiB for one subscriber that does not read"
    );
    drop(deaf);
    watch.finish(32);
}

/// One that asks without end and never reads the answers: the broker stops reading from it, so that the
/// client blocks and not the broker. At most 16 MiB for it.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let watch = Watch::start();
    let ping = packet(0xC0, &[]).repeat(2048);
    let publish = packet(
        0x32,
        &[&string("unread/answers")[..], &[0, 1], b"x"].concat(),
    )
    .repeat(256);
    for requests in [ping, publish] {
        let mut stream = TcpStream::connect(watch.broker.address).expect("the broker listens");
        stream
            .write_all(&crate::samples::connect(4, &unique("asker"), false))
            .expect("it is read");
        stream.set_nonblocking(true).expect("a TCP socket");
        let (mut sent, mut moved) = (0, Instant::now());
        let begun = Instant::now();
        // Until nothing has moved for a second, or the broker had enough.
        while moved.elapsed() < Duration::from_secs(1)
            && begun.elapsed() < ASKING
            && sent < 64 << 20
        {
            // Whole packets or not: only what is not sent yet.
            match stream.write(&requests[sent % requests.len()..]) {
                Ok(count) => (sent, moved) = (sent + count, Instant::now()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5))
                }
                Err(_) => break,
            }
        }
        let growth = watch.growth_mib();
        println!("{} KiB of requests taken, {growth} MiB more", sent / 1024);
        assert!(
            sent < 64 << 20,
            "the broker reads on from one that does not read"
        );
        assert!(growth <= 16, "{growth} MiB for answers that nobody reads");
    }
    watch.finish(16);
}
