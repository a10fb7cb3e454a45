//! What is to be looked at when its time comes; only Tick fires it `[C-53]`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{home::HomeId, id::Time, reader::ReaderId, store::MessageId};

/// What a timer looks at. A timer that comes too early or for something gone does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// A session record: a held reply, a will, an expiry.
    Home(HomeId),
    /// A reader that may hold nothing any more `[F-3]`.
    Reader(ReaderId),
    /// A retained message that expires.
    Retained(MessageId),
}

/// All timers, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Timer)>,
}

impl Timers {
    pub fn set(&mut self, at: Time, timer: Timer) {
        if at != Time::NEVER {
            self.due.insert((at, timer));
        }
    }

    /// Takes back what [`Timers::set`] was told.
    pub fn cancel(&mut self, at: Time, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    /// The earliest time at which something is due.
    pub fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one timer that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
