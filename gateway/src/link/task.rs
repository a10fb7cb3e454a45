//! Carries a link: opens transports, sends what has gathered, hands effects to connections.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use catena_connection::{
    Input,
    input::{Delivery, Effect as ForClient, Now},
};
use catena_shard::{ConnId, Effect, Time, wire::FromShard};
use catena_slots::ShardId;
use tokio::time::Sleep;
use tracing::{debug, warn};

use crate::{
    clients::Clients,
    limits::{ACK_IDLE_MS, LINK_TURN_MESSAGES, REOPEN_MS, REOPEN_MS_MAX},
    link::Opened,
    links::{Broken, Dial, Transport},
    router::Router,
    worker::Shared,
};

/// Keeps the link to `shard` open, for ever.
pub(crate) async fn run<D: Dial>(worker: Rc<Shared>, shard: ShardId, dial: D) {
    let mut pause_ms = 0;
    loop {
        match dial.dial(shard).await {
            Ok(transport) => {
                let mut carrier = Carrier::new(worker.clone(), shard, transport);
                let error = poll_fn(|cx| carrier.turn(cx)).await;
                worker.link_broke(shard);
                if carrier.was_open {
                    pause_ms = 0;
                }
                debug!(%shard, %error, "a link broke");
            }
            Err(error) => warn!(%shard, %error, "a link cannot be opened"),
        }
        // The first retry is at once.
        tokio::time::sleep(Duration::from_millis(worker.jittered(pause_ms))).await;
        pause_ms = (pause_ms * 2).clamp(REOPEN_MS, REOPEN_MS_MAX);
    }
}

/// One transport's life.
struct Carrier<T> {
    worker: Rc<Shared>,
    shard: ShardId,
    transport: T,
    is_asked: bool,
    was_open: bool,
    idle: Option<Pin<Box<Sleep>>>,
}

impl<T: Transport> Carrier<T> {
    fn new(worker: Rc<Shared>, shard: ShardId, transport: T) -> Carrier<T> {
        Carrier {
            worker,
            shard,
            transport,
            is_asked: false,
            was_open: false,
            idle: None,
        }
    }

    /// Ends when the transport breaks.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match self.receive(cx).and_then(|()| self.send(cx)) {
            Err(broken) => Poll::Ready(broken),
            Ok(()) => Poll::Pending,
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        for _ in 0..LINK_TURN_MESSAGES {
            match self.transport.poll_receive(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(message) => self.take(message?)?,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let worker = self.worker.clone();
        loop {
            let mut router = worker.router.borrow_mut();
            let origin = router.origin;
            let link = router.link(self.shard);
            if self.is_asked && !link.wants_to_send() {
                link.sleep(cx.waker());
                break;
            }
            match self.transport.poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(room) => room?,
            }
            if !self.is_asked {
                self.is_asked = true;
                self.transport.send(link.open(origin))?;
            } else if let Some(message) = link.next() {
                self.transport.send(message)?;
            }
        }
        self.acknowledge_when_idle(cx);
        Ok(())
    }

    /// Effects that no op's way back has acknowledged for a while are acknowledged alone `[C-44]`.
    fn acknowledge_when_idle(&mut self, cx: &mut Context<'_>) {
        let worker = self.worker.clone();
        let mut router = worker.router.borrow_mut();
        let link = router.link(self.shard);
        if !link.has_unacked() || link.is_idle {
            return;
        }
        let wait = Duration::from_millis(ACK_IDLE_MS);
        let idle = self
            .idle
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        if idle.as_mut().poll(cx).is_ready() {
            link.is_idle = true;
            self.idle = None;
            cx.waker().wake_by_ref();
        }
    }

