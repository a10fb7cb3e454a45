//! A gateway: its workers, and what is common to them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use catena_resources::listener::{Protocol, ProxyProtocol};
use catena_runtime::shutdown::{self, Shutdown, Trigger};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};

use crate::{
    backoff::Backoffs,
    config::Config,
    counters::{Counters, Counts},
    entrance::{Entrance, Rules},
    limits::{ARRIVALS, OWN_BYTES},
    listener::Deal,
    ports::{Keeper, Listeners},
    room::Room,
    worker::{News, Seats, Worker},
};

/// What is seen of a gateway from outside: of one life of it `[C-43]`.
#[derive(Debug, Clone)]
pub struct Gateway {
    counters: Vec<Arc<Counters>>,
    room: Arc<Room>,
    over: Arc<Trigger>,
    own: Arc<Own>,
}

/// The way in for the gateway's own client.
#[derive(Debug)]
struct Own {
    entrance: Arc<Entrance>,
    /// They end when nobody else has anything for them.
    workers: Vec<mpsc::WeakSender<News>>,
    turn: AtomicUsize,
}

/// What the entrance of the gateway's own client is called; no BrokerListener can be.
pub const SELF_CHECK: &str = "--self-check";

impl Gateway {
    /// A gateway that serves clients on `listeners`, and on the ports that resources ask for, once each of its workers
    /// runs, on a thread of its own. It drains when `shutdown` begins.
    pub fn new(
        config: &Config,
        listeners: Listeners,
        shutdown: &Shutdown,
    ) -> (Gateway, Vec<Worker>) {
        let count = config.workers.max(1);
        let (workers, arrivals): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(ARRIVALS)).unzip();
        let room = Room::new(config.connections_max);
        let (over, is_over) = shutdown::shutdown();
        let over = Arc::new(over);
        let counters: Vec<Arc<Counters>> = (0..count).map(|_| Arc::default()).collect();
        let backoffs = Arc::new(Backoffs::default());
        let own = Own {
            // It asks for nothing: nobody else can come this way.
            entrance: Arc::new(Entrance::new(
                SELF_CHECK.to_owned(),
                Protocol::Mqtt,
                ProxyProtocol::Disabled,
                Rules::default(),
            )),
            workers: workers.iter().map(mpsc::Sender::downgrade).collect(),
            turn: AtomicUsize::new(0),
        };
        let deal = Deal {
            workers,
            room: room.clone(),
            counters: counters[0].clone(),
            shutdown: shutdown.clone(),
            is_over: is_over.clone(),
        };
        let mut keeper = Some(Keeper::new(config, listeners, deal));
        let workers = (0..count)
            .zip(arrivals)
            .zip(&counters)
            .map(|((index, arrivals), counters)| Worker {
                index,
                config: config.clone(),
                arrivals,
                counters: counters.clone(),
                backoffs: backoffs.clone(),
                shutdown: shutdown.clone(),
                over: over.clone(),
                is_over: is_over.clone(),
                keeper: keeper.take(),
            })
            .collect();
        (
            Gateway {
                counters,
                room,
                over,
                own: Arc::new(own),
            },
            workers,
        )
    }

    /// A connection of a client in this process, which nobody asks who it is, and that no policy binds; the workers take them in
    /// turn. `None` when the gateway is full or about to end.
    pub fn enter(&self) -> Option<DuplexStream> {
        let own = &self.own;
        let seats = Seats {
            _of_gateway: self.room.enter()?,
            _of_port: own.entrance.room.enter()?,
        };
        let turn = own.turn.fetch_add(1, Relaxed);
        let worker = own.workers.get(turn % own.workers.len())?.upgrade()?;
        let (ours, theirs) = duplex(OWN_BYTES);
        let news = News::Own(theirs, own.entrance.clone(), seats);
        worker.try_send(news).ok()?;
        Some(ours)
    }

    /// Ends this life: its incarnation is not live any more `[C-43]`. All clients are closed, at once.
    pub fn abandon(&self) {
        self.over.begin();
    }

    /// What each worker counts.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Sockets that are open.
    pub fn connections(&self) -> usize {
        self.room.open()
    }

    /// What all workers have counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for counters in &self.counters {
            counters.add_to(&mut counts);
        }
        counts
    }
}
