//! Clients that are slow, or say nothing at all.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Client, Message, Options},
};

use crate::watch::Watch;

/// The time that a client has from its connection to the end of its CONNECT.
const CONNECT: Duration = Duration::from_secs(10);
/// What this machine, busy with other tests, may take longer.
const GRACE: Duration = Duration::from_secs(5);
/// Connections of each kind.
const EACH: usize = 200;

/// 200 clients that send a byte of their CONNECT each second, 200 that send nothing and 200 that stop in
/// the middle are all closed 10 s after they connected, however busy they looked; not much before, since
/// a slow network is no crime. 16 MiB may stay.
#[test]
fn a_connect_that_takes_too_long_is_given_up() {
    let watch = Watch::start();
    let connect = crate::samples::connect(5, "a client id that takes its time to come", true);
    let begun = Instant::now();
    let open = |sent: usize| {
        let mut stream = TcpStream::connect(watch.broker.address).expect("the broker listens");
        stream.write_all(&connect[..sent]).expect("it is open");
        stream.set_nonblocking(true).expect("a TCP socket");
        stream
    };
    let mut dripping: Vec<TcpStream> = (0..EACH).map(|_| open(1)).collect();
    let mut silent: Vec<TcpStream> = (0..2 * EACH)
        .map(|number| {
            open(if number % 2 == 0 {
                0
            } else {
                connect.len() / 2
            })
        })
        .collect();

    let mut second = 1;
    while begun.elapsed() < CONNECT + GRACE && !(dripping.is_empty() && silent.is_empty()) {
        thread::sleep(Duration::from_millis(100));
        if begun.elapsed() >= Duration::from_secs(second) {
            dripping.iter_mut().for_each(|stream| {
                let _ = stream.write(&connect[second as usize..][..1]);
            });
            second += 1;
        }
        dripping.retain_mut(is_open);
        silent.retain_mut(is_open);
        let closed = 3 * EACH - dripping.len() - silent.len();
        let early = begun.elapsed() < CONNECT - Duration::from_secs(3);
        assert!(
            !early || closed == 0,
            "{closed} closed after {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(
        (dripping.len(), silent.len()),
        (0, 0),
        "still open after {:?}",
        begun.elapsed()
    );
    watch.finish(16);
}

/// A client that is silent for one and a half times its keep alive is closed (MQTT 5: 0x8D) and its will
/// is published; one that pings in time stays. v5 [MQTT-3.1.2-22]
#[test]
fn a_silent_client_is_given_up_after_its_keep_alive() {
    let watch = Watch::start();
    let topic = unique("silent/will");
    let mut watcher = Client::open(&watch.broker, Version::V5, &unique("watcher"));
    watcher.subscribe(&topic, 1);
    let mut faithful = Options::new(Version::V5, &unique("faithful"))
        .keep_alive(1)
        .open(&watch.broker);
    for version in [Version::V4, Version::V5] {
        let begun = Instant::now();
        let will = Message::new(&topic, "silent").qos(1);
        let mut silent = Options::new(version, &unique("silent"))
            .keep_alive(1)
            .will(&will, 0)
            .open(&watch.broker);
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(200));
            faithful.ping();
        }
        silent.expect_closed_for(ReasonCode::KeepAliveTimeout);
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(1_400),
            "closed after {took:?}"
        );
        assert!(
            took < Duration::from_millis(1_500) + GRACE,
            "closed after {took:?}"
        );
        assert_eq!(watcher.receive().payload, b"silent");
        faithful = Options::new(Version::V5, &unique("faithful"))
            .keep_alive(1)
            .open(&watch.broker);
    }
    watch.finish(16);
}

/// Has the broker not closed it yet?
fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}
