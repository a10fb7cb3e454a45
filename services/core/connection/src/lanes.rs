//! The two ways of a publish to its shard: through the log, or past it to the tail `[F-41]`.

use catena_link::Class;
use catena_mqtt::QoS;
use catena_shard::{Message, Op, op::Publish};

use crate::{Connection, Outside, parking::Parked, switches::Rule};

/// Whether a message goes past the log.
fn is_direct(message: &Message) -> bool {
    message.qos == QoS::AtMostOnce && !message.retain
}

impl Connection {
    /// Whether publishes past the log are on their way. A request that overtook them would change to whom they go: it waits
    /// for them `[F-41]`, and the connection is told of progress.
    pub(crate) fn awaits_direct<O: Outside>(&mut self, outside: &mut O) -> bool {
        let mut awaits = false;
        for peer in self.peers.iter_mut() {
            if peer.last_direct != 0 && outside.direct_through(peer.shard) >= peer.last_direct {
                peer.last_direct = 0;
            }
            if peer.last_direct != 0 {
                peer.await_progress(outside);
                awaits = true;
            }
        }
        awaits
    }

    /// Sends a publish unless its lane must wait; then asks to be told of progress. Of one connection and shard only
    /// one lane is in use at a time, so that order holds `[MQTT-4.6.0-5]`.
    pub(crate) fn send_publish<O: Outside>(
        &mut self,
        place: usize,
        publish: &Parked,
        outside: &mut O,
    ) -> bool {
        let Some(who) = self.session else {
            return false;
        };
        let waits = self.switches.keep(Rule::F41);
        let peer = self.peers.at_mut(place);
        let shard = peer.shard;
        let op = Publish {
            who,
            conn: self.conn,
            token: publish.token,
            packet_id: publish.packet_id,
            dup: publish.dup,
            high_priority: publish.high_priority,
            message: publish.message.clone(),
        };
        let sent = if is_direct(&publish.message) {
            if peer.last_op != 0 && outside.committed_through(shard) >= peer.last_op {
                peer.last_op = 0;
            }
            (peer.last_op == 0 || !waits)
                && outside
                    .send_direct(shard, op)
                    .map(|place| peer.last_direct = place)
                    .is_ok()
        } else {
            if peer.last_direct != 0 && outside.direct_through(shard) >= peer.last_direct {
                peer.last_direct = 0;
            }
            let class = Class::Publish(u32::try_from(op.message.weight()).unwrap_or(u32::MAX));
            let sent = (peer.last_direct == 0 || !waits)
                && outside
                    .send(shard, class, Op::Publish(op))
                    .map(|number| peer.last_op = number)
                    .is_ok();
            self.publishing += u32::from(sent);
            sent
        };
        if !sent {
            peer.await_progress(outside);
        }
        sent
    }
}
