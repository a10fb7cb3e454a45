//! The stream to another replica of the shard: dialled on demand, and again while it is a neighbour.
//!
//! What is on its way when it breaks is lost, and what waits goes with it: another Hello tells what is missing `[C-20]`.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use catena_chain::Member;
use catena_replicated::Envelope;
use catena_slots::ShardId;
use catena_transport::{ChainStream, DialError, Reach};
use tokio::time::{Sleep, sleep};

use crate::limits::{NEIGHBOUR_ENVELOPES, REDIAL_MS, REDIAL_MS_MAX};

/// What has happened to the stream.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is there again: what was sent before may be lost.
    Again,
    /// It broke, for this reason.
    Broken(String),
    /// It did not come about.
    NotReached(DialError),
}

enum Line<S> {
    Idle,
    Dialling(Pin<Box<dyn Future<Output = Result<S, DialError>>>>),
    Open(S),
    /// Dialled again after this.
    Waiting(Pin<Box<Sleep>>),
}

/// The way to one replica.
pub(crate) struct Neighbour<R: Reach> {
    shard: ShardId,
    member: Member,
    waker: Waker,
    line: Line<R::Stream>,
    queue: VecDeque<Envelope>,
    /// The configuration has it beside us.
    is_near: bool,
    /// Since the stream was last open.
    failures: u32,
    /// Something was lost since the stream was last open.
    has_lost: bool,
}

impl<R: Reach> Neighbour<R> {
    pub fn new(shard: ShardId, member: Member, waker: Waker, is_near: bool) -> Neighbour<R> {
        Neighbour {
            shard,
            member,
            waker,
            line: Line::Idle,
            queue: VecDeque::new(),
            is_near,
            failures: 0,
            has_lost: false,
        }
    }

    /// Takes note of whether the configuration has it beside us: only then a stream that breaks is dialled again.
    pub fn set_near(&mut self, is_near: bool) {
        self.is_near = is_near;
    }

    /// Whether the configuration has it beside us.
    pub fn is_near(&self) -> bool {
        self.is_near
    }

    /// Whether there is nothing left that it is for.
    pub fn is_over(&self) -> bool {
        let is_idle = match self.line {
            Line::Idle | Line::Waiting(_) => true,
            Line::Dialling(_) | Line::Open(_) => self.queue.is_empty(),
        };
        !self.is_near && is_idle
    }

    /// Takes an envelope. What waits and the stream go when it is too much.
    pub fn push(&mut self, envelope: Envelope) -> Option<Event> {
        if self.queue.len() >= NEIGHBOUR_ENVELOPES {
            return Some(self.broken("it takes too little of what it is sent".to_owned()));
        }
        self.queue.push_back(envelope);
        None
    }

    /// Goes on as far as possible, and returns what happened; to be asked until nothing did. `is_woken`: its waker was.
    pub fn go_on(&mut self, reach: &R, is_woken: bool) -> Option<Event> {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let mut asks_whether_broken = is_woken;
        loop {
            match &mut self.line {
                Line::Idle if self.queue.is_empty() && !(self.is_near && self.has_lost) => {
                    return None;
                }
                Line::Idle => {
                    let (reach, shard, member) = (reach.clone(), self.shard, self.member);
                    let dialled = async move { reach.reach(shard, member).await };
                    self.line = Line::Dialling(Box::pin(dialled));
                }
                Line::Dialling(dialled) => match dialled.as_mut().poll(&mut cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(stream)) => {
                        self.line = Line::Open(stream);
                        self.failures = 0;
                        asks_whether_broken = true;
                        if std::mem::take(&mut self.has_lost) {
                            return Some(Event::Again);
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        self.lose();
                        self.line = Line::Waiting(Box::pin(sleep(backoff(self.failures))));
                        self.failures = self.failures.saturating_add(1);
                        return Some(Event::NotReached(error));
                    }
                },
                Line::Waiting(slept) => {
                    if slept.as_mut().poll(&mut cx).is_pending() {
                        return None;
                    }
                    self.line = Line::Idle;
                }
                Line::Open(stream) => {
                    if asks_whether_broken {
                        if let Poll::Ready(broken) = stream.poll_broken(&mut cx) {
                            return Some(self.broken(broken.0));
                        }
                    }
                    while !self.queue.is_empty() {
                        let sent = match stream.poll_ready(&mut cx) {
                            Poll::Pending => return None,
                            Poll::Ready(Ok(())) => match self.queue.pop_front() {
                                Some(envelope) => stream.send(envelope),
                                None => Ok(()),
                            },
                            Poll::Ready(Err(broken)) => Err(broken),
                        };
                        if let Err(broken) = sent {
                            return Some(self.broken(broken.0));
                        }
                    }
                    return None;
                }
            }
        }
    }

    fn broken(&mut self, reason: String) -> Event {
        self.lose();
        // Dialled at once: a process that is gone shows so.
        self.line = Line::Idle;
        self.waker.wake_by_ref();
        Event::Broken(reason)
    }

    fn lose(&mut self) {
        self.queue.clear();
        self.has_lost = true;
    }
}

/// Doubled each time, and up to a half less, so that not all come at once.
fn backoff(failures: u32) -> Duration {
    let full = REDIAL_MS
        .saturating_mul(1 << failures.min(16))
        .min(REDIAL_MS_MAX);
    Duration::from_millis(fastrand::u64(full / 2..=full))
}
