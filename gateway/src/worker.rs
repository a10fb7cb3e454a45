//! One thread's part of a gateway: its connections, its timers and its links.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use catena_chain::Incarnation;
use catena_connection::{Input, Settings, input::Now};
use catena_membership::Cluster;
use catena_mqtt::ReasonCode;
use catena_resources::listener::{Compatibility, ProxyProtocol};
use catena_runtime::shutdown::{Shutdown, Trigger};
use catena_shard::{ConnId, Origin};
use catena_transport::Dial;
use tokio::{
    io::DuplexStream,
    net::TcpStream,
    sync::{mpsc, watch},
    task::spawn_local,
};
use tracing::{debug, info, warn};

use crate::{
    backoff::Backoffs,
    client::Task,
    clients::{Came, Client, Clients},
    config::Config,
    counters::Counters,
    cut,
    entrance::Entrance,
    limits::{ABANDON_MS, CONNECT_MS, DRAIN_MS, MEMORY_PERCENT, OUTPUT_SHORT_BYTES, TOLD_AT_ONCE},
    link,
    ports::Keeper,
    room::Seat,
    router::Router,
    stream::{
        Stream,
        open::{self, Opened, open},
    },
    timers::Timers,
    traffic::Meter,
};

/// What a worker is told of ports.
#[derive(Debug)]
pub(crate) enum News {
    Arrival(Arrival),
    /// A client in this process.
    Own(DuplexStream, Arc<Entrance>, Seats),
    /// The port was closed: its connections are told why, and closed.
    Closed(Arc<Entrance>, ReasonCode),
    /// The port has another policy, or the policy has changed `[F-90]`.
    Policy(Arc<Entrance>),
    /// Who decides who the clients of the port are has changed, or what that is decided by.
    Proofs(Arc<Entrance>),
}

/// A socket that was dealt to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub socket: std::net::TcpStream,
    pub peer: SocketAddr,
    pub entrance: Arc<Entrance>,
    pub seats: Seats,
}

/// The right to one open socket.
#[derive(Debug)]
pub(crate) struct Seats {
    pub _of_gateway: Seat,
    pub _of_port: Seat,
}

/// A worker that does not run yet: it can be sent to its thread.
#[derive(Debug)]
pub struct Worker {
    pub(crate) index: u16,
    pub(crate) config: Config,
    pub(crate) arrivals: mpsc::Receiver<News>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) backoffs: Arc<Backoffs>,
    pub(crate) shutdown: Shutdown,
    pub(crate) over: Arc<Trigger>,
    pub(crate) is_over: Shutdown,
    /// With the first worker alone: it accepts for all.
    pub(crate) keeper: Option<Keeper>,
}

/// How a worker came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It drained, as it was told to.
    Drained,
    /// The gateway's incarnation is not live any more: it is to register anew `[C-43]`.
    Over,
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
    /// Of new connections.
    settings: RefCell<Arc<Settings>>,
    /// Of those on ports with `compatibility: Azure`.
    settings_like_azure: RefCell<Arc<Settings>>,
    /// How many share the gateway's memory.
    workers: u16,
    shutdown: Shutdown,
    is_over: Shutdown,
    accusations: mpsc::Sender<Incarnation>,
    over: Arc<Trigger>,
    started: Instant,
    random: RandomState,
    draws: Cell<u64>,
}

impl Worker {
    /// Serves clients until the gateway has drained, or its life is over. What it spawned is to end with its thread.
    pub async fn run<D: Dial>(mut self, dial: D) -> Ended {
        let origin = Origin::Gateway {
            incarnation: self.config.incarnation.0,
            worker: self.index,
        };
        let slots = self.config.slots.clone();
        let shared = Rc::new_cyclic(|worker| Shared {
            clients: RefCell::default(),
            router: RefCell::new(Router::new(
                origin,
                slots,
                self.counters.clone(),
                self.backoffs.clone(),
                worker.clone(),
                self.config.tracing.clone(),
            )),
            timers: RefCell::default(),
            chunk: RefCell::default(),
            counters: self.counters.clone(),
            settings: RefCell::default(),
            settings_like_azure: RefCell::new(Arc::new(Settings::default().like_azure())),
            workers: self.config.workers,
            shutdown: self.shutdown.clone(),
            is_over: self.is_over.clone(),
            accusations: self.config.accusations.clone(),
            over: self.over.clone(),
            started: Instant::now(),
            random: RandomState::new(),
            draws: Cell::new(0),
        });
        shared.learn(&self.config.cluster.borrow_and_update().clone());
        for shard in self.config.slots.shards() {
            spawn_local(link::carrier::run(shared.clone(), shard, dial.clone()));
        }
        spawn_local(follow(shared.clone(), self.config.cluster.clone()));
        spawn_local(run_timers(shared.clone()));
        spawn_local(cut::watch(shared.clone(), self.config.clone()));
        if let Some(keeper) = self.keeper.take() {
            spawn_local(keeper.run());
        }
        loop {
            tokio::select! {
                // All only wait.
                news = self.arrivals.recv() => match news {
                    Some(News::Arrival(arrival)) => shared.welcome(arrival),
                    Some(News::Own(stream, entrance, seats)) => {
                        shared.welcome_own(stream, entrance, seats);
                    }
                    Some(News::Closed(entrance, reason)) => {
                        spawn_local(shared.clone().tell(entrance, move || Input::Drain(reason)));
                    }
                    Some(News::Policy(entrance)) => {
                        // The policy of the moment when each client is told: two changes may be told side by side.
                        let rules = entrance.clone();
                        let input = move || Input::Policy(rules.rules().policy.clone());
                        spawn_local(shared.clone().tell(entrance, input));
                    }
                    Some(News::Proofs(entrance)) => {
                        spawn_local(shared.clone().prove(entrance));
                    }
                    None => break,
                },
                () = self.shutdown.begun() => break,
                () = self.is_over.begun() => break,
            }
        }
        tokio::select! {
            // What a drain waits for never comes once the shards refuse us.
            biased;
            () = self.is_over.begun() => {
                shared.close_all(self.index).await;
                Ended::Over
            }
            () = shared.drain(self.index) => Ended::Drained,
        }
    }
}

