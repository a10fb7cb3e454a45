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
                    if asks_whether_broken && let Poll::Ready(broken) = stream.poll_broken(&mut cx)
                    {
                        return Some(self.broken(broken.0));
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

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        rc::Rc,
        task::{Context, Poll, Waker},
    };

    use catena_chain::{Epoch, Generation, Incarnation, ReplicaId};
    use catena_replicated::Message;
    use catena_transport::Broken;

    use super::*;

    /// What becomes of the next calls, and what was sent.
    #[derive(Default)]
    struct Wire {
        dials: VecDeque<Result<(), DialError>>,
        dialled: usize,
        room: usize,
        is_broken: bool,
        sent: Vec<u64>,
    }

    #[derive(Clone, Default)]
    struct Wires(Rc<RefCell<Wire>>);

    struct Stream(Wires);

    impl Reach for Wires {
        type Stream = Stream;

        async fn reach(&self, _: ShardId, _: Member) -> Result<Stream, DialError> {
            let mut wire = self.0.borrow_mut();
            wire.dialled += 1;
            wire.is_broken = false;
            wire.dials.pop_front().unwrap_or(Ok(()))?;
            Ok(Stream(self.clone()))
        }
    }

    impl ChainStream for Stream {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
            match self.0.0.borrow().room {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        }

        fn send(&mut self, envelope: Envelope) -> Result<(), Broken> {
            let mut wire = self.0.0.borrow_mut();
            wire.room -= 1;
            wire.sent.push(envelope.epoch.0);
            Ok(())
        }

        fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<Broken> {
            match self.0.0.borrow().is_broken {
                true => Poll::Ready(Broken("cut".to_owned())),
                false => Poll::Pending,
            }
        }
    }

    const MEMBER: Member = Member {
        id: ReplicaId(2),
        incarnation: Incarnation(2),
    };

    fn neighbour() -> (Wires, Neighbour<Wires>) {
        let neighbour = Neighbour::new(ShardId(0), MEMBER, Waker::noop().clone(), true);
        (Wires::default(), neighbour)
    }

    fn envelope(number: u64) -> Envelope {
        Envelope {
            shard: ShardId(0),
            epoch: Epoch(number),
            generation: Generation(1),
            from: MEMBER,
            to: ReplicaId(1),
            message: Message::Mismatch { nonce: 0 },
        }
    }

    // One that takes nothing would have us keep all that was ever written.
    #[test]
    fn what_waits_is_bounded_and_dropped_with_the_stream() {
        let (wires, mut neighbour) = neighbour();
        wires.0.borrow_mut().room = 1;
        for number in 0..=NEIGHBOUR_ENVELOPES as u64 {
            assert!(neighbour.push(envelope(number)).is_none());
            assert!(neighbour.go_on(&wires, false).is_none());
        }
        assert_eq!(
            (wires.0.borrow().dialled, wires.0.borrow().sent.len()),
            (1, 1)
        );
        let event = neighbour.push(envelope(0));
        assert!(matches!(event, Some(Event::Broken(_))), "{event:?}");
        // Another one is there at once, and says that something was lost.
        wires.0.borrow_mut().room = 9;
        let event = neighbour.go_on(&wires, true);
        assert!(matches!(event, Some(Event::Again)), "{event:?}");
        assert!(neighbour.go_on(&wires, true).is_none());
        neighbour.push(envelope(7));
        assert!(neighbour.go_on(&wires, false).is_none());
        assert_eq!(wires.0.borrow().sent, [0, 7]);
    }

    // A neighbour that comes back later would be waited for until somebody has something to say.
    #[test]
    fn a_neighbour_is_dialled_again_at_once_and_then_after_pauses() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (wires, mut neighbour) = neighbour();
            assert!(neighbour.go_on(&wires, true).is_none());
            assert_eq!(wires.0.borrow().dialled, 0, "there is nothing to say");
            neighbour.push(envelope(1));
            assert!(neighbour.go_on(&wires, false).is_none());
            let refused = || Err(DialError::Refused("nobody".to_owned()));
            wires.0.borrow_mut().dials = [refused(), refused()].into();
            wires.0.borrow_mut().is_broken = true;
            assert!(matches!(
                neighbour.go_on(&wires, true),
                Some(Event::Broken(_))
            ));
            assert!(matches!(
                neighbour.go_on(&wires, true),
                Some(Event::NotReached(_))
            ));
            assert!(neighbour.go_on(&wires, true).is_none(), "it pauses");
            tokio::time::sleep(Duration::from_millis(REDIAL_MS)).await;
            assert!(matches!(
                neighbour.go_on(&wires, true),
                Some(Event::NotReached(_))
            ));
            tokio::time::sleep(Duration::from_millis(2 * REDIAL_MS)).await;
            assert!(matches!(neighbour.go_on(&wires, true), Some(Event::Again)));
            // Once it is none any more, nobody cares.
            wires.0.borrow_mut().is_broken = true;
            neighbour.set_near(false);
            assert!(matches!(
                neighbour.go_on(&wires, true),
                Some(Event::Broken(_))
            ));
            assert!(neighbour.go_on(&wires, true).is_none() && neighbour.is_over());
            assert_eq!(wires.0.borrow().dialled, 4);
        });
    }
}
