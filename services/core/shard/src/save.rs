//! A frozen shard as things, for a backup. It is told beside the shard, which goes on.

use std::{collections::BTreeMap, iter::Peekable, ops::ControlFlow, sync::Arc};

use catena_mqtt::QoS;
use catena_slots::ShardId;

use crate::{
    home::HomeId,
    id::{ClientKey, Time},
    job::Job,
    op::Subscription,
    query::Named,
    queue::{Part, Queue, Queued},
    reader::ReaderId,
    saved::{Body, Delivery, Saved, SavedSession, SharedId},
    segment,
    shard::{Shard, WORK_PER_APPLY_MAX},
    snapshot::Frozen,
    store::MessageId,
};

/// Where things go, one by one; it says when it wants no more.
pub trait Sink: FnMut(Saved) -> ControlFlow<()> {}

impl<F: FnMut(Saved) -> ControlFlow<()>> Sink for F {}

/// Messages in the order of their sequence.
type Bodies<'a> = Box<dyn Iterator<Item = (u64, Body)> + 'a>;

impl Frozen {
    /// Tells everything that outlives connections: messages that things share, retained messages, sessions by the order of their
    /// clients' keys with what the shard has of each, what waits in shared subscriptions, wills. Reads parts of queues from wherever
    /// they are, and waits for that.
    pub fn save(self, sink: &mut impl Sink) -> ControlFlow<()> {
        let mut shard = self.0;
        shard.let_go();
        shard.save_shared(sink)?;
        for (_, retained) in shard.retained.iter() {
            if shard.store.expires_at(retained.message) > shard.now {
                sink(Saved::Retained(shard.body(retained.message)))?;
            }
        }
        for (_, (home, reader)) in shard.clients() {
            if let Some(home) = home {
                shard.save_session(home, sink)?;
            }
            if let Some(reader) = reader {
                shard.save_reader(reader, sink)?;
            }
        }
        shard.save_groups(sink)?;
        shard.save_wills(sink)
    }

    /// Which shard it is.
    pub fn id(&self) -> ShardId {
        self.0.id
    }

    /// How often it had started empty.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// The moment of its last entry.
    pub fn now(&self) -> Time {
        self.0.now
    }
}

impl Shard {
    /// Connections are over for whoever restores this. Messages that are on their way to many readers reach all of them.
    fn let_go(&mut self) {
        let readers: Vec<ReaderId> = self.readers.iter().map(|(id, _)| id).collect();
        for id in readers {
            if let Some(reader) = self.readers.get_mut(id) {
                reader.attached = None;
            }
        }
        for job in std::mem::take(&mut self.jobs) {
            if let Job::FanOut(topic) = job {
                self.work = WORK_PER_APPLY_MAX;
                while !self.fan_out(&topic) {
                    self.work = WORK_PER_APPLY_MAX;
                }
            }
        }
    }

    fn save_shared(&self, sink: &mut impl Sink) -> ControlFlow<()> {
        for message in self.store.shared() {
            let expires_at = self.store.expires_at(message);
            if expires_at > self.now {
                sink(Saved::Message {
                    id: self.shared_id(message),
                    message: self.store.message(message).clone(),
                    expires_at,
                })?;
            }
        }
        ControlFlow::Continue(())
    }

    fn shared_id(&self, message: MessageId) -> SharedId {
        SharedId {
            shard: self.id,
            number: message.number(),
        }
    }

    fn body(&self, id: MessageId) -> Body {
        let message = self.store.message(id);
        match self.store.references(id) {
            0 | 1 => self.whole(id),
            _ => Body::Shared {
                id: self.shared_id(id),
                topic: message.topic.clone(),
            },
        }
    }

    fn whole(&self, id: MessageId) -> Body {
        Body::Whole {
            message: self.store.message(id).clone(),
            expires_at: self.store.expires_at(id),
        }
    }

    /// Who has anything that lasts here.
    fn clients(&self) -> BTreeMap<ClientKey, (Option<HomeId>, Option<ReaderId>)> {
        let mut clients = BTreeMap::<_, (Option<HomeId>, Option<ReaderId>)>::new();
        for (id, home) in self.homes.iter() {
            if home
                .session
                .as_ref()
                .is_some_and(|record| record.expiry > 0)
            {
                clients.entry(home.client).or_default().0 = Some(id);
            }
        }
        for (id, reader) in self.readers.iter() {
            if reader.persistent {
                clients.entry(reader.who.client).or_default().1 = Some(id);
            }
        }
        clients
    }

    fn save_session(&self, id: HomeId, sink: &mut impl Sink) -> ControlFlow<()> {
        let home = self.homes.get(id);
        let Some((home, record)) = home.and_then(|home| Some((home, home.session.as_ref()?)))
        else {
            return ControlFlow::Continue(());
        };
        let ends_at = match record.ends_at {
            // A client is connected, or may be: its time begins with the restore.
            Time::NEVER => self.now.plus_seconds(record.expiry),
            ends_at => ends_at,
        };
        sink(Saved::Session(Box::new(SavedSession {
            client_id: home.client_id.clone(),
            id: record.id,
            principal: record.principal.clone(),
            expiry: record.expiry,
            protocol: record.protocol,
            left: (ends_at != Time::NEVER).then(|| ends_at.0.saturating_sub(self.now.0)),
        })))
    }

