//! The session is given to another connection, or taken away `[F-12]`.

use catena_mqtt::ReasonCode;
use catena_shard::{Op, effect::Kick};

use crate::{
    Connection, Outside,
    bounds::DETACH_MS,
    connection::Phase,
    input::Now,
    peers::Attach,
    timers::{Timer, Timers},
};

impl Connection {
    pub(crate) fn on_kick<O: Outside>(&mut self, kick: &Kick, now: Now, outside: &mut O) {
        if self.session.is_none_or(|who| who.epoch != kick.epoch) {
            return;
        }
        let taken_over = kick.reason == ReasonCode::SessionTakenOver;
        if matches!(self.phase, Phase::Live | Phase::Leaving) {
            self.leave.kicked |= taken_over;
        }
        // v5 [MQTT-3.1.4-3]
        self.fail(kick.reason, "", now, outside);
    }

    /// The next connection must find the shards as this one left them.
    pub(crate) fn await_detached<O: Outside>(&mut self, now: Now, outside: &mut O) {
        self.phase = Phase::Detaching;
        self.timers.set(Timer::Phase, now.plus_millis(DETACH_MS));
        self.tell_kicked_when_detached(outside);
    }

    pub(crate) fn tell_kicked_when_detached<O: Outside>(&mut self, outside: &mut O) {
        let mut detached = true;
        for peer in self.peers.iter_mut() {
            if peer.attach != Attach::No && outside.committed_through(peer.shard) < peer.detached {
                peer.await_progress(outside);
                detached = false;
            }
        }
        if detached {
            self.tell_kicked(outside);
        }
    }

    pub(crate) fn tell_kicked<O: Outside>(&mut self, outside: &mut O) {
        let Some(who) = self.session else { return };
        let op = self.last_op(who);
        self.send_control(self.home, Op::Kicked(op), outside);
        self.phase = Phase::Gone;
        self.timers = Timers::new();
    }
}
