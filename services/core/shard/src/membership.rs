//! Readers come and go: whose ops are taken, and what is given back at the end `[F-3]` `[F-23]`.

use std::cmp::Ordering;

use crate::{
    account::{REFERENCE_BYTES, SESSION_BYTES, SUBSCRIPTION_BYTES},
    group::{Group, GroupId},
    id::{ClientKey, Who},
    job::Job,
    op::{EndSession, Op, Touched},
    queue::{Popped, Queue, QueueId},
    reader::{Reader, ReaderId},
    shard::Shard,
    switches::Rule,
    timer::Timer,
    watch::{What, Why},
};
use catena_mqtt::Filter;

/// How long a shard remembers the epoch of a client for which it holds nothing any more, in milliseconds.
pub const FENCE_MS: u64 = 10_000;

impl Shard {
    /// The reader of whoever causes an op, or `None` when a later connection or session has been seen `[F-3]`.
    pub(crate) fn admit(&mut self, who: &Who) -> Option<ReaderId> {
        let Some(id) = self.readers.find(who.client) else {
            return Some(self.begin_reader(who));
        };
        let now = self.now;
        let reader = self.readers.get_mut(id)?;
        match who.age().cmp(&reader.who.age()) {
            Ordering::Equal => {
                reader.seen_at = now;
                Some(id)
            }
            Ordering::Less => {
                self.stats.stale += 1;
                (!self.switches.keep(Rule::F3)).then_some(id)
            }
            Ordering::Greater if who.session == reader.who.session => {
                // The connection before never said that it left: all that it was sent counts as written.
                self.detach_reader(id, &[], u64::MAX);
                // An ephemeral reader ended with it.
                match self.readers.get_mut(id) {
                    Some(reader) => {
                        reader.who = *who;
                        reader.seen_at = now;
                        Some(id)
                    }
                    None => {
                        self.forget_fence(who);
                        Some(self.begin_reader(who))
                    }
                }
            }
            Ordering::Greater => {
                self.end_reader(id);
                self.forget_fence(who);
                Some(self.begin_reader(who))
            }
        }
    }

    fn begin_reader(&mut self, who: &Who) -> ReaderId {
        self.account.add(SESSION_BYTES);
        let id = self.readers.insert(Reader::new(*who, self.now));
        self.look_later(id);
        id
    }

    /// Removes the row that only remembers an epoch below that of `who`.
    fn forget_fence(&mut self, who: &Who) {
        if let Some(id) = self.readers.find(who.client) {
            self.readers.remove(id);
            self.account.remove(SESSION_BYTES);
        }
    }

