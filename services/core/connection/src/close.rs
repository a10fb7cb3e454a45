//! The end: the client leaves, or is sent away, and its last ops go out `[F-14]`.

use catena_mqtt::{QoS, ReasonCode, Version, packet};
use catena_shard::{
    Op,
    op::{Detach, Disconnect},
};

use crate::{
    Connection, Outside,
    bounds::LEAVE_MS,
    connection::{Leave, Phase},
    input::Now,
    outside::{Event, Step, Why},
    peers::Attach,
    timers::{Timer, Timers},
};

impl Connection {
    pub(crate) fn on_disconnect<O: Outside>(
        &mut self,
        disconnect: &packet::Disconnect,
        now: Now,
        outside: &mut O,
    ) {
        let asked = disconnect.session_expiry.filter(|_| self.is_v5());
        // v5 3.14.2.2.2
        if !self.is_persistent() && asked.is_some_and(|expiry| expiry > 0) {
            let text = "a session that was to end with its connection cannot be kept";
            return self.fail(ReasonCode::ProtocolError, text, now, outside);
        }
        let expiry = asked.map(|expiry| expiry.min(self.settings.session_expiry_max));
        // v5 [MQTT-3.14.4-3], v3.1.1 [MQTT-3.14.4-3]
        let will = self.is_v5() && disconnect.reason != ReasonCode::Success;
        outside.count(Event::Disconnected(disconnect.reason));
        self.close_socket(outside);
        self.leave(will, expiry, now, outside);
    }

    /// The client broke a rule, or must go: DISCONNECT where the version has it, and the end. v5 4.13
    pub(crate) fn fail<O: Outside>(
        &mut self,
        reason: ReasonCode,
        text: &str,
        now: Now,
        outside: &mut O,
    ) {
        match self.phase {
            Phase::Live => {
                outside.count(Event::Disconnected(reason));
                self.write_disconnect(reason, text, outside);
                self.leave(true, None, now, outside);
            }
            Phase::AwaitConnect
            | Phase::Authenticating { .. }
            | Phase::Asking(_)
            | Phase::Connecting(_) => {
                if reason == ReasonCode::UnsupportedProtocolVersion && self.version.is_none() {
                    // Said in the words of 3.1.1, which every client can read. v3.1.1 [MQTT-3.1.2-2]
                    self.version = Some(Version::V4);
                }
                self.refuse(reason, now, outside);
            }
            Phase::Abandoned | Phase::Leaving | Phase::Detaching | Phase::Gone => {}
        }
    }

    /// The socket is gone.
    pub(crate) fn on_closed<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if self.is_live() {
            outside.count(Event::Disconnected(ReasonCode::UnspecifiedError));
        }
        self.close_socket(outside);
        self.leave(true, None, now, outside);
    }

    /// The gateway is going `[F-26]`.
    pub(crate) fn on_drain<O: Outside>(&mut self, reason: ReasonCode, now: Now, outside: &mut O) {
        let has_reference = self.settings.server_reference.is_some();
        let reason = match (&self.phase, reason) {
            (_, ReasonCode::ServerShuttingDown) if has_reference => ReasonCode::UseAnotherServer,
            (Phase::Live, reason) => reason,
            // The word of CONNACK.
            (_, ReasonCode::ServerShuttingDown | ReasonCode::AdministrativeAction) => {
                ReasonCode::ServerUnavailable
            }
            (_, reason) => reason,
        };
        self.fail(reason, "", now, outside);
    }

    /// Nothing is read or written any more; what the shards still owe is waited for.
    pub(crate) fn leave<O: Outside>(
        &mut self,
        will: bool,
        expiry: Option<u32>,
        now: Now,
        outside: &mut O,
    ) {
        match self.phase {
            Phase::AwaitConnect | Phase::Authenticating { .. } | Phase::Asking(_) => {
                self.phase = Phase::Gone;
                self.timers = Timers::new();
            }
            Phase::Connecting(_) => {
                self.timers = Timers::new();
                self.abandon(now);
            }
            Phase::Live => {
                self.phase = Phase::Leaving;
                self.leave = Leave {
                    will,
                    expiry,
                    ..self.leave
                };
                let timers = [
                    Timer::KeepAlive,
                    Timer::Shared,
                    Timer::Credit,
                    Timer::Hold,
                    Timer::Expiry,
                ];
                for timer in timers {
                    self.timers.stop(timer);
                }
                self.timers.set(Timer::Phase, now.plus_millis(LEAVE_MS));
                self.drop_requests();
                self.flush(outside);
                self.drain_all_parked(now, outside);
            }
            Phase::Abandoned | Phase::Leaving | Phase::Detaching | Phase::Gone => {}
        }
    }

    pub(crate) fn detach_when_answered<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let answered = self.publishing == 0
            && self.parked == 0
            && self.releasing == 0
            && self.attaching == 0
            && !self.awaits_requests();
        // A shard takes nothing more of a session that has left, and what passes by the log comes another way [F-41].
        if answered && !self.awaits_direct(outside) {
            self.detach(now, outside);
        }
    }

    /// Leaves the shards, then the session `[F-14]` `[F-53]`.
    pub(crate) fn detach<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let Some(who) = self.session else { return };
        self.timers = Timers::new();
        self.flush(outside);
        for place in 0..self.peers.len() {
            let peer = self.peers.at_mut(place);
            for publish in std::mem::take(&mut peer.parked) {
                if publish.message.qos == QoS::AtMostOnce {
                    outside.count(Event::DroppedIncoming);
                    let step = Step::Dropped(Why::PublisherLeft);
                    outside.stepped(&self.client_id, &publish.message, step);
                }
            }
            if peer.attach == Attach::No {
                continue;
            }
            let waiting = std::mem::take(&mut peer.waiting);
            let tracked = waiting
                .iter()
                .map(|pending| pending.packet_id)
                .filter(|id| *id != 0);
            let detach = Detach {
                who,
                unsent: tracked.collect(),
                taken: outside.effects_through(peer.shard),
            };
            let shard = peer.shard;
            let number = self.send_control(shard, Op::Detach(detach), outside);
            self.peers.at_mut(place).detached = number;
        }
        self.waiting = 0;
        (self.parked, self.parked_bytes) = (0, 0);
        if self.leave.kicked {
            return self.await_detached(now, outside);
        }
        let op = self.last_op(who);
        self.send_control(self.home, Op::Disconnect(op), outside);
        self.phase = Phase::Gone;
    }

    /// What the home shard is told of the end.
    pub(crate) fn last_op(&self, who: catena_shard::Who) -> Disconnect {
        Disconnect {
            who,
            will: self.leave.will && self.is_will_allowed(),
            expiry: self.leave.expiry,
        }
    }
}
