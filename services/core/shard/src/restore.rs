//! Things of a backup come into the shard, as entries like all others, so that every replica has them `[F-26]`.
//!
//! What is there already is newer, and stays: a session that a client has begun meanwhile, a topic's retained message. What has
//! expired meanwhile is left out.

use std::collections::BTreeMap;

use catena_mqtt::Filter;
use serde::{Deserialize, Serialize};

use crate::{
    account::{FULL_PERCENT, REFERENCE_BYTES, SESSION_BYTES},
    home::{HomeId, Session},
    id::{ClientKey, Time, Who},
    inflight::{Item, Progress},
    job::Job,
    message::Will,
    op::Subscription,
    query::Named,
    queue::{QueueId, Queued},
    reader::ReaderId,
    saved::{Body, Delivery, Restore, Saved, SavedSession, SharedId},
    shard::Shard,
    store::MessageId,
    timer::Timer,
};

/// How far the latest restore has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restoring {
    id: u64,
    done: u64,
    /// What was there before is still going.
    is_clearing: bool,
    /// Messages that things may name, each with a reference until the end.
    shared: BTreeMap<SharedId, MessageId>,
}

impl Shard {
    /// Whether it is the next of its restore, and there is room for it.
    pub(crate) fn would_restore(&self, restore: &Restore) -> bool {
        let now = &self.restoring;
        let is_next = match restore.number {
            1 => restore.id > now.id,
            number => restore.id == now.id && number == now.done + 1 && !now.is_clearing,
        };
        is_next
            && !self
                .account
                .is_above(FULL_PERCENT, self.settings.buffer_bytes)
    }

    /// Puts things in. Only after [`Shard::would_restore`].
    pub(crate) fn restore_things(&mut self, restore: &Restore) {
        if restore.number == 1 {
            self.forget_shared();
            self.restoring.id = restore.id;
            self.restoring.is_clearing = restore.is_clearing;
            if restore.is_clearing {
                self.jobs.push_back(Job::Clear { homes_done: 0 });
            }
        }
        self.restoring.done = restore.number;
        for thing in &restore.things {
            self.work = self.work.saturating_sub(1);
            self.restore_one(thing);
        }
        if restore.is_last {
            self.forget_shared();
        }
    }

    fn forget_shared(&mut self) {
        for message in std::mem::take(&mut self.restoring.shared).into_values() {
            self.store.release(message, &mut self.account);
        }
    }

    /// Ends all sessions, whose wills are not published, and forgets all retained messages.
    pub(crate) fn clear_all(&mut self, mut homes_done: u32) {
        while self.work > 0 {
            let Some(homes) = self.next_homes(&mut homes_done) else {
                break;
            };
            for home in homes {
                self.kick_by_administrator(home);
                self.forget_will(home);
                self.end_session(home);
                self.tend_home(home);
            }
        }
        while self.work > 0 {
            let Some(topic) = self.retained.first_topic() else {
                self.restoring.is_clearing = false;
                return;
            };
            self.work -= 1;
            self.clear_retained(&topic);
        }
        self.jobs.push_back(Job::Clear { homes_done });
    }

    fn restore_one(&mut self, thing: &Saved) {
        match thing {
            Saved::Message {
                id,
                message,
                expires_at,
            } => {
                if *expires_at > self.now {
                    let stored = self.store.insert(message, *expires_at, &mut self.account);
                    if let Some(old) = self.restoring.shared.insert(*id, stored) {
                        self.store.release(old, &mut self.account);
                    }
                }
            }
            Saved::Retained(body) => self.restore_retained(body),
            Saved::Session(session) => self.restore_session(session),
            Saved::Subscription {
                of,
                subscription,
                is_owed,
            } => self.restore_subscription(of, subscription, *is_owed),
            Saved::InFlight {
                of,
                packet_id,
                delivery,
            } => self.restore_in_flight(of, *packet_id, delivery.as_ref()),
            Saved::Queued { of, delivery } => {
                if let Some(reader) = self.restored_reader(of) {
                    self.restore_queued(reader, delivery);
                }
            }
            Saved::Inbound { of, packet_id, .. } => {
                let Some(id) = self.restored_reader(of) else {
                    return;
                };
                if let Some(reader) = self.readers.get_mut(id)
                    && !reader.inbound.contains_key(packet_id)
                {
                    reader.inbound.insert(*packet_id, 0);
                    self.account.add(REFERENCE_BYTES);
                }
                self.tell_home(id);
            }
            Saved::Grouped { filter, body } => self.restore_grouped(filter, body),
            Saved::Will {
                client_id,
                will,
                left,
            } => {
                if let Some(home) = self.homes.find(ClientKey::of(client_id)) {
                    self.restore_will(home, will, *left);
                }
            }
        }
    }

