//! A bounded queue that is filled by polling.

use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::carry::Broken;

/// The sending end of a channel, one reserved place at a time.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: PollSender<T>,
    reserved: bool,
}

impl<T: Send> Queue<T> {
    pub(crate) fn new(sender: mpsc::Sender<T>) -> Queue<T> {
        Queue {
            sender: PollSender::new(sender),
            reserved: false,
        }
    }

    /// Ready when there is room for one more; `Err` once nobody receives.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let reserved = ready!(self.sender.poll_reserve(cx));
        self.reserved = reserved.is_ok();
        Poll::Ready(reserved.map_err(|_| closed()))
    }

    /// Takes `item` if there is room for it.
    pub(crate) fn send(&mut self, item: T) -> Result<(), Broken> {
        if std::mem::take(&mut self.reserved) {
            return self.sender.send_item(item).map_err(|_| closed());
        }
        let sender = self.sender.get_ref().ok_or_else(closed)?;
        sender.try_send(item).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Broken("sent without room".to_owned()),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })
    }
}

fn closed() -> Broken {
    Broken("the other side has closed it".to_owned())
}
