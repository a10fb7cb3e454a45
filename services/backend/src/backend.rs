//! All shards of a process: who reaches them, and which thread runs them.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use catena_chain::{Incarnation, message::ConnectionId};
use catena_membership::Cluster;
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use catena_transport::{Accept, Accepted, Asked, Dial, Reach};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    host::{Host, News, Parts},
    limits::{ARRIVALS, FROM_ORIGIN_MESSAGES, NEWS, STREAM_ENVELOPES, TO_ORIGIN_MESSAGES},
    pulse::Pulse,
    spill::Spill,
    storage::{Storage, ToKeep},
    voice::Voice,
};

/// What a backend is told at its start.
pub struct Options {
    /// This life of the process `[C-1]`.
    pub me: Incarnation,
    /// Threads that run shards: shard s on thread s modulo their number.
    pub threads: NonZeroUsize,
    /// What the control plane tells.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// Whether the control plane hears us.
    pub heard: watch::Receiver<bool>,
    /// Where reports and accusations go.
    pub voice: Arc<dyn Voice>,
    /// Where parts of long queues go that leave memory.
    pub spill: Spill,
    /// Where heartbeats read what shards say of themselves.
    pub pulse: Pulse,
    /// Whether replicas keep what they hold, and where.
    pub to_keep: watch::Receiver<ToKeep>,
}

/// The way in, for servers and for others in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    threads: Arc<[mpsc::Sender<Arrival>]>,
    next_connection: Arc<AtomicU64>,
}

/// The shards of one thread.
pub struct Shards {
    index: usize,
    threads: NonZeroUsize,
    me: Incarnation,
    arrivals: mpsc::Receiver<Arrival>,
    cluster: watch::Receiver<Arc<Cluster>>,
    heard: watch::Receiver<bool>,
    voice: Arc<dyn Voice>,
    spill: Spill,
    pulse: Pulse,
    to_keep: watch::Receiver<ToKeep>,
}

/// Somebody reaches a shard.
#[derive(Debug)]
struct Arrival {
    shard: ShardId,
    news: News,
}

impl Backend {
    /// A backend without shards, and what runs them on each thread: see [`Shards::run`].
    pub fn new(options: Options) -> (Backend, Vec<Shards>) {
        let threads = options.threads;
        let (senders, shards): (Vec<_>, Vec<_>) = (0..threads.get())
            .map(|index| {
                let (sender, arrivals) = mpsc::channel(ARRIVALS);
                let shards = Shards {
                    index,
                    threads,
                    me: options.me,
                    arrivals,
                    cluster: options.cluster.clone(),
                    heard: options.heard.clone(),
                    voice: options.voice.clone(),
                    spill: options.spill.clone(),
                    pulse: options.pulse.clone(),
                    to_keep: options.to_keep.clone(),
                };
                (sender, shards)
            })
            .unzip();
        let backend = Backend {
            threads: senders.into(),
            next_connection: Arc::default(),
        };
        (backend, shards)
    }

    /// Whether the thread of the shard takes it.
    fn hand_over(&self, shard: ShardId, news: News) -> bool {
        let thread = &self.threads[shard.index() % self.threads.len()];
        thread.try_send(Arrival { shard, news }).is_ok()
    }
}

impl Accept for Backend {
    fn link(&self, shard: ShardId) -> Option<Accepted> {
        let (from_origin, from) = mpsc::channel::<FromOrigin>(FROM_ORIGIN_MESSAGES);
        let (to, to_origin) = mpsc::channel::<ToOrigin>(TO_ORIGIN_MESSAGES);
        let news = News::Origin {
            connection: ConnectionId(1 + self.next_connection.fetch_add(1, Ordering::Relaxed)),
            from,
            to,
        };
        self.hand_over(shard, news).then_some(Accepted {
            from_origin,
            to_origin,
        })
    }

    fn ask(&self, shard: ShardId, asked: Asked) -> bool {
        self.hand_over(shard, News::Asked(asked))
    }

    fn chain(&self, shard: ShardId) -> Option<mpsc::Sender<Envelope>> {
        let (sender, envelopes) = mpsc::channel(STREAM_ENVELOPES);
        self.hand_over(shard, News::Stream(envelopes))
            .then_some(sender)
    }
}

/// The shards that run on a thread.
struct Running<D, R> {
    hosts: JoinSet<()>,
    news: BTreeMap<ShardId, mpsc::Sender<News>>,
    dial: D,
    reach: R,
}

