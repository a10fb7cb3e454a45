//! Questions about the state, for administrators: read-only, and bounded, so that none holds up the shard.
//!
//! A [`Query`] that would take more than [`STEPS_MAX`] steps answers with how far it came, and is asked again from there.
//! What changes between two of them may be missed or be new; what stays is answered once.

mod pattern;
mod readers;
mod retained;
mod sessions;

use bytestring::ByteString;
use catena_mqtt::Filter;
use serde::{Deserialize, Serialize};

pub use self::{
    pattern::{PATTERN_BYTES_MAX, Pattern, PatternTooLong},
    readers::{QueueSlice, Reader, Subscriptions},
    retained::{Retained, RetainedList, Summary},
    sessions::{Connection, Session, SessionFilter, Sessions, WillSummary},
};
use crate::{
    id::{ClientKey, SessionId},
    shard::Shard,
};

/// Places, entries or messages that one query looks at.
pub const STEPS_MAX: u32 = 2_000;

/// Rows of one answer.
pub const ROWS_MAX: usize = 1_000;

/// Bytes of the names in one answer; one row always fits.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A session on a shard that is not its home: only its key is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub client: ClientKey,
    pub session: SessionId,
}

/// A question to one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The sessions whose home it is, in the order of its table.
    Sessions {
        filter: SessionFilter,
        /// The place to begin at; 0 at first, then [`Sessions::next`].
        from: u32,
        /// Rows, at most [`ROWS_MAX`].
        limit: u32,
    },
    /// One session's record, on its home shard.
    Session { client: ClientKey },
    /// What is held for these sessions, at most [`ROWS_MAX`].
    Readers { sessions: Vec<Named> },
    /// A session's subscriptions here, in the order of their filters.
    Subscriptions {
        of: Named,
        after: Option<Filter>,
        /// Rows, at most [`ROWS_MAX`].
        limit: u32,
    },
    /// What the messages in a session's queue weigh, from the message at `from` on.
    Queue { of: Named, from: u64 },
    /// The retained messages that a filter matches, in the order of their topics, level by level.
    RetainedList {
        filter: Filter,
        after: Option<ByteString>,
        /// Rows, at most [`ROWS_MAX`].
        limit: u32,
    },
    /// A topic's retained message, with at most so many bytes of its payload.
    Retained {
        topic: ByteString,
        payload_bytes_max: u32,
    },
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Sessions(Sessions),
    Session(Option<Box<Session>>),
    /// Those of the sessions asked for of which anything is held.
    Readers(Vec<Reader>),
    Subscriptions(Subscriptions),
    Queue(QueueSlice),
    RetainedList(RetainedList),
    Retained(Option<Box<Retained>>),
}

impl Shard {
    /// Answers a question about the state as it is. Takes at most [`STEPS_MAX`] steps and a few more.
    pub fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Sessions {
                filter,
                from,
                limit,
            } => Answer::Sessions(self.list_sessions(filter, *from, *limit)),
            Query::Session { client } => Answer::Session(self.show_session(*client).map(Box::new)),
            Query::Readers { sessions } => Answer::Readers(self.show_readers(sessions)),
            Query::Subscriptions { of, after, limit } => {
                Answer::Subscriptions(self.list_subscriptions(*of, after.as_ref(), *limit))
            }
            Query::Queue { of, from } => Answer::Queue(self.weigh_queue(*of, *from)),
            Query::RetainedList {
                filter,
                after,
                limit,
            } => Answer::RetainedList(self.list_retained(filter, after.as_deref(), *limit)),
            Query::Retained {
                topic,
                payload_bytes_max,
            } => Answer::Retained(
                self.show_retained(topic, *payload_bytes_max as usize)
                    .map(Box::new),
            ),
        }
    }
}

/// Rows that an answer may have, given what was asked for.
fn rows(limit: u32) -> usize {
    (limit as usize).clamp(1, ROWS_MAX)
}
