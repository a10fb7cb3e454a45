//! Listening sockets, and who gets what they accept.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use catena_runtime::shutdown::Shutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, sync::mpsc, task::spawn_local};
use tracing::{debug, warn};

use crate::{
    counters::Counters,
    limits::{ACCEPT_PAUSE_MS, BACKLOG},
    room::Room,
    worker::{Acceptor, Arrival},
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
}

impl Acceptor {
    /// Accepts on all listeners until the gateway drains or its life is over.
    pub fn start(self, shutdown: &Shutdown, is_over: &Shutdown, counters: &Arc<Counters>) {
        for listener in self.listeners {
            let deal = Deal {
                workers: self.workers.clone(),
                next: 0,
                room: self.room.clone(),
            };
            let end = [shutdown.clone(), is_over.clone()];
            spawn_local(accept(listener, deal, end, counters.clone()));
        }
    }
}

/// Deals sockets round robin: connections live long, so an even number of them is an even load.
struct Deal {
    workers: Vec<mpsc::Sender<Arrival>>,
    next: usize,
    room: Arc<Room>,
}

async fn accept(
    listener: Listener,
    mut deal: Deal,
    [mut shutdown, mut is_over]: [Shutdown; 2],
    counters: Arc<Counters>,
) {
    let socket = match tokio::net::TcpListener::from_std(listener.socket) {
        Ok(socket) => socket,
        // Without its listener the broker is nothing.
        Err(error) => panic!("the system watches no listener: {error}"),
    };
    loop {
        let accepted = tokio::select! {
            // All only wait.
            accepted = socket.accept() => accepted,
            () = shutdown.begun() => return,
            () = is_over.begun() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                counters.accepted.add();
                deal.out(stream, &counters).await;
            }
            Err(error) if is_of_one_connection(&error) => counters.accept_errors.add(),
            Err(error) => {
                // No files or no memory: clients wait in the system's queue meanwhile.
                if counters.accept_errors.get() % LOGGED_ERRORS == 0 {
                    warn!(%error, "cannot accept clients");
                }
                counters.accept_errors.add();
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
    async fn out(&mut self, stream: TcpStream, counters: &Counters) {
        let Some(seat) = self.room.enter() else {
            if counters.over_limit.get() % LOGGED_ERRORS == 0 {
                warn!(limit = self.room.max(), "too many clients");
            }
            counters.over_limit.add();
            return;
        };
        // The other worker's thread watches it from here on.
        match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(socket) => {
                self.next = (self.next + 1) % self.workers.len();
                // A worker that has drained takes no more.
                let _ = self.workers[self.next].send(Arrival { socket, seat }).await;
            }
            Err(error) => {
                counters.accept_errors.add();
                debug!(%error, "a socket cannot be set up");
            }
        }
    }
}
