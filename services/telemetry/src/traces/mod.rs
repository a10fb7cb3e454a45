//! Traces: what happened to a message, step by step, for the few that are traced.
//!
//! Whoever has a part in it makes [`Span`]s and hands them to [`Spans`], which never waits: what has no room is counted and
//! gone. There they are written into [`pieces`] as they are to be sent, and `otlp` sends these. The context comes in W3C's words
//! ([`w3c`]) and travels with the message.

pub mod attributes;
mod encode;
pub mod pieces;
pub mod sampler;
pub mod w3c;
pub(crate) mod wire;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Notify, time::timeout};

use self::pieces::Pieces;
pub use self::{attributes::Attributes, pieces::Piece};
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

/// A step. What is said of it stands beside it, in [`Attributes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub place: Place,
    /// As `catena.publish`.
    pub name: &'static str,
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// What went wrong.
    pub error: Option<&'static str>,
}

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
    waiting: Mutex<Pieces>,
    /// As many as wait, about.
    count: AtomicUsize,
    made: AtomicU64,
    dropped: AtomicU64,
    came: Notify,
    filled: Notify,
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
        if room == 0 {
            self.change(Pieces::forget_spare);
        }
    }

    /// Takes a span of which `said` is said, if there is room for it.
    pub fn add(&self, span: &Span, said: &Attributes) {
        let room = self.inner.room.0.load(Relaxed);
        if room == 0 {
            return;
        }
        let (waited, is_full) = self.change(|pieces| {
            let waited = pieces.count();
            (waited, waited < room && pieces.write(span, said))
        });
        if waited >= room {
            return self.drop_some(1);
        }
        self.inner.made.fetch_add(1, Relaxed);
        if waited == 0 {
            self.inner.came.notify_one();
        }
        if is_full {
            self.inner.filled.notify_one();
        }
    }

    /// Takes all that wait; nothing if nothing has come.
    pub fn take(&self) -> Vec<Piece> {
        Piece::take(self, true)
    }

    /// Waits until something has come, and takes the pieces that are full as soon as one is; or all when nothing has filled one
    /// within `gather`. Cancel-safe.
    pub async fn next(&self, gather: Duration) -> Vec<Piece> {
        while self.change(|pieces| pieces.count() == 0) {
            self.inner.came.notified().await;
        }
        let filled = async {
            while !self.change(|pieces| pieces.has_full()) {
                self.inner.filled.notified().await;
            }
        };
        let has_full = timeout(gather, filled).await.is_ok();
        Piece::take(self, !has_full)
    }

    /// Spans that were not or could not be sent.
    pub fn drop_some(&self, count: usize) {
        self.inner.dropped.fetch_add(count as u64, Relaxed);
    }

    /// Spans that were not sent, or not even kept.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Relaxed)
    }

    /// The only place where the lock is held: nobody waits within.
    fn change<T>(&self, change: impl FnOnce(&mut Pieces) -> T) -> T {
        let waiting = self.inner.waiting.lock();
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut waiting);
        self.inner.count.store(waiting.count(), Relaxed);
        changed
    }
}

impl Source for Spans {
    fn collect(&self, samples: &mut Samples) {
        samples.add(&names::SPANS, [], self.inner.made.load(Relaxed));
        samples.add(&names::SPANS_DROPPED, [], self.dropped());
    }
}

#[cfg(test)]
pub(crate) mod tests;
