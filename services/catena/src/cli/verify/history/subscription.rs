//! What came to one subscriber, or to one shared group.

use std::collections::BTreeMap;

use catena_mqtt::QoS;

use super::{Kind, Ranges, Sent};

/// A message that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its stream.
    pub stream: usize,
    /// Its number in the stream.
    pub sequence: u64,
    /// At which QoS it was delivered.
    pub qos: QoS,
    /// Whether the broker said that it may have delivered it before.
    pub dup: bool,
}

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Whose.
    pub kind: Kind,
    /// Which of its kind.
    pub number: usize,
    /// The filter.
    pub filter: String,
    /// By stream that the filter matches.
    pub streams: BTreeMap<usize, Received>,
    /// Messages that nobody published, or not to a topic that the filter matches.
    pub foreign: u64,
    /// All that came, repetitions included.
    pub deliveries: u64,
    /// Whether the subscription stands now.
    stands: bool,
}

/// What came of one stream.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// What came at least once.
    pub received: Ranges,
    /// What must come if it was acknowledged.
    owed: Ranges,
    /// What came again at QoS 2.
    pub doubled: Ranges,
    /// What came again at QoS 1 without DUP.
    pub repeated: Ranges,
    /// How often a message came again at QoS 1 with DUP.
    pub redelivered: u64,
    /// What came for the first time after a later one.
    pub reordered: Ranges,
    /// The first message since the subscription stands.
    start: u64,
    /// The highest since then.
    highest: Option<u64>,
}

impl Subscription {
    /// Nothing has come yet, and the subscription does not stand.
    pub fn new(kind: Kind, number: usize, filter: &str, streams: Vec<usize>) -> Subscription {
        Subscription {
            kind,
            number,
            filter: filter.to_owned(),
            streams: streams
                .into_iter()
                .map(|stream| (stream, Received::default()))
                .collect(),
            foreign: 0,
            deliveries: 0,
            stands: false,
        }
    }

    /// The broker has granted the subscription: what is sent from now on must come.
    ///
    /// For a persistent session only the first time counts: from then on the subscription stands,
    /// whatever becomes of the broker.
    pub fn granted(&mut self, sent: &[Sent]) {
        if self.stands {
            return;
        }
        self.stands = true;
        for (&stream, received) in &mut self.streams {
            received.start = sent[stream].next;
            received.highest = None;
        }
    }

    /// The session has ended with its connection, and the subscription with it.
    ///
    /// Messages may have been on their way, but there was no hole in what came until now.
    pub fn ended(&mut self) {
        let stood = std::mem::replace(&mut self.stands, false);
        for received in self.streams.values_mut() {
            if let Some(highest) = received.highest.take().filter(|_| stood) {
                received.owed.insert_range(received.start..highest + 1);
            }
        }
    }

    /// A message has come.
    pub fn take(&mut self, arrival: Arrival, sent: &[Sent]) {
        self.deliveries += 1;
        let known = self
            .streams
            .get_mut(&arrival.stream)
            .filter(|_| arrival.sequence < sent[arrival.stream].next);
        match known {
            Some(received) => received.take(arrival),
            None => self.foreign += 1,
        }
    }

    /// What is missing of a stream: owed, acknowledged and never delivered.
    pub fn lost(&self, stream: usize, sent: &Sent) -> Ranges {
        let received = &self.streams[&stream];
        let mut owed = received.owed.clone();
        if self.stands {
            owed.insert_range(received.start..sent.next);
        }
        owed.intersection(&sent.acknowledged)
            .without(&received.received)
    }
}

impl Received {
    fn take(&mut self, arrival: Arrival) {
        let Arrival { sequence, qos, .. } = arrival;
        if self.received.insert(sequence) {
            // What was first sent before the subscription stood, and again since, may come after
            // anything.
            if sequence >= self.start && self.highest.is_some_and(|highest| sequence < highest) {
                self.reordered.insert(sequence);
            }
        } else if qos == QoS::ExactlyOnce {
            self.doubled.insert(sequence);
        } else if arrival.dup {
            self.redelivered += 1;
        } else {
            self.repeated.insert(sequence);
        }
        if sequence >= self.start {
            self.highest = self.highest.max(Some(sequence));
        }
    }
}
