//! Too many at once.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::Version;
use catena_tests::{broker::unique, client::Client};

use crate::watch::Watch;

const CLIENTS: usize = 5_000;
const THREADS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// 5,000 clients connect at the same moment: all are answered, and can be answered again while all the
/// others are there. When they are gone without a word, their memory is: 48 MiB may stay.
#[test]
fn five_thousand_connect_at_once() {
    let files = catena_runtime::open_files::raise().expect("the system lets us");
    assert!(
        files.is_none_or(|files| files > CLIENTS as u64 + 200),
        "only {files:?} open files allowed"
    );
    let watch = Watch::start();
    let begun = Instant::now();
    let crowd: Vec<_> = (0..THREADS)
        .map(|_| watch.broker.address)
        .map(|address| thread::spawn(move || crowd(address)))
        .collect::<Vec<_>>()
        .into_iter()
        .flat_map(|thread| thread.join().expect("all are answered"))
        .collect();
    println!(
        "{} clients after {:?}, {} MiB",
        crowd.len(),
        begun.elapsed(),
        watch.growth_mib()
    );
    assert_eq!(crowd.len(), CLIENTS);
    drop(crowd);
    watch.finish(48);
}

/// A part of the crowd: each sends CONNECT before any waits for its answer.
fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..CLIENTS / THREADS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("the broker listens");
            stream
                .set_read_timeout(Some(PATIENCE))
                .expect("more than nothing");
            stream
                .write_all(&crate::samples::connect(4, &unique("crowd"), false))
                .expect("it is read");
            stream
        })
        .collect();
    for stream in &mut streams {
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).expect("CONNACK");
        assert_eq!(connack, [0x20, 2, 0, 0]);
        // PINGREQ
        stream.write_all(&[0xC0, 0]).expect("it is read");
    }
    for stream in &mut streams {
        let mut pingresp = [0; 2];
        stream.read_exact(&mut pingresp).expect("PINGRESP");
        assert_eq!(pingresp, [0xD0, 0]);
    }
    streams
}

/// Clients that come and go as fast as they can, half of them before their answer, many with the same
/// client id: no connection is lost sight of. 16 MiB may stay.
#[test]
fn clients_that_come_and_go() {
    let watch = Watch::start();
    let address = watch.broker.address;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for number in 0..1_000 {
                    let mut stream = TcpStream::connect(address).expect("the broker listens");
                    stream
                        .set_read_timeout(Some(PATIENCE))
                        .expect("more than nothing");
                    let name = if number % 100 == 0 {
                        "restless".to_owned()
                    } else {
                        unique("restless")
                    };
                    stream
                        .write_all(&crate::samples::connect(5, &name, number % 3 == 0))
                        .expect("it is read");
                    if number % 2 == 0 {
                        // Nobody answers one whose place was taken while it waited.
                        let _ = stream.read(&mut [0; 64]);
                    }
                }
            });
        }
    });
    Client::open(&watch.broker, Version::V5, "restless").disconnect();
    watch.finish(16);
}
