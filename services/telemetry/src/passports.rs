//! Passports: what happens to messages that an administrator follows, on their way to him.
//!
//! He says which messages by an [`Order`]; each process is told of all orders there are ([`Passports::set`]). Its rooms look at one
//! number for each message; while there is no order that is all they do. What they see of a message that is wanted is a [`Step`],
//! which waits here, within [`STEPS_MAX`], until the control plane has it. Payloads are in none of this.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// Steps of a process that wait to be taken; more are counted alone.
pub const STEPS_MAX: usize = 8_192;

/// What somebody wants to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number, among those of one replica of the control plane.
    pub id: u64,
    pub of: Which,
}

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those that a client publishes, and what becomes of any message for it.
    Client(String),
    /// Those whose topic the filter matches.
    Topic(String),
    /// Those of a trace.
    Trace(u128),
}

/// A step of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Nanoseconds since 1970.
    pub at: u64,
    /// The orders that it is for.
    pub orders: Vec<u64>,
    pub kind: Kind,
    /// The name of the message: a trace, and the span that it is there. `None`: it was published before it was followed.
    pub name: Option<(u128, u64)>,
    pub topic: String,
    pub qos: u8,
    pub payload_bytes: u64,
    /// The hash of the publisher's client id.
    pub publisher: u128,
    /// Whom the step concerns.
    pub client: Option<Client>,
    pub shard: Option<u32>,
    /// Why, or how.
    pub detail: &'static str,
}

/// A client, as a process knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// By its id.
    Id(String),
    /// By its hash alone.
    Key(u128),
}

/// Bytes of a topic or client id in a step.
const TEXT_MAX: usize = 512;

/// As much of a topic or client id as a step has: either may have 64 KiB.
pub fn front(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A gateway has it from its publisher.
    Received,
    /// The publisher may publish to the topic.
    Authorized,
    /// He may not.
    Denied,
    /// It waits in the gateway before it goes to its shard.
    Waiting,
    /// It is on its way to its shard.
    Sent,
    /// The head of the chain has it in its log.
    Accepted,
    /// A replica between head and tail has applied it.
    Replicated,
    /// All replicas have it.
    Committed,
    /// The gateway knows, and answers the publisher.
    Answered,
    /// It is the retained message of its topic.
    Retained,
    /// It waits for a client.
    Queued,
    /// It is on its way to the gateway of a client.
    Dispatched,
    /// It was written to a client.
    Delivered,
    /// The client has acknowledged it.
    Acknowledged,
    Dropped,
}

/// The passports of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Passports {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Changes with the orders; 0: there never was one.
    version: AtomicU64,
    orders: Mutex<Arc<[Order]>>,
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    steps: Vec<Step>,
    dropped: u64,
}

impl Passports {
    /// These are all orders that there are.
    pub fn set(&self, orders: &[Order]) {
        let known = self.inner.orders.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if **known != *orders {
            *known = orders.into();
            self.inner.version.fetch_add(1, Relaxed);
        }
    }

    /// Changes whenever the orders do: one look for each message.
    #[inline]
    pub fn version(&self) -> u64 {
        self.inner.version.load(Relaxed)
    }

    /// All orders that there are.
    pub fn orders(&self) -> Arc<[Order]> {
        let orders = self.inner.orders.lock();
        orders.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a step, if there is room.
    pub fn add(&self, step: Step) {
        let mut waiting = self.waiting();
        if waiting.steps.len() >= STEPS_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.steps.push(step);
        let is_first = waiting.steps.len() == 1;
        drop(waiting);
        if is_first {
            self.inner.came.notify_one();
        }
    }

    /// So many steps could not even be told.
    pub fn drop_some(&self, count: u64) {
        self.waiting().dropped += count;
    }

    /// Takes all steps that wait, and how many there was no room for.
    pub fn take(&self) -> (Vec<Step>, u64) {
        let waiting = std::mem::take(&mut *self.waiting());
        (waiting.steps, waiting.dropped)
    }

    /// Waits until a step has come. Cancel-safe.
    pub async fn came(&self) {
        if self.waiting().steps.is_empty() {
            self.inner.came.notified().await;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        let waiting = self.inner.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64) -> Step {
        Step {
            at,
            orders: vec![1],
            kind: Kind::Received,
            name: None,
            topic: "t".to_owned(),
            qos: 0,
            payload_bytes: 0,
            publisher: 0,
            client: None,
            shard: None,
            detail: "",
        }
    }

    // Whoever follows a busy topic over a slow line would fill the memory of all processes, or would not know that he misses steps.
    #[test]
    fn steps_without_room_are_counted_and_gone() {
        let passports = Passports::default();
        for at in 0..STEPS_MAX as u64 + 3 {
            passports.add(step(at));
        }
        let (steps, dropped) = passports.take();
        assert_eq!((steps.len(), dropped), (STEPS_MAX, 3));
        assert_eq!(steps[0].at, 0);
        assert_eq!(passports.take(), (Vec::new(), 0));
    }

    // A client could make steps of 64 KiB each, which no message to the control plane has room for.
    #[test]
    fn of_long_texts_the_front_is_told() {
        assert_eq!(front("a/b"), "a/b");
        let long = format!("{}é", "x".repeat(TEXT_MAX - 1));
        assert_eq!(front(&long), "x".repeat(TEXT_MAX - 1));
    }

    // Rooms would go on with orders that are over, or look at them again for each message.
    #[test]
    fn the_version_changes_with_the_orders_alone() {
        let passports = Passports::default();
        assert_eq!(passports.version(), 0);
        passports.set(&[]);
        assert_eq!(passports.version(), 0);
        let order = Order {
            id: 1,
            of: Which::Trace(1),
        };
        passports.set(std::slice::from_ref(&order));
        passports.set(&[order]);
        assert_eq!(passports.version(), 1);
        passports.set(&[]);
        assert_eq!((passports.version(), passports.orders().len()), (2, 0));
    }
}
