//! A broker that is watched while it is treated badly: does it live, does it serve others, does it give
//! the memory back?

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use catena_mqtt::Version;
use catena_tests::{
    broker::{Broker, Settings, unique},
    client::{Client, Message},
};

/// How long the broker has to give memory back: sessions end and buffers shrink by and by.
const RETURN: Duration = Duration::from_secs(15);
/// Between two messages of the witness.
const PACE: Duration = Duration::from_millis(10);
/// Clients that come and go before the memory is first looked at, so that what a broker takes once and
/// for all is not counted as lost.
const WARM_UP_CLIENTS: usize = 200;

/// A broker of one test.
pub struct Watch {
    pub broker: Arc<Broker>,
    process: u32,
    /// MiB after the warm-up.
    before: u64,
    /// Until the end of the test.
    witness: Option<Witness>,
}

impl Watch {
    /// Starts a broker with four shards and default settings.
    pub fn start() -> Watch {
        Watch::start_with(&Settings::shards(4))
    }

    /// Starts a broker, and clients that go on using it as one should.
    pub fn start_with(settings: &Settings) -> Watch {
        let broker = Arc::new(Broker::start(settings));
        let clients: Vec<_> = (0..WARM_UP_CLIENTS)
            .map(|_| Client::open(&broker, Version::V5, &unique("warm-up")))
            .collect();
        clients.into_iter().for_each(Client::disconnect);
        round_trip(&broker);
        let process = listener(broker.address);
        let before = resident_mib(process);
        let witness = Some(Witness::start(&broker));
        Watch {
            broker,
            process,
            before,
            witness,
        }
    }

    /// MiB of memory beyond what it had at the start.
    pub fn growth_mib(&self) -> u64 {
        resident_mib(self.process).saturating_sub(self.before)
    }

    /// Ends the test: the broker lives, served others all the time and does so now, and has at most
    /// `margin_mib` more memory than before.
    pub fn finish(mut self, margin_mib: u64) {
        self.witness.take().expect("the test has one end").finish();
        round_trip(&self.broker);
        let deadline = Instant::now() + RETURN;
        while self.growth_mib() > margin_mib && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        let growth = self.growth_mib();
        assert!(
            growth <= margin_mib,
            "{growth} MiB are not given back; {margin_mib} may stay. Before: {} MiB",
            self.before
        );
        println!(
            "memory: {} MiB before, {growth} MiB more after",
            self.before
        );
        assert_eq!(
            self.process,
            listener(self.broker.address),
            "the broker is another process now"
        );
    }
}

/// Sends a message from one client to another.
fn round_trip(broker: &Broker) {
    let topic = unique("round-trip");
    let mut subscriber = Client::open(broker, Version::V5, &unique("subscriber"));
    subscriber.subscribe(&topic, 1);
    let mut publisher = Client::open(broker, Version::V4, &unique("publisher"));
    publisher.publish(&Message::new(&topic, "payload").qos(1));
    assert_eq!(subscriber.receive().payload, b"payload");
    publisher.disconnect();
    subscriber.disconnect();
}

/// Two clients that exchange messages all the time. Each must arrive within the client's patience.
struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Witness {
    fn start(broker: &Arc<Broker>) -> Witness {
        let (broker, stop) = (Arc::clone(broker), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let topic = unique("witness/topic");
            let mut subscriber = Client::open(&broker, Version::V5, &unique("witness"));
            let mut publisher = Client::open(&broker, Version::V5, &unique("witness"));
            subscriber.subscribe(&topic, 1);
            let mut count = 0;
            loop {
                count += 1;
                publisher.publish(&Message::new(&topic, count.to_string()).qos(1));
                assert_eq!(subscriber.receive().text(), count.to_string());
                // At least once, however short the test is.
                if stopped.load(Ordering::Relaxed) {
                    return count;
                }
                thread::sleep(PACE);
            }
        });
        Witness { stop, thread }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let served = self
            .thread
            .join()
            .expect("the broker serves a well-behaved client all the time");
        println!("a well-behaved client had {served} messages meanwhile");
    }
}

/// The process that listens on `address`.
///
/// # Panics
/// When there is none: the broker died.
fn listener(address: SocketAddr) -> u32 {
    let port = format!(":{:04X}", address.port());
    let sockets = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let inodes: Vec<String> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // The local address, the state (0A: listens), the inode.
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&port) && fields[3] == "0A")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let holds = |process: u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).ok();
        files.into_iter().flatten().flatten().any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            inodes
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
        })
    };
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|process| holds(*process))
        .unwrap_or_else(|| panic!("nobody listens on {address}: the broker died"))
}

/// The memory of a process that is not on disk, in MiB.
fn resident_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the broker lives");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it has memory");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number");
    kib / 1024
}
