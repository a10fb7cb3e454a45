//! One shard with its links, as a future that never ends by itself.
//!
//! A turn: take what has arrived, stamp and apply it, let timers fire, then send what is owed. Nothing in it waits for
//! a link: a slow one finds its effects in its outbox later.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use catena_link::Batch;
use catena_shard::{
    Effect, Effects, Entry, Input, Op, Origin, Settings, Shard, Time, op::Publish, wire::ToShard,
};
use catena_slots::ShardId;
use tokio::{sync::mpsc, time::Sleep};
use tracing::{debug, warn};

use crate::old::{
    clock::Clock,
    limits::{TICK_MS, TURN_OPS},
    link::{Link, Owed},
    peer::Peer,
    port::{self, Inbound, Port},
};

/// Messages taken from the inbox at once.
const TAKEN_MESSAGES: usize = 64;

/// One shard, hosted.
pub struct Host {
    id: ShardId,
    generation: u32,
    /// Of all shards: a link to one is named by it.
    generations: Vec<u32>,
    shard: Shard,
    effects: Effects,
    clock: Clock,
    started: Instant,
    /// The stamp of this turn.
    now: Time,
    last_tick: Time,
    inbox: mpsc::Receiver<Inbound>,
    taken: Vec<Inbound>,
    links: HashMap<u64, Link>,
    /// The newest connection of each origin: effects go there.
    by_origin: HashMap<Origin, u64>,
    /// Connections that may be owed something.
    dirty: Vec<u64>,
    direct: Vec<(Origin, Effect)>,
    direct_dropped: u64,
    peers: Vec<Peer>,
    alarm: Alarm,
}

impl Host {
    /// An empty shard, and the way to it. It takes ops of gateways once it knows that they live.
    pub fn new(id: ShardId, generation: u32) -> (Host, Port) {
        let (port, inbox) = port::port();
        let started = Instant::now();
        let host = Host {
            id,
            generation,
            generations: Vec::new(),
            shard: Shard::new(id, generation),
            effects: Effects::default(),
            clock: Clock::new(Time::default(), wall_micros(), 0),
            started,
            now: Time::default(),
            last_tick: Time::default(),
            inbox,
            taken: Vec::with_capacity(TAKEN_MESSAGES),
            links: HashMap::new(),
            by_origin: HashMap::new(),
            dirty: Vec::new(),
            direct: Vec::new(),
            direct_dropped: 0,
            peers: Vec::new(),
            alarm: Alarm::default(),
        };
        (host, port)
    }

    /// Applies settings.
    pub fn configure(&mut self, settings: &Settings) {
        self.stamp();
        self.generations.clone_from(&settings.generations);
        self.apply(Input::Configure(settings));
    }

    /// Tells the shard which gateways live.
    pub fn set_gateways(&mut self, version: u64, live: &[u64]) {
        self.stamp();
        self.apply(Input::Gateways { version, live });
    }

