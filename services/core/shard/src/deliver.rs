//! A message's way to its readers: matched, merged, sent at once or queued `[F-36]` `[F-50]` to `[F-59]`.

use std::sync::Arc;

use catena_mqtt::QoS;
use smallvec::{SmallVec, smallvec};

use crate::{
    effect::{Deliver, Effect, Target},
    id::Time,
    index::{Match, Matches},
    inflight::{Item, Progress},
    links::LinkId,
    message::Message,
    op::SubscriptionOptions,
    queue::{QueueId, Queued},
    reader::{Attached, ReaderId},
    retained::{Retained, TopicKey},
    shard::Shard,
    store::MessageId,
    watch::{What, Why},
};

/// A message on its way, stored at its first queue or in-flight place and shared from there on.
pub(crate) struct Publication {
    pub message: Arc<Message>,
    pub expires_at: Time,
    pub sequence: u64,
    pub stored: Option<MessageId>,
    /// What its topic had retained before it, with a reference: cursors that owe it send it first `[F-34]`.
    pub retained: Option<Retained>,
}

/// What the filters of one reader that match a message come to `[F-36]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
}

/// Deliveries of one message, by link.
#[derive(Default)]
pub(crate) struct Targets(SmallVec<[(LinkId, SmallVec<[Target; 1]>); 1]>);

impl Targets {
    pub fn push(&mut self, link: LinkId, target: Target) {
        match self.0.iter_mut().find(|(other, _)| *other == link) {
            Some((_, targets)) => targets.push(target),
            None => self.0.push((link, smallvec![target])),
        }
    }

    /// Those of each link.
    pub fn into_links(self) -> impl Iterator<Item = (LinkId, SmallVec<[Target; 1]>)> {
        self.0.into_iter()
    }
}

impl Shard {
    /// Brings a message to everyone who matches, and stores it when it is retained. Returns whether anyone does.
    pub(crate) fn route(&mut self, message: &Arc<Message>) -> bool {
        let expires_at = self.expires_at(message);
        let matches = self.index.matches(&message.topic);
        let is_matched = !matches.readers.is_empty() || !matches.groups.is_empty();
        let retained = if self.cursors > 0 && is_matched {
            self.retained.get(&message.topic)
        } else {
            None
        };
        if let Some(retained) = retained {
            self.store.share(retained.message, &mut self.account);
        }
        if message.retain {
            self.retain(message, expires_at);
        }
        if !is_matched {
            if !message.retain {
                let what = What::Dropped(Why::NoSubscriber);
                self.watching.note(message, None, what);
            }
            return false;
        }
        let publication = Publication {
            message: message.clone(),
            expires_at,
            sequence: self.sequence,
            stored: None,
            retained,
        };
        let size = matches.readers.len() + matches.groups.len();
        if size > self.work as usize || self.fan_outs.is_under_way(&message.topic) {
            return self.fan_out_later(publication, matches);
        }
        self.spread(publication, &matches, 0..size)
    }

    /// Brings a message to those matches whose numbers are in `range`: readers first, then groups.
    pub(crate) fn spread(
        &mut self,
        mut publication: Publication,
        matches: &Matches,
        range: std::ops::Range<usize>,
    ) -> bool {
        let mut anyone = false;
        let mut targets = Targets::default();
        let readers = matches.readers.len();
        for number in range {
            self.work = self.work.saturating_sub(1);
            if let Some(matched) = matches.readers.get(number) {
                if let Some(retained) = publication.retained {
                    self.pull_retained(&publication.message.topic, retained, matched.reader);
                }
                anyone |= self.offer(matched, &mut publication, &mut targets);
            } else if let Some(group) = matches.groups.get(number - readers) {
                anyone |= self.offer_group(*group, &mut publication, &mut targets);
            }
        }
        let retained = publication.retained.map(|retained| retained.message);
        for held in publication.stored.into_iter().chain(retained) {
            self.store.release(held, &mut self.account);
        }
        self.emit_targets(&publication.message, publication.expires_at, targets);
        anyone
    }

