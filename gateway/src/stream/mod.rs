//! What a connection reads and writes: TCP, TLS over it, and WebSockets over either.
//!
//! An enum, so that plain TCP costs a branch and nothing else. What comes before MQTT - the PROXY header, the TLS
//! handshake, the request for a WebSocket - is in [`open`].

mod frames;
pub(crate) mod open;
mod origins;
mod proxy;
mod upgrade;
mod web_socket;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

pub(crate) use self::origins::Origins;
use self::web_socket::WebSocket;

/// A client's way to us. What is not plain TCP has its state behind a pointer.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    WebSocket(Box<WebSocket<TcpStream>>),
    SecureWebSocket(Box<WebSocket<TlsStream<TcpStream>>>),
    /// A client in this process: the gateway's own.
    Own(DuplexStream),
}

/// Does the same with whatever the stream is.
macro_rules! each {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($inner) => $body,
            Stream::Tls($inner) => $body,
            Stream::WebSocket($inner) => $body,
            Stream::SecureWebSocket($inner) => $body,
            Stream::Own($inner) => $body,
        }
    };
}

impl Stream {
    /// Whether it has taken something that is not yet on its way: [`AsyncWrite::poll_flush`] sends it.
    pub fn owes(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Own(_) => false,
            Stream::Tls(tls) => tls.get_ref().1.wants_write(),
            Stream::WebSocket(socket) => socket.owes(),
            Stream::SecureWebSocket(socket) => {
                socket.owes() || socket.inner().get_ref().1.wants_write()
            }
        }
    }

    /// Whether a read could bring something. Where only the read itself can tell: yes.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(socket) => socket.poll_read_ready(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(cx))
    }
}