    fn save_reader(&self, id: ReaderId, sink: &mut impl Sink) -> ControlFlow<()> {
        let Some(reader) = self.readers.get(id) else {
            return ControlFlow::Continue(());
        };
        let of = Named {
            client: reader.who.client,
            session: reader.who.session,
        };
        for (filter, options) in &reader.subscriptions {
            sink(Saved::Subscription {
                of,
                subscription: Subscription {
                    filter: filter.clone(),
                    options: *options,
                },
                is_owed: reader.cursors.iter().any(|owed| owed.filter == *filter),
            })?;
        }
        let mut place = 0;
        while let Some((at, item)) = reader.inflight.at_or_after(place) {
            place = at + 1;
            // Of a shared subscription it is the group's as long as another member may have it [F-72].
            if item.group.is_some() && item.qos == QoS::AtLeastOnce {
                continue;
            }
            let delivery = item.message.map(|message| Delivery {
                // One of QoS 2 stays with its packet id, which may be another shard's than its topic.
                body: match item.qos {
                    QoS::ExactlyOnce => self.whole(message),
                    _ => self.body(message),
                },
                qos: item.qos,
                retain: item.retain,
                subscription_ids: item.subscription_ids.as_deref().unwrap_or_default().into(),
            });
            sink(Saved::InFlight {
                of,
                packet_id: item.packet_id,
                delivery,
            })?;
        }
        for (_, delivery) in self.waiting_in(&reader.queue) {
            sink(Saved::Queued { of, delivery })?;
        }
        for packet_id in reader.inbound.keys() {
            sink(Saved::Inbound {
                of,
                shard: self.id,
                packet_id: *packet_id,
            })?;
        }
        ControlFlow::Continue(())
    }

    /// What waits in a queue, in order, each with its sequence. One part of it at a time is in memory for that.
    fn waiting_in<'a>(&'a self, queue: &'a Queue) -> impl Iterator<Item = (u64, Delivery)> + 'a {
        let is_there = |queued: &&Queued| self.store.expires_at(queued.message) > self.now;
        let tell = |queued: &Queued| {
            let ids = queued.subscription_ids.as_deref().unwrap_or_default();
            let delivery = Delivery {
                body: self.body(queued.message),
                qos: queued.qos,
                retain: queued.retain,
                subscription_ids: ids.into(),
            };
            (queued.sequence, delivery)
        };
        let front = queue.front_messages().filter(is_there).map(tell);
        let back = queue.back_messages().filter(is_there).map(tell);
        let parts = queue.parts().filter(|part| part.expires_at > self.now);
        let parts = parts.flat_map(move |part| {
            let mut told: Vec<_> = part.late.iter().filter(is_there).map(tell).collect();
            told.extend(self.waiting_in_part(part));
            if !part.late.is_empty() {
                // Then the queue is in this order.
                told.sort_by_key(|(sequence, _)| *sequence);
            }
            told
        });
        front.chain(parts).chain(back)
    }

    fn waiting_in_part(&self, part: &Part) -> Vec<(u64, Delivery)> {
        let mut told = Vec::with_capacity(part.messages as usize);
        let mut bytes = part.segment.read();
        let mut shared = part.shared.iter();
        while let Some(entry) = segment::take(&mut bytes) {
            let body = match entry.body {
                Some(body) => Body::Whole {
                    message: Arc::new(body.message),
                    expires_at: body.expires_at,
                },
                None => match shared.next() {
                    Some(message) => self.body(*message),
                    None => break,
                },
            };
            let delivery = Delivery {
                body,
                qos: entry.qos,
                retain: entry.retain,
                subscription_ids: entry.subscription_ids,
            };
            told.push((entry.sequence, delivery));
        }
        told
    }

    /// What waits in groups, and what members that may never come back have of it, in the order of publishing.
    fn save_groups(&self, sink: &mut impl Sink) -> ControlFlow<()> {
        let mut sent = BTreeMap::<_, Vec<(u64, MessageId)>>::new();
        for (_, reader) in self.readers.iter() {
            for packet_id in reader.inflight.shared_ids() {
                if let Some(item) = reader.inflight.get(packet_id)
                    && item.qos == QoS::AtLeastOnce
                    && let (Some((group, _)), Some(message)) = (item.group, item.message)
                {
                    let of_group = sent.entry(group).or_default();
                    of_group.push((item.sequence, message));
                }
            }
        }
        for (id, group) in self.groups.iter() {
            let mut sent = sent.remove(&id).unwrap_or_default();
            sent.sort_by_key(|(sequence, _)| *sequence);
            let sent = sent.into_iter().filter_map(|(sequence, message)| {
                let is_there = self.store.expires_at(message) > self.now;
                is_there.then(|| (sequence, self.body(message)))
            });
            let mut sources = vec![(Box::new(sent) as Bodies<'_>).peekable()];
            for lane in group.lanes.values() {
                let waiting = self.waiting_in(lane);
                let bodies = waiting.map(|(sequence, delivery)| (sequence, delivery.body));
                sources.push((Box::new(bodies) as Bodies<'_>).peekable());
            }
            let next =
                |source: &mut Peekable<Bodies<'_>>| source.peek().map(|(sequence, _)| *sequence);
            while let Some((_, source)) = sources
                .iter_mut()
                .filter_map(|source| Some((next(source)?, source)))
                .min_by_key(|(sequence, _)| *sequence)
            {
                if let Some((_, body)) = source.next() {
                    let filter = group.filter.clone();
                    sink(Saved::Grouped { filter, body })?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn save_wills(&self, sink: &mut impl Sink) -> ControlFlow<()> {
        for (_, home) in self.homes.iter() {
            if let Some(record) = home.session.as_ref().filter(|record| record.expiry > 0)
                && let Some(will) = &record.will
            {
                let due = record.will_due.map(|due| due.0.saturating_sub(self.now.0));
                sink(Saved::Will {
                    client_id: home.client_id.clone(),
                    will: will.clone(),
                    left: due.unwrap_or(u64::from(will.delay) * 1_000),
                })?;
            }
        }
        ControlFlow::Continue(())
    }
}
