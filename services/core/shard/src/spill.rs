//! Long queues leave memory, part by part, when much of it is used, and come back when their reader is there `[F-65]`.
//!
//! What is decided here is decided by the state alone, so that all replicas part their queues alike; where the bytes of a part are
//! is for each host to see to. A part that has left counts as its place in the queue.

use std::{ops::Bound, sync::Arc};

use crate::{
    account::REFERENCE_BYTES,
    id::Time,
    job::Job,
    queue::{PART_BYTES, Part, Queued},
    reader::ReaderId,
    segment::{self, Segment},
    shard::Shard,
    store::MessageId,
};

/// From here on parts of long queues leave memory, in percent of the buffer: before publishes are refused.
pub const SPILL_PERCENT: u64 = 50;

/// A message that waits in so many places leaves memory from each of them; with more it stays.
const COPIES_MAX: u32 = 8;

/// What a part weighs that has left memory.
const PLACE_BYTES: u64 = 192;

/// What a message weighs in a part that has left, if it stays in memory itself.
const STAYING_BYTES: u64 = 8;

/// Units of work that it takes to part a queue, or to bring a part back `[F-60]`.
const PART_WORK: u32 = 32;

/// Parts that are made ready before their messages are due.
const FETCHED_AHEAD: usize = 4;

/// How many segments may have come about and gone unseen before those that are gone are forgotten.
const UNSEEN_MAX: usize = 1_024;

impl Shard {
    /// Segments that came about since the last call, for whoever would put them elsewhere.
    pub fn take_segments(&self) -> Vec<Arc<Segment>> {
        let mut made = self
            .segments
            .lock()
            .unwrap_or_else(|lock| lock.into_inner());
        let made = std::mem::take(&mut *made);
        made.iter().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Whether parts may leave memory, as far as hosts have said.
    pub fn is_spill_paused(&self) -> bool {
        self.spill_paused
    }

    /// A queue has grown: parts of long queues leave while memory is short.
    pub(crate) fn queue_has_grown(&mut self, id: ReaderId) {
        if self.settings.spill_bytes_max == 0 {
            return;
        }
        if let Some(reader) = self.readers.get_mut(id)
            && !reader.queue.is_listed
            && reader.queue.is_long()
        {
            reader.queue.is_listed = true;
            self.long_queues.insert(id);
        }
        if self.is_to_spill() {
            self.spill_next();
        }
    }

    /// Whether memory is short, a queue long, and room elsewhere.
    fn is_to_spill(&self) -> bool {
        !self.spill_paused
            && !self.long_queues.is_empty()
            && self.spilled_bytes + PART_BYTES <= self.settings.spill_bytes_max
            && self
                .account
                .is_above(SPILL_PERCENT, self.settings.buffer_bytes)
    }

    /// No queue grows, for publishes are refused, or there was no room before: a job looks what can leave memory.
    pub(crate) fn spill_later(&mut self) {
        if self.is_to_spill() && !self.spill_has_job {
            self.spill_has_job = true;
            self.jobs.push_back(Job::Spill);
        }
    }

    pub(crate) fn spill_more(&mut self) {
        self.spill_has_job = false;
        while self.work > 0 && self.is_to_spill() {
            self.spill_next();
        }
        self.spill_later();
    }

    /// From here on parts may leave memory: finds queues that are long already. Not counted as work, for it happens once.
    pub(crate) fn list_long_queues(&mut self) {
        let ids = self.readers.iter().filter(|(_, row)| row.queue.is_long());
        self.long_queues = ids.map(|(id, _)| id).collect();
        for id in &self.long_queues {
            if let Some(reader) = self.readers.get_mut(*id) {
                reader.queue.is_listed = true;
            }
        }
    }

    /// Brings one part of the next long queue out of memory.
    fn spill_next(&mut self) {
        let after = (Bound::Excluded(self.spilled_last), Bound::Unbounded);
        let next = self.long_queues.range(after).next();
        let Some(id) = next.or_else(|| self.long_queues.first()).copied() else {
            return;
        };
        self.spilled_last = id;
        self.spill(id);
        let is_long = self.readers.get_mut(id).is_some_and(|reader| {
            reader.queue.is_listed = reader.queue.is_long();
            reader.queue.is_listed
        });
        if !is_long {
            self.long_queues.remove(&id);
        }
    }

    fn spill(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id).filter(|r| r.queue.is_long()) else {
            return;
        };
        let cut = reader.queue.cut();
        let weight = cut
            .iter()
            .map(|queued| u64::from(queued.weight))
            .sum::<u64>();
        let mut bytes = Vec::with_capacity(weight as usize);
        let (mut shared, mut expires_at) = (Vec::new(), Time::default());
        for queued in &cut {
            let ids = queued.subscription_ids.as_deref().unwrap_or_default();
            let head = (queued.sequence, queued.qos, queued.retain);
            if self.store.references(queued.message) > COPIES_MAX {
                segment::put(&mut bytes, head, ids, None);
                shared.push(queued.message);
                expires_at = Time::NEVER;
                self.account.remove(REFERENCE_BYTES - STAYING_BYTES);
            } else {
                let message = self.store.message(queued.message).clone();
                let expiry = self.store.expires_at(queued.message);
                segment::put(&mut bytes, head, ids, Some((&message, expiry)));
                expires_at = expires_at.max(expiry);
                self.store.release(queued.message, &mut self.account);
            }
        }
        bytes.shrink_to_fit();
        let segment = Arc::new(Segment::new(bytes.into()));
        self.spilled_bytes += segment.len() as u64;
        self.account.add(PLACE_BYTES);
        self.stats.spilled += cut.len() as u64;
        self.work = self.work.saturating_sub(PART_WORK);
        self.note_segment(&segment);
        let part = Part {
            segment,
            messages: cut.len() as u32,
            weight,
            shared: shared.into(),
            expires_at,
        };
        if let Some(reader) = self.readers.get_mut(id) {
            reader.queue.push_part(part);
        }
    }

