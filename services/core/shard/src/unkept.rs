//! What the settings do not keep is dropped after a start from disk, by one entry `[C-59]`.
//!
//! Everything is in the one log, whatever the settings say: so all replicas hold the same, and the log needs no second kind. Only when
//! a shard goes on from a disk is that dropped which is not to outlive it: whole queues and retained messages of before, never what
//! came since, and never session records, subscriptions, and what is in flight.

use bytestring::ByteString;
use catena_mqtt::{filter, property};
use serde::{Deserialize, Serialize};

use crate::{
    group::GroupId,
    job::Job,
    message::Message,
    queue::{Queue, QueueId},
    reader::{Reader, ReaderId},
    retained::TopicKey,
    shard::Shard,
};

/// What of the messages outlives a start from disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    pub retained: Which,
    /// With [`Which::Custom`]: filters of topics whose retained messages are kept.
    pub retained_topics: Vec<ByteString>,
    /// Whose queues.
    pub queues: Which,
    /// The user property by which a message asks to be kept, and what it says. Empty: none does.
    pub property: (ByteString, ByteString),
}

/// All, none, or some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    #[default]
    All,
    None,
    /// Those that settings name; and with `asked` those that ask for it.
    Custom {
        asked: bool,
    },
}

/// Why a queue may be one of those that are kept, as its client's last CONNECT came to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// The settings name the client id.
    pub named: bool,
    /// The client asked for it.
    pub asked: bool,
}

/// How far the dropping has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unkept {
    /// What later entries brought stays.
    through: u64,
    readers_done: u32,
    groups: Vec<GroupId>,
    topic: Option<TopicKey>,
}

impl Durable {
    /// Whether nothing is ever dropped.
    pub fn is_all(&self) -> bool {
        self.retained == Which::All && self.queues == Which::All
    }

    /// Whether `message` asks to be kept.
    pub fn is_asked_by(&self, message: &Message) -> bool {
        let (name, value) = &self.property;
        !name.is_empty()
            && !message.properties.is_empty()
            && property::find_user_property(&message.properties, name) == Some(value)
    }

    fn keeps_retained(&self, message: &Message) -> bool {
        match self.retained {
            Which::All => true,
            Which::None => false,
            Which::Custom { asked } => {
                let mut topics = self.retained_topics.iter();
                topics.any(|topic| filter::matches(topic, &message.topic))
                    || (asked && self.is_asked_by(message))
            }
        }
    }

    fn keeps_queue(&self, reader: &Reader) -> bool {
        match self.queues {
            Which::All => true,
            Which::None => false,
            Which::Custom { asked } => reader.keeps.named || (asked && reader.keeps.asked),
        }
    }
}

impl Shard {
    /// How many entries were applied: messages of entries up to this one are those of before.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn would_drop_unkept(&self, through: u64) -> bool {
        through > self.dropped_through && !self.settings.durable.is_all()
    }

    pub(crate) fn drop_unkept(&mut self, through: u64) {
        self.dropped_through = through;
        let groups = self.groups.iter().map(|(id, _)| id).collect();
        self.jobs.push_back(Job::DropUnkept(Box::new(Unkept {
            through,
            readers_done: 0,
            groups,
            topic: None,
        })));
    }

    /// Goes on as far as the entry's work reaches; a job does the rest.
    pub(crate) fn drop_more_unkept(&mut self, mut unkept: Box<Unkept>) {
        let is_done = self.drop_queues(&mut unkept)
            && self.drop_groups(&mut unkept)
            && self.drop_retained(&mut unkept);
        if !is_done {
            self.jobs.push_back(Job::DropUnkept(unkept));
        }
    }

    fn drop_queues(&mut self, unkept: &mut Unkept) -> bool {
        while self.work > 0 {
            let Some(ids) = self.readers.ids_at(unkept.readers_done, 1) else {
                return true;
            };
            self.work -= 1;
            if !ids
                .into_iter()
                .all(|id| self.drop_queue(id, unkept.through))
            {
                return false;
            }
            unkept.readers_done += 1;
        }
        false
    }

    /// Whether the reader has nothing any more that is to go.
    fn drop_queue(&mut self, id: ReaderId, through: u64) -> bool {
        let is_kept = |reader: &Reader| self.settings.durable.keeps_queue(reader);
        if self.readers.get(id).is_none_or(is_kept) {
            return true;
        }
        loop {
            if self.work == 0 {
                return false;
            }
            self.refill(QueueId::Reader(id));
            let Some(reader) = self.readers.get_mut(id) else {
                return true;
            };
            if reader
                .queue
                .front()
                .is_none_or(|front| front.sequence > through)
            {
                return true;
            }
            if let Some(queued) = reader.queue.pop_front() {
                self.store.release(queued.message, &mut self.account);
                self.stats.unkept_dropped += 1;
                self.work = self.work.saturating_sub(1);
            }
        }
    }

    /// A shared subscription's queue is kept if that of any member is.
    fn drop_groups(&mut self, unkept: &mut Unkept) -> bool {
        while let Some(id) = unkept.groups.last().copied() {
            if self.work == 0 {
                return false;
            }
            self.work -= 1;
            let durable = &self.settings.durable;
            let is_kept = |member: &ReaderId| {
                let reader = self.readers.get(*member);
                reader.is_some_and(|reader| durable.keeps_queue(reader))
            };
            let group = self.groups.get(id);
            let is_to_go = group.is_some_and(|group| !group.members.keys().any(is_kept));
            if is_to_go && !self.drop_waiting(id, unkept.through) {
                return false;
            }
            unkept.groups.pop();
        }
        true
    }

    /// Whether the group has nothing any more that is to go.
    fn drop_waiting(&mut self, id: GroupId, through: u64) -> bool {
        loop {
            let Some((group, lane)) = self
                .groups
                .get(id)
                .and_then(|group| Some((group, group.oldest_lane()?)))
            else {
                return true;
            };
            let first = group.lanes.get(&lane).and_then(Queue::first_sequence);
            if first.is_none_or(|first| first > through) {
                return true;
            }
            if self.work == 0 {
                return false;
            }
            self.refill(QueueId::Lane(id, lane));
            let taken = self.groups.get_mut(id).and_then(|group| group.take(lane));
            if let Some(waiting) = taken {
                self.store.release(waiting.message, &mut self.account);
                self.stats.unkept_dropped += 1;
                self.work = self.work.saturating_sub(1);
            }
        }
    }

    fn drop_retained(&mut self, unkept: &mut Unkept) -> bool {
        if self.settings.durable.retained == Which::All {
            return true;
        }
        while self.work > 0 {
            let Some((key, retained)) = self.retained.next(unkept.topic.as_ref()) else {
                return true;
            };
            self.work -= 1;
            let message = self.store.message(retained.message);
            let is_kept =
                retained.sequence > unkept.through || self.settings.durable.keeps_retained(message);
            if !is_kept {
                self.clear_retained(&key.topic());
                self.stats.unkept_dropped += 1;
            }
            unkept.topic = Some(key);
        }
        false
    }
}
