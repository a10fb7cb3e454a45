//! QoS 2 from the client, between PUBLISH and PUBCOMP `[F-42]`.

use catena_mqtt::{
    ReasonCode,
    packet::{Ack, ack},
};
use catena_shard::{
    Op,
    effect::{Held, Released},
    op::Release,
};
use catena_slots::ShardId;

use crate::{Connection, Outside, input::Now};

/// A packet id of a QoS 2 publish that wants PUBREL.
#[derive(Debug)]
pub(crate) struct Inbound {
    shard: ShardId,
    /// A hash of its topic; `None` where an earlier connection brought it.
    topic: Option<u64>,
    state: State,
    /// It came over this connection, and so counts against our Receive Maximum.
    counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet answered by the shard.
    Publishing,
    /// The same, and it waits until `old` has forgotten the id.
    Replacing { old: ShardId },
    /// PUBREC was sent, or will be in its turn.
    Received,
    /// PUBREL came; the shard was asked.
    Releasing,
    /// The policy did not allow it, and PUBREC could not say so: below 5. No shard knows of it.
    Denied,
}

/// What a QoS 2 publish is in the light of its packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// Known, and answered before.
    Resend,
    /// Known, and not yet answered.
    Unanswered,
    /// The id belongs to another publish that is under way.
    InUse,
}

impl Connection {
    /// Notes a QoS 2 publish to `topic`.
    pub(crate) fn arrive<O: Outside>(
        &mut self,
        id: u16,
        shard: ShardId,
        topic: u64,
        outside: &mut O,
    ) -> Arrival {
        let new = Inbound {
            shard,
            topic: Some(topic),
            state: State::Publishing,
            counted: true,
        };
        let Some(known) = self.inbound.get_mut(id) else {
            self.inbound.insert(id, new);
            self.inbound_counted += 1;
            return Arrival::New;
        };
        let same = known.topic == Some(topic);
        match known.state {
            State::Received | State::Denied if same => return Arrival::Resend,
            State::Denied => {
                *known = new;
                return Arrival::New;
            }
            State::Publishing | State::Replacing { .. } if same => return Arrival::Unanswered,
            State::Received => {}
            State::Publishing | State::Replacing { .. } | State::Releasing => {
                return Arrival::InUse;
            }
        }
        let (old, unknown_topic) = (known.shard, known.topic.is_none());
        if !known.counted {
            self.inbound_counted += 1;
        }
        *known = new;
        if !self.is_tracked() || (unknown_topic && old == shard) {
            // The same shard knows itself whether this is a resend or a new publish.
            return Arrival::New;
        }
        self.replace(id, old, outside);
        Arrival::New
    }

    /// A client below 5 goes on with what the policy has denied as if it had been taken.
    pub(crate) fn hold_denied(&mut self, id: u16, shard: ShardId, topic: u64) {
        if self.inbound.contains(id) {
            return;
        }
        let denied = Inbound {
            shard,
            topic: Some(topic),
            state: State::Denied,
            counted: true,
        };
        self.inbound.insert(id, denied);
        self.inbound_counted += 1;
    }

    /// Whether a QoS 2 publish with this id came to this topic over this connection, and is not yet released.
    pub(crate) fn has_arrived(&self, id: u16, topic: u64) -> bool {
        let known = self.inbound.get(id);
        known.is_some_and(|known| known.topic == Some(topic) && known.state != State::Releasing)
    }

    /// The publish waits until `old` has forgotten its id.
    fn replace<O: Outside>(&mut self, id: u16, old: ShardId, outside: &mut O) {
        if let Some(inbound) = self.inbound.get_mut(id) {
            inbound.state = State::Replacing { old };
        }
        self.send_release(id, old, outside);
    }

    /// Whether a publish that the shard is to remember may go: the id must not be known elsewhere.
    pub(crate) fn may_be_remembered(&self, id: u16) -> bool {
        self.resuming == 0
            && !self
                .inbound
                .get(id)
                .is_some_and(|inbound| matches!(inbound.state, State::Replacing { .. }))
    }