    /// The message with a reference for the caller; `None` when it has expired.
    fn resolve(&mut self, body: &Body) -> Option<MessageId> {
        let found = match body {
            Body::Whole {
                message,
                expires_at,
            } if *expires_at > self.now => {
                Some(self.store.insert(message, *expires_at, &mut self.account))
            }
            Body::Whole { .. } => None,
            Body::Shared { id, .. } => {
                let stored = self.restoring.shared.get(id).copied();
                let stored = stored.filter(|stored| self.store.expires_at(*stored) > self.now);
                stored.map(|stored| self.store.share(stored, &mut self.account))
            }
        };
        self.stats.expired += u64::from(found.is_none());
        found
    }

    fn restore_retained(&mut self, body: &Body) {
        if self.retained.get(body.topic()).is_some() {
            return;
        }
        let Some(stored) = self.resolve(body) else {
            return;
        };
        let (expires_at, weight) = (self.store.expires_at(stored), self.store.weight(stored));
        self.place_retained(body.topic(), stored, expires_at, u64::from(weight));
    }

    fn restore_session(&mut self, saved: &SavedSession) {
        if saved.id.home != self.id || saved.id.generation != self.generation || saved.expiry == 0 {
            return;
        }
        let client = ClientKey::of(&saved.client_id);
        let id = match self.homes.find(client) {
            Some(id) => id,
            None => self.homes.insert(&saved.client_id, client),
        };
        let ends_at = saved
            .left
            .map_or(Time::NEVER, |left| self.now.plus_millis(left));
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        if home.session.is_some() || home.pending.is_some() {
            return;
        }
        home.session = Some(Session {
            id: saved.id,
            epoch: 0,
            principal: saved.principal.as_ref().map(|p| String::from(&**p).into()),
            expiry: saved.expiry,
            attached: None,
            protocol: saved.protocol,
            since: self.now,
            will: None,
            will_due: None,
            ends_at,
            touched: Default::default(),
            exactly_once: Default::default(),
        });
        self.sessions_begun = self.sessions_begun.max(saved.id.counter);
        self.account.add(SESSION_BYTES);
        self.timers.set(ends_at, Timer::Home(id));
    }

    /// The reader of a session that was restored, which its client may have resumed already.
    fn restored_reader(&mut self, of: &Named) -> Option<ReaderId> {
        let known = self.readers.find(of.client);
        let row = known.and_then(|id| self.readers.get(id));
        if let (Some(id), Some(row)) = (known, row)
            && row.who.session == of.session
        {
            // One that has ended is not begun again.
            return (row.who.epoch != u64::MAX).then_some(id);
        }
        let id = self.admit(&Who {
            client: of.client,
            session: of.session,
            epoch: 0,
        })?;
        if let Some(reader) = self.readers.get_mut(id) {
            reader.persistent = true;
        }
        Some(id)
    }

    fn restore_subscription(&mut self, of: &Named, subscription: &Subscription, is_owed: bool) {
        let Some(reader) = self.restored_reader(of) else {
            return;
        };
        let Subscription { filter, options } = subscription;
        let known = self.readers.get(reader);
        // What the client has said since is newer.
        let is_there = known.is_some_and(|row| row.subscriptions.contains_key(filter));
        if !is_there {
            self.add_subscription(reader, filter, *options);
        }
        if is_owed && filter.share().is_none() {
            self.end_cursor(reader, filter);
            self.begin_cursor(reader, filter, options);
        }
        self.tell_home(reader);
        self.go_on_later(reader);
    }

