//! Who takes part in a run, and to which topics: decided before anything is sent, by the seed.

use std::time::Duration;

use bytes::Bytes;
use catena_mqtt::{ByteString, QoS, Version, filter::Filter, packet::Connect};

use super::{
    endpoint::Endpoint,
    history::{History, Kind, Retained, Sent, Session, Subscription, Wills},
    random::Random,
};

/// How long a broker may keep a persistent session without its client, in seconds: longer than any
/// outage that a run means to survive.
const SESSION_EXPIRY_SECONDS: u32 = 3_600;

/// How long a run publishes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// That long.
    Time(Duration),
    /// That many messages of all publishers together.
    Messages(u64),
}

/// Who looks at how far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    Nobody,
    /// On a terminal.
    People,
    /// In lines of JSON.
    Program,
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    pub endpoints: Vec<Endpoint>,
    pub version: Version,
    pub username: Option<String>,
    pub password: Option<Bytes>,
    pub keep_alive: u16,
    pub seed: u64,
    /// Tells this run's clients, topics and messages from those of another.
    pub run: u32,
    pub prefix: String,
    pub publishers: usize,
    /// Topics of each publisher.
    pub topics: usize,
    pub persistent: usize,
    pub ephemeral: usize,
    pub groups: usize,
    /// Members of each group.
    pub members: usize,
    pub wills: usize,
    /// The QoS of a message is one of these, each as likely as it is often there.
    pub qos: Vec<QoS>,
    /// One of so many messages is retained; 0: none.
    pub retain_every: u64,
    pub length: Length,
    /// Messages per second of all publishers together.
    pub rate: f64,
    /// Bytes of a payload.
    pub size: usize,
    /// Messages that one publisher may have unanswered.
    pub window: usize,
    /// How long a client stays at one place, about; `None`: until it is thrown out.
    pub churn: Option<Duration>,
    /// The first wait before a client connects again, and the longest.
    pub backoff: (Duration, Duration),
    /// How long what is missing may still come when publishing is over.
    pub settle: Duration,
    /// Who looks at how far it has come.
    pub audience: Audience,
}

/// Where one publisher sends: streams of its history.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// By topic, then by QoS.
    pub streams: Vec<Vec<(QoS, usize)>>,
    /// The stream and number of its retained topic.
    pub retained: Option<(usize, usize)>,
}

/// One who subscribes.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Unique within the run.
    pub name: String,
    /// How it appears.
    pub kind: Kind,
    /// Its session in the history.
    pub session: usize,
    /// Its subscription in the history; `None` for the one who watches the wills.
    pub subscription: Option<usize>,
    /// What it sends in SUBSCRIBE.
    pub filter: String,
}

/// One with a will.
#[derive(Debug, Clone)]
pub struct Testator {
    /// Its session in the history.
    pub session: usize,
    /// Its wills in the history.
    pub wills: usize,
}

/// Everybody.
#[derive(Debug, Clone)]
pub struct Cast {
    /// With their sessions in the history.
    pub publishers: Vec<(usize, Outlets)>,
    pub subscribers: Vec<Subscriber>,
    pub testators: Vec<Testator>,
}

impl Plan {
    /// All that take part, and the empty history that they are to fill.
    pub fn cast(&self) -> (Cast, History) {
        let mut history = History::default();
        let publishers = (0..self.publishers)
            .map(|number| self.publisher(number, &mut history))
            .collect();
        let subscribers = self.subscribers(&mut history);
        let testators = (0..self.wills)
            .map(|number| {
                history.wills.push(Wills::new(self.will_topic(number)));
                Testator {
                    session: session(&mut history, Kind::Will, number),
                    wills: number,
                }
            })
            .collect();
        let cast = Cast {
            publishers,
            subscribers,
            testators,
        };
        (cast, history)
    }

    /// The retained topics of all publishers.
    pub fn retained_filter(&self) -> String {
        format!("{}/r/+", self.root())
    }

    /// The CONNECT of a client that comes to stay, or not.
    pub fn connect(&self, name: &str, persistent: bool) -> Connect {
        Connect {
            clean_start: !persistent,
            keep_alive: self.keep_alive,
            session_expiry: persistent.then_some(SESSION_EXPIRY_SECONDS),
            username: self.username.as_deref().map(ByteString::from),
            password: self.password.clone(),
            ..Connect::new(self.version, self.client_id(name))
        }
    }

