//! What a shard holds for sessions: subscriptions, queues, what is in flight.

use std::ops::Bound;

use catena_mqtt::Filter;

use super::{ANSWER_BYTES_MAX, Named, ROWS_MAX, STEPS_MAX, rows};
use crate::{op::SubscriptionOptions, reader, shard::Shard};

/// What is held for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    pub of: Named,
    /// A connection has come here.
    pub is_attached: bool,
    pub subscriptions: u64,
    /// Messages that wait for it, without those of shared subscriptions.
    pub queued: u64,
    /// Deliveries that are not acknowledged; only those of persistent sessions are known here.
    pub in_flight: u64,
    /// What their messages weigh.
    pub in_flight_bytes: u64,
    /// QoS 2 publishes of the client that wait for PUBREL.
    pub inbound: u64,
}

/// Some of a session's subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscriptions {
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    /// More follow after the last one.
    pub is_more: bool,
}

/// What a part of a queue weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueSlice {
    /// Payload, topic and properties of its messages, and what keeping them costs, as `Message::weight` counts.
    pub bytes: u64,
    /// The first message that was not weighed; `None` at the end.
    pub next: Option<u64>,
}

impl Shard {
    fn reader_of(&self, of: Named) -> Option<&reader::Reader> {
        let reader = self.readers.get(self.readers.find(of.client)?)?;
        // What only remembers an epoch is nothing that is held `[F-3]`.
        (reader.who.session == of.session && reader.holds_anything()).then_some(reader)
    }

    pub(super) fn show_readers(&self, sessions: &[Named]) -> Vec<Reader> {
        let show = |of: &Named| {
            let reader = self.reader_of(*of)?;
            let attached = reader.attached;
            Some(Reader {
                of: *of,
                is_attached: attached.is_some_and(|at| self.links.get(at.link).is_some()),
                subscriptions: reader.subscriptions.len() as u64,
                queued: reader.queue.len(),
                in_flight: reader.inflight.len() as u64,
                in_flight_bytes: reader.inflight.bytes(),
                inbound: reader.inbound.len() as u64,
            })
        };
        sessions.iter().take(ROWS_MAX).filter_map(show).collect()
    }

    pub(super) fn list_subscriptions(
        &self,
        of: Named,
        after: Option<&Filter>,
        limit: u32,
    ) -> Subscriptions {
        let mut found = Subscriptions::default();
        let Some(reader) = self.reader_of(of) else {
            return found;
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut bytes = 0;
        for (filter, options) in reader.subscriptions.range((from, Bound::Unbounded)) {
            if found.subscriptions.len() >= rows(limit) || bytes >= ANSWER_BYTES_MAX {
                found.is_more = true;
                break;
            }
            bytes += filter.full().len();
            found.subscriptions.push((filter.clone(), *options));
        }
        found
    }

    pub(super) fn weigh_queue(&self, of: Named, from: u64) -> QueueSlice {
        let Some(reader) = self.reader_of(of) else {
            return QueueSlice::default();
        };
        let (bytes, next) = reader.queue.weigh(from, STEPS_MAX as usize);
        QueueSlice { bytes, next }
    }
}
