//! A gateway and shards in this process, with links that break.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use catena_authentication::Means;
use catena_backend::{Backend, Options, Pulse, Spill, ToKeep, Voice};
use catena_chain::{
    Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
    message::{News, Report},
};
use catena_gateway::{
    Config, Gateway,
    limits::ACCUSATIONS,
    listener::Listener,
    ports::{Listeners, PortStatus},
    worker::Ended,
};
use catena_membership::{Cluster as Told, GatewayIncarnation};
use catena_runtime::{
    shutdown::{self, Shutdown, Trigger},
    threads::{self, Thread},
};
use catena_secrets::Secrets;
use catena_slots::{ShardId, SlotTable};
use catena_topology::Layout;
use catena_transport::Local;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_local,
};

use crate::breaking::{Breaking, Random};

/// The gateway.
pub const GATEWAY: u64 = 7;

/// The first backend; the next has the next number.
const BACKEND: u64 = 1;

/// What a test wants of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub shards: usize,
    pub workers: u16,
    /// Whether links break, and when.
    pub breaking: Option<u64>,
}

/// A running cluster. Dropping it drains and stops it.
pub struct Cluster {
    pub address: SocketAddr,
    told: Teller,
    heard: watch::Sender<bool>,
    local: Local<Backend>,
    gateway: Gateway,
    accused: mpsc::Receiver<Incarnation>,
    ended: std::sync::mpsc::Receiver<Ended>,
    drain: Trigger,
    stop: Trigger,
    stopped: Shutdown,
    backends: u64,
    ports: watch::Receiver<Option<Arc<[PortStatus]>>>,
    threads: Vec<Thread>,
}

/// A control plane that does what it is told by the test, and promotes learners.
#[derive(Clone)]
struct Teller(Arc<watch::Sender<Arc<Told>>>);

impl Teller {
    fn tell(&self, change: impl FnOnce(&mut Told)) {
        self.0.send_modify(|told| {
            let mut next = Told::clone(told);
            next.version += 1;
            change(&mut next);
            *told = Arc::new(next);
        });
    }

    /// Makes the next configuration of a shard.
    fn change(&self, shard: ShardId, change: impl FnOnce(&mut Configuration)) {
        self.tell(|told| {
            let chain = told.chains.get_mut(&shard).expect("it is founded");
            chain.epoch = chain.epoch.next();
            change(chain);
        });
    }
}

impl Voice for Teller {
    fn report(&self, report: Report) {
        let News::LearnerSynced { learner } = report.news else {
            return;
        };
        let known = self.0.borrow().chains[&report.shard].clone();
        if known.epoch == report.epoch {
            self.change(report.shard, |chain| {
                let synced = chain.learner.take().filter(|member| member.id == learner);
                chain.chain.extend(synced);
            });
        }
    }

    fn accuse(&self, _: Incarnation) {}
}

fn told(shards: usize) -> Told {
    let slots = SlotTable::even(shards, 0).expect("a few shards");
    let founded = |shard| {
        let founder = Member {
            id: ReplicaId(1),
            incarnation: Incarnation(BACKEND),
        };
        let (epoch, generation) = (Epoch(1), Generation(1));
        let chain = Configuration::founded(shard, epoch, generation, founder);
        (shard, chain)
    };
    let mut told = Told {
        version: GATEWAY,
        chains: slots.shards().map(founded).collect(),
        layout: Some(Layout {
            partitions: 1,
            workers: shards as u16,
            slots,
        }),
        gateways_version: GATEWAY,
        gateways: [GATEWAY].into(),
        settings_version: 1,
        ..Told::default()
    };
    told.broker.advanced.failure_timeout_seconds = catena_resources::Seconds::from_millis(500);
    told
}

impl Cluster {
    /// Starts `shards` shards on one thread, and a gateway of `workers` workers on others, with links that break.
    pub fn start(shards: usize, workers: u16, seed: u64) -> Cluster {
        Cluster::of(Plan {
            shards,
            workers,
            breaking: Some(seed),
        })
    }

    /// Starts what `plan` says.
    pub fn of(plan: Plan) -> Cluster {
        let (sender, cluster) = watch::channel(Arc::new(told(plan.shards)));
        let told = Teller(Arc::new(sender));
        let (heard, is_heard) = watch::channel(true);
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.address();
        let (drain, draining) = shutdown::shutdown();
        let (stop, stopped) = shutdown::shutdown();
        let (accusations, accused) = mpsc::channel(ACCUSATIONS);
        let layout = cluster.borrow().layout.clone().expect("it is laid out");
        let (ports, told_ports) = watch::channel(None);
        let config = Config {
            tracing: Default::default(),
            incarnation: GatewayIncarnation(GATEWAY),
            workers: plan.workers,
            slots: layout.slots,
            cluster,
            heard: is_heard,
            accusations,
            means: Arc::new(Means::new(Secrets::open(None), None)),
            secrets: Secrets::open(None),
            issues: None,
            ports,
            connections_max: 1000,
        };
        let (gateway, workers) = Gateway::new(
            &config,
            Listeners {
                own: vec![listener],
                taken: Vec::new(),
            },
            &draining,
        );
        let (end, ended) = std::sync::mpsc::channel();
        let mut cluster = Cluster {
            address,
            told,
            heard,
            local: Local::default(),
            gateway,
            accused,
            ended,
            drain,
            stop,
            stopped: stopped.clone(),
            backends: 0,
            ports: told_ports,
            threads: Vec::new(),
        };
        cluster.start_backend();
        for (index, worker) in workers.into_iter().enumerate() {
            let (local, end, mut stopped) = (cluster.local.clone(), end.clone(), stopped.clone());
            let main = move || async move {
                let ended = match plan.breaking {
                    Some(seed) => {
                        let random = Random::new(seed * 101 + index as u64);
                        worker.run(Breaking::new(local, random)).await
                    }
                    None => worker.run(local).await,
                };
                let _ = end.send(ended);
                // What is behind sockets may still have to leave.
                stopped.begun().await;
            };
            let thread = threads::start("worker", main).expect("a thread");
            cluster.threads.push(thread);
        }
        cluster
    }

