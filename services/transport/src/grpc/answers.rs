//! What goes back on a stream that was accepted.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Answers until the host or the task of the stream ends; what the host said before that is said.
pub(super) struct Answers<W> {
    from: From<W>,
    /// Tells why the task of the stream has ended; closed without a reason.
    end: Option<oneshot::Receiver<Status>>,
}

enum From<W> {
    /// The stream was not accepted yet.
    Nobody(oneshot::Receiver<mpsc::Receiver<W>>),
    Host(mpsc::Receiver<W>),
    /// It never will be, or has no answers.
    Never,
}

impl<W> Answers<W> {
    pub(super) fn new(
        opened: oneshot::Receiver<mpsc::Receiver<W>>,
        end: oneshot::Receiver<Status>,
    ) -> Answers<W> {
        Answers {
            from: From::Nobody(opened),
            end: Some(end),
        }
    }
}

impl<W> Stream for Answers<W> {
    type Item = Result<W, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let From::Nobody(opened) = &mut self.from {
            match Pin::new(opened).poll(cx) {
                Poll::Ready(Ok(answers)) => self.from = From::Host(answers),
                Poll::Ready(Err(_)) => self.from = From::Never,
                Poll::Pending => {}
            }
        }
        if let From::Host(answers) = &mut self.from {
            match answers.poll_recv(cx) {
                Poll::Ready(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
        }
        let Some(end) = &mut self.end else {
            return Poll::Ready(None);
        };
        let Poll::Ready(status) = Pin::new(end).poll(cx) else {
            return Poll::Pending;
        };
        self.end = None;
        Poll::Ready(status.ok().map(Err))
    }
}
