//! Listening sockets, and who gets what they accept.
//!
//! A listening socket is accepted from on the first worker alone; what it gives is dealt out to all of them.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use catena_runtime::shutdown::Shutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, sync::mpsc};
use tracing::{debug, warn};

use crate::{
    counters::{Counter, Counters},
    entrance::Entrance,
    limits::{ACCEPT_PAUSE_MS, BACKLOG},
    ports::Rate,
    room::Room,
    worker::{Arrival, News, Seats},
};

/// A port that is ours, and closed: whoever connects is refused.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    address: SocketAddr,
}

/// An open port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// An open port whose clients the system tells this thread of.
#[derive(Debug)]
pub(crate) struct Watched {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
}

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// As it was asked for.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl Port {
    /// Takes a port; 0 lets the system choose. An IPv6 address takes no IPv4 clients, so that both can be named.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take(address: SocketAddr) -> Result<Port, BindError> {
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            // A restarted broker need not wait for the connections of the one before.
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let bound = socket.local_addr()?;
            let bound = bound.as_socket().unwrap_or(address);
            Ok((socket, bound))
        };
        let (socket, address) = bind().map_err(|source| BindError { address, source })?;
        Ok(Port { socket, address })
    }

    /// Takes a port on all addresses of the machine, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take_everywhere(port: u16) -> Result<Port, BindError> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let make = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_only_v6(false)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = match make() {
            Ok(socket) => socket,
            // A machine without IPv6.
            Err(_) => return Port::take((Ipv4Addr::UNSPECIFIED, port).into()),
        };
        match socket.bind(&address.into()) {
            Ok(()) => Ok(Port { socket, address }),
            Err(source) if source.kind() == io::ErrorKind::AddrNotAvailable => {
                Port::take((Ipv4Addr::UNSPECIFIED, port).into())
            }
            Err(source) => Err(BindError { address, source }),
        }
    }

    /// Opens it: the system takes clients from now on.
    ///
    /// # Errors
    /// When the system refuses: somebody else has opened the same port meanwhile.
    pub fn open(self) -> Result<Listener, BindError> {
        let Port { socket, address } = self;
        socket
            .listen(BACKLOG)
            .map_err(|source| BindError { address, source })?;
        let socket = TcpListener::from(socket);
        Ok(Listener { socket, address })
    }

    /// The address with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Listener {
    /// Takes a port and opens it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind(address: SocketAddr) -> Result<Listener, BindError> {
        Port::take(address)?.open()
    }

    /// The address with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the system watch it for this thread.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn watched(self) -> Result<Watched, BindError> {
        let Listener { socket, address } = self;
        let socket = tokio::net::TcpListener::from_std(socket)
            .map_err(|source| BindError { address, source })?;
        Ok(Watched { socket, address })
    }
}

/// Where accepted sockets go, and what is common to those of all ports.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    pub workers: Vec<mpsc::Sender<News>>,
    /// Of the whole gateway.
    pub room: Arc<Room>,
    pub counters: Arc<Counters>,
    pub shutdown: Shutdown,
    pub is_over: Shutdown,
}

/// Accepts until the gateway drains or its life is over. Dropped, it closes the port.
///
/// Sockets are dealt round robin: connections live long, so an even number of them is an even load.
pub(crate) async fn accept(listener: Watched, entrance: Arc<Entrance>, mut deal: Deal) {
    let Watched { socket, address } = listener;
    // Not all ports begin with the same worker.
    let mut next = usize::from(address.port());
    let mut rate = Rate::new(Instant::now());
    loop {
        let accepted = tokio::select! {
            // All only wait.
            accepted = socket.accept() => accepted,
            () = deal.shutdown.begun() => return,
            () = deal.is_over.begun() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                deal.counters.accepted.add();
                if rate.take(entrance.rate_max(), Instant::now()) {
                    next = (next + 1) % deal.workers.len();
                    deal.out(stream, peer, &entrance, next).await;
                } else {
                    deal.turn_away(&deal.counters.over_rate, &entrance, "too many in a second");
                }
            }
            Err(error) if is_of_one_connection(&error) => deal.counters.accept_errors.add(),
            Err(error) => {
                // No files or no memory: clients wait in the system's queue meanwhile.
                if deal
                    .counters
                    .accept_errors
                    .get()
                    .is_multiple_of(LOGGED_ERRORS)
                {
                    warn!(%error, "cannot accept clients");
                }
                deal.counters.accept_errors.add();
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Every so many errors of accepting are worth a line: at a pause of 100 ms one in ten seconds.
const LOGGED_ERRORS: u64 = 100;

/// Errors that concern the accepted socket alone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl Deal {
    /// Tells all workers, behind the sockets that they were dealt before.
    pub async fn tell(&self, news: impl Fn() -> News) {
        for worker in &self.workers {
            // A worker that has drained has no clients.
            let _ = worker.send(news()).await;
        }
    }

    async fn out(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        entrance: &Arc<Entrance>,
        worker: usize,
    ) {
        let over = &self.counters.over_limit;
        let Some(of_gateway) = self.room.enter() else {
            return self.turn_away(over, entrance, "the gateway has no room for more");
        };
        let Some(of_port) = entrance.room.enter() else {
            return self.turn_away(over, entrance, "the port has no room for more");
        };
        // The other worker's thread watches it from here on.
        match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(socket) => {
                let arrival = Arrival {
                    socket,
                    // An IPv4 client of a port of all addresses is an IPv4 client.
                    peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                    entrance: entrance.clone(),
                    seats: Seats {
                        _of_gateway: of_gateway,
                        _of_port: of_port,
                    },
                };
                // A worker that has drained takes no more.
                let _ = self.workers[worker].send(News::Arrival(arrival)).await;
            }
            Err(error) => {
                self.counters.accept_errors.add();
                debug!(%error, "a socket cannot be set up");
            }
        }
    }

    fn turn_away(&self, count: &Counter, entrance: &Entrance, reason: &str) {
        // Fewer and fewer lines of the same; the summaries have the numbers.
        if count.get() == 0 || count.get().is_power_of_two() {
            let listener = &entrance.listener;
            warn!(listener, reason, "clients are turned away");
        }
        count.add();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::OwnedFd};

    use super::*;

    // One port that the system does not watch would end a gateway with all its clients.
    #[tokio::test]
    async fn a_socket_that_cannot_be_watched_is_said() {
        // The system watches no file.
        let socket = TcpListener::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        socket.set_nonblocking(true).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1883));
        let refused = Listener { socket, address }.watched().unwrap_err();
        assert_eq!(refused.address, address);
        assert_eq!(refused.source.kind(), io::ErrorKind::PermissionDenied);
    }
}