    pub(crate) fn note_segment(&self, segment: &Arc<Segment>) {
        let mut made = self
            .segments
            .lock()
            .unwrap_or_else(|lock| lock.into_inner());
        if made.len() >= UNSEEN_MAX {
            made.retain(|segment| segment.strong_count() > 0);
        }
        made.push(Arc::downgrade(segment));
    }

    /// After a restore all segments are in memory.
    pub(crate) fn note_all_segments(&mut self) {
        let parts = self.readers.iter().flat_map(|(_, r)| r.queue.parts());
        let all = parts.map(|part| Arc::downgrade(&part.segment)).collect();
        *self
            .segments
            .get_mut()
            .unwrap_or_else(|lock| lock.into_inner()) = all;
    }

    /// Brings the next messages of a queue back to memory if it has none of them there.
    pub(crate) fn refill(&mut self, id: ReaderId) {
        while let Some(reader) = self.readers.get_mut(id).filter(|r| r.queue.is_out()) {
            let Some(part) = reader.queue.pop_part() else {
                return;
            };
            for next in reader.queue.parts().take(FETCHED_AHEAD) {
                next.segment.fetch();
            }
            self.load(id, part);
            if let Some(reader) = self.readers.get_mut(id) {
                reader.queue.close_ranks();
            }
        }
    }

    /// The reader is there: what it is owed next is made ready.
    pub(crate) fn fetch_ahead(&self, id: ReaderId) {
        if let Some(reader) = self.readers.get(id) {
            for part in reader.queue.parts().take(FETCHED_AHEAD) {
                part.segment.fetch();
            }
        }
    }

    fn load(&mut self, id: ReaderId, mut part: Part) {
        self.work = self.work.saturating_sub(PART_WORK);
        if part.expires_at <= self.now {
            // Nobody waits for any of it, and nobody reads it.
            self.stats.expired += u64::from(part.messages);
            self.forget_part(part);
            return;
        }
        let mut bytes = part.segment.read();
        let mut shared = std::mem::take(&mut part.shared).into_vec().into_iter();
        self.forget_part(part);
        while let Some(entry) = segment::take(&mut bytes) {
            let message = match entry.body {
                Some(body) => {
                    let message = Arc::new(body.message);
                    self.store
                        .insert_as_it_is(message, body.expires_at, &mut self.account)
                }
                None => match shared.next() {
                    Some(message) => {
                        self.account.add(REFERENCE_BYTES - STAYING_BYTES);
                        message
                    }
                    None => return,
                },
            };
            let ids = entry.subscription_ids;
            let queued = Queued {
                message,
                sequence: entry.sequence,
                qos: entry.qos,
                retain: entry.retain,
                weight: self.store.weight(message),
                subscription_ids: (!ids.is_empty()).then(|| ids.as_slice().into()),
            };
            if let Some(reader) = self.readers.get_mut(id) {
                reader.queue.push_loaded(queued);
            }
        }
    }

    /// A part is no longer in a queue; returns how many messages of it had stayed in memory.
    pub(crate) fn forget_part(&mut self, part: Part) -> usize {
        self.spilled_bytes = self.spilled_bytes.saturating_sub(part.segment.len() as u64);
        self.account.remove(PLACE_BYTES);
        for message in &part.shared {
            self.give_up_shared(*message);
        }
        part.shared.len()
    }

    fn give_up_shared(&mut self, message: MessageId) {
        self.account.add(REFERENCE_BYTES - STAYING_BYTES);
        self.store.release(message, &mut self.account);
    }
}
