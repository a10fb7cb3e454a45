//! The passport of messages that somebody watches: what a shard does with each, step by step.
//!
//! It is told beside the state and no part of it: nothing that is decided reads it, and a replica that nobody watches looks at one
//! flag for each message. Whoever hosts the shard says what is wanted ([`Shard::watch`]), and takes the steps after each turn.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use catena_mqtt::Filter;

use crate::{id::ClientKey, message::Message, shard::Shard, trace};

/// Steps that wait to be taken; more are counted alone.
pub const STEPS_MAX: usize = 4_096;

/// Messages that somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose wish it is.
    pub order: u64,
    pub of: Which,
}

/// Which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those that a client publishes, and what becomes of any message for it.
    Client(ClientKey),
    /// Those whose topic the filter matches.
    Topic(Filter),
    /// Those of a trace (W3C Trace Context).
    Trace(u128),
}

impl Which {
    /// Messages whose topic `filter` matches; `None` for what is no filter.
    pub fn topic(filter: &str) -> Option<Which> {
        Filter::parse(filter).ok().map(Which::Topic)
    }
}

/// All that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    pub wanted: Vec<Wanted>,
}

impl Watch {
    /// Who wants to hear of a message; empty: nobody. `reader`: whom this step of it concerns.
    pub fn orders(
        &self,
        topic: &str,
        publisher: ClientKey,
        trace: Option<u128>,
        reader: Option<ClientKey>,
    ) -> Vec<u64> {
        let is_wanted = |wanted: &&Wanted| match &wanted.of {
            Which::Client(client) => *client == publisher || Some(*client) == reader,
            Which::Topic(filter) => filter.matches(topic),
            Which::Trace(wanted) => Some(*wanted) == trace,
        };
        let orders = self.wanted.iter().filter(is_wanted);
        orders.map(|wanted| wanted.order).collect()
    }

    /// The same of a message as shards have it.
    pub fn orders_of(&self, message: &Message, reader: Option<ClientKey>) -> Vec<u64> {
        let trace = trace::read(&message.properties).map(|mark| mark.context.trace);
        self.orders(&message.topic, message.publisher, trace, reader)
    }
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The replica applied the publish.
    Applied,
    /// It is the retained message of its topic now.
    Retained,
    /// It waits in the queue of a reader, or of a shared subscription.
    Queued,
    /// It is on its way to the gateway of a reader.
    Sent,
    Dropped(Why),
}

/// Why a message went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No subscription matches.
    NoSubscriber,
    /// The publisher's connection has been replaced `[F-3]`.
    Replaced,
    /// QoS 2: it came before.
    Duplicate,
    /// The shard's memory, or the room for retained messages, is used up `[F-63]` `[F-66]`.
    Refused,
    /// QoS 0, or a session that ends with its connection: the reader is not connected.
    NotConnected,
    /// QoS 0, and the reader's gateway does not take what it is sent `[F-59]`.
    Congested,
    /// A newer one took its place in the queue `[F-65]`.
    QueueLimit,
    /// It expired while it waited.
    Expired,
    /// The session for which it waited has ended.
    SessionEnded,
}

/// A step.
#[derive(Debug, Clone)]
pub struct Step {
    pub message: Arc<Message>,
    /// Whom it concerns; `None`: the message as such.
    pub reader: Option<ClientKey>,
    pub what: What,
    /// It passed by the log, so that it waits for no commit `[F-41]`.
    pub is_direct: bool,
    pub orders: Vec<u64>,
}

/// What a shard has of it.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    is_on: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    watch: Arc<Watch>,
    steps: Vec<Step>,
    dropped: u64,
}

impl Watching {
    #[inline]
    pub fn note(&self, message: &Arc<Message>, reader: Option<ClientKey>, what: What) {
        if self.is_on.load(Relaxed) {
            self.note_step(message, reader, what, false);
        }
    }

    /// The same of a message that passes by the log.
    #[inline]
    pub fn note_direct(&self, message: &Arc<Message>, reader: Option<ClientKey>, what: What) {
        if self.is_on.load(Relaxed) {
            self.note_step(message, reader, what, true);
        }
    }

    #[cold]
    fn note_step(
        &self,
        message: &Arc<Message>,
        reader: Option<ClientKey>,
        what: What,
        is_direct: bool,
    ) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = inner.watch.orders_of(message, reader);
        if orders.is_empty() {
            return;
        }
        if inner.steps.len() >= STEPS_MAX {
            inner.dropped += 1;
            return;
        }
        inner.steps.push(Step {
            message: message.clone(),
            reader,
            what,
            is_direct,
            orders,
        });
    }
}

impl Shard {
    /// Tells steps of these messages from now on.
    pub fn watch(&self, watch: &Arc<Watch>) {
        let inner = self.watching.inner.lock();
        let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
        if inner.watch != *watch {
            inner.watch = watch.clone();
        }
        let is_on = !watch.wanted.is_empty();
        if !is_on {
            // Nobody takes them any more.
            (inner.steps, inner.dropped) = (Vec::new(), 0);
        }
        self.watching.is_on.store(is_on, Relaxed);
    }

    /// The steps since this was last asked, and how many there was no room for.
    pub fn take_steps(&self) -> (Vec<Step>, u64) {
        let inner = self.watching.inner.lock();
        let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
        let dropped = std::mem::take(&mut inner.dropped);
        (std::mem::take(&mut inner.steps), dropped)
    }
}
