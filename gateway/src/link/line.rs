//! The connection of one lane, from the moment that it is wanted.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use catena_chain::{Member, Wanted, message::ConnectionId};
use catena_connection::input::Now;
use catena_replicated::FromOrigin;
use catena_slots::ShardId;
use catena_transport::{Broken, Dial, DialError, Transport};

use crate::limits::OPEN_MS;

type Dialling<T> = Pin<Box<dyn Future<Output = Result<T, DialError>>>>;

/// A connection that is being made, or is there.
pub(super) struct Line<T> {
    pub connection: ConnectionId,
    pub to: Member,
    /// It is given up if its Open is not answered by then.
    pub answer_by: Now,
    stage: Stage<T>,
    /// Open, until it is sent.
    open: Option<FromOrigin>,
}

enum Stage<T> {
    Dialling(Dialling<T>),
    Made(T),
}

/// Why a connection is lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    NotMade(#[from] DialError),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("Open was not answered within {OPEN_MS} ms")]
    Silent,
}

impl Failure {
    /// Whether the process at the other end may be gone.
    pub fn is_accusation(&self) -> bool {
        matches!(
            self,
            Failure::NotMade(DialError::Refused(_)) | Failure::Broken(_)
        )
    }
}

impl<T: Transport> Line<T> {
    /// Begins to make the connection.
    pub fn dial<D: Dial<Transport = T>>(
        dial: &D,
        shard: ShardId,
        wanted: Wanted,
        open: FromOrigin,
        now: Now,
    ) -> Line<T> {
        let (dial, to) = (dial.clone(), wanted.to);
        Line {
            connection: wanted.connection,
            to,
            answer_by: now.plus_millis(OPEN_MS),
            stage: Stage::Dialling(Box::pin(async move { dial.dial(shard, to).await })),
            open: Some(open),
        }
    }

    /// The transport, once it is made and Open is sent.
    pub fn poll_made(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut T, Failure>> {
        if let Stage::Dialling(dialling) = &mut self.stage {
            self.stage = Stage::Made(ready!(dialling.as_mut().poll(cx))?);
        }
        let Stage::Made(transport) = &mut self.stage else {
            return Poll::Pending;
        };
        if self.open.is_some() {
            ready!(transport.poll_ready(cx))?;
            if let Some(open) = self.open.take() {
                transport.send(open)?;
            }
        }
        Poll::Ready(Ok(transport))
    }
}