    /// Ends a reader: what it held is given back in bounded steps, and its epoch stays refused for a while.
    pub(crate) fn end_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.remove(id) else {
            return;
        };
        self.account.remove(SESSION_BYTES);
        self.long_queues.remove(&QueueId::Reader(id));
        let inbound = reader.inbound.len() as u64;
        self.account.remove(REFERENCE_BYTES * inbound);
        self.cursors -= reader.cursors.len() as u64;
        for group in &reader.groups {
            self.members_changed(*group);
        }
        let fence = Who {
            epoch: u64::MAX,
            ..reader.who
        };
        self.dispose(id, Box::new(reader));
        self.begin_reader(&fence);
    }

    /// Gives back what a reader held, as far as the entry's work reaches; a job does the rest.
    pub(crate) fn dispose(&mut self, id: ReaderId, mut reader: Box<Reader>) {
        self.empty(&mut reader.queue, Some(reader.who.client));
        while let Some(item) = reader.inflight.pop() {
            let returns = item.qos == catena_mqtt::QoS::AtLeastOnce && item.group.is_some();
            match item.message {
                Some(_) if returns => self.return_to_group(item),
                Some(message) => self.store.release(message, &mut self.account),
                None => {}
            }
            if self.tire() {
                break;
            }
        }
        while let Some((filter, _)) = reader.subscriptions.pop_first() {
            self.drop_subscription(id, &filter);
            if self.tire() {
                break;
            }
        }
        let is_done = reader.queue.is_empty()
            && reader.inflight.is_empty()
            && reader.subscriptions.is_empty();
        if !is_done {
            self.jobs.push_back(Job::Dispose(id, reader));
        }
    }

    /// Gives back what waits in a queue that is gone, as far as the entry's work reaches. `client`: whose it was.
    fn empty(&mut self, queue: &mut Queue, client: Option<ClientKey>) {
        while let Some(popped) = queue.pop() {
            match popped {
                Popped::Message(message) => {
                    if client.is_some() {
                        let what = What::Dropped(Why::SessionEnded);
                        self.watching
                            .note(self.store.message(message), client, what);
                    }
                    self.store.release(message, &mut self.account);
                }
                Popped::Part(part) => {
                    let released = self.forget_part(part);
                    self.work = self.work.saturating_sub(released as u32);
                }
            }
            if self.tire() {
                break;
            }
        }
    }

    /// Counts one unit of work; returns whether none is left.
    fn tire(&mut self) -> bool {
        self.work = self.work.saturating_sub(1);
        self.work == 0
    }

    /// Takes a subscription out of the index, and a member out of its group.
    pub(crate) fn drop_subscription(&mut self, id: ReaderId, filter: &Filter) {
        self.account
            .remove(filter.full().len() as u64 + SUBSCRIPTION_BYTES);
        if filter.share().is_none() {
            self.index.unsubscribe(filter, id);
            return;
        }
        let Some(group_id) = self.groups.find(filter) else {
            return;
        };
        if let Some(reader) = self.readers.get_mut(id) {
            reader.groups.retain(|group| *group != group_id);
        }
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        group.members.remove(&id);
        if group.members.is_empty() {
            self.remove_group(filter, group_id);
        } else {
            self.members_changed(group_id);
            self.serve_group(group_id);
        }
    }

    /// The last member left: the queue goes `[F-73]`.
    fn remove_group(&mut self, filter: &Filter, id: GroupId) {
        self.index.remove_group(filter, id);
        let lanes = QueueId::Lane(id, u8::MIN)..=QueueId::Lane(id, u8::MAX);
        let listed: Vec<QueueId> = self.long_queues.range(lanes).copied().collect();
        for lane in listed {
            self.long_queues.remove(&lane);
        }
        if let Some(group) = self.groups.remove(id) {
            self.discard_group(Box::new(group));
        }
    }

    /// Gives back the messages of a group that is gone.
    pub(crate) fn discard_group(&mut self, mut group: Box<Group>) {
        while let Some(mut lane) = group.lanes.first_entry() {
            self.empty(lane.get_mut(), None);
            if lane.get().is_empty() {
                lane.remove();
            }
            if self.work == 0 && !group.lanes.is_empty() {
                self.jobs.push_back(Job::DiscardGroup(group));
                return;
            }
        }
    }

    /// Looks at the reader again when it may be forgotten.
    pub(crate) fn look_later(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id).filter(|reader| !reader.has_timer) else {
            return;
        };
        reader.has_timer = true;
        let at = reader.seen_at.max(self.now).plus_millis(FENCE_MS);
        self.timers.set(at, Timer::Reader(id));
    }

    /// Forgets a reader that has held nothing for a while.
    pub(crate) fn tend_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        reader.has_timer = false;
        if reader.holds_anything() {
            return;
        }
        if reader.seen_at.plus_millis(FENCE_MS) <= self.now {
            self.readers.remove(id);
            self.account.remove(SESSION_BYTES);
        } else {
            reader.has_timer = true;
            let at = reader.seen_at.plus_millis(FENCE_MS);
            self.timers.set(at, Timer::Reader(id));
        }
    }

    /// Tells the home shard that something is held here, once `[F-22]`.
    pub(crate) fn tell_home(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let keeps = self.switches.keep(Rule::F22);
        if reader.told_home || reader.who.session.home == self.id || !keeps {
            return;
        }
        reader.told_home = true;
        let touched = Touched {
            who: reader.who,
            shard: self.id,
            generation: self.generation,
        };
        self.emit_to_shard(touched.who.session.home, Op::Touched(touched));
    }

    /// A session is over, says its home `[F-23]`.
    pub(crate) fn end_session_here(&mut self, end: &EndSession) {
        let Some(id) = self.readers.find(end.client) else {
            return;
        };
        if self
            .readers
            .get(id)
            .is_some_and(|reader| reader.who.session == end.session)
        {
            self.end_reader(id);
        }
    }
}