    /// Brings a message to one reader. Returns whether it has a subscription that wants it.
    fn offer(
        &mut self,
        matched: &Match,
        publication: &mut Publication,
        targets: &mut Targets,
    ) -> bool {
        let message = &publication.message;
        let Some(reader) = self.readers.get_mut(matched.reader) else {
            return false;
        };
        let publisher_is_reader = message.publisher == reader.who.client;
        let Some(merged) = merge(&matched.filters, message, publisher_is_reader) else {
            return false;
        };
        let attached = reader
            .attached
            .and_then(|at| Some((at, self.links.get(at.link)?)));
        let client = Some(reader.who.client);
        if merged.qos == QoS::AtMostOnce {
            let what = match attached {
                Some((at, link)) if !link.is_congested => {
                    targets.push(at.link, untracked(at, merged, false));
                    What::Sent
                }
                other => self.stats.drop_qos0(other.is_some()),
            };
            self.watching.note(message, client, what);
            return true;
        }
        let weight = message.weight();
        let can_send = reader.queue.is_empty()
            && reader.inflight.resend_from.is_none()
            && reader.window.has_room(weight);
        match attached {
            Some((at, link)) if can_send && !link.is_congested => {
                if !reader.persistent {
                    self.watching.note(message, client, What::Sent);
                    reader.window.take(weight);
                    targets.push(at.link, untracked(at, merged, true));
                    return true;
                }
                if let Some(packet_id) = reader.inflight.free_id(&self.settings.stripes) {
                    self.watching.note(message, client, What::Sent);
                    let (epoch, after) = (reader.who.epoch, link.outbox.last());
                    reader.window.take(weight);
                    let target = tracked(at, packet_id, &merged, false);
                    let message = self.keep(publication);
                    let item = in_flight(
                        packet_id,
                        message,
                        publication.sequence,
                        weight,
                        merged,
                        epoch,
                        after,
                    );
                    self.push_inflight(matched.reader, item);
                    targets.push(at.link, target);
                    return true;
                }
            }
            None if !reader.persistent => {
                let what = What::Dropped(Why::NotConnected);
                self.watching.note(message, client, what);
                return true;
            }
            _ => {}
        }
        self.watching.note(message, client, What::Queued);
        let message = self.keep(publication);
        let sequence = publication.sequence;
        let Merged {
            qos,
            retain,
            subscription_ids,
        } = merged;
        self.enqueue(
            matched.reader,
            Queued {
                message,
                sequence,
                qos,
                retain,
                weight: u32::try_from(weight).unwrap_or(u32::MAX),
                subscription_ids,
            },
        );
        true
    }

