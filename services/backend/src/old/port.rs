//! The way to a host: connections that carry a link's messages over bounded channels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use catena_shard::wire::{FromShard, ToShard};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::old::limits::{INBOX_MESSAGES, REPLIES_MESSAGES};

/// The other end is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the shard is closed")]
pub struct Closed;

/// A message with the connection that it came on.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub connection: u64,
    pub message: ToShard,
    /// With `Open` only: where the answers go.
    pub replies: Option<mpsc::Sender<FromShard>>,
}

/// The way to a host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Port {
    inbox: mpsc::Sender<Inbound>,
    next_connection: Arc<AtomicU64>,
}

/// A port, and what arrives through it.
pub(crate) fn port() -> (Port, mpsc::Receiver<Inbound>) {
    let (inbox, arrivals) = mpsc::channel(INBOX_MESSAGES);
    (
        Port {
            inbox,
            next_connection: Arc::default(),
        },
        arrivals,
    )
}

impl Port {
    /// A new connection. Its first message must be `Open`.
    pub fn connect(&self) -> Connection {
        let (replies, receiver) = mpsc::channel(REPLIES_MESSAGES);
        Connection {
            id: self.next_connection.fetch_add(1, Ordering::Relaxed),
            inbox: PollSender::new(self.inbox.clone()),
            replies: Some(replies),
            receiver,
        }
    }
}

/// A connection to a host. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    inbox: PollSender<Inbound>,
    replies: Option<mpsc::Sender<FromShard>>,
    receiver: mpsc::Receiver<FromShard>,
}

impl Connection {
    /// Waits for room for one message.
    ///
    /// # Errors
    /// [`Closed`] when the host is gone.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(ready!(self.inbox.poll_reserve(cx)).map_err(|_| Closed))
    }

    /// Sends a message, after [`Connection::poll_ready`] was ready.
    ///
    /// # Errors
    /// [`Closed`] when the host is gone.
    pub fn send(&mut self, message: ToShard) -> Result<(), Closed> {
        let replies = if matches!(message, ToShard::Open { .. }) {
            self.replies.take()
        } else {
            None
        };
        self.inbox
            .send_item(Inbound {
                connection: self.id,
                message,
                replies,
            })
            .map_err(|_| Closed)
    }

    /// Waits for a message; `None`: the host closed the connection.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<FromShard>> {
        self.receiver.poll_recv(cx)
    }
}
