//! A gateway and shards in this process, with links that break.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use catena_backend::{Host, Port};
use catena_gateway::{Config, Gateway, listener::Listener};
use catena_runtime::{
    shutdown::{self, Trigger},
    threads::{self, Thread},
};
use catena_shard::Settings;
use catena_slots::SlotTable;
use tokio::task::spawn_local;

use crate::breaking::{Breaking, Random};

const INCARNATION: u64 = 7;

/// A running cluster. Dropping it drains and stops it.
pub struct Cluster {
    pub address: SocketAddr,
    gateway: Gateway,
    drain: Trigger,
    stop: Trigger,
    threads: Vec<Thread>,
}

impl Cluster {
    /// Starts `shards` shards on one thread, and a gateway of `workers` workers on others.
    pub fn start(shards: usize, workers: u16, seed: u64) -> Cluster {
        let slots = SlotTable::even(shards, 0).expect("a few shards");
        let hosts = slots.shards().map(|shard| {
            let (mut host, port) = Host::new(shard, 1);
            host.configure(&Settings::new(shard, slots.clone()));
            host.set_gateways(1, &[INCARNATION]);
            (host, port)
        });
        let (hosts, ports): (Vec<Host>, Vec<Port>) = hosts.unzip();
        let (stop, stopped) = shutdown::shutdown();
        let peers: Vec<_> = slots.shards().zip(ports.iter().cloned()).collect();
        let main = {
            let (mut stopped, slots) = (stopped.clone(), slots.clone());
            move || async move {
                for (shard, host) in slots.shards().zip(hosts) {
                    let others = peers
                        .iter()
                        .filter(|(peer, _)| *peer != shard)
                        .cloned()
                        .collect();
                    spawn_local(host.run(others));
                }
                stopped.begun().await;
            }
        };
        let mut running = vec![threads::start("shards", main).expect("a thread")];

        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.address();
        let (drain, draining) = shutdown::shutdown();
        let clients = Arc::default();
        let config = Config {
            incarnation: INCARNATION,
            workers,
            slots,
            clients,
            connections_max: 1000,
        };
        let (gateway, workers) = Gateway::new(&config, vec![listener], &draining);
        for (index, worker) in workers.into_iter().enumerate() {
            let (ports, mut stopped) = (ports.clone(), stopped.clone());
            let main = move || async move {
                worker
                    .run(Breaking::new(
                        &ports,
                        Random::new(seed * 101 + index as u64),
                    ))
                    .await;
                stopped.begun().await;
            };
            running.push(threads::start("worker", main).expect("a thread"));
        }
        Cluster {
            address,
            gateway,
            drain,
            stop,
            threads: running,
        }
    }

    /// How many links broke so far.
    pub fn links_broken(&self) -> u64 {
        self.gateway.counts().links_broken
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.drain.begin();
        // Time for the sessions to end; what a test checks is checked before.
        thread::sleep(Duration::from_millis(50));
        self.stop.begin();
        self.threads.drain(..).for_each(Thread::join);
    }
}