    /// Runs the shard; `peers` are the ways to the others. Ends when nobody can reach it any more.
    pub async fn run(mut self, peers: Vec<(ShardId, Port)>) {
        self.peers = peers
            .into_iter()
            .map(|(shard, port)| Peer::new(shard, port))
            .collect();
        poll_fn(|cx| self.turn(cx)).await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stamp();
        let mut again = match self.take(cx) {
            Taken::All => false,
            Taken::Some => true,
            Taken::Last => return Poll::Ready(()),
        };
        self.take_progress(cx);
        self.tick();
        again |= self.shard.has_deferred_work();
        self.send(cx);
        again |= self.alarm_is_due(cx);
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Taken {
        let mut ops = 0;
        while ops < TURN_OPS {
            let mut taken = std::mem::take(&mut self.taken);
            let outcome = self.inbox.poll_recv_many(cx, &mut taken, TAKEN_MESSAGES);
            for inbound in taken.drain(..) {
                ops += self.handle(inbound);
            }
            self.taken = taken;
            match outcome {
                Poll::Pending => return Taken::All,
                Poll::Ready(0) => return Taken::Last,
                Poll::Ready(_) => {}
            }
        }
        Taken::Some
    }

    /// Handles one message and returns how much work it was.
    fn handle(&mut self, inbound: Inbound) -> usize {
        let Inbound {
            connection,
            message,
            replies,
        } = inbound;
        if let (
            ToShard::Open {
                origin,
                first_uncommitted,
                effects_through,
            },
            Some(replies),
        ) = (&message, replies)
        {
            self.open(
                Link::new(connection, *origin, replies, *effects_through),
                *first_uncommitted,
            );
            return 1;
        }
        let Some(link) = self.links.get_mut(&connection) else {
            return 1;
        };
        let origin = link.origin;
        match message {
            ToShard::Ops {
                generation,
                acked_through,
                batch,
            } if generation == self.generation => {
                self.apply_ops(connection, origin, acked_through, &batch);
                batch.ops.len()
            }
            ToShard::Acked {
                generation,
                through,
            } if generation == self.generation => {
                self.apply(Input::Acked { origin, through });
                1
            }
            ToShard::Direct {
                generation,
                publishes,
            } if generation == self.generation => {
                link.brought_direct(publishes.len());
                self.dirty.push(connection);
                self.pass_on(&publishes);
                publishes.len()
            }
            // Of another generation: it is opened anew [C-2].
            _ => {
                self.close(connection);
                1
            }
        }
    }

    /// A newer connection of an origin takes the place of the one before, which is closed.
    fn open(&mut self, mut link: Link, first_uncommitted: u64) {
        let origin = link.origin;
        if self.shard.outbox(&origin).is_none() {
            self.apply(Input::LinkOpen {
                origin,
                first: first_uncommitted,
            });
        }
        let applied_through = self.shard.applied_through(&origin);
        link.opened(applied_through, &self.owed(&origin));
        debug!(shard = %self.id, ?origin, applied_through, "a link is open");
        let connection = link.connection;
        self.links.insert(connection, link);
        if let Some(old) = self.by_origin.insert(origin, connection) {
            self.links.remove(&old);
        }
        self.dirty.push(connection);
    }

    fn close(&mut self, connection: u64) {
        let Some(link) = self.links.remove(&connection) else {
            return;
        };
        self.direct_dropped += link.dropped;
        debug!(shard = %self.id, origin = ?link.origin, "a link is closed");
        if self.by_origin.get(&link.origin) == Some(&connection) {
            self.by_origin.remove(&link.origin);
        }
    }

    fn apply_ops(
        &mut self,
        connection: u64,
        origin: Origin,
        acked_through: u64,
        batch: &Batch<Op>,
    ) {
        for (number, op) in (batch.first..).zip(&batch.ops) {
            self.apply(Input::Op {
                origin,
                number,
                acked_through,
                op,
            });
        }
        self.dirty.push(connection);
        if self.shard.applied_through(&origin) < batch.last() {
            // A gap, or an origin that is not known: Open tells how far we are [C-4].
            warn!(shard = %self.id, ?origin, first = batch.first, "ops are missing or not admitted");
            self.close(connection);
        }
    }

    fn apply(&mut self, input: Input<'_>) {
        self.shard.apply(
            &Entry {
                at: self.now,
                input,
            },
            &mut self.effects,
        );
    }

    /// The direct lane: no entry, no number `[F-41]`.
    fn pass_on(&mut self, publishes: &[Publish]) {
        for publish in publishes {
            self.shard.direct(publish, self.now, &mut self.direct);
            for (origin, effect) in self.direct.drain(..) {
                let link = self
                    .by_origin
                    .get(&origin)
                    .and_then(|connection| self.links.get_mut(connection));
                let Some(link) = link else {
                    self.direct_dropped += 1;
                    continue;
                };
                let outbox_last = self.shard.outbox(&origin).map_or(0, |outbox| outbox.last());
                link.deliver_direct(outbox_last, effect);
                self.dirty.push(link.connection);
            }
        }
    }

    fn take_progress(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.peers.len() {
            let shard = self.peers[index].shard;
            if let Some(progress) = self.peers[index].poll_progress(cx) {
                let (generation, through) = (progress.generation, progress.committed);
                self.apply(Input::PeerAck {
                    shard,
                    generation,
                    through,
                });
            }
        }
    }

    /// Only Tick fires timers and goes on with deferred work.
    fn tick(&mut self) {
        let may_fire = self.now >= self.last_tick.plus_millis(TICK_MS);
        let is_due = may_fire
            && self
                .shard
                .next_timer()
                .is_some_and(|timer| timer <= self.now);
        if is_due {
            self.last_tick = self.now;
        }
        if is_due || self.shard.has_deferred_work() {
            self.apply(Input::Tick);
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(
            self.effects
                .drain()
                .filter_map(|origin| self.by_origin.get(&origin)),
        );
        // Those that wait for room stay dirty, so that this turn's waker is told of it.
        dirty.sort_unstable();
        dirty.dedup();
        dirty.retain(|connection| self.send_to(cx, *connection));
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        let me = Origin::Shard {
            shard: self.id,
            generation: self.generation,
        };
        for peer in &mut self.peers {
            let generation = self
                .generations
                .get(peer.shard.index())
                .copied()
                .unwrap_or(1);
            if let Some(outbox) = self.shard.outbox(&Origin::Shard {
                shard: peer.shard,
                generation,
            }) {
                peer.poll_send(cx, me, outbox);
            }
        }
    }

    /// Whether the connection waits for room.
    fn send_to(&mut self, cx: &mut Context<'_>, connection: u64) -> bool {
        let Some(link) = self.links.get_mut(&connection) else {
            return false;
        };
        let committed = self.shard.applied_through(&link.origin);
        let is_peer = matches!(link.origin, Origin::Shard { .. });
        let owed = Owed {
            // The outbox to a shard travels as ops of our own link to it [C-42].
            outbox: if is_peer {
                None
            } else {
                self.shard.outbox(&link.origin)
            },
            committed,
            generation: self.generation,
            now: self.now,
        };
        match link.poll_send(cx, &owed) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(_)) => {
                self.close(connection);
                false
            }
        }
    }

