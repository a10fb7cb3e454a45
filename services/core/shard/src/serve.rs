//! What a reader is owed goes out as far as its window allows: resent deliveries, retained messages, its queue.

use smallvec::smallvec;

use crate::{
    cursor::STEP_MESSAGES_MAX,
    deliver::{Merged, in_flight, tracked, untracked},
    effect::{Deliver, Effect, Pubrel, Target},
    hidden::hides,
    inflight::{Item, Progress},
    job::Job,
    links::LinkId,
    queue::{QueueId, Queued},
    reader::{Attached, ReaderId},
    retained::Step,
    shard::Shard,
    store::MessageId,
    watch::{What, Why},
};
use catena_mqtt::QoS;

impl Shard {
    /// Works on what a reader is owed until its window is full, nothing is left, or the entry's work is used up;
    /// then a job goes on `[F-60]`.
    pub(crate) fn serve(&mut self, id: ReaderId) {
        let mut retained_left = STEP_MESSAGES_MAX;
        if self.resend(id) {
            loop {
                // In turn, so that neither a long queue nor many retained messages hold the other back.
                let retained = retained_left > 0 && self.serve_cursor(id);
                retained_left = retained_left.saturating_sub(u32::from(retained));
                let queued = self.serve_queue(id);
                if !retained && !queued {
                    break;
                }
            }
        }
        if !self.is_owed(id) {
            return;
        }
        if self.work == 0 || retained_left == 0 {
            self.serve_later(id);
        } else {
            self.starve(id);
        }
    }

    /// A reader whose gateway does not drain is served when it does `[F-64]`.
    pub(crate) fn starve(&mut self, id: ReaderId) {
        let Some(at) = self.readers.get(id).and_then(|reader| reader.attached) else {
            return;
        };
        if let Some(link) = self.links.get_mut(at.link).filter(|link| link.is_congested) {
            link.starved.insert(id);
        }
    }

    /// A gateway drains again: serves its readers, as long as it does.
    pub(crate) fn relieve(&mut self, id: LinkId) {
        while self.work > 0 {
            let Some(link) = self.links.get_mut(id) else {
                return;
            };
            link.has_job = false;
            if link.is_congested {
                return;
            }
            let Some(reader) = link.starved.pop_first() else {
                return;
            };
            self.work -= 1;
            self.serve_all(reader);
        }
        if let Some(link) = self.links.get_mut(id).filter(|link| !link.has_job) {
            link.has_job = true;
            self.jobs.push_back(Job::Relieve(id));
        }
    }

    /// Lets a job serve the reader.
    pub(crate) fn serve_later(&mut self, id: ReaderId) {
        if let Some(reader) = self.readers.get_mut(id).filter(|reader| !reader.has_job) {
            reader.has_job = true;
            self.jobs.push_back(Job::Serve(id));
        }
    }

    /// Where the reader's deliveries may go now.
    pub(crate) fn open_attachment(&self, id: ReaderId) -> Option<Attached> {
        let at = self.readers.get(id)?.attached?;
        self.links.get(at.link).filter(|link| !link.is_congested)?;
        Some(at)
    }

    fn is_owed(&self, id: ReaderId) -> bool {
        self.readers.get(id).is_some_and(|reader| {
            reader.inflight.resend_from.is_some()
                || !reader.queue.is_empty()
                || !reader.cursors.is_empty()
        })
    }

    /// Sends again what was in flight when the session resumed, in its order. Returns whether all of it is.
    fn resend(&mut self, id: ReaderId) -> bool {
        let Some(at) = self.open_attachment(id) else {
            return false;
        };
        loop {
            let Some(reader) = self.readers.get_mut(id) else {
                return false;
            };
            let Some(from) = reader.inflight.resend_from else {
                return true;
            };
            if self.work == 0 {
                return false;
            }
            let Some((place, item)) = reader.inflight.at_or_after(from) else {
                reader.inflight.resend_from = None;
                return true;
            };
            let item = item.clone();
            let dup = item.epoch < reader.who.epoch;
            reader.inflight.resend_from = Some(place + 1);
            self.work -= 1;
            self.emit_again(id, at, &item, dup);
        }
    }

    fn emit_again(&mut self, id: ReaderId, at: Attached, item: &Item, dup: bool) {
        let Some(message) = item.message.filter(|_| item.progress != Progress::Received) else {
            self.emit(
                at.link,
                Effect::Pubrel(Pubrel {
                    conn: at.conn,
                    packet_id: item.packet_id,
                }),
            );
            return;
        };
        let merged = Merged {
            qos: item.qos,
            retain: item.retain,
            subscription_ids: item.subscription_ids.clone(),
        };
        let target = Target {
            dup,
            ..tracked(at, item.packet_id, &merged, false)
        };
        let again = self.store.message(message);
        let client = self.client_of(id);
        self.watching.note(again, client, What::Sent);
        let deliver = Deliver {
            message: self.store.message(message).clone(),
            // v5 [MQTT-4.3.3-7]: once in flight it does not expire.
            expires_at: self.store.expires_at(message),
            targets: smallvec![target],
        };
        self.emit(at.link, Effect::Deliver(deliver));
    }

