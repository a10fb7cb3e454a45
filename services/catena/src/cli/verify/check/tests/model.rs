//! A broker in small that does all that it may do: connections break on both sides at any time, and
//! messages come again wherever the specification lets them. On demand it does one thing wrong.

use std::collections::{BTreeSet, VecDeque};

use catena_mqtt::QoS;

use crate::cli::verify::{
    history::{Arrival, History, Kind, Sent, Subscription},
    random::Random,
};

/// What it does wrong, once, to the persistent subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Never delivers a message.
    Lose,
    /// Delivers a QoS 2 message again as a new one.
    Double,
    /// Delivers two messages of a stream in the wrong order.
    Swap,
}

/// Two streams, a persistent and an ephemeral subscriber, and a shared group.
pub struct Model {
    random: Random,
    history: History,
    /// By subscription: what waits for delivery, as stream, number and whether it is sent again.
    queues: [VecDeque<(usize, u64, bool)>; 3],
    /// QoS 2 messages that the broker knows already.
    known: BTreeSet<u64>,
    stands: bool,
    sabotage: Option<Sabotage>,
    is_done: bool,
}

const PERSISTENT: usize = 0;
const EPHEMERAL: usize = 1;
const SHARED: usize = 2;
const STEPS: usize = 60;

impl Model {
    /// The broker that a seed makes.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Model {
        let mut history = History::default();
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            history.sent.push(Sent::new(0, "t", qos));
        }
        for kind in [Kind::Persistent, Kind::Ephemeral, Kind::Shared] {
            let subscription = Subscription::new(kind, 0, "#", vec![0, 1]);
            history.subscriptions.push(subscription);
        }
        history.subscriptions[PERSISTENT].granted(&history.sent);
        history.subscriptions[SHARED].granted(&history.sent);
        Model {
            random: Random::new(seed),
            history,
            queues: Default::default(),
            known: BTreeSet::new(),
            stands: false,
            sabotage,
            is_done: false,
        }
    }

    /// Whether the broker has done what it was to do wrong.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Goes on for a while, until everything is delivered.
    pub fn play(&mut self) -> History {
        for _ in 0..STEPS {
            match self.random.below(6) {
                0 | 1 => self.publish(),
                2 => self.deliver(PERSISTENT),
                3 => self.deliver(SHARED),
                4 => self.deliver(EPHEMERAL),
                _ => self.come_or_go(),
            }
        }
        for subscription in [PERSISTENT, SHARED, EPHEMERAL] {
            while !self.queues[subscription].is_empty() {
                self.deliver(subscription);
            }
        }
        self.history.clone()
    }

    /// Sends a few messages; the connection may break at any point, and again when they are resent.
    fn publish(&mut self) {
        let stream = self.random.below(2) as usize;
        let sent = &mut self.history.sent[stream];
        let mut open: VecDeque<u64> = (0..=self.random.below(5)).map(|_| sent.send()).collect();
        let mut again = false;
        while !open.is_empty() {
            if again {
                let sent = &mut self.history.sent[stream];
                open.iter().for_each(|&number| {
                    sent.resent.insert(number);
                });
            }
            let arrive = self.random.below(open.len() as u64 + 1) as usize;
            let answered = self.random.below(arrive as u64 + 1) as usize;
            for number in open.iter().take(arrive).copied().collect::<Vec<_>>() {
                self.accept(stream, number);
            }
            for number in open.drain(..answered) {
                self.history.sent[stream].acknowledged.insert(number);
            }
            again = true;
        }
    }

    fn accept(&mut self, stream: usize, number: u64) {
        let once = self.history.sent[stream].qos == QoS::ExactlyOnce;
        if once && !self.known.insert(number) {
            return;
        }
        for (subscription, queue) in self.queues.iter_mut().enumerate() {
            if subscription != EPHEMERAL || self.stands {
                queue.push_back((stream, number, false));
            }
        }
    }

    /// Delivers a few messages; the connection may break before some are acknowledged.
    fn deliver(&mut self, subscription: usize) {
        self.spoil(subscription);
        let queue = &mut self.queues[subscription];
        let count = self.random.below(queue.len() as u64 + 1) as usize;
        let batch: Vec<_> = queue.drain(..count).collect();
        for &message in &batch {
            self.take(subscription, message);
        }
        let unacknowledged = self.random.below(count as u64 + 1) as usize;
        if subscription == EPHEMERAL || self.random.below(3) > 0 {
            return;
        }
        // QoS 2 messages come again too, but their client knows them by their packet ids.
        for &(stream, number, _) in batch[count - unacknowledged..].iter().rev() {
            if self.history.sent[stream].qos == QoS::AtLeastOnce {
                // Another member of a group gets a message for the first time.
                let dup = subscription == PERSISTENT;
                self.queues[subscription].push_front((stream, number, dup));
            }
        }
    }

    fn take(&mut self, subscription: usize, (stream, sequence, dup): (usize, u64, bool)) {
        let arrival = Arrival {
            stream,
            sequence,
            qos: self.history.sent[stream].qos,
            dup,
        };
        self.history.subscriptions[subscription].take(arrival, &self.history.sent);
    }

    fn come_or_go(&mut self) {
        self.stands = !self.stands;
        let subscription = &mut self.history.subscriptions[EPHEMERAL];
        if self.stands {
            subscription.granted(&self.history.sent);
        } else {
            subscription.ended();
            self.queues[EPHEMERAL].clear();
        }
    }

    /// Does what is to be done wrong, when there is something to do it to.
    fn spoil(&mut self, subscription: usize) {
        if subscription != PERSISTENT || self.is_done {
            return;
        }
        let received = &self.history.subscriptions[PERSISTENT].streams;
        let queue = &mut self.queues[PERSISTENT];
        let first = queue.front().copied();
        match (self.sabotage, first) {
            (Some(Sabotage::Lose), Some((1, ..))) => {
                queue.pop_front();
            }
            (Some(Sabotage::Double), Some((1, number, _))) => {
                queue.push_front((1, number, false));
            }
            (Some(Sabotage::Swap), Some((0, one, _)))
                if queue.get(1).is_some_and(|(stream, two, _)| {
                    *stream == 0 && *two > one && !received[&0].received.contains(one)
                }) =>
            {
                queue.swap(0, 1);
            }
            _ => return,
        }
        self.is_done = true;
    }
}
