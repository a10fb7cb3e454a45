//! What the clients of a run saw, kept small: counters and ranges, whatever the length of the run.
//!
//! Pure: clients write down what happens to them, and [`check`](super::check) reads it.

mod gap;
mod ranges;
mod retained;
mod sent;
mod session;
mod subscription;
mod will;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

pub use self::{
    gap::{Gap, Waiting},
    ranges::Ranges,
    retained::{Retained, Seen},
    sent::Sent,
    session::Session,
    subscription::{Arrival, Subscription},
    will::{Ending, Wills},
};

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sends numbered messages.
    Publisher,
    /// Subscribes with a session that outlives its connections.
    Persistent,
    /// Subscribes with a session that ends with each connection.
    Ephemeral,
    /// Is one of several members of a shared subscription.
    Shared,
    /// Leaves a will, and goes with and without a word.
    Will,
    /// Subscribes to the wills.
    Watcher,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Publisher => "publisher",
            Kind::Persistent => "persistent subscriber",
            Kind::Ephemeral => "ephemeral subscriber",
            Kind::Shared => "shared group",
            Kind::Will => "will client",
            Kind::Watcher => "watcher of wills",
        })
    }
}

/// What happened to everybody.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By stream: what was published.
    pub sent: Vec<Sent>,
    /// What came in, by subscriber and by shared group.
    pub subscriptions: Vec<Subscription>,
    /// By client.
    pub sessions: Vec<Session>,
    /// By retained topic.
    pub retained: Vec<Retained>,
    /// By client with a will.
    pub wills: Vec<Wills>,
    /// The longest wait by kind of client.
    pub gaps: BTreeMap<Kind, Gap>,
    /// The same, since progress was told last.
    pub recent_gaps: BTreeMap<Kind, Gap>,
    /// What a client met that a broker never does, each sort once, with how often.
    pub oddities: BTreeMap<String, u64>,
}

impl History {
    /// Takes down a wait, if it is the longest of its kind.
    pub fn waited(&mut self, kind: Kind, gap: Gap) {
        for gaps in [&mut self.gaps, &mut self.recent_gaps] {
            let longest = gaps.entry(kind).or_default();
            if gap.length > longest.length {
                *longest = gap;
            }
        }
    }

    /// What came to a broker of a stream more than once, while it refuses some: it may have refused it the first time, which nobody has heard, and
    /// taken it the second. Then it comes behind later ones, and not to those who were away just then.
    pub fn in_doubt(&self, stream: usize) -> Ranges {
        match self.sent.iter().any(|sent| !sent.refused.is_empty()) {
            true => self.sent[stream].resent.clone(),
            false => Ranges::default(),
        }
    }

    /// What is missing of a stream to a subscriber.
    pub fn lost(&self, subscription: &Subscription, stream: usize) -> Ranges {
        let lost = subscription.lost(stream, &self.sent[stream]);
        match subscription.kind {
            Kind::Ephemeral => lost.without(&self.in_doubt(stream)),
            _ => lost,
        }
    }

    /// Takes down what no broker does.
    pub fn odd(&mut self, what: impl Into<String>) {
        *self.oddities.entry(what.into()).or_default() += 1;
    }
}
