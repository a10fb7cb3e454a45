//! Attach and Detach: a connection comes to a shard and leaves it `[F-11]` `[F-53]`.

use crate::{
    effect::{Attached as AttachedEffect, Effect, Held},
    inflight,
    links::LinkId,
    op::{Attach, Attachment, Detach},
    queue::Queued,
    reader::{Attached, ReaderId, Window},
    shard::Shard,
};

impl Shard {
    pub(crate) fn attach(&mut self, link: LinkId, attach: &Attach) {
        let Some(reader) = self.admit(&attach.who) else {
            return;
        };
        let held = self.attach_reader(reader, link, &attach.attachment);
        let attached = AttachedEffect {
            conn: attach.attachment.conn,
            held,
        };
        self.emit(link, Effect::Attached(Box::new(attached)));
        self.tell_home(reader);
        self.serve_all(reader);
    }

    /// Attaches a reader, and tells what is held for it. The caller answers, and then calls [`Shard::serve_all`].
    pub(crate) fn attach_reader(
        &mut self,
        id: ReaderId,
        link: LinkId,
        attachment: &Attachment,
    ) -> Held {
        let Some(reader) = self.readers.get_mut(id) else {
            return Held::default();
        };
        let at = Attached {
            link,
            conn: attachment.conn,
        };
        if reader.attached == Some(at) {
            return reader.held();
        }
        reader.attached = Some(at);
        let ids = inflight::ids_in(&self.settings.stripes);
        // A session that was resumed keeps its packet ids, also if it now ends with its connection.
        reader.persistent |= attachment.persistent;
        reader.passed_over = false;
        reader.keeps = attachment.keeps;
        if attachment.keeps.asked && reader.who.session.home == self.id {
            self.stats.count_asked(self.settings.durable.queues);
        }
        reader.window = Window {
            messages_max: attachment.window_messages.min(ids),
            bytes_max: attachment.window_bytes,
            receive_maximum: attachment.receive_maximum,
            messages: reader.inflight.len() as u32,
            bytes: reader.inflight.bytes(),
        };
        reader.inflight.resend_from = (!reader.inflight.is_empty()).then_some(0);
        let (held, groups) = (reader.held(), reader.groups.clone());
        self.fetch_ahead(id);
        for group in groups {
            self.members_changed(group);
        }
        held
    }

    /// Sends everything that a reader is owed, by itself or as a member of groups.
    pub(crate) fn serve_all(&mut self, id: ReaderId) {
        self.serve(id);
        self.serve_groups_of(id);
    }

    pub(crate) fn detach(&mut self, detach: &Detach) {
        let Some(reader) = self.admit(&detach.who) else {
            return;
        };
        self.detach_reader(reader, &detach.unsent, detach.taken);
    }

    /// Takes the connection from a reader. What was never written - `unsent`, and what left after effect `taken` - goes
    /// back to where it came from; an ephemeral session ends here `[F-17]`.
    pub(crate) fn detach_reader(&mut self, id: ReaderId, unsent: &[u16], taken: u64) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        if reader.attached.take().is_none() {
            return;
        }
        reader.inflight.resend_from = None;
        let crossed = reader.inflight.sent_after(taken, reader.who.epoch);
        self.take_back(id, crossed.iter().chain(unsent.iter().rev()));
        self.return_shared(id);
        let Some(reader) = self.readers.get(id) else {
            return;
        };
        let (persistent, groups) = (reader.persistent, reader.groups.clone());
        if persistent {
            self.look_later(id);
        } else {
            self.end_reader(id);
        }
        for group in groups {
            self.members_changed(group);
            self.serve_group(group);
        }
    }

    /// Puts unwritten deliveries, the latest first, back to the front of the queue, without DUP. One that an earlier connection may
    /// have written stays in flight.
    fn take_back<'a>(&mut self, id: ReaderId, unsent: impl Iterator<Item = &'a u16>) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let mut to_groups = vec![];
        for packet_id in unsent {
            let epoch = reader.who.epoch;
            if reader
                .inflight
                .get(*packet_id)
                .is_none_or(|item| item.epoch != epoch || item.message.is_none())
            {
                continue;
            }
            let Some(item) = reader.inflight.remove(*packet_id) else {
                continue;
            };
            if item.group.is_some() {
                to_groups.push(item);
            } else if let Some(message) = item.message {
                reader.queue.push_front(Queued {
                    message,
                    sequence: item.sequence,
                    qos: item.qos,
                    retain: item.retain,
                    weight: item.bytes,
                    subscription_ids: item.subscription_ids,
                });
            }
        }
        for item in to_groups {
            self.return_to_group(item);
        }
    }

    /// QoS 1 deliveries of shared subscriptions return to their group; QoS 2 stays with its session `[F-72]`.
    fn return_shared(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let mut back = vec![];
        for packet_id in reader.inflight.shared_ids() {
            let item = reader.inflight.get(packet_id);
            if item.is_some_and(|item| item.qos == catena_mqtt::QoS::AtLeastOnce) {
                back.extend(reader.inflight.remove(packet_id));
            }
        }
        for item in back {
            self.return_to_group(item);
        }
    }
}