    /// The shard has answered a QoS 2 publish.
    pub(crate) fn record_inbound(&mut self, id: u16, reason: ReasonCode) {
        let Some(inbound) = self.inbound.get_mut(id) else {
            return;
        };
        if inbound.state != State::Publishing {
            return;
        }
        if reason.is_error() && self.is_v5() {
            // v5 4.9: a PUBREC that says no ends it.
            self.forget_inbound(id);
        } else if let Some(inbound) = self.inbound.get_mut(id) {
            inbound.state = State::Received;
        }
    }

    fn forget_inbound(&mut self, id: u16) {
        if self
            .inbound
            .remove(id)
            .is_some_and(|inbound| inbound.counted)
        {
            self.inbound_counted -= 1;
        }
    }

    pub(crate) fn on_pubrel<O: Outside>(&mut self, ack: &Ack, now: Now, outside: &mut O) {
        let id = ack.packet_id.get();
        let persistent = self.is_tracked();
        match self.inbound.get_mut(id) {
            Some(inbound) => match inbound.state {
                State::Received if persistent => {
                    inbound.state = State::Releasing;
                    let shard = inbound.shard;
                    self.send_release(id, shard, outside);
                }
                State::Received => {
                    self.forget_inbound(id);
                    self.write_ack(ack::Kind::Pubcomp, id, ReasonCode::Success, outside);
                }
                State::Denied => {
                    self.forget_inbound(id);
                    self.write_ack(ack::Kind::Pubcomp, id, ReasonCode::Success, outside);
                }
                // The answer is on its way.
                State::Releasing => {}
                State::Publishing | State::Replacing { .. } => {
                    self.fail(
                        ReasonCode::ProtocolError,
                        "PUBREL before PUBREC",
                        now,
                        outside,
                    );
                }
            },
            None if persistent && self.resuming > 0 => {
                if !self.waiting_releases.contains(&id) {
                    self.waiting_releases.push(id);
                }
            }
            None => self.write_ack(
                ack::Kind::Pubcomp,
                id,
                ReasonCode::PacketIdentifierNotFound,
                outside,
            ),
        }
    }

    fn send_release<O: Outside>(&mut self, packet_id: u16, shard: ShardId, outside: &mut O) {
        let Some(who) = self.session else { return };
        let release = Release {
            who,
            conn: self.conn,
            packet_id,
        };
        self.releasing += 1;
        self.send_control(shard, Op::Release(release), outside);
    }

    pub(crate) fn on_released<O: Outside>(
        &mut self,
        shard: ShardId,
        released: &Released,
        now: Now,
        outside: &mut O,
    ) {
        self.releasing = self.releasing.saturating_sub(1);
        let id = released.packet_id;
        let Some(inbound) = self.inbound.get_mut(id) else {
            return;
        };
        match inbound.state {
            State::Replacing { old } if old == shard => {
                inbound.state = State::Publishing;
                let place = self.peers.place(inbound.shard);
                self.drain_parked(place, now, outside);
            }
            State::Releasing if inbound.shard == shard => {
                self.forget_inbound(id);
                let reason = if released.found {
                    ReasonCode::Success
                } else {
                    ReasonCode::PacketIdentifierNotFound
                };
                self.write_ack(ack::Kind::Pubcomp, id, reason, outside);
            }
            _ => {}
        }
    }

    /// Takes in what a shard remembers of earlier connections.
    pub(crate) fn hold_inbound<O: Outside>(
        &mut self,
        shard: ShardId,
        held: &Held,
        outside: &mut O,
    ) {
        for &id in &held.inbound {
            match self.inbound.get(id) {
                None => {
                    let state = State::Received;
                    let inbound = Inbound {
                        shard,
                        topic: None,
                        state,
                        counted: false,
                    };
                    self.inbound.insert(id, inbound);
                }
                // A publish came meanwhile, for another shard.
                Some(known) if known.shard != shard && known.state == State::Publishing => {
                    self.replace(id, shard, outside);
                }
                Some(_) => {}
            }
        }
    }

    /// All shards have told what they remember: PUBRELs that waited for it go on.
    pub(crate) fn release_waiting<O: Outside>(&mut self, now: Now, outside: &mut O) {
        for id in std::mem::take(&mut self.waiting_releases) {
            if let Some(packet_id) = crate::connection::packet_id(id) {
                self.on_pubrel(&Ack::success(packet_id), now, outside);
            }
        }
    }
}