    fn owed(&self, origin: &Origin) -> Owed<'_> {
        Owed {
            outbox: self.shard.outbox(origin),
            committed: self.shard.applied_through(origin),
            generation: self.generation,
            now: self.now,
        }
    }

    /// Wakes this task when the next timer is due; true if that is now.
    fn alarm_is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = self.shard.next_timer() else {
            return false;
        };
        let at = timer.max(self.last_tick.plus_millis(TICK_MS));
        self.alarm.poll(cx, at, self.now).is_ready()
    }

    fn stamp(&mut self) {
        self.now = self
            .clock
            .stamp(wall_micros(), self.started.elapsed().as_micros() as u64);
    }
}

/// How much of the inbox was taken.
enum Taken {
    All,
    Some,
    /// Nobody can send any more.
    Last,
}

/// One timer that is set anew only when the moment changes.
#[derive(Default)]
struct Alarm {
    at: Option<Time>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn poll(&mut self, cx: &mut Context<'_>, at: Time, now: Time) -> Poll<()> {
        if at <= now {
            return Poll::Ready(());
        }
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::ZERO)));
        if self.at != Some(at) {
            self.at = Some(at);
            let wait = Duration::from_millis(at.0 - now.0);
            sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + wait.min(LONGEST_WAIT));
        }
        let outcome = sleep.as_mut().poll(cx);
        if outcome.is_ready() {
            // Shard time may be slower than the timer: then it is set again.
            self.at = None;
        }
        outcome
    }
}

/// Shard time runs up to a tenth off real time, and a timer that never fires need not be exact.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn wall_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| passed.as_micros() as u64)
}
