//! Queues so long that most of them is on disk, in a broker that keeps everything: they outlive it, in order, and it needs no
//! more memory to come back than to go on. Those of sessions, and those of shared subscriptions.

use std::{collections::HashSet, fs, net::SocketAddr, time::Duration};

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    client::{Client, Event, Message, Options},
    cluster::{Process, new_directory},
    faults::turn,
};

use crate::{number, standalone::Standalone};

/// What is to outlive crashes.
pub struct Queue {
    pub filter: &'static str,
    pub messages: u32,
    /// Of a message.
    pub bytes: usize,
    /// Unanswered ones of the publisher.
    pub window: u32,
}

/// `few`, or with `make crash` `many`.
pub fn messages(few: u32, many: u32) -> u32 {
    match number("CATENA_CRASHES") {
        Some(_) => many,
        None => few,
    }
}

/// Unanswered ones of the subscriber.
pub const RECEIVE_MAXIMUM: u16 = 32;
pub const TOPIC: &str = "long/queue";
/// What the profile Tiny says: a gateway and one shard (docs/memory.md).
const MEMORY_KIB_MAX: u64 = (99 + 102) * 1024;

const BROKER: &str = "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {name: default}\nspec:\n  memoryProfile: Tiny\n  \
                      cardinality: {backendChain: {partitions: 1, workers: 1, redundancyFactor: 1}}\n  \
                      diskBackedMessageBuffer: {maxSize: 2Gi}\n  persistence: {maxSize: 4Gi}\n";

impl Queue {
    fn message(&self, number: u32) -> Message {
        let mut payload = number.to_string().into_bytes();
        payload.resize(self.bytes, b' ');
        Message::new(TOPIC, payload).qos(1)
    }

    fn is_shared(&self) -> bool {
        self.filter.starts_with("$share/")
    }
}

fn number_of(message: &Message) -> u32 {
    message.text().trim_end().parse().expect("one of ours")
}

/// Publishes from `from` up to `to`, and notes in which order they were accepted. What is refused for want of memory is sent again.
pub fn publish(address: SocketAddr, queue: &Queue, from: u32, to: u32, accepted: &mut Vec<u32>) {
    let mut client = Options::new(Version::V5, "publisher").open_at(address);
    let (mut next, mut again) = (from, Vec::new());
    while next < to || !again.is_empty() {
        let fresh = next..to.min(next + queue.window);
        next = fresh.end;
        let batch: Vec<u32> = again.drain(..).chain(fresh).collect();
        let sent: Vec<(u32, u16)> = batch
            .into_iter()
            .map(|number| (number, client.send_message(&queue.message(number))))
            .collect();
        for (number, id) in sent {
            match client.expect_puback(id).reason {
                ReasonCode::Success => accepted.push(number),
                ReasonCode::QuotaExceeded => again.push(number),
                other => panic!("{number} was answered with {other:?}"),
            }
        }
    }
}

/// What the subscriber has had.
#[derive(Default)]
pub struct Had {
    /// How many of those that were accepted, in their order.
    pub count: usize,
    maybe: HashSet<u32>,
}

/// Takes messages until `count` of the accepted ones have come, and as many more as there are on the way.
pub fn take(client: &mut Client, queue: &Queue, accepted: &[u32], count: usize, had: &mut Had) {
    let before: HashSet<u32> = accepted[..had.count].iter().copied().collect();
    while had.count < count {
        let message = client.expect_message();
        let number = number_of(&message);
        if accepted.get(had.count) == Some(&number) {
            had.count += 1;
        } else {
            // Nothing but what was on the way when the broker died may come again, and only what nobody answered may come besides.
            // What a member of a group had is sent as new.
            let is_again = (message.dup || queue.is_shared()) && before.contains(&number);
            let is_besides = had.maybe.remove(&number);
            assert!(
                is_again || is_besides,
                "{number} came where {:?} was due",
                accepted.get(had.count)
            );
        }
        client.send_puback(message.packet_id);
    }
}

/// What the process has had of memory at most.
pub fn peak_kib(process: &Process) -> u64 {
    let pid = process.pid().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.expect("Linux tells it").parse().expect("a number")
}

fn crash(broker: &mut Standalone, when: &str) {
    let peak = peak_kib(&broker.process);
    eprintln!("{when}: {} MiB of memory at most", peak / 1024);
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB {when}");
    broker.kill();
    broker.serve();
}

fn survive_in_order(queue: &Queue) {
    let _turn = turn();
    let resources = new_directory();
    fs::write(resources.join("broker.yaml"), BROKER).expect("the directory can be written");
    let more = format!("--resources {}", resources.display());
    let mut broker = Standalone::start(None, 1, &more);
    let away = Options::new(Version::V5, "away")
        .persistent()
        .clean_start(false)
        .receive_maximum(RECEIVE_MAXIMUM);
    let mut client = away.open_at(broker.address);
    client.subscribe(queue.filter, 1);
    client.disconnect();

    let (mut accepted, all) = (Vec::new(), queue.messages);
    let third = all / 3;
    publish(broker.address, queue, 0, third, &mut accepted);
    crash(&mut broker, "a third is there");
    publish(broker.address, queue, third, all, &mut accepted);
    crash(&mut broker, "all are there");
    // Some more, of which nobody hears: they may be there, and nowhere but at the end.
    let mut publisher = Options::new(Version::V5, "publisher").open_at(broker.address);
    let mut had = Had::default();
    for number in all..all + queue.window {
        publisher.send_message(&queue.message(number));
        had.maybe.insert(number);
    }
    crash(&mut broker, "after a start with all");

    for part in 1..=3 {
        let mut client = away.open_at(broker.address);
        assert!(client.connack().session_present, "the session is gone");
        take(
            &mut client,
            queue,
            &accepted,
            accepted.len() * part / 3,
            &mut had,
        );
        if part < 3 {
            crash(&mut broker, "while the queue is taken");
            continue;
        }
        // The last window, and whatever nobody answered.
        while let Event::Packet(Packet::Publish(publish)) = client.next(Duration::from_secs(1)) {
            let text = String::from_utf8_lossy(&publish.payload).into_owned();
            let number: u32 = text.trim_end().parse().expect("one of ours");
            assert!(had.maybe.remove(&number), "{number} came after all");
        }
    }
    assert_eq!(accepted.len(), all as usize);
    broker.assert_well();
    fs::remove_dir_all(&resources).expect("it is ours");
}

// So many messages are six times what the profile has memory for; `make crash` takes twenty times.
#[test]
fn long_queues_on_disk_survive_in_order_and_within_the_memory_of_the_profile() {
    survive_in_order(&Queue {
        filter: TOPIC,
        messages: messages(6_000, 20_000),
        bytes: 16 * 1024,
        window: 16,
    });
}

// A group whose members are away would fill the memory, lose what was acknowledged, or give it to them in another order. [F-70] [F-73]
#[test]
fn long_queues_of_shared_subscriptions_survive_like_those_of_sessions() {
    survive_in_order(&Queue {
        filter: "$share/group/long/+",
        messages: messages(50_000, 200_000),
        bytes: 1024,
        window: 128,
    });
}
