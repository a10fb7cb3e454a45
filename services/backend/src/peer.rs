//! A connection to another shard, for one lane of the link to it `[C-42]`.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use catena_chain::Member;
use catena_replicated::{FromOrigin, ToOrigin};
use catena_slots::ShardId;
use catena_transport::{Dial, DialError, Transport};

use crate::limits::PEER_MESSAGES;

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It never came about.
    NotReached(DialError),
    /// It broke, for this reason.
    Broken(String),
}

enum Line<T> {
    Dialling(Pin<Box<dyn Future<Output = Result<T, DialError>>>>),
    Open(T),
}

/// One connection. Dropped, it is closed.
pub(crate) struct Peer<D: Dial> {
    to: Member,
    waker: Waker,
    line: Line<D::Transport>,
    queue: VecDeque<FromOrigin>,
}

impl<D: Dial> Peer<D> {
    /// Dials the replica `to` of `shard`.
    pub fn dial(dial: &D, shard: ShardId, to: Member, waker: Waker) -> Peer<D> {
        let dial = dial.clone();
        Peer {
            to,
            waker,
            line: Line::Dialling(Box::pin(async move { dial.dial(shard, to).await })),
            queue: VecDeque::new(),
        }
    }

    /// Whom it leads to.
    pub fn to(&self) -> Member {
        self.to
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`Lost`] when too many wait.
    pub fn push(&mut self, message: FromOrigin) -> Result<(), Lost> {
        if self.queue.len() >= PEER_MESSAGES {
            return Err(Lost::Broken("too much waits for it".to_owned()));
        }
        self.queue.push_back(message);
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over.
    pub fn send(&mut self) -> Result<(), Lost> {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match &mut self.line {
                Line::Dialling(dialled) => match dialled.as_mut().poll(&mut cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(transport)) => {
                        self.line = Line::Open(transport);
                        // Its answers are to be waited for.
                        self.waker.wake_by_ref();
                    }
                    Poll::Ready(Err(error)) => return Err(Lost::NotReached(error)),
                },
                Line::Open(transport) => {
                    while !self.queue.is_empty() {
                        match transport.poll_ready(&mut cx) {
                            Poll::Pending => return Ok(()),
                            Poll::Ready(room) => room.map_err(|broken| Lost::Broken(broken.0))?,
                        }
                        if let Some(message) = self.queue.pop_front() {
                            let sent = transport.send(message);
                            sent.map_err(|broken| Lost::Broken(broken.0))?;
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    /// The next answer.
    pub fn poll_receive(&mut self) -> Poll<Result<ToOrigin, Lost>> {
        let mut cx = Context::from_waker(&self.waker);
        match &mut self.line {
            Line::Dialling(_) => Poll::Pending,
            Line::Open(transport) => transport
                .poll_receive(&mut cx)
                .map_err(|broken| Lost::Broken(broken.0)),
        }
    }
}