    /// Sends one retained message of the first cursor. Returns whether one was sent.
    fn serve_cursor(&mut self, id: ReaderId) -> bool {
        let Some(at) = self.open_attachment(id) else {
            return false;
        };
        loop {
            let Some(reader) = self.readers.get_mut(id) else {
                return false;
            };
            if !reader.window.has_room(0) || self.work == 0 {
                return false;
            }
            let Some(cursor) = reader.cursors.front_mut() else {
                return false;
            };
            self.work -= 1;
            let filter = cursor.filter.filter();
            match self
                .retained
                .next_match(filter, cursor.passed.as_ref(), &mut self.work)
            {
                Step::End => {
                    reader.cursors.pop_front();
                    self.cursors -= 1;
                }
                Step::Tired(place) => cursor.passed = Some(place),
                Step::Found(place, retained) => {
                    let weight = self.store.message(retained.message).weight();
                    if !reader.window.has_room(weight) {
                        return false;
                    }
                    let sent = cursor.sent_early.remove(&place);
                    cursor.passed = Some(place);
                    // v5 [MQTT-3.8.3-3]
                    let publisher = self.store.message(retained.message).publisher;
                    let own = cursor.no_local && publisher == reader.who.client;
                    let expired = self.store.expires_at(retained.message) <= self.now;
                    let hidden = hides(
                        cursor.filter.filter(),
                        &self.store.message(retained.message).topic,
                    );
                    if sent || own || expired || hidden || retained.sequence > cursor.as_of {
                        continue;
                    }
                    let merged = Merged {
                        qos: cursor.qos,
                        retain: true,
                        subscription_ids: cursor.subscription_ids.clone(),
                    };
                    let message = self.store.share(retained.message, &mut self.account);
                    return self.send(id, at, message, retained.sequence, merged);
                }
            }
        }
    }

    /// Sends the first message of the queue. Returns whether one was sent or had expired.
    fn serve_queue(&mut self, id: ReaderId) -> bool {
        let Some(at) = self.open_attachment(id) else {
            return false;
        };
        self.refill(QueueId::Reader(id));
        let Some(reader) = self.readers.get_mut(id) else {
            return false;
        };
        let Some(front) = reader.queue.front() else {
            return false;
        };
        if self.work == 0 {
            return false;
        }
        let expired = self.store.expires_at(front.message) <= self.now;
        let weight = self.store.message(front.message).weight();
        if !expired && !reader.window.has_room(weight) {
            return false;
        }
        self.work -= 1;
        let Some(queued) = reader.queue.pop_front() else {
            return false;
        };
        if expired {
            self.stats.expired += 1;
            let message = self.store.message(queued.message);
            let client = Some(reader.who.client);
            self.watching
                .note(message, client, What::Dropped(Why::Expired));
            self.store.release(queued.message, &mut self.account);
            return true;
        }
        let Queued {
            message,
            sequence,
            qos,
            retain,
            subscription_ids,
            ..
        } = queued;
        self.send(
            id,
            at,
            message,
            sequence,
            Merged {
                qos,
                retain,
                subscription_ids,
            },
        )
    }

    /// Sends a stored message, whose reference passes over to the in-flight set or ends here. The caller has seen that
    /// the window has room.
    fn send(
        &mut self,
        id: ReaderId,
        at: Attached,
        message: MessageId,
        sequence: u64,
        mut merged: Merged,
    ) -> bool {
        let Some(reader) = self.readers.get_mut(id) else {
            return false;
        };
        let epoch = reader.who.epoch;
        let after = self.links.get(at.link).map_or(0, |link| link.outbox.last());
        let body = self.store.message(message).clone();
        let expires_at = self.store.expires_at(message);
        merged.qos = merged.qos.min(body.qos);
        let weight = body.weight();
        let target = if reader.persistent && merged.qos > QoS::AtMostOnce {
            let Some(packet_id) = reader.inflight.free_id(&self.settings.stripes) else {
                let Merged {
                    qos,
                    retain,
                    subscription_ids,
                } = merged;
                reader.queue.push_front(Queued {
                    message,
                    sequence,
                    qos,
                    retain,
                    weight: u32::try_from(weight).unwrap_or(u32::MAX),
                    subscription_ids,
                });
                return false;
            };
            let target = tracked(at, packet_id, &merged, false);
            reader.inflight.push(in_flight(
                packet_id, message, sequence, weight, merged, epoch, after,
            ));
            target
        } else {
            self.store.release(message, &mut self.account);
            untracked(at, merged, true)
        };
        if let Some(reader) = self.readers.get_mut(id) {
            reader.window.take(weight);
            let client = Some(reader.who.client);
            self.watching.note(&body, client, What::Sent);
        }
        let targets = smallvec![target];
        self.emit(
            at.link,
            Effect::Deliver(Deliver {
                message: body,
                expires_at,
                targets,
            }),
        );
        true
    }

    /// Sends a stored message that jumps its place, or queues it when there is no room.
    pub(crate) fn send_or_queue(
        &mut self,
        id: ReaderId,
        message: MessageId,
        sequence: u64,
        merged: Merged,
    ) {
        let weight = self.store.message(message).weight();
        let at = self.open_attachment(id);
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let message = self.store.share(message, &mut self.account);
        match at {
            Some(at)
                if reader.queue.is_empty()
                    && reader.inflight.resend_from.is_none()
                    && reader.window.has_room(weight) =>
            {
                self.send(id, at, message, sequence, merged);
            }
            _ => {
                let Merged {
                    qos,
                    retain,
                    subscription_ids,
                } = merged;
                reader.queue.push_back(Queued {
                    message,
                    sequence,
                    qos,
                    retain,
                    weight: u32::try_from(weight).unwrap_or(u32::MAX),
                    subscription_ids,
                });
                self.queue_has_grown(QueueId::Reader(id));
                self.starve(id);
            }
        }
    }
}