    /// The client identifier of one who takes part.
    pub fn client_id(&self, name: &str) -> String {
        format!("{}-{:08x}-{name}", self.prefix, self.run)
    }

    fn root(&self) -> String {
        format!("{}/{:08x}", self.prefix, self.run)
    }

    fn will_topic(&self, number: usize) -> String {
        format!("{}/w/{number}", self.root())
    }

    /// Each QoS of the mix once.
    fn qualities(&self) -> Vec<QoS> {
        let mut qualities = self.qos.clone();
        qualities.sort_unstable_by_key(|qos| *qos as u8);
        qualities.dedup();
        qualities
    }

    fn publisher(&self, number: usize, history: &mut History) -> (usize, Outlets) {
        let mut stream = |topic: &str, qos| {
            history.sent.push(Sent::new(number, topic, qos));
            history.sent.len() - 1
        };
        let qualities = self.qualities();
        let streams = (0..self.topics)
            .map(|topic| {
                let topic = format!("{}/p/{number}/{topic}", self.root());
                let qualities = qualities.iter();
                qualities.map(|&qos| (qos, stream(&topic, qos))).collect()
            })
            .collect();
        let retained = (self.retain_every > 0).then(|| {
            let topic = format!("{}/r/{number}", self.root());
            let stream = stream(&topic, qualities[number % qualities.len()]);
            history.retained.push(Retained::new(topic));
            (stream, history.retained.len() - 1)
        });
        let session = session(history, Kind::Publisher, number);
        (session, Outlets { streams, retained })
    }

    fn subscribers(&self, history: &mut History) -> Vec<Subscriber> {
        let mut random = Random::new(self.seed);
        let mut all = Vec::new();
        for (kind, count) in [
            (Kind::Persistent, self.persistent),
            (Kind::Ephemeral, self.ephemeral),
        ] {
            for number in 0..count {
                let filter = self.filter(number, &mut random);
                let subscription = subscription(history, kind, number, &filter);
                all.push(Subscriber {
                    name: format!(
                        "{}{number}",
                        if kind == Kind::Persistent {
                            "sub"
                        } else {
                            "eph"
                        }
                    ),
                    kind,
                    session: session(history, kind, number),
                    subscription: Some(subscription),
                    filter,
                });
            }
        }
        for group in 0..self.groups {
            let filter = format!("$share/g{group}/{}/p/#", self.root());
            let subscription = subscription(history, Kind::Shared, group, &filter);
            for member in 0..self.members {
                all.push(Subscriber {
                    name: format!("g{group}m{member}"),
                    kind: Kind::Shared,
                    session: session(history, Kind::Shared, group * self.members + member),
                    subscription: Some(subscription),
                    filter: filter.clone(),
                });
            }
        }
        if self.wills > 0 {
            all.push(Subscriber {
                name: "watcher".to_owned(),
                kind: Kind::Watcher,
                session: session(history, Kind::Watcher, 0),
                subscription: None,
                filter: format!("{}/w/+", self.root()),
            });
        }
        all
    }

    /// The first of each kind sees everything; the others differ, as filters live in different
    /// places of a broker.
    fn filter(&self, number: usize, random: &mut Random) -> String {
        let root = self.root();
        let publisher = random.below(self.publishers as u64);
        let topic = random.below(self.topics as u64);
        match (number, random.below(4)) {
            (0, _) | (_, 0) => format!("{root}/p/#"),
            (_, 1) => format!("{root}/p/{publisher}/#"),
            (_, 2) => format!("{root}/p/+/{topic}"),
            _ => format!("{root}/p/{publisher}/{topic}"),
        }
    }
}

fn session(history: &mut History, kind: Kind, number: usize) -> usize {
    let persistent = kind != Kind::Ephemeral;
    history
        .sessions
        .push(Session::new(kind, number, persistent));
    history.sessions.len() - 1
}

fn subscription(history: &mut History, kind: Kind, number: usize, filter: &str) -> usize {
    let plain = Filter::parse(filter).expect("a valid filter was made");
    let streams = history.sent.iter().enumerate();
    let matched = streams
        .filter(|(_, sent)| plain.matches(&sent.topic))
        .map(|(stream, _)| stream);
    let matched = matched.collect();
    let subscription = Subscription::new(kind, number, filter, matched);
    history.subscriptions.push(subscription);
    history.subscriptions.len() - 1
}
