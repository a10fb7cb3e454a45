//! Connections of the admin port: accepted, with TLS where it is asked for, within bounds.
//!
//! Credentials come with each call, so that a connection says nothing of who it is. Strangers must not be able to keep
//! all places: who brings no call that is admitted is closed, and one address has so many places and no more.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    Guard,
    addresses::{Addresses, Place},
};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may be there without a call that was admitted. Health does not count: everybody may ask.
const STRANGER_MAX: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Before accepting is tried again, when the system has no room.
const RETRY: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    peer: Peer,
    /// Until a call was admitted: how long it is waited for.
    patience: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
    _place: Place,
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
    pub admitted: Admitted,
}

/// Whether a call of a connection was admitted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Admitted(Arc<AtomicBool>);

impl Admitted {
    /// One was: the connection may stay.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The connections of `listener`; the task in `tasks` accepts them until it is aborted.
pub fn connections(
    listener: TcpListener,
    guard: Guard,
    tasks: &mut JoinSet<()>,
) -> ReceiverStream<io::Result<Io>> {
    let (ready, connections) = mpsc::channel(CONNECTIONS_MAX);
    tasks.spawn(run(listener, guard, STRANGER_MAX, ready));
    ReceiverStream::new(connections)
}

async fn run(
    listener: TcpListener,
    guard: Guard,
    stranger_max: Duration,
    ready: mpsc::Sender<io::Result<Io>>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let addresses = Arc::new(Addresses::default());
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
        let Some(place) = addresses.enter(address.ip()) else {
            debug!(%address, "too many connections of one address to the admin port");
            continue;
        };
        let accepted = Instant::now();
        // Small answers are not to wait for larger ones.
        let _ = stream.set_nodelay(true);
        let (guard, ready) = (guard.clone(), ready.clone());
        handshakes.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, open(stream, address, &guard)).await {
                Ok(Ok((stream, peer))) => {
                    let io = Io {
                        stream,
                        peer,
                        patience: Some(Box::pin(tokio::time::sleep_until(accepted + stranger_max))),
                        _permit: permit,
                        _place: place,
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
            admitted: Admitted::default(),
        };
        return Ok((Stream::Plain(stream), peer));
    };
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(<[_]>::first);
    let peer = Peer {
        address,
        certificate: leaf.map(|leaf| leaf.clone().into_owned()),
        admitted: Admitted::default(),
    };
    Ok((Stream::Tls(Box::new(stream)), peer))
}

impl Io {
    /// Ready with an error once no call was admitted for too long; ready without one while it may go on.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(patience) = &mut self.patience else {
            return Poll::Ready(Ok(()));
        };
        if self.peer.admitted.is_set() {
            self.patience = None;
        } else if patience.as_mut().poll(cx).is_ready() {
            let said = "no call was admitted in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, said)));
        }
        Poll::Ready(Ok(()))
    }
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
        ready!(self.poll_patience(cx))?;
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
        ready!(self.poll_patience(cx))?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_patience(cx))?;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{super::Access, *};

    /// A connection, from both ends, whose call is waited for so long.
    async fn connection(patience: Duration) -> (TcpStream, Io, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard::new(Access::local(address)).unwrap();
        let (ready, mut connections) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(listener, guard, patience, ready));
        let client = TcpStream::connect(address).await.unwrap();
        let io = connections.recv().await.unwrap().unwrap();
        (client, io, tasks)
    }

    // Somebody who connects and says nothing, or what nobody admits, would keep administrators out for ever.
    #[tokio::test]
    async fn a_connection_without_an_admitted_call_ends() {
        let (_client, mut io, _tasks) = connection(Duration::ZERO).await;
        // A connection that stays would have this wait for ever.
        let read = tokio::time::timeout(STRANGER_MAX, io.read_u8()).await;
        let failed = read.expect("it ended").unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert!(io.write(b"x").await.is_err() && io.flush().await.is_err());
    }

    #[tokio::test]
    async fn a_connection_with_an_admitted_call_stays() {
        let (mut client, mut io, _tasks) = connection(Duration::ZERO).await;
        io.peer.admitted.set();
        client.write_all(b"x").await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), b'x');
        io.write_all(b"y").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'y');
    }

    // While a call is waited for it must be heard.
    #[tokio::test]
    async fn a_stranger_may_speak() {
        let (mut client, mut io, _tasks) = connection(STRANGER_MAX).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), b'x');
    }
}
