//! A stream of another replica to us.

use std::task::{Context, Poll, Waker};

use catena_chain::Member;
use catena_replicated::Envelope;
use tokio::sync::mpsc;

/// One stream. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Stream {
    waker: Waker,
    envelopes: mpsc::Receiver<Envelope>,
    /// Whose it is, once it has said something.
    from: Option<Member>,
}

impl Stream {
    pub fn new(waker: Waker, envelopes: mpsc::Receiver<Envelope>) -> Stream {
        Stream {
            waker,
            envelopes,
            from: None,
        }
    }

    /// The next envelope; `None` at the end.
    pub fn poll_receive(&mut self) -> Poll<Option<Envelope>> {
        self.envelopes
            .poll_recv(&mut Context::from_waker(&self.waker))
    }

    /// Takes note of whose it is. Whether that is new.
    pub fn is_new(&mut self, from: Member) -> bool {
        self.from.replace(from) != Some(from)
    }

    /// Whose it is.
    pub fn from(&self) -> Option<Member> {
        self.from
    }
}
