//! Connections of the admin port: accepted, with TLS where it is asked for, within bounds.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::Guard;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Before accepting is tried again, when the system has no room.
const RETRY: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at the other end, as far as the connection tells.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The certificate that it showed; one that is not ours to trust ended the handshake.
    pub certificate: Option<CertificateDer<'static>>,
}

/// The connections of `listener`; the task in `tasks` accepts them until it is aborted.
pub fn connections(
    listener: TcpListener,
    guard: Guard,
    tasks: &mut JoinSet<()>,
) -> ReceiverStream<io::Result<Io>> {
    let (ready, connections) = mpsc::channel(CONNECTIONS_MAX);
    tasks.spawn(run(listener, guard, ready));
    ReceiverStream::new(connections)
}

async fn run(listener: TcpListener, guard: Guard, ready: mpsc::Sender<io::Result<Io>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "the admin port cannot accept");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            },
            () = ready.closed() => return,
        };
        // Small answers are not to wait for larger ones.
        let _ = stream.set_nodelay(true);
        let (guard, ready) = (guard.clone(), ready.clone());
        handshakes.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, open(stream, address, &guard)).await {
                Ok(Ok((stream, peer))) => {
                    let io = Io {
                        stream,
                        peer,
                        _permit: permit,
                    };
                    // Nobody waits for it when the server ends.
                    let _ = ready.send(Ok(io)).await;
                }
                Ok(Err(error)) => {
                    debug!(%address, %error, "no TLS with who connected to the admin port")
                }
                Err(_) => debug!(%address, "no TLS in time with who connected to the admin port"),
            }
        });
        while handshakes.try_join_next().is_some() {}
    }
}

async fn open(stream: TcpStream, address: SocketAddr, guard: &Guard) -> io::Result<(Stream, Peer)> {
    let Some(acceptor) = guard.acceptor() else {
        let peer = Peer {
            address,
            certificate: None,
        };
        return Ok((Stream::Plain(stream), peer));
    };
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(<[_]>::first);
    let peer = Peer {
        address,
        certificate: leaf.map(|leaf| leaf.clone().into_owned()),
    };
    Ok((Stream::Tls(Box::new(stream)), peer))
}

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
