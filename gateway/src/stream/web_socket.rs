//! A WebSocket as a stream of bytes: frames are taken off what is read, and put around what is written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;
use tungstenite::protocol::frame::coding::{CloseCode, Control};

use crate::{
    limits::{FRAME_OUT_BYTES, WRITE_PIECES},
    stream::frames::{self, Frames, Request},
};

/// MQTT over WebSocket over `S`.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    inner: S,
    /// What came behind the upgrade.
    early: Bytes,
    frames: Frames,
    /// A whole control frame of ours, or what is not yet written of it.
    control: Vec<u8>,
    /// Some of it is written.
    is_control_begun: bool,
    /// The header of our data frame, and how much of it is written.
    header: [u8; 10],
    header_length: u8,
    header_written: u8,
    /// What of that frame's payload is still to be written.
    left: usize,
    /// Our Close is written or waits to be.
    has_said_close: bool,
    /// Nothing that follows is read: the client closed, or broke a rule.
    is_over: bool,
}

impl<S> WebSocket<S> {
    /// `early` came behind the request.
    pub fn new(inner: S, early: Bytes) -> WebSocket<S> {
        WebSocket {
            inner,
            early,
            frames: Frames::default(),
            control: Vec::new(),
            is_control_begun: false,
            header: [0; 10],
            header_length: 0,
            header_written: 0,
            left: 0,
            has_said_close: false,
            is_over: false,
        }
    }

    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Whether a control frame waits that [`AsyncWrite::poll_flush`] would write.
    pub fn owes(&self) -> bool {
        !self.control.is_empty() && self.is_between_frames()
    }

    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.header_written == self.header_length
    }

    fn answer(&mut self, kind: Control, payload: &[u8]) {
        // RFC 6455 5.5.3: of several Pings the last alone has to be answered.
        if !self.is_control_begun && !self.has_said_close {
            self.control = frames::control(kind, payload);
            self.has_said_close = kind == Control::Close;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Moves the payload in `bytes`, which were just read, to their front, and gives its length.
    fn take_apart(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut requests: Option<Request> = None;
        let outcome = self.frames.take(bytes, |request| requests = Some(request));
        match requests {
            Some(Request::Ping(payload)) => self.answer(Control::Pong, &payload),
            Some(Request::Close) => {
                self.is_over = true;
                self.answer(Control::Close, &u16::from(CloseCode::Normal).to_be_bytes());
            }
            None => {}
        }
        outcome.map_err(|violation| {
            debug!(%violation, "a WebSocket client broke a rule");
            self.is_over = true;
            self.answer(Control::Close, &u16::from(violation.code).to_be_bytes());
            io::Error::new(io::ErrorKind::InvalidData, violation)
        })
    }

    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.control.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.control))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.control.drain(..written);
            self.is_control_begun = true;
        }
        if self.is_control_begun {
            self.is_control_begun = false;
            self.control = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.is_between_frames() {
                ready!(self.poll_control(cx))?;
                let payload: usize = pieces.iter().map(|piece| piece.len()).sum();
                if payload == 0 {
                    return Poll::Ready(Ok(0));
                }
                self.left = payload.min(FRAME_OUT_BYTES);
                let (header, length) = frames::binary(self.left);
                self.header = header;
                self.header_length = length as u8;
                self.header_written = 0;
            }
            let header =
                &self.header[usize::from(self.header_written)..usize::from(self.header_length)];
            let mut slices = [IoSlice::new(&[]); WRITE_PIECES + 1];
            slices[0] = IoSlice::new(header);
            let (mut count, mut left) = (1, self.left);
            for (slice, piece) in slices[1..].iter_mut().zip(pieces) {
                let piece = &piece[..piece.len().min(left)];
                *slice = IoSlice::new(piece);
                left -= piece.len();
                count += 1;
            }
            let slices = if header.is_empty() {
                &slices[1..count]
            } else {
                &slices[..count]
            };
            let header_left = header.len();
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            let of_header = written.min(header_left);
            self.header_written += of_header as u8;
            let of_payload = written - of_header;
            self.left -= of_payload;
            if of_payload > 0 {
                return Poll::Ready(Ok(of_payload));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            if this.early.is_empty() {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            } else {
                let count = this.early.len().min(buffer.remaining());
                buffer.put_slice(&this.early[..count]);
                this.early.advance(count);
                if this.early.is_empty() {
                    this.early = Bytes::new();
                }
            }
            let read = &mut buffer.filled_mut()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let outcome = this.take_apart(read);
            if outcome.is_err() {
                // As much as goes at once: the socket is closed next.
                let _ = this.poll_farewell(cx);
            }
            let kept = outcome?;
            buffer.set_filled(before + kept);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_between_frames() {
            ready!(self.poll_control(cx))?;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_pieces(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_pieces(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_farewell(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer(Control::Close, &u16::from(CloseCode::Normal).to_be_bytes());
        ready!(self.poll_farewell(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, protocol::Role},
    };

    use super::*;

    type Client = WebSocketStream<DuplexStream>;

    /// A client that others wrote, and our end.
    async fn pair(room: usize) -> (Client, WebSocket<DuplexStream>) {
        let (client, server) = duplex(room);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, WebSocket::new(server, Bytes::new()))
    }

    async fn next(client: &mut Client) -> Message {
        futures_util::StreamExt::next(client)
            .await
            .expect("a message")
            .expect("a whole one")
    }

    async fn send(client: &mut Client, message: Message) {
        futures_util::SinkExt::send(client, message).await.unwrap();
    }

    // Our frames must be frames to others, also when the socket takes a few bytes at a time and a Ping comes between.
    #[tokio::test(flavor = "current_thread")]
    async fn another_s_client_reads_what_is_written_in_any_pieces() {
        for room in [1, 3, 7, 100, 100_000] {
            let (mut client, mut server) = pair(room).await;
            let sent: Vec<u8> = (0..200_000_u32).map(|i| (i / 7) as u8).collect();
            let write = async {
                for piece in sent.chunks(70_000) {
                    server.write_all(piece).await.unwrap();
                    server.answer(Control::Pong, b"p");
                    server.flush().await.unwrap();
                }
                server.shutdown().await.unwrap();
            };
            let read = async {
                let (mut got, mut pongs) = (Vec::new(), 0);
                loop {
                    match next(&mut client).await {
                        Message::Binary(bytes) => {
                            assert!(bytes.len() <= FRAME_OUT_BYTES);
                            got.extend_from_slice(&bytes);
                        }
                        Message::Pong(_) => pongs += 1,
                        Message::Close(_) => return (got, pongs),
                        other => panic!("{other:?}"),
                    }
                }
            };
            let ((got, pongs), ()) = tokio::join!(read, write);
            assert!(got == sent && pongs == 3, "with room for {room}");
        }
    }

    // A client that pings and gets no Pong goes away; one that closes is waiting for our Close.
    #[tokio::test(flavor = "current_thread")]
    async fn pings_and_close_are_answered() {
        let (mut client, mut server) = pair(1 << 16).await;
        send(&mut client, Message::Ping(Bytes::from_static(b"you?"))).await;
        send(&mut client, Message::Binary(Bytes::from_static(b"abc"))).await;
        let mut got = [0; 3];
        server.read_exact(&mut got).await.unwrap();
        assert!(&got == b"abc" && server.owes());
        server.flush().await.unwrap();
        assert!(!server.owes());
        let pong = Message::Pong(Bytes::from_static(b"you?"));
        assert_eq!(next(&mut client).await, pong);
        send(&mut client, Message::Close(None)).await;
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
        server.shutdown().await.unwrap();
        assert!(matches!(next(&mut client).await, Message::Close(_)));
    }

    // v5 and v3.1.1 [MQTT-6.0.0-1]
    #[tokio::test(flavor = "current_thread")]
    async fn a_text_frame_closes_and_says_why() {
        let (mut client, mut server) = pair(1 << 16).await;
        send(&mut client, Message::Text("hello".into())).await;
        let error = server.read(&mut [0; 10]).await.unwrap_err();
        assert!(error.to_string().contains("text frame"), "{error}");
        let Message::Close(Some(frame)) = next(&mut client).await else {
            panic!("no Close frame with a code");
        };
        assert_eq!(u16::from(frame.code), 1003);
    }
}
