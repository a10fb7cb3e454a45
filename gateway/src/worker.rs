//! One thread's part of a gateway: its connections, its timers and its links.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use catena_connection::{Input, Settings, input::Now};
use catena_mqtt::ReasonCode;
use catena_runtime::shutdown::Shutdown;
use catena_shard::{ConnId, Origin};
use catena_slots::ShardId;
use tokio::{net::TcpStream, sync::mpsc, task::spawn_local};
use tracing::{debug, info, warn};

use crate::{
    client::Task,
    clients::Clients,
    config::Config,
    counters::Counters,
    limits::DRAIN_MS,
    link,
    links::Dial,
    listener::Listener,
    room::{Room, Seat},
    router::Router,
    timers::Timers,
};

/// A socket that was dealt to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub socket: std::net::TcpStream,
    pub seat: Seat,
}

/// A worker that does not run yet: it can be sent to its thread.
#[derive(Debug)]
pub struct Worker {
    pub(crate) index: u16,
    pub(crate) config: Config,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Shutdown,
    /// With the first worker alone: it accepts for all.
    pub(crate) acceptor: Option<Acceptor>,
}

/// What accepts sockets and deals them to the workers.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub listeners: Vec<Listener>,
    pub workers: Vec<mpsc::Sender<Arrival>>,
    pub room: Arc<Room>,
}

/// What the tasks of a worker share. No borrow of it lasts beyond a poll.
#[derive(Debug)]
pub(crate) struct Shared {
    pub clients: RefCell<Clients>,
    pub router: RefCell<Router>,
    pub timers: RefCell<Timers>,
    /// What all connections read into; empty between reads.
    pub chunk: RefCell<BytesMut>,
    pub counters: Arc<Counters>,
    settings: Arc<Settings>,
    started: Instant,
    random: RandomState,
    draws: Cell<u64>,
}

impl Worker {
    /// Serves clients until the gateway has drained.
    pub async fn run<D: Dial>(mut self, dial: D) {
        let origin = Origin::Gateway {
            incarnation: self.config.incarnation,
            worker: self.index,
        };
        let router = Router::new(origin, self.config.slots.clone(), self.counters.clone());
        let shared = Rc::new(Shared {
            clients: RefCell::default(),
            router: RefCell::new(router),
            timers: RefCell::default(),
            chunk: RefCell::default(),
            counters: self.counters.clone(),
            settings: self.config.clients.clone(),
            started: Instant::now(),
            random: RandomState::new(),
            draws: Cell::new(0),
        });
        for shard in self.config.slots.shards() {
            spawn_local(link::task::run(shared.clone(), shard, dial.clone()));
        }
        spawn_local(run_timers(shared.clone()));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.start(&self.shutdown, &self.counters);
        }
        loop {
            tokio::select! {
                // Both only wait.
                arrival = self.arrivals.recv() => match arrival {
                    Some(arrival) => shared.welcome(arrival),
                    None => break,
                },
                () = self.shutdown.begun() => break,
            }
        }
        shared.drain(self.index).await;
    }
}

impl Shared {
    /// Milliseconds since the worker started.
    pub fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64)
    }

    fn welcome(self: &Rc<Shared>, arrival: Arrival) {
        let peer = arrival.socket.peer_addr();
        let socket = match TcpStream::from_std(arrival.socket) {
            Ok(socket) => socket,
            Err(error) => {
                self.counters.accept_errors.add();
                debug!(%error, "a socket cannot be watched");
                return;
            }
        };
        let entropy = u128::from(self.draw()) << 64 | u128::from(self.draw());
        let now = self.now();
        let id = self
            .clients
            .borrow_mut()
            .insert(self.settings.clone(), entropy, now);
        debug!(conn = id.0, ?peer, "accepted");
        spawn_local(Task::new(self.clone(), id, socket, arrival.seat, now));
    }

    /// A number that nobody can guess.
    fn draw(&self) -> u64 {
        self.draws.set(self.draws.get() + 1);
        self.random.hash_one(self.draws.get())
    }

    /// Between half of `milliseconds` and one and a half of it.
    pub fn jittered(&self, milliseconds: u64) -> u64 {
        milliseconds / 2 + self.draw() % (milliseconds + 1)
    }

    /// The transport of a link is gone.
    pub fn link_broke(&self, shard: ShardId) {
        let clients = &mut *self.clients.borrow_mut();
        let router = &mut *self.router.borrow_mut();
        self.counters.links_broken.add();
        router.link(shard).closed();
        let now = self.now();
        for conn in router.link(shard).take_waiting() {
            if let Some(client) = clients.get_mut(conn) {
                client.handle(Input::Progress(shard), now, router);
                client.wake();
            }
        }
    }

    /// Sends all clients away and waits until they are gone `[F-26]`.
    async fn drain(&self, worker: u16) {
        let clients = self.clients.borrow().len();
        self.tell_all_to_leave();
        let begun = Instant::now();
        let grace = Duration::from_millis(DRAIN_MS);
        while self.clients.borrow().len() > 0 && begun.elapsed() < grace {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match self.clients.borrow().len() {
            0 if clients == 0 => {}
            0 => info!(worker, clients, "all clients have left"),
            left => warn!(worker, left, "clients did not leave in time"),
        }
    }

    fn tell_all_to_leave(&self) {
        let clients = &mut *self.clients.borrow_mut();
        let router = &mut *self.router.borrow_mut();
        let now = self.now();
        let ids: Vec<ConnId> = clients.ids().collect();
        for id in ids {
            if let Some(client) = clients.get_mut(id) {
                client.handle(Input::Drain(ReasonCode::ServerShuttingDown), now, router);
                client.wake();
            }
        }
    }
}

/// Wakes connections at their deadlines.
async fn run_timers(worker: Rc<Shared>) {
    loop {
        let mut sleep = pin!(None);
        poll_fn(|cx| {
            let Some(until) = worker.timers.borrow_mut().sleep_until(cx) else {
                return Poll::Pending;
            };
            if until <= worker.now() {
                return Poll::Ready(());
            }
            // A poll comes when an earlier entry was made, or when the sleep is over: a new one is right for both.
            let until = worker.started + Duration::from_millis(until.0);
            sleep.set(Some(tokio::time::sleep_until(until.into())));
            sleep
                .as_mut()
                .as_pin_mut()
                .map_or(Poll::Pending, |sleep| sleep.poll(cx))
        })
        .await;
        let now = worker.now();
        loop {
            let Some((at, due)) = worker.timers.borrow_mut().take_due(now) else {
                break;
            };
            let mut clients = worker.clients.borrow_mut();
            for id in due {
                // Entries that were overtaken by an earlier one mean nothing.
                if let Some(client) = clients
                    .get_mut(id)
                    .filter(|client| client.armed == Some(at))
                {
                    client.armed = None;
                    client.wake();
                }
            }
        }
    }
}
