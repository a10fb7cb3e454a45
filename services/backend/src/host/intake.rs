//! What arrives on connections: in turn from each, up to a bound.

use std::task::Poll;

use catena_chain::{Member, Payload, message::ConnectionId};
use catena_replicated::{Envelope, FromOrigin, Input, Message};
use catena_transport::{Dial, Reach};
use tracing::info;

use super::Host;
use crate::{
    limits::{SOURCE_MESSAGES, TURN_OPS},
    ready::Key,
    stream::Stream,
};

impl<D: Dial, R: Reach> Host<D, R> {
    /// Takes what has arrived, in turn from each, up to a bound.
    pub(super) fn take(&mut self) {
        let mut work = 0;
        while work < TURN_OPS {
            let Some(key) = self.keys.pop_front() else {
                return;
            };
            let is_more = match key {
                Key::Origin(id) => self.take_from_origin(id, &mut work),
                Key::Stream(id) => self.take_from_stream(id, &mut work),
                Key::Peer(id) => self.take_from_peer(id, &mut work),
                Key::Neighbour(member) => {
                    self.go_on(member, true);
                    false
                }
            };
            if is_more {
                self.keys.push_back(key);
            }
        }
    }

    /// Whether there may be more.
    fn take_from_origin(&mut self, id: ConnectionId, work: &mut usize) -> bool {
        for _ in 0..SOURCE_MESSAGES {
            let Some(connection) = self.origins.get_mut(&id) else {
                return false;
            };
            if self.replica.is_busy_with(id) {
                self.busy.push(id);
                self.to_send.origins.push(id);
                return false;
            }
            match connection.poll_receive() {
                Poll::Ready(Ok(message)) => {
                    self.tracer.said(&message);
                    *work += match &message {
                        FromOrigin::Ops { batch, .. } => batch.ops.len(),
                        FromOrigin::Direct { publishes, .. } => publishes.len(),
                        FromOrigin::Open { .. } | FromOrigin::Acked { .. } => 1,
                    };
                    self.handle(Input::FromOrigin {
                        connection: id,
                        message,
                    });
                }
                Poll::Ready(Err(_)) => {
                    self.origins.remove(&id);
                    self.handle(Input::OriginLost { connection: id });
                    return false;
                }
                Poll::Pending => {
                    // It may have been woken because there is room.
                    if connection.has_to_send() {
                        self.to_send.origins.push(id);
                    }
                    return false;
                }
            }
        }
        self.to_send.origins.push(id);
        true
    }

    fn take_from_stream(&mut self, id: u64, work: &mut usize) -> bool {
        for _ in 0..SOURCE_MESSAGES {
            let Some(stream) = self.streams.get_mut(&id) else {
                return false;
            };
            match stream.poll_receive() {
                Poll::Pending => return false,
                Poll::Ready(Some(envelope)) => {
                    let from = envelope.from;
                    if stream.is_new(from) && self.has_another(from, id) {
                        // What was on its way on the one before may be lost.
                        self.handle(Input::Reconnected(from));
                    }
                    *work += self.weigh(&envelope);
                    self.handle(Input::Message(envelope));
                }
                Poll::Ready(None) => {
                    let from = stream.from();
                    self.streams.remove(&id);
                    if let Some(from) = from {
                        info!(shard = %self.shard, from = from.id.0, "a replica's stream to us has ended");
                        self.accuse(from);
                        self.handle(Input::Reconnected(from));
                    }
                    return false;
                }
            }
        }
        true
    }

    fn has_another(&self, from: Member, id: u64) -> bool {
        let is = |(other, stream): (&u64, &Stream)| *other != id && stream.from() == Some(from);
        self.streams.iter().any(is)
    }

    /// How much work an envelope is, counted in ops; and takes note of it.
    fn weigh(&mut self, envelope: &Envelope) -> usize {
        match &envelope.message {
            Message::Append { entries, .. } => {
                self.tracer.appended(entries);
                self.beat.received(1 + entries.len() as u64);
                let ops = entries.iter().map(|entry| match &entry.payload {
                    Payload::Ops { batch, .. } => batch.ops.len(),
                    _ => 1,
                });
                ops.sum::<usize>().max(1)
            }
            Message::SnapshotPart { piece, .. } => {
                self.beat.received(1 + piece.bytes.len() as u64);
                self.chronicle.part(piece.offset == 0, piece.bytes.len());
                TURN_OPS / SOURCE_MESSAGES
            }
            _ => {
                self.beat.received(1);
                1
            }
        }
    }

    fn take_from_peer(&mut self, id: ConnectionId, work: &mut usize) -> bool {
        self.to_send.peers.push(id);
        for _ in 0..SOURCE_MESSAGES {
            let Some(peer) = self.peers.get_mut(&id) else {
                return false;
            };
            match peer.poll_receive() {
                Poll::Pending => return false,
                Poll::Ready(Ok(message)) => {
                    *work += 1;
                    self.handle(Input::FromPeer {
                        connection: id,
                        message,
                    });
                }
                Poll::Ready(Err(lost)) => {
                    self.lost(id, lost);
                    return false;
                }
            }
        }
        true
    }
}
