//! From the output to the socket: one system call for all that waits.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use catena_connection::Output;
use tokio::io::AsyncWrite;

use crate::{limits::WRITE_PIECES, stream::Stream};

/// Writes all of `output`, and what the stream itself has to say; `Pending` when the client takes no more for now.
pub(super) fn poll_write(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    output: &mut Output,
) -> Poll<io::Result<()>> {
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(output.pieces()) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let stream = Pin::new(&mut *stream);
        let written = match &slices[..count] {
            [one] => ready!(stream.poll_write(cx, one))?,
            many => ready!(stream.poll_write_vectored(cx, many))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        output.advance(written);
    }
    if stream.owes() {
        return Pin::new(stream).poll_flush(cx);
    }
    Poll::Ready(Ok(()))
}
