//! Valid packets of all kinds and versions, broken at random from a fixed seed.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{random::Random, samples, watch::Watch};

const PACKETS: usize = 100_000;
/// Broken packets on one connection: the first that does not pass ends it.
const PER_CONNECTION_MAX: usize = 8;
const THREADS: usize = 4;
/// How long the broker has to end a connection that the client has ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// 100,000 broken packets: the broker never dies, each CONNECT that is well is answered, and all
/// connections are closed. Some packets are valid by chance and leave sessions and retained messages behind: 64 MiB
/// may stay. Another seed: `SEED=4711 make bad-input`.
#[test]
fn broken_packets_neither_stop_the_broker_nor_hang() {
    let seed =
        std::env::var("SEED").map_or(20_260_101, |seed| seed.parse().expect("SEED is a number"));
    println!("reproduce with SEED={seed}");
    let watch = Watch::start();
    let address = watch.broker.address;
    let (sent, connections) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..THREADS as u64 {
            let (sent, connections) = (&sent, &connections);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (number << 32));
                while sent.load(Ordering::Relaxed) < PACKETS {
                    let name = format!("m{}", connections.fetch_add(1, Ordering::Relaxed));
                    sent.fetch_add(attack(address, &mut random, &name, seed), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{sent:?} packets on {connections:?} connections");
    watch.finish(64);
}

/// Sends broken packets on one connection, and waits until the broker closed it. Gives their number.
fn attack(address: SocketAddr, random: &mut Random, name: &str, seed: u64) -> usize {
    let level = *random.choose(&[3, 4, 5, 5]);
    let packets = samples::packets(level);
    // Every fourth connection does not even begin well.
    let begins_well = random.below(4) > 0;
    let count = if begins_well {
        1 + random.below(PER_CONNECTION_MAX)
    } else {
        1
    };
    let mut bytes = Vec::new();
    for _ in 0..count {
        let from = if begins_well {
            random.choose(&packets).clone()
        } else {
            samples::connect(level, name, true)
        };
        bytes.extend(mutate(random, from));
    }

    let mut stream = TcpStream::connect(address).expect("the broker listens");
    if begins_well {
        stream
            .write_all(&samples::connect(level, name, false))
            .expect("it is read");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("more than nothing");
        let mut first = [0];
        stream
            .read_exact(&mut first)
            .unwrap_or_else(|e| panic!("SEED={seed}: no CONNACK: {e}"));
        assert_eq!(first, [0x20], "SEED={seed}: no CONNACK");
    }
    // It may close before it has all.
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(Shutdown::Write);
    assert!(
        is_closed(&mut stream),
        "SEED={seed}: not closed after {bytes:02x?}"
    );
    count
}

/// Waits until the broker closes the connection, and passes over what it says.
fn is_closed(stream: &mut TcpStream) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let mut chunk = [0; 4096];
    loop {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        stream
            .set_read_timeout(Some(left))
            .expect("more than nothing");
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Breaks a packet in one of the ways in which packets break.
fn mutate(random: &mut Random, mut packet: Vec<u8>) -> Vec<u8> {
    match random.below(9) {
        // Bits that flipped.
        0 | 1 => {
            for _ in 0..1 + random.below(8) {
                let at = random.below(packet.len());
                packet[at] ^= 1 << random.below(8);
            }
        }
        // Cut off, and the packet after it read as its rest.
        2 => packet.truncate(1 + random.below(packet.len())),
        // Cut off, with a length that says so.
        3 => {
            packet.truncate(2 + random.below(packet.len() - 1));
            packet[1] = (packet.len() - 2) as u8;
        }
        // Bytes in between, told in the length or not.
        4 => {
            let (at, count) = (random.below(packet.len() + 1), 1 + random.below(40));
            packet.splice(at..at, random.bytes(count));
            if random.below(2) == 0 && at > 1 {
                packet[1] = (packet.len() - 2).min(127) as u8;
            }
        }
        // A lie about the length: any number, the largest, and one that does not end.
        5 => {
            let lies: [Vec<u8>; 4] = [
                vec![random.byte() & 0x7F],
                vec![0x80 | random.byte(), random.byte() & 0x7F],
                vec![0xFF, 0xFF, 0xFF, 0x7F],
                vec![0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            ];
            packet.splice(1..2, random.choose(&lies).clone());
        }
        // A lie about a length within.
        6 => {
            let at = random.below(packet.len());
            let lie = *random.choose(&[[0xFF, 0xFF], [0, 0], [0, 1], [0x7F, 0xFF], [0x80, 0x80]]);
            let end = packet.len().min(at + 2);
            packet.splice(at..end, lie);
        }
        // Another kind, other flags.
        7 => packet[0] = random.byte(),
        // Something twice.
        _ => {
            let from = random.below(packet.len());
            let piece = packet[from..].to_vec();
            packet.extend(piece);
            if random.below(2) == 0 {
                packet[1] = (packet.len() - 2).min(127) as u8;
            }
        }
    }
    packet
}
