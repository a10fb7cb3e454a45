//! What the replica wants done, and what becomes of it.

use std::time::Duration;

use catena_chain::{
    Member,
    message::{Alarm, ConnectionId},
};
use catena_replicated::{Envelope, Input, Output, ToOrigin};
use catena_transport::{Dial, DialError, Reach};
use tracing::{debug, error, info, warn};

use super::{Host, is_near};
use crate::{
    limits::PEER_RETRY_MS,
    neighbour::{Event, Neighbour},
    peer::{Lost, Peer},
    ready::Key,
};

impl<D: Dial, R: Reach> Host<D, R> {
    /// A connection to another shard is over.
    pub(super) fn lost(&mut self, id: ConnectionId, lost: Lost) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        match lost {
            Lost::NotReached(DialError::Refused(reason)) => {
                debug!(shard = %self.shard, reason, "another shard refuses us");
                self.voice.accuse(peer.to().incarnation);
            }
            Lost::NotReached(error) => {
                debug!(shard = %self.shard, %error, "another shard is not reached")
            }
            Lost::Broken(reason) => {
                debug!(shard = %self.shard, reason, "a link to another shard broke")
            }
        }
        self.later.push(Input::PeerLost { connection: id });
        self.tick_within(Duration::from_millis(PEER_RETRY_MS));
    }

    /// Does what the replica wants done.
    pub(super) fn perform(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send { to, envelope } => self.send_to(to, envelope),
                Output::Owed { connection } => {
                    if let Some(open) = self.origins.get_mut(&connection) {
                        open.owe();
                        self.to_send.origins.push(connection);
                    }
                }
                Output::Reply {
                    connection,
                    message,
                } => self.reply(connection, message),
                Output::Close { connection } => {
                    if let Some(open) = self.origins.get_mut(&connection) {
                        open.close();
                        self.to_send.origins.push(connection);
                    }
                }
                Output::Connect {
                    connection,
                    shard,
                    to,
                } => {
                    let waker = self.ready.waker(Key::Peer(connection));
                    let peer = Peer::dial(&self.dial, shard, to, waker);
                    self.peers.insert(connection, peer);
                    self.to_send.peers.push(connection);
                }
                Output::SendToPeer {
                    connection,
                    message,
                } => {
                    let peer = self.peers.get_mut(&connection);
                    match peer.map(|peer| peer.push(message)) {
                        Some(Ok(())) => self.to_send.peers.push(connection),
                        Some(Err(lost)) => self.lost(connection, lost),
                        None => {}
                    }
                }
                Output::Disconnect { connection } => {
                    self.peers.remove(&connection);
                    self.tick_within(Duration::from_millis(PEER_RETRY_MS));
                }
                Output::Commanded { id, outcome } => self.inquiries.commanded(id, outcome),
                Output::Encode(encoding) => {
                    self.snapshots.encode(encoding);
                    self.is_offloading = true;
                }
                Output::Decode(decoding) => self.snapshots.decode(decoding, self.spill.clone()),
                Output::Arrived { nonce, piece } => self.snapshots.arrived(nonce, piece),
                Output::Keep(keep) => self.keep(keep),
                Output::Report(report) => {
                    debug!(shard = %self.shard, ?report, "reports");
                    self.voice.report(report);
                }
                Output::Alarm(alarm) => {
                    let epoch = self
                        .replica
                        .configuration()
                        .map_or(0, |known| known.epoch.0);
                    let what = match alarm {
                        Alarm::BadSnapshot { .. } => {
                            "what the tail sends of its state cannot be read here: it was damaged on its way, or its backend is of another \
                             version, from which this one cannot be upgraded; it is asked for again"
                        }
                        Alarm::Mismatch { .. } | Alarm::Diverged { .. } => {
                            "this must not happen; the replica is to begin anew"
                        }
                    };
                    error!(shard = %self.shard, epoch, ?alarm, "{what}");
                    self.beat.alarmed();
                }
            }
        }
        self.outputs = outputs;
    }

    fn reply(&mut self, connection: ConnectionId, message: ToOrigin) {
        let Some(open) = self.origins.get_mut(&connection) else {
            return;
        };
        match open.reply(message) {
            Ok(()) => self.to_send.origins.push(connection),
            Err(_) => {
                warn!(shard = %self.shard, "closed a link that does not take its answers");
                self.origins.remove(&connection);
                self.later.push(Input::OriginLost { connection });
            }
        }
    }

    fn send_to(&mut self, to: Member, envelope: Envelope) {
        let is_near = is_near(&self.replica, to);
        let neighbour = self.neighbours.entry(to).or_insert_with(|| {
            let waker = self.ready.waker(Key::Neighbour(to));
            Neighbour::new(self.shard, to, waker, is_near)
        });
        let event = neighbour.push(envelope);
        self.to_send.neighbours.push(to);
        if let Some(event) = event {
            self.happened(to, event);
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn send(&mut self) {
        while let Some(member) = self.to_send.neighbours.pop() {
            self.go_on(member, false);
        }
        while let Some(id) = self.to_send.origins.pop() {
            let Some(open) = self.origins.get_mut(&id) else {
                continue;
            };
            let replica = &mut self.replica;
            if open.send(|| replica.owed(id)).is_err() {
                self.origins.remove(&id);
                self.later.push(Input::OriginLost { connection: id });
            }
        }
        while let Some(id) = self.to_send.peers.pop() {
            if let Some(Err(lost)) = self.peers.get_mut(&id).map(Peer::send) {
                self.lost(id, lost);
            }
        }
    }

    pub(super) fn go_on(&mut self, member: Member, is_woken: bool) {
        while let Some(neighbour) = self.neighbours.get_mut(&member) {
            match neighbour.go_on(&self.reach, is_woken) {
                Some(event) => self.happened(member, event),
                None => return,
            }
        }
    }

    fn happened(&mut self, member: Member, event: Event) {
        let (shard, to) = (self.shard, member.id.0);
        match event {
            Event::Again => {
                info!(%shard, to, "the stream to a replica is there again");
                self.later.push(Input::Reconnected(member));
            }
            Event::Broken(reason) => {
                info!(%shard, to, reason, "the stream to a replica broke");
                self.accuse(member);
            }
            Event::NotReached(error) => {
                debug!(%shard, to, %error, "a replica is not reached");
                if matches!(error, DialError::Refused(_)) {
                    self.accuse(member);
                }
            }
        }
        let is_over = |neighbour: &Neighbour<R>| neighbour.is_over();
        if self.neighbours.get(&member).is_some_and(is_over) {
            self.neighbours.remove(&member);
        }
    }

    /// Somebody of our chain may be dead: whoever can tell is to look at once.
    pub(super) fn accuse(&self, member: Member) {
        let configuration = self.replica.configuration();
        if configuration.is_some_and(|known| known.member(member.id) == Some(member)) {
            self.voice.accuse(member.incarnation);
        }
    }
}
