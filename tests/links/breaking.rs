//! Transports that break: before a message, or behind it, in either direction, on either lane; and a dialler that fails
//! now and then.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use catena_chain::Member;
use catena_replicated::{FromOrigin, ToOrigin};
use catena_slots::ShardId;
use catena_transport::{Broken, Dial, DialError, Transport};

/// One in so many messages meets a break.
const BREAKS: u64 = 25;

/// One in so many dials fails.
const FAILURES: u64 = 4;

/// A generator of numbers that a seed repeats.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20).is_multiple_of(chances)
    }
}

/// Dials transports that break.
#[derive(Debug, Clone)]
pub struct Breaking<D> {
    inner: D,
    random: Rc<RefCell<Random>>,
}

impl<D> Breaking<D> {
    pub fn new(inner: D, random: Random) -> Breaking<D> {
        Breaking {
            inner,
            random: Rc::new(RefCell::new(random)),
        }
    }
}

impl<D: Dial> Dial for Breaking<D> {
    type Transport = Fragile<D::Transport>;

    async fn dial(&self, shard: ShardId, to: Member) -> Result<Self::Transport, DialError> {
        if self.random.borrow_mut().one_in(FAILURES) {
            return Err(DialError::Refused("the test refuses it".to_owned()));
        }
        Ok(Fragile {
            inner: self.inner.dial(shard, to).await?,
            random: self.random.clone(),
            is_broken: false,
            reader: None,
        })
    }
}

/// A transport that breaks.
#[derive(Debug)]
pub struct Fragile<T> {
    inner: T,
    random: Rc<RefCell<Random>>,
    is_broken: bool,
    /// Who is to be told of a break.
    reader: Option<Waker>,
}

fn broken() -> Broken {
    Broken("the test broke it".to_owned())
}

impl<T> Fragile<T> {
    fn fate(&self, chances: u64) -> bool {
        self.random.borrow_mut().one_in(chances)
    }

    fn shatter(&mut self) {
        self.is_broken = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<T: Transport> Transport for Fragile<T> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        self.inner.poll_ready(cx)
    }

    fn send(&mut self, message: FromOrigin) -> Result<(), Broken> {
        if self.fate(BREAKS) {
            self.shatter();
            // It may have arrived all the same, and the sender may not know that it did not.
            if self.fate(2) {
                return if self.fate(2) { Ok(()) } else { Err(broken()) };
            }
        }
        self.inner.send(message)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ToOrigin, Broken>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        self.reader = Some(cx.waker().clone());
        let outcome = self.inner.poll_receive(cx);
        if outcome.is_ready() && self.fate(BREAKS) {
            self.is_broken = true;
            if self.fate(2) {
                return Poll::Ready(Err(broken()));
            }
        }
        outcome
    }
}
