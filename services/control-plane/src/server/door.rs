//! The way in for gateways, backends and other replicas: finds out who they are before anything is read.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use catena_pki::{Door, Peer, Security, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::ended;

/// Connections that wait to be served.
const WAITING_MAX: usize = 64;
/// How long nothing is taken when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections without a certificate that may be open at once; the others are turned away, and come again.
const STRANGERS_MAX: usize = 64;
/// How long a connection without a certificate may last: joining is one call.
const STRANGER_TIME: Duration = Duration::from_secs(10);

/// A connection, and who is at its other end.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    visit: Option<Visit>,
}

/// A stranger's: it has an end.
#[derive(Debug)]
struct Visit {
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// `None`: there are too many strangers.
    fn new(stream: Stream, peer: Peer, strangers: &Arc<Semaphore>) -> Option<Connection> {
        let visit = match peer {
            Peer::Stranger => Some(Visit {
                end: Box::pin(sleep(STRANGER_TIME)),
                _place: strangers.clone().try_acquire_owned().ok()?,
            }),
            Peer::Anyone | Peer::Member(_) => None,
        };
        Some(Connection {
            stream,
            peer,
            visit,
        })
    }
}

/// The connections of `listener` until the end.
pub fn connections(
    listener: TcpListener,
    security: Security,
    ending: watch::Receiver<bool>,
) -> ReceiverStream<io::Result<Connection>> {
    let (out, connections) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = handshakes.join_next() => continue,
                () = ended(ending.clone()) => return,
                () = out.closed() => return,
            };
            let Ok((tcp, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Without it, the connection is slower, and nothing else.
            let _ = tcp.set_nodelay(true);
            let (security, out, strangers) = (security.clone(), out.clone(), strangers.clone());
            handshakes.spawn(async move {
                let accepted = security.accept(tcp, Door::ControlPlane).await;
                let connection =
                    accepted.and_then(|(stream, peer)| Connection::new(stream, peer, &strangers));
                if let Some(connection) = connection {
                    let _ = out.send(Ok(connection)).await;
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(visit) = &mut self.visit
            && visit.end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
