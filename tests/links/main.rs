//! Links whose transports break at random, while clients publish: nothing is lost, nothing doubled, nothing out of
//! order. `CATENA_SEED` repeats one seed.

mod breaking;
mod cluster;
mod lives;
mod ports;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{Packet, Version};
use catena_tests::client::{Client, Event, Filter, Message, Options, PATIENCE};

use crate::{breaking::Random, cluster::Cluster};

const SEEDS: u64 = 3;

/// Messages of one publisher.
const MESSAGES: u32 = 400;

/// How often shards move meanwhile.
const MOVES: u32 = 3;

/// Of them, unanswered at a time.
const WINDOW: usize = 20;

/// Runs `test` with clusters that break at other moments each.
fn for_seeds(test: impl Fn(u64)) {
    let one = std::env::var("CATENA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in one.map_or(1..SEEDS + 1, |seed: u64| seed..seed + 1) {
        println!("CATENA_SEED={seed}");
        test(seed);
    }
}

/// A client whose connection holds does not see that a link broke [F-43] [C-40] [C-41]: each message arrives once and
/// in order, at subscribers with a lasting session and without, at QoS 1 as well.
#[test]
fn clients_that_stay_notice_nothing() {
    for_seeds(|seed| {
        let cluster = Cluster::start(3, 2, seed);
        let lasting = Options::new(Version::V5, "lasting").persistent();
        let passing = Options::new(Version::V5, "passing");
        let subscribers: Vec<Client> = [lasting, passing]
            .map(|options| subscribe(&cluster, &options))
            .into();
        let publishers: Vec<_> = (0..4)
            .map(|number| {
                let qos = 1 + number % 2;
                let mut client = open(
                    &cluster,
                    &Options::new(Version::V5, &format!("publisher-{number}")),
                );
                thread::spawn(move || publish_all(&mut client, &format!("live/{number}"), qos))
            })
            .collect();
        let readers: Vec<_> = subscribers
            .into_iter()
            .map(|client| thread::spawn(move || receive_all(client, 4)))
            .collect();
        for thread in publishers {
            thread.join().expect("every publish is answered");
        }
        for thread in readers {
            thread
                .join()
                .expect("every message arrives once and in order");
        }
        assert!(
            cluster.links_broken() > 20,
            "only {} links broke",
            cluster.links_broken()
        );
    });
}

/// Nor does it see that the replicas are others than before, and those that it spoke to are gone [C-41] [F-18].
#[test]
fn clients_that_stay_notice_nothing_of_shards_that_move() {
    for_seeds(|seed| {
        let mut cluster = Cluster::start(2, 1, seed);
        let lasting = Options::new(Version::V5, "lasting").persistent();
        let subscriber = subscribe(&cluster, &lasting);
        let publishers: Vec<_> = (0..2)
            .map(|number| {
                let options = Options::new(Version::V5, &format!("publisher-{number}"));
                let mut client = open(&cluster, &options);
                let (topic, qos) = (format!("live/{number}"), 1 + number);
                thread::spawn(move || publish_all(&mut client, &topic, qos))
            })
            .collect();
        let reader = thread::spawn(move || receive_all(subscriber, 2));
        for _ in 0..MOVES {
            let backend = cluster.start_backend();
            cluster.move_to(backend);
            thread::sleep(Duration::from_millis(100));
        }
        for thread in publishers {
            thread.join().expect("every publish is answered");
        }
        reader
            .join()
            .expect("every message arrives once and in order");
    });
}

/// Clients that lose their own connection too, and resume, at QoS 2 [F-42] [F-43] [F-51]: what was resent is not a
/// second message, and what was not yet taken is taken.
#[test]
fn clients_that_resume_publish_each_message_once() {
    for_seeds(|seed| {
        let cluster = Cluster::start(3, 2, seed);
        let subscriber = subscribe(&cluster, &Options::new(Version::V5, "lasting").persistent());
        let reader = thread::spawn(move || receive_all(subscriber, 2));
        let publishers: Vec<_> = (0..2)
            .map(|number| {
                let address = cluster.address;
                thread::spawn(move || {
                    Resuming::new(address, number, Random::new(seed * 31 + number)).publish_all();
                })
            })
            .collect();
        for thread in publishers {
            thread.join().expect("every publish is answered");
        }
        reader
            .join()
            .expect("every message arrives once and in order");
        assert!(
            cluster.links_broken() > 20,
            "only {} links broke",
            cluster.links_broken()
        );
    });
}