impl Shards {
    /// Runs the shards of this thread: a shard begins when a configuration first names this process, or somebody asks for
    /// it. To be spawned on a runtime that runs local tasks; never ends, and ends them all when dropped.
    pub async fn run<D: Dial, R: Reach>(mut self, dial: D, reach: R) {
        let mut running = Running {
            hosts: JoinSet::new(),
            news: BTreeMap::new(),
            dial,
            reach,
        };
        self.cluster.mark_changed();
        let (mut is_told, mut is_heard, mut is_asked) = (true, true, true);
        let mut may_change = true;
        loop {
            tokio::select! {
                changed = self.cluster.changed(), if is_told => {
                    is_told = changed.is_ok();
                    if is_told {
                        self.tell_cluster(&mut running).await;
                    }
                }
                changed = self.heard.changed(), if is_heard => {
                    is_heard = changed.is_ok();
                    let is_reachable = *self.heard.borrow_and_update();
                    for host in running.news.values() {
                        let _ = host.send(News::ControlPlane { is_reachable }).await;
                    }
                }
                changed = self.to_keep.changed(), if may_change => {
                    may_change = changed.is_ok();
                    let to_keep = self.to_keep.borrow_and_update().clone();
                    for host in running.news.values() {
                        let _ = host.send(News::ToKeep(to_keep.clone())).await;
                    }
                    let cluster = self.cluster.borrow().clone();
                    self.begin_to_forget(&cluster, &mut running).await;
                }
                arrival = self.arrivals.recv(), if is_asked => match arrival {
                    Some(Arrival { shard, news }) => {
                        self.begin(shard, &mut running).await;
                        if let Some(host) = running.news.get(&shard) {
                            let _ = host.send(news).await;
                        }
                    }
                    None => is_asked = false,
                },
                Some(ended) = running.hosts.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic() {
                            std::panic::resume_unwind(error.into_panic());
                        }
                }
                else => std::future::pending().await,
            }
        }
    }

    async fn tell_cluster<D: Dial, R: Reach>(&mut self, running: &mut Running<D, R>) {
        let cluster = self.cluster.borrow_and_update().clone();
        for host in running.news.values() {
            let _ = host.send(News::Cluster(cluster.clone())).await;
        }
        for (shard, configuration) in &cluster.chains {
            if configuration.role_of(self.me).is_some() && self.has(*shard) {
                self.begin(*shard, running).await;
            }
        }
        self.begin_to_forget(&cluster, running).await;
    }

    /// Where nothing is to be kept any more, somebody has to see to what the disk has of shards that are others' now `[C-66]`.
    async fn begin_to_forget<D: Dial, R: Reach>(
        &self,
        cluster: &Cluster,
        running: &mut Running<D, R>,
    ) {
        let to_keep = self.to_keep.borrow().clone();
        let storage = to_keep.storage.filter(|_| !to_keep.is_wanted);
        for shard in storage.iter().flat_map(Storage::found) {
            if self.has(shard) && cluster.chains.contains_key(&shard) {
                self.begin(shard, running).await;
            }
        }
    }

    fn has(&self, shard: ShardId) -> bool {
        shard.index() % self.threads == self.index
    }

    /// Begins to run a shard, unless it runs or there is no such shard.
    async fn begin<D: Dial, R: Reach>(&self, shard: ShardId, running: &mut Running<D, R>) {
        if running.news.contains_key(&shard) {
            return;
        }
        let cluster = self.cluster.borrow().clone();
        let layout = cluster.layout.as_ref();
        if layout.is_none_or(|layout| shard.index() >= layout.slots.shard_count()) {
            warn!(%shard, "somebody asks for a shard that is not known");
            return;
        }
        let (sender, news) = mpsc::channel(NEWS);
        let is_reachable = *self.heard.borrow();
        // There is room for both.
        let _ = sender.try_send(News::ControlPlane { is_reachable });
        let _ = sender.try_send(News::Cluster(cluster.clone()));
        running.news.insert(shard, sender);
        let host = Host::new(Parts {
            shard,
            me: self.me,
            timeout: cluster.broker.failure_timeout(),
            news,
            beat: self.pulse.add(shard),
            tracing: self.pulse.tracing(),
            voice: self.voice.clone(),
            to_keep: self.to_keep.borrow().clone(),
            spill: self.spill.clone(),
            dial: running.dial.clone(),
            reach: running.reach.clone(),
        });
        info!(%shard, thread = self.index, "hosts a shard");
        running.hosts.spawn_local(host.run());
    }
}
