//! Carries a link: makes the connections that it wants, sends what it has to say, and does what it says.
//!
//! One task holds both lanes, and neither waits for the other: a dial is one more thing that is polled. While both are
//! open there is no timer but the one that acknowledges, and no look at the clock but one for each message that comes.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use catena_chain::message::{ConnectionId, Lane};
use catena_connection::input::Now;
use catena_replicated::{Action, ToOrigin};
use catena_slots::ShardId;
use catena_transport::{Dial, Transport};
use tokio::time::Sleep;
use tracing::{debug, info};

use super::{
    Link,
    hand_over::HandOver,
    line::{Failure, Line},
};
use crate::{
    limits::{ACK_IDLE_MS, LINK_TURN_MESSAGES},
    worker::Shared,
};

const LANES: [Lane; 2] = [Lane::Ops, Lane::Effects];

/// Keeps the link to `shard` open, for ever.
pub(crate) async fn run<D: Dial>(worker: Rc<Shared>, shard: ShardId, dial: D) {
    let mut carrier = Carrier {
        worker,
        shard,
        dial,
        lines: [None, None],
        actions: Vec::new(),
        alarm: None,
        idle: None,
    };
    poll_fn(|cx| {
        carrier.turn(cx);
        Poll::<()>::Pending
    })
    .await
}

/// A link's connections.
struct Carrier<D: Dial> {
    worker: Rc<Shared>,
    shard: ShardId,
    dial: D,
    /// By lane.
    lines: [Option<Line<D::Transport>>; 2],
    actions: Vec<Action>,
    /// When a connection is to be made or given up.
    alarm: Option<(Now, Pin<Box<Sleep>>)>,
    /// When what was taken is to be acknowledged.
    idle: Option<Pin<Box<Sleep>>>,
}

impl<D: Dial> Carrier<D> {
    fn turn(&mut self, cx: &mut Context<'_>) {
        self.learn();
        loop {
            self.connect();
            // What connections say to effects goes out in the same turn: so all receiving comes first.
            let received =
                LANES.map(|lane| self.carry(lane, |carrier, line| carrier.receive(line, cx)));
            let sent = LANES.map(|lane| self.carry(lane, |carrier, line| carrier.send(line, cx)));
            if received.into_iter().chain(sent).all(|is_kept| is_kept) {
                break;
            }
        }
        self.with_link(|link, _| link.sleep(cx.waker()));
        self.keep_time(cx);
        self.acknowledge_when_idle(cx);
    }

    fn with_link<R>(&mut self, ask: impl FnOnce(&mut Link, &mut Vec<Action>) -> R) -> R {
        let mut router = self.worker.router.borrow_mut();
        ask(router.link(self.shard), &mut self.actions)
    }

    /// Takes the configuration that the worker has heard of.
    fn learn(&mut self) {
        let now = self.worker.now();
        let is_news = self.with_link(|link, actions| {
            let news = link.news.take()?;
            let was_whole = link.is_whole();
            link.uplink.adopt(news, actions);
            link.may_break(was_whole, now);
            Some(())
        });
        if is_news.is_some() {
            self.act(now);
        }
    }

    /// Begins to make the connections that are wanted.
    fn connect(&mut self) {
        let worker = self.worker.clone();
        let wanted = self.with_link(|link, _| {
            let is_wanted = link.uplink.wanted_at().is_some();
            is_wanted.then(|| link.uplink.wanted(worker.micros()))
        });
        for (wanted, open) in wanted.into_iter().flatten() {
            let line = Line::dial(&self.dial, self.shard, wanted, open, worker.now());
            self.lines[wanted.lane as usize] = Some(line);
        }
    }

    /// Does something with the connection of a lane; `false` if it is gone then.
    fn carry(
        &mut self,
        lane: Lane,
        act: impl FnOnce(&mut Self, &mut Line<D::Transport>) -> Result<(), Failure>,
    ) -> bool {
        let Some(mut line) = self.lines[lane as usize].take() else {
            return true;
        };
        if let Err(failure) = act(self, &mut line) {
            self.lost(&line, &failure);
            return false;
        }
        // Whatever came may have ended it.
        let is_wanted = self.with_link(|link, _| link.uplink.lane_of(line.connection).is_some());
        if is_wanted {
            self.lines[lane as usize] = Some(line);
        }
        is_wanted
    }

    fn receive(
        &mut self,
        line: &mut Line<D::Transport>,
        cx: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let connection = line.connection;
        let answer_by = line.answer_by;
        if let Poll::Ready(transport) = line.poll_made(cx) {
            let transport = transport?;
            for _ in 0..LINK_TURN_MESSAGES {
                match transport.poll_receive(cx) {
                    Poll::Pending => return self.await_answer(connection, answer_by),
                    Poll::Ready(message) => self.take(connection, message?),
                }
            }
            cx.waker().wake_by_ref();
        }
        self.await_answer(connection, answer_by)
    }

    fn await_answer(&mut self, connection: ConnectionId, answer_by: Now) -> Result<(), Failure> {
        let is_open = self.with_link(|link, _| link.is_open(connection));
        if is_open || self.worker.now() < answer_by {
            return Ok(());
        }
        Err(Failure::Silent)
    }

