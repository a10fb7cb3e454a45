//! Long queues leave memory, part by part, when much of it is used, and come back when who takes from them is there `[F-65]`: those of
//! readers, and the lanes of groups `[F-70]`.
//!
//! What is decided here is decided by the state alone, so that all replicas part their queues alike; where the bytes of a part are
//! is for each host to see to. A part that has left counts as its place in the queue.

use std::{ops::Bound, sync::Arc};

use crate::{
    account::REFERENCE_BYTES,
    group::HASHED_LANES,
    id::Time,
    job::Job,
    queue::{PART_BYTES, Part, Queue, QueueId, Queued},
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

/// What the first parts of a hashed lane weigh, as a share of the buffer: a group has many lanes, and each keeps up to two parts' worth
/// in memory.
const LANE_PARTS: u64 = 1_024;

/// And what they weigh at least.
const LANE_PART_BYTES_MIN: u64 = 4 * 1024;

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

    pub(crate) fn queue(&self, id: QueueId) -> Option<&Queue> {
        match id {
            QueueId::Reader(reader) => self.readers.get(reader).map(|reader| &reader.queue),
            QueueId::Lane(group, lane) => self.groups.get(group)?.lanes.get(&lane),
        }
    }

    fn queue_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        match id {
            QueueId::Reader(reader) => self.readers.get_mut(reader).map(|reader| &mut reader.queue),
            QueueId::Lane(group, lane) => self.groups.get_mut(group)?.lanes.get_mut(&lane),
        }
    }

    /// All queues, in one order on all replicas.
    fn queues(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        let readers = self.readers.iter();
        let readers = readers.map(|(id, reader)| (QueueId::Reader(id), &reader.queue));
        let lanes = self.groups.iter().flat_map(|(id, group)| {
            let lanes = group.lanes.iter();
            lanes.map(move |(lane, queue)| (QueueId::Lane(id, *lane), queue))
        });
        readers.chain(lanes)
    }

    /// All parts, in the order of their queues.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.queues().flat_map(|(_, queue)| queue.parts())
    }

    /// Puts other segments in the place of all; returns those that were there, in the order of the parts.
    pub(crate) fn exchange_segments(&mut self, other: impl Fn() -> Segment) -> Vec<Arc<Segment>> {
        let is_parted = |queue: &Queue| queue.parts().next().is_some();
        let parted = self.queues().filter(|(_, queue)| is_parted(queue));
        let ids: Vec<QueueId> = parted.map(|(id, _)| id).collect();
        let mut segments = Vec::new();
        for id in ids {
            for part in self.queue_mut(id).into_iter().flat_map(Queue::parts_mut) {
                segments.push(std::mem::replace(&mut part.segment, Arc::new(other())));
            }
        }
        segments
    }

    /// What the next part of a queue is to weigh. Those of a lane grow with it, so that what it keeps until there is enough for a part
    /// weighs no more than its parts do that have left.
    fn part_bytes(&self, id: QueueId) -> u64 {
        if let Some(bytes) = self.switches.part_bytes() {
            return bytes;
        }
        match id {
            QueueId::Lane(_, lane) if lane < HASHED_LANES => {
                let first = (self.settings.buffer_bytes / LANE_PARTS).max(LANE_PART_BYTES_MIN);
                let parted = self.queue(id).map_or(0, Queue::parted_bytes);
                let next = parted.saturating_mul(PLACE_BYTES).isqrt();
                first.max(next).min(PART_BYTES)
            }
            _ => PART_BYTES,
        }
    }

    /// A queue has grown: parts of long queues leave while memory is short.
    pub(crate) fn queue_has_grown(&mut self, id: QueueId) {
        if self.settings.spill_bytes_max == 0 {
            return;
        }
        let part_bytes = self.part_bytes(id);
        if let Some(queue) = self.queue_mut(id)
            && !queue.is_listed
            && queue.is_long(part_bytes)
        {
            queue.is_listed = true;
            self.long_queues.insert(id);
        }
        if self.is_to_spill() {
            self.spill_next();
        }
    }

    /// Whether memory is short, a queue long, and room elsewhere.
    fn is_to_spill(&self) -> bool {
        !self.long_queues.is_empty()
            && self.has_room_elsewhere()
            && (self.switches.part_bytes().is_some()
                || self
                    .account
                    .is_above(SPILL_PERCENT, self.settings.buffer_bytes))
    }

    fn has_room_elsewhere(&self) -> bool {
        !self.spill_paused && self.spilled_bytes + PART_BYTES <= self.settings.spill_bytes_max
    }

    /// Whether parts may leave memory, and nothing more fits where they go.
    pub(crate) fn is_full_elsewhere(&self) -> bool {
        self.settings.spill_bytes_max > 0 && !self.has_room_elsewhere()
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
        let is_long = |(id, queue): &(QueueId, &Queue)| queue.is_long(self.part_bytes(*id));
        let ids: Vec<QueueId> = self.queues().filter(is_long).map(|(id, _)| id).collect();
        for id in &ids {
            if let Some(queue) = self.queue_mut(*id) {
                queue.is_listed = true;
            }
        }
        self.long_queues = ids.into_iter().collect();
    }

    /// Brings one part of the next long queue out of memory.
    fn spill_next(&mut self) {
        let after = self.spilled_last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.long_queues.range((after, Bound::Unbounded)).next();
        let Some(id) = next.or_else(|| self.long_queues.first()).copied() else {
            return;
        };
        self.spilled_last = Some(id);
        self.spill(id);
        let part_bytes = self.part_bytes(id);
        let is_long = self.queue_mut(id).is_some_and(|queue| {
            queue.is_listed = queue.is_long(part_bytes);
            queue.is_listed
        });
        if !is_long {
            self.long_queues.remove(&id);
        }
    }

    fn spill(&mut self, id: QueueId) {
        let part_bytes = self.part_bytes(id);
        let queue = self.queue_mut(id).filter(|queue| queue.is_long(part_bytes));
        let Some(cut) = queue.map(|queue| queue.cut(part_bytes)) else {
            return;
        };
        let (Some(first), Some(last)) = (cut.first(), cut.last()) else {
            return;
        };
        let span = (first.sequence, last.sequence);
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
            late: Vec::new(),
            span,
            expires_at,
        };
        if let Some(queue) = self.queue_mut(id) {
            queue.push_part(part);
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
        let parts = self.parts();
        let all = parts.map(|part| Arc::downgrade(&part.segment)).collect();
        *self
            .segments
            .get_mut()
            .unwrap_or_else(|lock| lock.into_inner()) = all;
    }

    /// Brings the next messages of a queue back to memory if it has none of them there. A lane in which nothing waits any more is gone.
    pub(crate) fn refill(&mut self, id: QueueId) {
        while let Some(queue) = self.queue_mut(id).filter(|queue| queue.is_out()) {
            let Some(part) = queue.pop_part() else {
                return;
            };
            for next in queue.parts().take(FETCHED_AHEAD) {
                next.segment.fetch();
            }
            self.load(id, part);
            if let Some(queue) = self.queue_mut(id) {
                queue.close_ranks();
            }
        }
        if let QueueId::Lane(group, lane) = id
            && let Some(group) = self.groups.get_mut(group)
        {
            group.tidy(lane);
        }
    }

    /// The reader is there: what it is owed next, by itself or as a member of groups, is made ready.
    pub(crate) fn fetch_ahead(&self, id: ReaderId) {
        let Some(reader) = self.readers.get(id) else {
            return;
        };
        for part in reader.queue.parts().take(FETCHED_AHEAD) {
            part.segment.fetch();
        }
        for group in reader.groups.iter().filter_map(|id| self.groups.get(*id)) {
            for part in group.lanes.values().filter_map(|lane| lane.parts().next()) {
                part.segment.fetch();
            }
        }
    }

    fn load(&mut self, id: QueueId, mut part: Part) {
        self.work = self.work.saturating_sub(PART_WORK);
        if part.expires_at <= self.now {
            // Nobody waits for any of it, and nobody reads it.
            self.stats.expired += u64::from(part.messages);
            self.forget_part(part);
            return;
        }
        let mut bytes = part.segment.read();
        let mut shared = std::mem::take(&mut part.shared).into_vec().into_iter();
        let mut late = std::mem::take(&mut part.late).into_iter().peekable();
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
                    None => break,
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
            if let Some(queue) = self.queue_mut(id) {
                while let Some(late) = late.next_if(|late| late.sequence <= queued.sequence) {
                    queue.push_loaded(late);
                }
                queue.push_loaded(queued);
            }
        }
        if let Some(queue) = self.queue_mut(id) {
            late.for_each(|late| queue.push_loaded(late));
        }
    }

    /// A part is no longer in a queue; returns how many messages of it had stayed in memory.
    pub(crate) fn forget_part(&mut self, part: Part) -> usize {
        self.spilled_bytes = self.spilled_bytes.saturating_sub(part.segment.len() as u64);
        self.account.remove(PLACE_BYTES);
        for message in &part.shared {
            self.give_up_shared(*message);
        }
        for late in &part.late {
            self.store.release(late.message, &mut self.account);
        }
        part.shared.len() + part.late.len()
    }

    fn give_up_shared(&mut self, message: MessageId) {
        self.account.add(REFERENCE_BYTES - STAYING_BYTES);
        self.store.release(message, &mut self.account);
    }
}
