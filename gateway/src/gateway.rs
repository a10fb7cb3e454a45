//! A gateway: its workers, and what is common to them.

use std::sync::Arc;

use catena_runtime::shutdown::{self, Shutdown, Trigger};
use tokio::sync::mpsc;

use crate::{
    backoff::Backoffs,
    config::Config,
    counters::{Counters, Counts},
    limits::ARRIVALS,
    listener::Deal,
    ports::{Keeper, Listeners},
    room::Room,
    worker::Worker,
};

/// What is seen of a gateway from outside: of one life of it `[C-43]`.
#[derive(Debug, Clone)]
pub struct Gateway {
    counters: Vec<Arc<Counters>>,
    room: Arc<Room>,
    over: Arc<Trigger>,
}

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
            },
            workers,
        )
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