impl Shared {
    /// Milliseconds since the worker started.
    pub fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64)
    }

    /// The same clock, as links read it.
    pub fn micros(&self) -> catena_chain::Now {
        catena_chain::Now {
            monotonic: self.started.elapsed().as_micros() as u64,
            ..catena_chain::Now::default()
        }
    }

    /// The moment `at`.
    pub fn instant(&self, at: Now) -> Instant {
        self.started + Duration::from_millis(at.0)
    }

    fn welcome(self: &Rc<Shared>, arrival: Arrival) {
        let Arrival {
            socket,
            peer,
            entrance,
            seats,
        } = arrival;
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                self.counters.accept_errors.add();
                debug!(%error, "a socket cannot be watched");
                return;
            }
        };
        let connect_by = self.now().plus_millis(CONNECT_MS);
        let rules = entrance.rules();
        if entrance.is_plain(&rules) {
            let opened = Opened {
                stream: Stream::Tcp(socket),
                peer,
                certificates: Box::default(),
            };
            return self.serve(opened, entrance, seats, connect_by);
        }
        // Of a balancer nobody knows yet for whom it comes.
        let says_who = entrance.proxy != ProxyProtocol::Disabled;
        let address = (!says_who).then(|| peer.ip());
        let Some(opening) = entrance.openings.enter(address) else {
            self.counters.over_openings.add();
            return;
        };
        let worker = self.clone();
        // Apart from the connection's task, which would keep the memory that this needs.
        spawn_local(async move {
            let opening_up = open(socket, peer, &entrance, &rules);
            if let Some(opened) = worker.opened(opening_up, &entrance, connect_by).await {
                worker.serve(opened, entrance.clone(), seats, connect_by);
            }
            drop(opening);
        });
    }

    fn welcome_own(self: &Rc<Shared>, stream: DuplexStream, entrance: Arc<Entrance>, seats: Seats) {
        let connect_by = self.now().plus_millis(CONNECT_MS);
        let opened = Opened {
            stream: Stream::Own(stream),
            peer: (Ipv4Addr::LOCALHOST, 0).into(),
            certificates: Box::default(),
        };
        self.serve(opened, entrance, seats, connect_by);
    }

    /// What comes of opening a connection, in the time that it has.
    async fn opened(
        &self,
        opening_up: impl Future<Output = Result<Opened, open::Error>>,
        entrance: &Entrance,
        connect_by: Now,
    ) -> Option<Opened> {
        let (mut closing, mut shutdown) = (entrance.closing(), self.shutdown.clone());
        let mut is_over = self.is_over.clone();
        let outcome = tokio::select! {
            // Dropped, it closes the socket, which is all that there is.
            outcome = opening_up => outcome,
            () = tokio::time::sleep_until(self.instant(connect_by).into()) => {
                self.counters.connect_timeouts.add();
                return None;
            }
            () = closing.begun() => return None,
            () = shutdown.begun() => return None,
            () = is_over.begun() => return None,
        };
        match outcome {
            Ok(opened) => Some(opened),
            Err(error) => {
                let listener = &entrance.listener;
                debug!(listener, %error, "a connection on which MQTT does not begin");
                self.counters.openings_failed.add();
                None
            }
        }
    }

    /// Begins MQTT.
    fn serve(
        self: &Rc<Shared>,
        opened: Opened,
        entrance: Arc<Entrance>,
        seats: Seats,
        connect_by: Now,
    ) {
        if entrance.is_closed() || self.shutdown.has_begun() || self.is_over.has_begun() {
            return;
        }
        let entropy = u128::from(self.draw()) << 64 | u128::from(self.draw());
        let came = Came {
            entrance,
            peer: opened.peer,
            certificates: opened.certificates,
        };
        let rules = came.entrance.rules();
        let settings = match rules.compatibility {
            Compatibility::None => self.settings.borrow().clone(),
            Compatibility::Azure => self.settings_like_azure.borrow().clone(),
        };
        let policy = rules.policy.clone();
        let mut clients = self.clients.borrow_mut();
        let meter = Meter::new(&self.counters.traffic);
        let id = clients.insert(came, settings, policy, entropy, self.now(), meter);
        let came = clients.get(id).map(|client| &client.came);
        let (peer, listener) = came
            .map(|came| (came.peer, &came.entrance.listener))
            .unzip();
        debug!(conn = id.0, ?peer, listener, "accepted");
        let task = Task::new(self.clone(), id, opened.stream, seats, connect_by);
        spawn_local(task);
    }

    /// Tells the same to all clients of a port. Others have their turn in between.
    async fn tell<I: Fn() -> Input<'static>>(self: Rc<Shared>, entrance: Arc<Entrance>, input: I) {
        let ids: Vec<ConnId> = self.clients.borrow().ids().collect();
        for some in ids.chunks(TOLD_AT_ONCE) {
            {
                let clients = &mut *self.clients.borrow_mut();
                let router = &mut *self.router.borrow_mut();
                let now = self.now();
                for id in some {
                    let client = clients.get_mut(*id);
                    let is_of = |client: &&mut Client| {
                        !client.is_closed && Arc::ptr_eq(&client.came.entrance, &entrance)
                    };
                    if let Some(client) = client.filter(is_of) {
                        client.handle(input(), now, router);
                        client.wake();
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// A number that nobody can guess.
    fn draw(&self) -> u64 {
        self.draws.set(self.draws.get() + 1);
        self.random.hash_one(self.draws.get())
    }

    /// Takes what the control plane tells: what a chain is, and what clients may ask for.
    fn learn(&self, cluster: &Cluster) {
        let router = &mut *self.router.borrow_mut();
        for (shard, link) in router.slots.shards().zip(&mut router.links) {
            if let Some(configuration) = cluster.chains.get(&shard) {
                link.learn(configuration);
            }
        }
        let profile = cluster.broker.memory_profile;
        let publishes = usize::try_from(profile.buffer_bytes() / 8).unwrap_or(usize::MAX);
        router
            .links
            .iter_mut()
            .for_each(|link| link.set_bytes_max(publishes));
        let clients =
            profile.gateway_bytes() * MEMORY_PERCENT / 100 / u64::from(self.workers.max(1));
        router
            .memory
            .set_max(usize::try_from(clients).unwrap_or(usize::MAX));
        let settings = cluster.client_settings();
        if **self.settings.borrow() != settings {
            let like_azure = settings.clone().like_azure();
            self.settings_like_azure.replace(Arc::new(like_azure));
            self.settings.replace(Arc::new(settings));
        }
    }

    /// A client holds so many bytes now. When memory gets short by it, those who do not read are looked at.
    pub fn count_memory(&self, clients: &mut Clients, id: ConnId, held: usize) {
        let Some(client) = clients.get_mut(id) else {
            return;
        };
        let memory = &mut self.router.borrow_mut().memory;
        if memory.count(&mut client.held, held) {
            self.counters.memory_short.add();
            clients.wake_those_with(OUTPUT_SHORT_BYTES);
        }
        while let Some(next) = memory.next() {
            if let Some(client) = clients.get_mut(next) {
                client.wake();
                if memory.is_short() {
                    break;
                }
            }
        }
    }

    /// The backend refused a connection or broke one: the control plane looks at once whether it is there.
    pub fn accuse(&self, backend: Incarnation) {
        let _ = self.accusations.try_send(backend);
    }

    /// This life of the gateway is over, for all workers `[C-43]`.
    pub fn abandon(&self) {
        self.over.begin();
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

    /// Closes all clients: no shard takes their last ops, so that nothing is waited for but their sockets `[C-43]`.
    async fn close_all(&self, worker: u16) {
        let clients = self.clients.borrow().len();
        warn!(
            worker,
            clients, "the gateway's registration is over: all clients are closed"
        );
        self.tell_all_to_leave();
        let begun = Instant::now();
        let grace = Duration::from_millis(ABANDON_MS);
        while self.clients.borrow().is_any_open() && begun.elapsed() < grace {
            tokio::time::sleep(Duration::from_millis(10)).await;
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

/// Takes the news, for ever. With the control plane away the last word stays good.
async fn follow(worker: Rc<Shared>, mut cluster: watch::Receiver<Arc<Cluster>>) {
    while cluster.changed().await.is_ok() {
        let news = cluster.borrow_and_update().clone();
        worker.learn(&news);
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
            let until = worker.instant(until);
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