    fn take(&mut self, connection: ConnectionId, message: ToOrigin) {
        let worker = self.worker.clone();
        let now = worker.micros();
        {
            let clients = worker.clients.borrow();
            let is_closed = |conn| clients.is_closed(conn);
            self.with_link(|link, actions| {
                let was_whole = link.is_whole();
                link.receive(now, connection, message, is_closed, actions);
                link.may_break(was_whole, millis(now));
            });
        }
        self.act(millis(now));
    }

    fn send(&mut self, line: &mut Line<D::Transport>, cx: &mut Context<'_>) -> Result<(), Failure> {
        let connection = line.connection;
        let Poll::Ready(transport) = line.poll_made(cx) else {
            return Ok(());
        };
        let transport = transport?;
        let worker = self.worker.clone();
        let mut router = worker.router.borrow_mut();
        let uplink = &mut router.link(self.shard).uplink;
        while uplink.wants_to_send(connection) {
            match transport.poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(room) => room?,
            }
            if let Some(message) = uplink.next(connection) {
                transport.send(message)?;
            }
        }
        Ok(())
    }

    fn lost(&mut self, line: &Line<D::Transport>, failure: &Failure) {
        let worker = self.worker.clone();
        debug!(shard = %self.shard, to = ?line.to, %failure, "a connection to a shard is lost");
        worker.counters.links_broken.add();
        if failure.is_accusation() {
            worker.accuse(line.to.incarnation);
        }
        let now = worker.micros();
        self.with_link(|link, actions| {
            let was_whole = link.is_whole();
            link.uplink.lost(line.connection, now, actions);
            link.may_break(was_whole, millis(now));
        });
        self.act(millis(now));
    }

    /// Does what the link says, in its order; it is `now`.
    fn act(&mut self, now: Now) {
        if self.actions.is_empty() {
            return;
        }
        let worker = self.worker.clone();
        let clients = &mut *worker.clients.borrow_mut();
        let router = &mut *worker.router.borrow_mut();
        let mut actions = std::mem::take(&mut self.actions);
        let mut hand = HandOver {
            shard: self.shard,
            clients,
            router,
            now,
        };
        for action in actions.drain(..) {
            match action {
                Action::Disconnect { connection } => self.hang_up(connection),
                Action::Effects {
                    first,
                    effects,
                    direct,
                    now,
                } => hand.effects(first, effects, direct, now),
                Action::Progress => hand.progress(),
                Action::Opened { now: time } => {
                    hand.opened(time);
                    if let Some(ms) = hand.router.link(self.shard).mends(now) {
                        worker.counters.gaps.add(ms);
                        info!(shard = %self.shard, ms, "the link to a shard is whole again");
                    }
                }
                Action::NewGeneration(generation) => hand.begun_anew(generation),
                Action::Refused => worker.abandon(),
            }
        }
        self.actions = actions;
    }

    fn hang_up(&mut self, connection: ConnectionId) {
        for line in &mut self.lines {
            if line
                .as_ref()
                .is_some_and(|line| line.connection == connection)
            {
                *line = None;
            }
        }
    }

    /// Wakes the task when a connection is to be made or given up.
    fn keep_time(&mut self, cx: &mut Context<'_>) {
        let lines = self.lines.each_ref().map(|line| {
            let line = line.as_ref()?;
            Some((line.connection, line.answer_by))
        });
        let next = self.with_link(|link, _| {
            let unanswered = lines.into_iter().flatten();
            let unanswered = unanswered.filter(|(connection, _)| !link.is_open(*connection));
            let wanted_at = link.uplink.wanted_at();
            let wanted_at = wanted_at.map(|micros| Now(micros.div_ceil(1000)));
            unanswered.map(|(_, by)| by).chain(wanted_at).min()
        });
        let Some(next) = next else {
            self.alarm = None;
            return;
        };
        if self.alarm.as_ref().is_none_or(|(at, _)| *at != next) {
            let sleep = tokio::time::sleep_until(self.worker.instant(next).into());
            self.alarm = Some((next, Box::pin(sleep)));
        }
        if let Some((_, sleep)) = &mut self.alarm
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            cx.waker().wake_by_ref();
        }
    }

    /// Effects that no op's way back has acknowledged for a while are acknowledged alone `[C-44]`.
    fn acknowledge_when_idle(&mut self, cx: &mut Context<'_>) {
        let must_wait =
            self.with_link(|link, _| link.uplink.is_open() && link.uplink.has_unacked());
        if !must_wait {
            return;
        }
        let wait = Duration::from_millis(ACK_IDLE_MS);
        let idle = self
            .idle
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        if idle.as_mut().poll(cx).is_ready() {
            self.idle = None;
            self.with_link(|link, _| link.uplink.idle());
            cx.waker().wake_by_ref();
        }
    }
}

/// The same moment as connections read it.
fn millis(now: catena_chain::Now) -> Now {
    Now(now.monotonic / 1000)
}