    fn restore_in_flight(&mut self, of: &Named, packet_id: u16, delivery: Option<&Delivery>) {
        let Some(id) = self.restored_reader(of) else {
            return;
        };
        let stripe = (packet_id.wrapping_sub(1) % 256) as u8;
        let is_ours = self.settings.stripes.contains(&stripe);
        let is_free = self.readers.get(id).is_some_and(|reader| {
            reader.attached.is_none() && reader.inflight.get(packet_id).is_none()
        });
        if packet_id == 0 || !is_ours || !is_free {
            // It is sent as a new one, unless the client has it for sure.
            if let Some(delivery) = delivery {
                self.restore_queued(id, delivery);
            }
            return;
        }
        let message = match delivery {
            Some(delivery) => match self.resolve(&delivery.body) {
                Some(message) => Some(message),
                None => return,
            },
            None => None,
        };
        let ids = delivery.map_or(&[][..], |delivery| &delivery.subscription_ids);
        let item = Item {
            message,
            packet_id,
            sequence: self.sequence,
            qos: delivery.map_or(catena_mqtt::QoS::ExactlyOnce, |delivery| delivery.qos),
            retain: delivery.is_some_and(|delivery| delivery.retain),
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            bytes: message.map_or(0, |message| self.store.weight(message)),
            group: None,
            progress: match message {
                Some(_) => Progress::Sent,
                None => Progress::Received,
            },
            epoch: 0,
            after: 0,
        };
        self.may_deliver(of.client, item.qos);
        if let Some(reader) = self.readers.get_mut(id) {
            reader.inflight.push(item);
        }
        self.tell_home(id);
    }

    fn restore_queued(&mut self, id: ReaderId, delivery: &Delivery) {
        let Some(message) = self.resolve(&delivery.body) else {
            return;
        };
        if let Some(reader) = self.readers.get(id) {
            self.may_deliver(reader.who.client, delivery.qos);
        }
        let ids = &delivery.subscription_ids;
        let queued = Queued {
            message,
            sequence: self.sequence,
            qos: delivery.qos,
            retain: delivery.retain,
            weight: self.store.weight(message),
            subscription_ids: (!ids.is_empty()).then(|| ids.as_slice().into()),
        };
        self.enqueue(id, queued);
        self.tell_home(id);
        self.go_on_later(id);
    }

    /// A client that is there already gets what came.
    fn go_on_later(&mut self, id: ReaderId) {
        let row = self.readers.get(id);
        if row.is_some_and(|reader| reader.attached.is_some()) {
            self.serve_later(id);
        }
    }

    fn restore_grouped(&mut self, filter: &Filter, body: &Body) {
        // Without a member that lasts nobody waits for it [F-73].
        let Some(id) = self.groups.find(filter) else {
            return;
        };
        let Some(stored) = self.resolve(body) else {
            return;
        };
        let strategy = self.settings.shared_strategy;
        let waiting = self.waiting(stored, self.sequence);
        let message = self.store.message(stored);
        if let Some(group) = self.groups.get_mut(id) {
            let lane = group.lane(message, strategy);
            group.wait_last(lane, waiting);
            self.queue_has_grown(QueueId::Lane(id, lane));
        }
        self.serve_group_later(id);
    }

    fn restore_will(&mut self, id: HomeId, will: &Will, left: u64) {
        let due = self.now.plus_millis(left);
        let restored = self
            .homes
            .get_mut(id)
            .and_then(|home| home.session.as_mut());
        // A session whose client has come back has the will that it brought.
        let Some(session) = restored.filter(|session| session.epoch == 0 && session.will.is_none())
        else {
            return;
        };
        let due = due.min(session.ends_at);
        session.will = Some(Will {
            message: crate::message::compact(&will.message),
            delay: will.delay,
        });
        session.will_due = Some(due);
        self.account.add(will.message.weight() as u64);
        self.timers.set(due, Timer::Home(id));
    }
}