    /// Starts one more backend, and returns its incarnation.
    pub fn start_backend(&mut self) -> Incarnation {
        let me = Incarnation(BACKEND + self.backends);
        self.backends += 1;
        let (backend, shards) = Backend::new(Options {
            me,
            threads: NonZeroUsize::MIN,
            cluster: self.told.0.subscribe(),
            heard: self.heard.subscribe(),
            voice: Arc::new(self.told.clone()),
            // Nothing is put there, and so it is not made.
            spill: Spill::new(&std::env::temp_dir().join("catena-links")).unwrap(),
            pulse: Pulse::default(),
            to_keep: watch::channel(ToKeep::default()).1,
        });
        self.local.add(me, backend);
        let (local, mut stopped) = (self.local.clone(), self.stopped.clone());
        let main = move || async move {
            for shards in shards {
                spawn_local(shards.run(local.clone(), local.clone()));
            }
            stopped.begun().await;
        };
        let thread = threads::start("shards", main).expect("a thread");
        self.threads.push(thread);
        me
    }

    /// Tells everybody something new.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        self.told.tell(change);
    }

    /// Makes the next configuration of a shard.
    pub fn change(&self, shard: ShardId, change: impl FnOnce(&mut Configuration)) {
        self.told.change(shard, change);
    }

    /// `backend` becomes a replica of all shards, and then the only one; nobody listens any more as who was before.
    pub fn move_to(&self, backend: Incarnation) {
        let shards: Vec<ShardId> = self.told.0.borrow().chains.keys().copied().collect();
        for shard in &shards {
            self.change(*shard, |chain| {
                let id = ReplicaId(chain.epoch.0);
                chain.joined = chain.epoch;
                chain.learner = Some(Member {
                    id,
                    incarnation: backend,
                });
            });
        }
        let is_of_all = || {
            let told = self.told.0.borrow();
            let mut tails = told.chains.values().map(|chain| chain.tail());
            tails.all(|tail| tail.is_some_and(|tail| tail.incarnation == backend))
        };
        let until = Instant::now() + Duration::from_secs(20);
        while !is_of_all() {
            assert!(Instant::now() < until, "no learner is promoted");
            thread::sleep(Duration::from_millis(5));
        }
        for shard in shards {
            self.change(shard, |chain| {
                for lost in chain.chain.drain(..chain.chain.len() - 1) {
                    self.local.remove(lost.incarnation);
                }
            });
        }
    }

    /// Whether the control plane hears us.
    pub fn set_heard(&self, is_heard: bool) {
        self.heard.send_replace(is_heard);
    }

    /// A shard has lost all that it held, and starts empty on `backend`.
    pub fn start_empty(&self, shard: ShardId, backend: Incarnation) {
        self.tell(|told| {
            told.settings_version += 1;
            if let Some(chain) = told.chains.get_mut(&shard) {
                let founder = Member {
                    id: ReplicaId(chain.founder.0 + 1),
                    incarnation: backend,
                };
                let (epoch, generation) = (chain.epoch.next(), chain.generation.next());
                *chain = Configuration::founded(shard, epoch, generation, founder);
            }
        });
    }

    /// How many connections to shards broke so far.
    pub fn links_broken(&self) -> u64 {
        self.gateway.counts().links_broken
    }

    /// How it stands with a port that resources ask for.
    pub fn port(&self, number: u16) -> Option<PortStatus> {
        let told = self.ports.borrow();
        let mut ports = told.iter().flat_map(|ports| ports.iter());
        ports.find(|port| port.address.port() == number).cloned()
    }

    /// Who was accused so far.
    pub fn accused(&mut self) -> Vec<Incarnation> {
        let mut accused = Vec::new();
        while let Ok(backend) = self.accused.try_recv() {
            accused.push(backend);
        }
        accused
    }

    /// The gateway's drain begins.
    pub fn drain(&self) {
        self.drain.begin();
    }

    /// How the next worker ends.
    pub fn ended(&self) -> Ended {
        let patience = Duration::from_secs(20);
        self.ended.recv_timeout(patience).expect("a worker ends")
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
