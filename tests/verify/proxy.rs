//! A proxy that breaks what runs through it: it cuts connections at random times, or reads the packets
//! and does one thing wrong, once.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    Packet, QoS, Version,
    decode::{Limits, Role, decode, frame_length},
    encode::{PACKET_SIZE_MAX, encode},
    packet::{Ack, PacketId},
};

/// A connection lasts so long at most, in milliseconds.
const LIFE_MS_MAX: u64 = 1_500;
/// So many publishes come through before one is spoiled, so that everything is under way.
const SPARED: u64 = 100;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    Nothing,
    /// A delivery at QoS 1 does not reach the subscriber.
    Swallow,
    /// A delivery at QoS 2 reaches the subscriber again under another packet id.
    Repeat,
    /// A publish at QoS 1 does not reach the broker, and is acknowledged all the same.
    Pretend,
}

/// A running proxy. It ends with the process.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: Mutex<SocketAddr>,
    tamper: Tamper,
    done: AtomicBool,
    publishes: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToBroker,
    ToClient,
}

impl Proxy {
    /// Cuts each connection after a random time.
    pub fn cutting(broker: SocketAddr, seed: u64) -> Proxy {
        Proxy::start(broker, Tamper::Nothing, Some(seed))
    }

    /// Does `tamper` once.
    pub fn tampering(broker: SocketAddr, tamper: Tamper) -> Proxy {
        Proxy::start(broker, tamper, None)
    }

    /// Leads new connections to another broker.
    pub fn lead_to(&self, broker: SocketAddr) {
        *self.shared.broker.lock().expect("no panic holds it") = broker;
    }

    /// Waits until so many publishes have come through in either direction.
    pub fn wait_for_publishes(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.shared.publishes.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "nothing comes through");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn start(broker: SocketAddr, tamper: Tamper, cuts: Option<u64>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            broker: Mutex::new(broker),
            tamper,
            done: AtomicBool::new(false),
            publishes: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let mut random = cuts;
            for client in listener.incoming().map_while(Result::ok) {
                let broker = *serving.broker.lock().expect("no panic holds it");
                // While no broker is there, the client finds a connection that ends at once.
                if let Ok(broker) = TcpStream::connect(broker) {
                    join(&client, &broker, &serving);
                    if let Some(state) = &mut random {
                        cut_later(client, broker, next(state) % LIFE_MS_MAX);
                    }
                }
            }
        });
        Proxy { address, shared }
    }
}

/// Numbers of a seed: xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn cut_later(client: TcpStream, broker: TcpStream, after_ms: u64) {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(after_ms));
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
}

/// Carries bytes both ways, each on a thread of its own, until either side ends.
fn join(client: &TcpStream, broker: &TcpStream, shared: &Arc<Shared>) {
    for way in [Way::ToBroker, Way::ToClient] {
        let (from, to) = match way {
            Way::ToBroker => (client, broker),
            Way::ToClient => (broker, client),
        };
        let (from, to) = (clone(from), clone(to));
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            carry(&from, &to, way, &shared);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream.try_clone().expect("there are file descriptors")
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, way: Way, shared: &Shared) {
    let mut buffer = [0; 16 << 10];
    let mut inbox = BytesMut::new();
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if shared.tamper == Tamper::Nothing {
            count_publishes(&buffer[..length], way, shared);
            if to.write_all(&buffer[..length]).is_err() {
                return;
            }
            continue;
        }
        inbox.extend_from_slice(&buffer[..length]);
        let mut out = BytesMut::new();
        while let Some(frame) = take_frame(&mut inbox, way) {
            let answer = pass(&frame, way, shared, &mut out);
            let answered = answer.is_none_or(|answer| from.write_all(&answer).is_ok());
            if !answered {
                return;
            }
        }
        if to.write_all(&out).is_err() {
            return;
        }
    }
}

/// Counts reads rather than packets, which is enough to know that there is load.
fn count_publishes(bytes: &[u8], way: Way, shared: &Shared) {
    if way == Way::ToBroker && bytes.first().is_some_and(|first| first >> 4 == 3) {
        shared.publishes.fetch_add(1, Ordering::Relaxed);
    }
}

/// A whole packet from the front.
fn take_frame(inbox: &mut BytesMut, way: Way) -> Option<Bytes> {
    let length = frame_length(inbox, &limits(way)).expect("both speak MQTT")?;
    (inbox.len() >= length).then(|| inbox.split_to(length).freeze())
}

/// What the one at the end of the way takes.
fn limits(way: Way) -> Limits {
    Limits {
        maximum_packet_size: PACKET_SIZE_MAX,
        role: match way {
            Way::ToBroker => Role::Server,
            Way::ToClient => Role::Client,
        },
    }
}

/// Puts what is left of a packet into `out`; may return an answer for the one who sent it.
fn pass(frame: &Bytes, way: Way, shared: &Shared, out: &mut BytesMut) -> Option<BytesMut> {
    out.extend_from_slice(frame);
    // Retained messages come at the end of a run, when it is too late to spoil anything.
    if frame[0] >> 4 != 3 || frame[0] & 1 == 1 || shared.done.load(Ordering::Relaxed) {
        return None;
    }
    let decoded = decode(&mut frame.clone(), Some(Version::V5), &limits(way));
    let Ok(Some(Packet::Publish(mut publish))) = decoded else {
        panic!("a publish is a publish: {decoded:?}");
    };
    let wanted = match shared.tamper {
        Tamper::Nothing => None,
        Tamper::Swallow => Some((Way::ToClient, QoS::AtLeastOnce)),
        Tamper::Repeat => Some((Way::ToClient, QoS::ExactlyOnce)),
        Tamper::Pretend => Some((Way::ToBroker, QoS::AtLeastOnce)),
    };
    if wanted != Some((way, publish.qos))
        || shared.publishes.fetch_add(1, Ordering::Relaxed) < SPARED
        || shared.done.swap(true, Ordering::Relaxed)
    {
        return None;
    }
    let id = publish.packet_id.expect("QoS above 0 has one");
    match shared.tamper {
        Tamper::Nothing => None,
        Tamper::Swallow => {
            out.truncate(out.len() - frame.len());
            None
        }
        Tamper::Repeat => {
            publish.packet_id = PacketId::new(id.get() ^ 0x8000);
            encode(&Packet::Publish(publish), Version::V5, out);
            None
        }
        Tamper::Pretend => {
            out.truncate(out.len() - frame.len());
            let mut answer = BytesMut::new();
            encode(&Packet::Puback(Ack::success(id)), Version::V5, &mut answer);
            Some(answer)
        }
    }
}
