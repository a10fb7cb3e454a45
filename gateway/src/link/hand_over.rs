//! From the link to the connections: effects, each to the one that it concerns.

use catena_chain::{Generation, Stamp};
use catena_connection::{
    Input,
    input::{Delivery, Effect as ForClient, Now},
};
use catena_mqtt::ReasonCode;
use catena_shard::{ConnId, Effect, Time};
use catena_slots::ShardId;
use tracing::warn;

use crate::{
    clients::{Client, Clients},
    router::Router,
};

/// What hands effects of one shard over.
pub(super) struct HandOver<'a> {
    pub shard: ShardId,
    pub clients: &'a mut Clients,
    pub router: &'a mut Router,
    /// One look at the clock for all that came together.
    pub now: Now,
}

impl HandOver<'_> {
    /// Hands over effects from number `first` on, and behind them deliveries that passed by the log.
    pub fn effects(
        &mut self,
        first: u64,
        effects: Vec<Effect>,
        direct: Vec<Effect>,
        shard_now: Stamp,
    ) {
        self.end_traces();
        let shard_now = Time(shard_now.0);
        self.router.link(self.shard).set_time(shard_now, self.now);
        for (number, effect) in (first..).zip(effects) {
            self.router.link(self.shard).handed_through = number;
            self.effect(effect, shard_now);
        }
        for effect in direct {
            self.effect(effect, shard_now);
        }
    }

    /// The shard takes ops again, and told its time: somebody may have waited for that.
    pub fn opened(&mut self, shard_now: Stamp) {
        let link = self.router.link(self.shard);
        link.set_time(Time(shard_now.0), self.now);
        self.progress();
    }

    /// The shard has lost what it held. Homes end the sessions that had something there; but nobody is left to end those
    /// whose home it was, and what is in flight would meet a reader that never saw it `[F-25]`.
    pub fn begun_anew(&mut self, generation: Generation) {
        self.router.link(self.shard).handed_through = 0;
        let ids: Vec<ConnId> = self.clients.ids().collect();
        let mut closed = 0;
        for id in ids {
            let rests = |client: &&mut Client| client.protocol.rests_on(self.shard);
            if let Some(client) = self.clients.get_mut(id).filter(rests) {
                let reason = ReasonCode::ImplementationSpecificError;
                client.handle(Input::Drain(reason), self.now, self.router);
                client.wake();
                closed += 1;
            }
        }
        warn!(shard = %self.shard, generation = generation.0, closed, "a shard has begun anew: it is empty, or lacks what was acknowledged last; sessions that rest on it end");
    }

    /// Tells those that wait for progress.
    pub fn progress(&mut self) {
        self.end_traces();
        for conn in self.router.link(self.shard).take_waiting() {
            self.tell(conn, Input::Progress(self.shard));
        }
    }

    /// Publishes that are committed have come to their end here.
    fn end_traces(&mut self) {
        let through = self.router.link(self.shard).committed_through();
        self.router.tracer.committed(self.shard, through);
        self.router.passports.committed(self.shard, through);
    }

    fn effect(&mut self, effect: Effect, shard_now: Time) {
        let (conn, effect) = match effect {
            Effect::Deliver(deliver) => {
                for target in &deliver.targets {
                    let delivery = Delivery {
                        message: &deliver.message,
                        expires_at: deliver.expires_at,
                        shard_now,
                        target,
                    };
                    let effect = ForClient::Deliver(delivery);
                    self.tell(target.conn, Input::Effect(self.shard, effect));
                }
                return;
            }
            Effect::Published(published) => (published.conn, ForClient::Published(published)),
            Effect::Recorded(recorded) => (recorded.conn, ForClient::Recorded(recorded)),
            Effect::Released(released) => (released.conn, ForClient::Released(released)),
            Effect::Pubrel(pubrel) => (pubrel.conn, ForClient::Pubrel(pubrel)),
            Effect::Connected(connected) => (connected.conn, ForClient::Connected(connected)),
            Effect::Attached(attached) => (attached.conn, ForClient::Attached(attached)),
            Effect::Subscribed(subscribed) => (subscribed.conn, ForClient::Subscribed(subscribed)),
            Effect::Unsubscribed(unsubscribed) => {
                (unsubscribed.conn, ForClient::Unsubscribed(unsubscribed))
            }
            Effect::Kick(kick) => (kick.conn, ForClient::Kick(kick)),
            Effect::AlsoAttach(also) => (also.conn, ForClient::AlsoAttach(also)),
            // Ops for shards never go to a gateway.
            Effect::Peer(_) => return,
        };
        self.tell(conn, Input::Effect(self.shard, effect));
    }

    fn tell(&mut self, conn: ConnId, input: Input<'_>) {
        // A delivery for a client that is gone: its Detach tells the shard, which still has it.
        if let Some(client) = self.clients.get_mut(conn) {
            client.handle(input, self.now, self.router);
            client.wake();
        }
    }
}