    fn take(&mut self, message: FromShard) -> Result<(), Broken> {
        match message {
            FromShard::Opened {
                generation,
                applied_through,
                committed,
                now,
            } => {
                self.opened(generation, applied_through, committed, now);
                Ok(())
            }
            FromShard::Effects {
                generation,
                first,
                effects,
                committed,
                direct,
                direct_through,
                now,
            } => {
                let told = Told {
                    committed,
                    direct_through,
                    now,
                };
                self.effects(generation, first, effects, direct, told)
            }
        }
    }

    fn opened(&mut self, generation: u32, applied_through: u64, committed: u64, now: Time) {
        let worker = self.worker.clone();
        let clients = &mut *worker.clients.borrow_mut();
        let router = &mut *worker.router.borrow_mut();
        let link = router.link(self.shard);
        link.set_time(now, worker.now());
        match link.opened(generation, applied_through, committed, |conn| {
            clients.is_closed(conn)
        }) {
            Opened::Anew => self.is_asked = false,
            Opened::Yes => {
                self.was_open = true;
                let waiting = link.take_waiting();
                self.tell(clients, router, waiting);
            }
        }
    }

    fn effects(
        &mut self,
        generation: u32,
        first: u64,
        effects: Vec<Effect>,
        direct: Vec<Effect>,
        told: Told,
    ) -> Result<(), Broken> {
        let worker = self.worker.clone();
        let clients = &mut *worker.clients.borrow_mut();
        let router = &mut *worker.router.borrow_mut();
        let link = router.link(self.shard);
        if !link.takes(generation) {
            return Ok(());
        }
        // One look at the clock for all of them.
        let now = worker.now();
        link.set_time(told.now, now);
        let bytes = effects.iter().map(weight).sum();
        let skip = link
            .take(first, effects.len(), bytes)
            .map_err(|gap| Broken(gap.to_string()))?;
        for (number, effect) in (first..).zip(effects).skip(skip) {
            router.link(self.shard).handed_through = number;
            self.hand_over(clients, router, effect, now, told.now);
        }
        for effect in direct {
            self.hand_over(clients, router, effect, now, told.now);
        }
        let waiting = router
            .link(self.shard)
            .progress(told.committed, told.direct_through);
        self.tell(clients, router, waiting);
        Ok(())
    }

    fn tell(&self, clients: &mut Clients, router: &mut Router, waiting: Vec<ConnId>) {
        let now = self.worker.now();
        for conn in waiting {
            if let Some(client) = clients.get_mut(conn) {
                client.handle(Input::Progress(self.shard), now, router);
                client.wake();
            }
        }
    }

    fn hand_over(
        &self,
        clients: &mut Clients,
        router: &mut Router,
        effect: Effect,
        now: Now,
        shard_now: Time,
    ) {
        let (conn, effect) = match effect {
            Effect::Deliver(deliver) => {
                for target in &deliver.targets {
                    let delivery = Delivery {
                        message: &deliver.message,
                        expires_at: deliver.expires_at,
                        shard_now,
                        target,
                    };
                    self.hand_to(
                        clients,
                        router,
                        target.conn,
                        now,
                        ForClient::Deliver(delivery),
                    );
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
        self.hand_to(clients, router, conn, now, effect);
    }

    fn hand_to(
        &self,
        clients: &mut Clients,
        router: &mut Router,
        conn: ConnId,
        now: Now,
        effect: ForClient<'_>,
    ) {
        // A delivery for a client that is gone: its Detach tells the shard, which still has it.
        let Some(client) = clients.get_mut(conn) else {
            return;
        };
        client.handle(Input::Effect(self.shard, effect), now, router);
        client.wake();
    }
}

/// What a batch says beside its effects.
#[derive(Debug, Clone, Copy)]
struct Told {
    committed: u64,
    direct_through: u64,
    now: Time,
}

/// Bytes that an effect holds in the shard until it is acknowledged, roughly.
fn weight(effect: &Effect) -> usize {
    match effect {
        Effect::Deliver(deliver) => deliver.message.weight(),
        _ => 0,
    }
}
