//! What waits for a reader, or in a lane of a group, in order. Of a long queue only both ends are entries in memory; between them are
//! parts that are bytes, which need not be in memory (`segment.rs`, `spill.rs`).
//!
//! ```text
//!   taken from here                                     added here
//!        front  |  middle: part, part, part, ...  |  back
//! ```

use std::{collections::VecDeque, sync::Arc};

use catena_mqtt::QoS;
use serde::{Deserialize, Serialize};

use crate::{group::GroupId, id::Time, reader::ReaderId, segment::Segment, store::MessageId};

/// What one part weighs at most, or one message if that is more.
pub(crate) const PART_BYTES: u64 = 256 * 1024;

/// Messages of one part.
pub(crate) const PART_MESSAGES: usize = 1_024;

/// Whose queue it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum QueueId {
    Reader(ReaderId),
    /// A lane of a group, whose messages are in the order of their sequence.
    Lane(GroupId, u8),
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub message: MessageId,
    /// The entry that published it.
    pub sequence: u64,
    pub qos: QoS,
    pub retain: bool,
    /// What the message weighs.
    pub weight: u32,
    /// What matched when it was published `[F-36]`.
    pub subscription_ids: Option<Arc<[u32]>>,
}

/// Messages that are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub segment: Arc<Segment>,
    pub messages: u32,
    /// What the messages weigh.
    pub weight: u64,
    /// The messages without a body in the segment, in order: each with a reference.
    pub shared: Box<[MessageId]>,
    /// Messages that came back after the part had left, and belong among its own: in the order of their sequence `[F-72]`.
    pub late: Vec<Queued>,
    /// The sequences of its first message and of its last.
    pub span: (u64, u64),
    /// When the last of those with a body and of the late ones expires; never before those without a body are gone.
    pub expires_at: Time,
}

impl Part {
    fn take_late(&mut self, queued: Queued, expires_at: Time) {
        self.messages += 1;
        self.weight += u64::from(queued.weight);
        self.span.0 = self.span.0.min(queued.sequence);
        self.expires_at = self.expires_at.max(expires_at);
        let place = self
            .late
            .partition_point(|other| other.sequence < queued.sequence);
        self.late.insert(place, queued);
    }
}

/// What [`Queue::pop`] finds.
pub(crate) enum Popped {
    Message(MessageId),
    Part(Part),
}

/// A queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    front: VecDeque<Queued>,
    middle: VecDeque<Part>,
    /// Empty while there is no middle.
    back: VecDeque<Queued>,
    front_bytes: u64,
    middle_messages: u64,
    middle_bytes: u64,
    back_bytes: u64,
    /// It is among the long queues of the shard.
    pub is_listed: bool,
}

