//! Traces: what happened to a message, step by step, for the few that are traced.
//!
//! Whoever has a part in it makes [`Span`]s and hands them to [`Spans`], which never waits: what has no room is counted and
//! gone. `otlp` sends them. The context comes in W3C's words ([`w3c`]) and travels with the message.

pub mod attributes;
pub mod sampler;
pub mod w3c;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

pub use self::attributes::Attributes;
use crate::{Samples, names, registry::Source};

/// Where in its trace a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub trace: u128,
    pub span: u64,
    /// The span that it is below; 0: none.
    pub parent: u64,
}

/// What a span is of, as OpenTelemetry tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message comes in from a client.
    Consumer,
    /// Within the broker.
    Internal,
    /// A message goes out to a client.
    Producer,
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub place: Place,
    /// As `catena.publish`.
    pub name: &'static str,
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    pub attributes: Attributes,
    /// What went wrong.
    pub error: Option<&'static str>,
}

/// What a span is counted with, in bytes, against the Broker's `cacheSizeMegabytes`.
pub const SPAN_BYTES: usize = 512;

/// The moment now, in nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Spans of all threads that wait to be sent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    inner: Arc<Inner>,
}

/// On a line of the processor's cache of its own: each message looks at it, and what is written beside it would be fetched each time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug, Default)]
struct Inner {
    /// 0 while there is nobody to send them to: none is made then.
    room: Apart<AtomicUsize>,
    waiting: Mutex<Vec<Span>>,
    /// As many as wait, about.
    count: AtomicUsize,
    made: AtomicU64,
    dropped: AtomicU64,
    came: Notify,
}

impl Spans {
    /// Whether anybody wants spans.
    pub fn are_wanted(&self) -> bool {
        self.inner.room.0.load(Relaxed) > 0
    }

    /// Whether there is room for a span now. Who begins a trace without it makes spans that are dropped: that is counted here.
    pub fn have_room(&self) -> bool {
        let has_room = self.inner.count.load(Relaxed) < self.inner.room.0.load(Relaxed);
        if !has_room {
            self.drop_some(1);
        }
        has_room
    }

    /// How many may wait; 0: none is wanted.
    pub fn set_room(&self, room: usize) {
        self.inner.room.0.store(room, Relaxed);
    }

    /// Takes a span, if there is room for it.
    pub fn add(&self, span: Span) {
        let room = self.inner.room.0.load(Relaxed);
        if room == 0 {
            return;
        }
        let mut waiting = self.lock();
        if waiting.len() >= room {
            drop(waiting);
            self.inner.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.push(span);
        self.inner.count.store(waiting.len(), Relaxed);
        let is_first = waiting.len() == 1;
        drop(waiting);
        self.inner.made.fetch_add(1, Relaxed);
        if is_first {
            self.inner.came.notify_one();
        }
    }

    /// Takes all that wait; none if nothing has come.
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = self.lock();
        self.inner.count.store(0, Relaxed);
        std::mem::take(&mut *waiting)
    }

    /// Waits until something has come. Cancel-safe.
    pub async fn came(&self) {
        if self.lock().is_empty() {
            self.inner.came.notified().await;
        }
    }

    /// Spans that could not be sent.
    pub fn drop_some(&self, count: usize) {
        self.inner.dropped.fetch_add(count as u64, Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        let waiting = self.inner.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Spans {
    fn collect(&self, samples: &mut Samples) {
        samples.add(&names::SPANS, [], self.inner.made.load(Relaxed));
        samples.add(&names::SPANS_DROPPED, [], self.inner.dropped.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(span: u64) -> Span {
        Span {
            place: Place {
                trace: 1,
                span,
                parent: 0,
            },
            name: "x",
            kind: Kind::Internal,
            start: 0,
            end: 0,
            attributes: Attributes::default(),
            error: None,
        }
    }

    // A collector that is away would fill our memory.
    #[test]
    fn spans_beyond_the_room_are_counted_and_gone() {
        let spans = Spans::default();
        spans.add(span(1));
        assert!(!spans.are_wanted() && spans.take().is_empty());
        spans.set_room(2);
        for number in 1..=5 {
            spans.add(span(number));
        }
        let kept: Vec<u64> = spans.take().iter().map(|span| span.place.span).collect();
        assert_eq!(kept, [1, 2]);
        assert_eq!(spans.inner.dropped.load(Relaxed), 3);
        spans.add(span(6));
        assert_eq!(spans.take().len(), 1);
    }
}