/// The direct lane promises delivery to nobody, but never order the wrong way round, and never a second copy [F-41].
#[test]
fn messages_of_qos_0_are_lost_at_worst() {
    for_seeds(|seed| {
        let cluster = Cluster::start(3, 2, seed);
        let mut subscriber = subscribe(&cluster, &Options::new(Version::V5, "passing"));
        let mut publisher = open(&cluster, &Options::new(Version::V5, "publisher"));
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = enough.clone();
        let writer = thread::spawn(move || {
            let begun = Instant::now();
            for number in 0.. {
                publisher.send_message(&Message::new("live/0", number.to_string()));
                thread::sleep(Duration::from_micros(500));
                if is_enough.load(Relaxed) || begun.elapsed() > PATIENCE {
                    break;
                }
            }
            // Through the log, behind all of them: a message that cannot be lost.
            publisher.publish(&Message::new("live/0", "end").qos(1));
        });
        let mut last = None;
        let mut count = 0;
        loop {
            let message = subscriber.receive();
            if message.text() == "end" {
                break;
            }
            let number: u32 = message.text().parse().expect("a number");
            assert!(last < Some(number), "{number} after {last:?}");
            (last, count) = (Some(number), count + 1);
            // While a link is away, whole runs of them are lost: how long it is away is not what counts here.
            enough.store(count >= MESSAGES / 4, Relaxed);
        }
        writer.join().expect("the last publish is answered");
        assert!(count >= MESSAGES / 4, "only {count} arrived");
    });
}

fn open(cluster: &Cluster, options: &Options) -> Client {
    let mut client = Client::dial(cluster.address, options.connect.version);
    client.send(&Packet::Connect(Box::new(options.connect.clone())));
    let connack = client.expect_connack();
    assert!(!connack.reason.is_error(), "{connack:?}");
    client
}

fn subscribe(cluster: &Cluster, options: &Options) -> Client {
    let mut client = open(cluster, options);
    client.subscribe_to(&[Filter::new("live/#", 2)]);
    client
}

fn publish_all(client: &mut Client, topic: &str, qos: u8) {
    let mut unanswered = VecDeque::new();
    for number in 0..MESSAGES {
        if unanswered.len() == WINDOW {
            finish(client, qos, unanswered.pop_front());
        }
        unanswered
            .push_back(client.send_message(&Message::new(topic, number.to_string()).qos(qos)));
    }
    for id in unanswered {
        finish(client, qos, Some(id));
    }
}

fn finish(client: &mut Client, qos: u8, id: Option<u16>) {
    let id = id.expect("the window is not empty");
    if qos == 1 {
        client.expect_puback(id);
        return;
    }
    client.expect_pubrec(id);
    client.send_pubrel(id);
    client.expect_pubcomp(id);
}

/// Receives the messages of `publishers` publishers, each in order.
fn receive_all(mut client: Client, publishers: u32) {
    let mut next: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..publishers * MESSAGES {
        let message = client.receive();
        let next = next.entry(message.topic.clone()).or_default();
        assert_eq!(message.text(), next.to_string(), "on {}", message.topic);
        *next += 1;
    }
    client.expect_nothing();
}

/// A publisher of QoS 2 that loses its connection now and then.
struct Resuming {
    address: std::net::SocketAddr,
    options: Options,
    topic: String,
    client: Client,
    random: Random,
    next: u32,
    /// By packet id: the number of the message, and whether PUBREC came.
    under_way: VecDeque<(u16, u32, bool)>,
}

impl Resuming {
    fn new(address: std::net::SocketAddr, number: u64, random: Random) -> Resuming {
        let options = Options::new(Version::V5, &format!("resuming-{number}")).persistent();
        let client = Client::dial(address, Version::V5);
        let topic = format!("live/{number}");
        let mut publisher = Resuming {
            address,
            options,
            topic,
            client,
            random,
            next: 0,
            under_way: VecDeque::new(),
        };
        publisher.connect();
        publisher
    }

    fn connect(&mut self) {
        self.client = Client::dial(self.address, Version::V5);
        self.client
            .send(&Packet::Connect(Box::new(self.options.connect.clone())));
        let connack = self.client.expect_connack();
        assert!(!connack.reason.is_error(), "{connack:?}");
        assert_eq!(
            connack.session_present,
            self.next > 0,
            "the session is kept [F-18]"
        );
        for (id, number, is_recorded) in self.under_way.clone() {
            if is_recorded {
                self.client.send_pubrel(id);
            } else {
                self.send(id, number, true);
            }
        }
    }

    fn send(&mut self, id: u16, number: u32, dup: bool) {
        let message = Message::new(&self.topic, number.to_string())
            .qos(2)
            .packet_id(id);
        self.client
            .send_message(&if dup { message.dup() } else { message });
    }

    fn publish_all(mut self) {
        while self.next < MESSAGES || !self.under_way.is_empty() {
            while self.under_way.len() < WINDOW && self.next < MESSAGES {
                let (id, number) = (self.next as u16 + 1, self.next);
                self.next += 1;
                self.under_way.push_back((id, number, false));
                self.send(id, number, false);
            }
            if self.random.one_in(40) {
                let fresh = Client::dial(self.address, Version::V5);
                std::mem::replace(&mut self.client, fresh).abort();
                self.connect();
            }
            self.take_answer();
        }
    }

    fn take_answer(&mut self) {
        match self.client.next(PATIENCE) {
            Event::Packet(Packet::Pubrec(ack)) => {
                let id = ack.packet_id.get();
                if let Some(entry) = self.under_way.iter_mut().find(|entry| entry.0 == id) {
                    entry.2 = true;
                    self.client.send_pubrel(id);
                }
            }
            Event::Packet(Packet::Pubcomp(ack)) => {
                self.under_way
                    .retain(|entry| entry.0 != ack.packet_id.get());
            }
            other => panic!("{other:?}, with {:?} under way", self.under_way),
        }
    }
}