impl Queue {
    /// Messages, wherever they are.
    pub fn len(&self) -> u64 {
        (self.front.len() + self.back.len()) as u64 + self.middle_messages
    }

    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.middle.is_empty()
    }

    /// Whether the next message is not in memory.
    pub fn is_out(&self) -> bool {
        self.front.is_empty() && !self.middle.is_empty()
    }

    /// The next message. There may be more behind it although there is none: [`Queue::is_out`].
    pub fn front(&self) -> Option<&Queued> {
        self.front.front()
    }

    /// The messages in memory at the front.
    pub fn front_messages(&self) -> impl Iterator<Item = &Queued> {
        self.front.iter()
    }

    /// The messages in memory at the back, when there are parts before them.
    pub fn back_messages(&self) -> impl Iterator<Item = &Queued> {
        self.back.iter()
    }

    pub fn pop_front(&mut self) -> Option<Queued> {
        self.remove(0)
    }

    /// Takes a message out of those in memory at the front.
    pub fn remove(&mut self, place: usize) -> Option<Queued> {
        let queued = self.front.remove(place)?;
        self.front_bytes -= u64::from(queued.weight);
        Some(queued)
    }

    pub fn push_front(&mut self, queued: Queued) {
        self.front_bytes += u64::from(queued.weight);
        self.front.push_front(queued);
    }

    pub fn push_back(&mut self, queued: Queued) {
        let weight = u64::from(queued.weight);
        if self.middle.is_empty() {
            self.front_bytes += weight;
            self.front.push_back(queued);
        } else {
            self.back_bytes += weight;
            self.back.push_back(queued);
        }
    }

    /// Puts a message in at its place by sequence, before others of the same: in a queue that is in this order.
    pub fn insert(&mut self, queued: Queued, expires_at: Time) {
        let sequence = queued.sequence;
        let is_before = |other: &Queued| other.sequence < sequence;
        if self
            .middle
            .front()
            .is_none_or(|part| sequence <= part.span.0)
        {
            self.front_bytes += u64::from(queued.weight);
            let place = self.front.partition_point(is_before);
            return self.front.insert(place, queued);
        }
        let next = self.middle.partition_point(|part| part.span.1 < sequence);
        match self.middle.get_mut(next) {
            Some(part) => {
                self.middle_messages += 1;
                self.middle_bytes += u64::from(queued.weight);
                part.take_late(queued, expires_at);
            }
            None => {
                self.back_bytes += u64::from(queued.weight);
                let place = self.back.partition_point(is_before);
                self.back.insert(place, queued);
            }
        }
    }

    /// What all parts weigh.
    pub fn parted_bytes(&self) -> u64 {
        self.middle_bytes
    }

    /// The sequence of the next message, wherever it is.
    pub fn first_sequence(&self) -> Option<u64> {
        let front = self.front.front().map(|queued| queued.sequence);
        front.or_else(|| self.middle.front().map(|part| part.span.0))
    }

    /// Whether a part's worth of messages, `part_bytes`, could leave memory.
    pub fn is_long(&self, part_bytes: u64) -> bool {
        if self.middle.is_empty() {
            self.front_bytes >= 2 * part_bytes
        } else {
            self.back_bytes >= part_bytes
        }
    }

    /// The next messages that may become a part: at most a part's worth, without as many at the front.
    pub fn cut(&mut self, part_bytes: u64) -> Vec<Queued> {
        if self.middle.is_empty() {
            let mut kept = 0;
            let keep = self.front.iter().position(|queued| {
                kept += u64::from(queued.weight);
                kept > part_bytes
            });
            // One stays in any case.
            self.back = self
                .front
                .split_off(keep.unwrap_or(self.front.len()).max(1));
            self.back_bytes = self
                .back
                .iter()
                .map(|queued| u64::from(queued.weight))
                .sum();
            self.front_bytes -= self.back_bytes;
        }
        let (mut cut, mut weight) = (Vec::new(), 0);
        while weight < part_bytes
            && cut.len() < PART_MESSAGES
            && let Some(queued) = self.back.pop_front()
        {
            weight += u64::from(queued.weight);
            cut.push(queued);
        }
        self.back_bytes -= weight;
        cut
    }

    /// Puts in what [`Queue::cut`] took, as a part.
    pub fn push_part(&mut self, part: Part) {
        self.middle_messages += u64::from(part.messages);
        self.middle_bytes += part.weight;
        self.middle.push_back(part);
        self.back.shrink_to(2 * PART_MESSAGES);
    }

    /// Takes the next part out, to put its messages at the front: only when [`Queue::is_out`].
    pub fn pop_part(&mut self) -> Option<Part> {
        let part = self.middle.pop_front()?;
        self.middle_messages -= u64::from(part.messages);
        self.middle_bytes -= part.weight;
        Some(part)
    }

    /// Puts in the messages of a part that was next, behind those at the front.
    pub fn push_loaded(&mut self, queued: Queued) {
        self.front_bytes += u64::from(queued.weight);
        self.front.push_back(queued);
    }

    /// After the last part there is no middle, and so no back.
    pub fn close_ranks(&mut self) {
        if self.middle.is_empty() {
            self.front.append(&mut self.back);
            self.front_bytes += std::mem::take(&mut self.back_bytes);
        }
    }

    /// The next parts.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.middle.iter()
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.middle.iter_mut()
    }

    /// Takes anything out, the first first.
    pub fn pop(&mut self) -> Option<Popped> {
        if let Some(queued) = self.pop_front() {
            return Some(Popped::Message(queued.message));
        }
        if let Some(part) = self.pop_part() {
            self.close_ranks();
            return Some(Popped::Part(part));
        }
        None
    }

    /// What the messages from the `from`th on weigh, looking at `steps` places or so; and the next that was not weighed.
    pub fn weigh(&self, from: u64, steps: usize) -> (u64, Option<u64>) {
        let (mut at, mut bytes, mut left) = (0, 0, steps);
        let singles =
            |messages: &VecDeque<Queued>, at: &mut u64, bytes: &mut u64, left: &mut usize| {
                let skip = from.saturating_sub(*at).min(messages.len() as u64) as usize;
                let end = (skip + *left).min(messages.len());
                *bytes += messages
                    .range(skip..end)
                    .map(|queued| u64::from(queued.weight))
                    .sum::<u64>();
                *left -= end - skip;
                *at += end as u64;
                end == messages.len()
            };
        if !singles(&self.front, &mut at, &mut bytes, &mut left) {
            return (bytes, Some(at));
        }
        for part in &self.middle {
            if left == 0 {
                return (bytes, Some(at));
            }
            // Parts are weighed whole, by their first message.
            if at >= from {
                bytes += part.weight;
                left -= 1;
            }
            at += u64::from(part.messages);
        }
        let is_all = singles(&self.back, &mut at, &mut bytes, &mut left);
        (bytes, (!is_all).then_some(at))
    }
}
