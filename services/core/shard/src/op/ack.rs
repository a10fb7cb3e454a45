//! Ack and Credit: deliveries go on `[F-50]` to `[F-57]`.

use catena_mqtt::QoS;

use crate::{
    effect::{Effect, Recorded},
    inflight::Progress,
    op::{Ack, AckItem, AckKind, Credit},
    reader::ReaderId,
    shard::Shard,
};

impl Shard {
    pub(crate) fn ack(&mut self, ack: &Ack) {
        let Some(reader) = self.admit(&ack.who) else {
            return;
        };
        for item in &ack.items {
            self.ack_one(reader, *item);
        }
        self.serve_all(reader);
        self.look_later(reader);
    }

    fn ack_one(&mut self, id: ReaderId, ack: AckItem) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let Some(item) = reader.inflight.get_mut(ack.packet_id) else {
            return;
        };
        if ack.kind == AckKind::Received && item.qos == QoS::ExactlyOnce {
            item.progress = Progress::Received;
            reader.passed_over = false;
            let conn = reader.attached.map(|at| (at.link, at.conn));
            if let Some(message) = item.message.take() {
                self.store.release(message, &mut self.account);
            }
            if let Some((link, conn)) = conn {
                self.emit(
                    link,
                    Effect::Recorded(Recorded {
                        conn,
                        packet_id: ack.packet_id,
                    }),
                );
            }
            return;
        }
        let Some(item) = reader.inflight.remove(ack.packet_id) else {
            return;
        };
        reader.window.give_back(1, u64::from(item.bytes));
        // One that can never acknowledge anything must not be passed over for ever.
        reader.passed_over = ack.kind == AckKind::Returned && !reader.inflight.is_empty();
        if ack.kind == AckKind::Returned && item.group.is_some() {
            self.return_to_group(item);
        } else if let Some(message) = item.message {
            self.store.release(message, &mut self.account);
        }
    }

    pub(crate) fn credit(&mut self, credit: &Credit) {
        let Some(id) = self.admit(&credit.who) else {
            return;
        };
        if let Some(reader) = self.readers.get_mut(id) {
            reader.window.give_back(credit.messages, credit.bytes);
        }
        self.serve_all(id);
    }
}