    fn push_inflight(&mut self, reader: ReaderId, item: Item) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.inflight.push(item);
        }
    }

    /// A reference to the message, which is stored once however many readers keep it.
    pub(crate) fn keep(&mut self, publication: &mut Publication) -> MessageId {
        let stored = match publication.stored {
            Some(stored) => stored,
            None => self.store.insert(
                &publication.message,
                publication.expires_at,
                &mut self.account,
            ),
        };
        // The publication holds one reference itself until it is spread.
        publication.stored = Some(stored);
        self.store.share(stored, &mut self.account)
    }

    /// Puts a message at the end of a reader's queue, within its limit `[F-65]`.
    pub(crate) fn enqueue(&mut self, id: ReaderId, queued: Queued) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        reader.queue.push_back(queued);
        let limit = self
            .settings
            .queue_length_max
            .filter(|_| self.settings.queue_drop_oldest);
        if limit.is_some_and(|limit| reader.queue.len() > limit) {
            self.drop_oldest(id);
        }
        self.queue_has_grown(QueueId::Reader(id));
        self.starve(id);
    }

    /// Drops the oldest message of a queue, or one that has expired, if that is found.
    fn drop_oldest(&mut self, id: ReaderId) {
        self.refill(QueueId::Reader(id));
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let (mut expired, mut looked_at) = (None, 0);
        let looks = self.work as usize;
        for (place, queued) in reader.queue.front_messages().take(looks).enumerate() {
            looked_at += 1;
            if self.store.expires_at(queued.message) <= self.now {
                expired = Some(place);
                break;
            }
        }
        self.work = self.work.saturating_sub(looked_at);
        match expired {
            Some(_) => self.stats.expired += 1,
            None => self.stats.queue_dropped += 1,
        }
        if let Some(dropped) = reader.queue.remove(expired.unwrap_or(0)) {
            let why = if expired.is_some() {
                Why::Expired
            } else {
                Why::QueueLimit
            };
            let message = self.store.message(dropped.message);
            let client = Some(reader.who.client);
            self.watching.note(message, client, What::Dropped(why));
            self.store.release(dropped.message, &mut self.account);
        }
    }

    /// Emits one Deliver per link.
    pub(crate) fn emit_targets(
        &mut self,
        message: &Arc<Message>,
        expires_at: Time,
        targets: Targets,
    ) {
        for (link, targets) in targets.into_links() {
            self.emit(
                link,
                Effect::Deliver(Deliver {
                    message: message.clone(),
                    expires_at,
                    targets,
                }),
            );
        }
    }

    /// When a message that is published now expires: its own expiry within the Broker's bound.
    pub(crate) fn expires_at(&self, message: &Message) -> Time {
        message.expires_at(self.now, self.settings.message_expiry_max)
    }

    /// A live publish to a topic whose retained message a cursor still owes: that one goes first `[F-34]`.
    fn pull_retained(&mut self, topic: &str, retained: Retained, id: ReaderId) {
        let Retained { message, sequence } = retained;
        let Some(reader) = self.readers.get_mut(id).filter(|r| !r.cursors.is_empty()) else {
            return;
        };
        let publisher_is_reader = self.store.message(message).publisher == reader.who.client;
        let mut owed: SmallVec<[Merged; 1]> = SmallVec::new();
        for cursor in &mut reader.cursors {
            if !cursor.owes(topic, sequence) || (cursor.no_local && publisher_is_reader) {
                continue;
            }
            cursor.sent_early.insert(TopicKey::of(topic));
            owed.push(Merged {
                qos: cursor.qos,
                retain: true,
                subscription_ids: cursor.subscription_ids.clone(),
            });
        }
        for merged in owed {
            if self.store.expires_at(message) > self.now {
                self.send_or_queue(id, message, sequence, merged);
            }
        }
    }
}

/// Merges the filters of a reader that match; `None` when No Local excludes all of them.
pub(crate) fn merge(
    filters: &[SubscriptionOptions],
    message: &Message,
    publisher_is_reader: bool,
) -> Option<Merged> {
    let mut merged: Option<Merged> = None;
    let mut ids: SmallVec<[u32; 4]> = SmallVec::new();
    for options in filters {
        // v5 [MQTT-3.8.3-3]
        if options.no_local && publisher_is_reader {
            continue;
        }
        let qos = message.qos.min(options.qos);
        let retain = message.retain && options.retain_as_published;
        ids.extend(options.id);
        merged = Some(match merged {
            None => Merged {
                qos,
                retain,
                subscription_ids: None,
            },
            Some(m) => Merged {
                qos: m.qos.max(qos),
                retain: m.retain | retain,
                subscription_ids: None,
            },
        });
    }
    ids.sort_unstable();
    ids.dedup();
    if let Some(merged) = &mut merged {
        merged.subscription_ids = (!ids.is_empty()).then(|| ids.as_slice().into());
    }
    merged
}

pub(crate) fn untracked(at: Attached, merged: Merged, counted: bool) -> Target {
    Target {
        conn: at.conn,
        packet_id: 0,
        qos: merged.qos,
        retain: merged.retain,
        dup: false,
        counted,
        shared: false,
        subscription_ids: merged.subscription_ids,
    }
}

pub(crate) fn tracked(at: Attached, packet_id: u16, merged: &Merged, shared: bool) -> Target {
    Target {
        conn: at.conn,
        packet_id,
        qos: merged.qos,
        retain: merged.retain,
        dup: false,
        counted: false,
        shared,
        subscription_ids: merged.subscription_ids.clone(),
    }
}

pub(crate) fn in_flight(
    packet_id: u16,
    message: MessageId,
    sequence: u64,
    weight: usize,
    merged: Merged,
    epoch: u64,
    after: u64,
) -> Item {
    Item {
        message: Some(message),
        packet_id,
        sequence,
        qos: merged.qos,
        retain: merged.retain,
        subscription_ids: merged.subscription_ids,
        bytes: u32::try_from(weight).unwrap_or(u32::MAX),
        group: None,
        progress: Progress::Sent,
        epoch,
        after,
    }
}
