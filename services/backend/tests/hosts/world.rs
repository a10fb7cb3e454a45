//! Nodes that live and die, and what the control plane would tell them.

use std::{
    collections::BTreeMap,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use catena_backend::{Backend, Options, Pulse, Spill, ToKeep, Voice};
use catena_chain::{
    Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
    message::{News, Report},
};
use catena_membership::Cluster;
use catena_replicated::Envelope;
use catena_slots::{ShardId, SlotTable};
use catena_topology::{Layout, Progress};
use catena_transport::{Accept, Accepted, Asked, Local};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_local},
};

/// The shard of tests that need no second one.
pub const SHARD: ShardId = ShardId(0);

/// Longer than any test; in a time that passes only while nothing can go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test with local tasks and a clock that jumps to whatever is due next.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test()).await.unwrap() });
}

/// Waits until `is_so`.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What was said to the control plane.
#[derive(Debug, Default)]
pub struct Heard {
    reports: Mutex<Vec<Report>>,
    accused: Mutex<Vec<Incarnation>>,
}

impl Voice for Heard {
    fn report(&self, report: Report) {
        self.reports.lock().unwrap().push(report);
    }

    fn accuse(&self, incarnation: Incarnation) {
        self.accused.lock().unwrap().push(incarnation);
    }
}

/// Who is behind an incarnation.
#[derive(Clone)]
pub enum Party {
    Host(Backend),
    /// The test itself, which gets what it is sent.
    Played(mpsc::Sender<Envelope>),
}

impl Accept for Party {
    fn ask(&self, shard: ShardId, asked: Asked) -> bool {
        match self {
            Party::Host(backend) => backend.ask(shard, asked),
            Party::Played(_) => false,
        }
    }

    fn link(&self, shard: ShardId) -> Option<Accepted> {
        match self {
            Party::Host(backend) => backend.link(shard),
            Party::Played(_) => None,
        }
    }

    fn chain(&self, shard: ShardId) -> Option<mpsc::Sender<Envelope>> {
        match self {
            Party::Host(backend) => backend.chain(shard),
            Party::Played(envelopes) => Some(envelopes.clone()),
        }
    }
}

struct Node {
    pulse: Pulse,
    task: JoinHandle<()>,
}

/// All nodes, by incarnation.
pub struct World {
    pub local: Local<Party>,
    pub cluster: watch::Sender<Arc<Cluster>>,
    pub control_plane: watch::Sender<bool>,
    pub heard: Arc<Heard>,
    nodes: BTreeMap<u64, Node>,
}

impl World {
    /// A cluster of `shards` without chains, with the gateways 1 and 2.
    pub fn new(shards: usize) -> World {
        let cluster = Cluster {
            version: 1,
            layout: Some(Layout {
                partitions: 1,
                workers: shards as u16,
                slots: SlotTable::even(shards, 0).unwrap(),
            }),
            gateways_version: 2,
            gateways: [1, 2].into(),
            settings_version: 1,
            ..Cluster::default()
        };
        World {
            local: Local::default(),
            cluster: watch::Sender::new(Arc::new(cluster)),
            control_plane: watch::Sender::new(true),
            heard: Arc::default(),
            nodes: BTreeMap::new(),
        }
    }

    /// Starts the process `incarnation`.
    pub fn start(&mut self, incarnation: u64) -> Backend {
        let pulse = Pulse::default();
        let (backend, mut shards) = Backend::new(Options {
            me: Incarnation(incarnation),
            threads: NonZeroUsize::MIN,
            cluster: self.cluster.subscribe(),
            heard: self.control_plane.subscribe(),
            voice: self.heard.clone(),
            // Nothing is put there, and so it is not made.
            spill: Spill::new(&std::env::temp_dir().join("catena-hosts")).unwrap(),
            pulse: pulse.clone(),
            to_keep: watch::channel(ToKeep::default()).1,
        });
        let local = self.local.clone();
        local.add(Incarnation(incarnation), Party::Host(backend.clone()));
        let task = spawn_local(shards.remove(0).run(local.clone(), local));
        self.nodes.insert(incarnation, Node { pulse, task });
        backend
    }

    /// Ends the process at once.
    pub fn kill(&mut self, incarnation: u64) {
        self.local.remove(Incarnation(incarnation));
        let node = self.nodes.remove(&incarnation).expect("it runs");
        node.task.abort();
    }

    /// Changes what is told.
    pub fn tell(&self, change: impl FnOnce(&mut Cluster)) {
        self.cluster.send_modify(|cluster| {
            let cluster = Arc::make_mut(cluster);
            cluster.version += 1;
            change(cluster);
        });
    }

    /// Decides the next configuration of a shard: its chain and its learner, each a replica id and an incarnation.
    pub fn decide(&self, shard: ShardId, chain: &[(u64, u64)], learner: Option<(u64, u64)>) {
        let member = |&(id, incarnation): &(u64, u64)| Member {
            id: ReplicaId(id),
            incarnation: Incarnation(incarnation),
        };
        self.tell(|cluster| {
            let founder = member(&chain[0]);
            let first = Configuration::founded(shard, Epoch(0), Generation(1), founder);
            let last = cluster.chains.remove(&shard).unwrap_or(first);
            let epoch = last.epoch.next();
            let next = Configuration {
                epoch,
                chain: chain.iter().map(member).collect(),
                learner: learner.as_ref().map(member),
                joined: if learner.is_some() {
                    epoch
                } else {
                    last.joined
                },
                ..last
            };
            cluster.chains.insert(shard, next);
        });
    }

    /// The epoch that was decided last.
    pub fn epoch(&self, shard: ShardId) -> Epoch {
        self.cluster.borrow().chains[&shard].epoch
    }

    /// Waits until somebody reports `is_it` in the present epoch.
    pub async fn reported(&self, shard: ShardId, is_it: impl Fn(&News) -> bool) -> Report {
        let epoch = self.epoch(shard);
        let mut found = None;
        until(|| {
            let reports = self.heard.reports.lock().unwrap();
            let is_meant = |report: &&Report| {
                report.shard == shard && report.epoch == epoch && is_it(&report.news)
            };
            found = reports.iter().find(is_meant).copied();
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Lets a node join and become the tail, as the control plane would.
    pub async fn join(&self, shard: ShardId, chain: &[(u64, u64)], learner: (u64, u64)) {
        self.decide(shard, chain, Some(learner));
        let is_it = |news: &News| matches!(news, News::LearnerSynced { .. });
        let report = self.reported(shard, is_it).await;
        assert_eq!(
            report.news,
            News::LearnerSynced {
                learner: ReplicaId(learner.0)
            }
        );
        let mut chain = chain.to_vec();
        chain.push(learner);
        self.decide(shard, &chain, None);
    }

    /// What the heartbeats of a node say of its replica of `shard`.
    pub fn progress(&self, incarnation: u64, shard: ShardId) -> Option<Progress> {
        let said = self.nodes[&incarnation].pulse.said();
        said.replicas.into_iter().find(|said| said.shard == shard)
    }

    /// The pulse of a node.
    pub fn pulse(&self, incarnation: u64) -> &Pulse {
        &self.nodes[&incarnation].pulse
    }

    /// Waits until all these nodes have the same, and know it to be committed.
    pub async fn alike(&self, shard: ShardId, nodes: &[u64]) {
        let epoch = self.epoch(shard);
        until(|| {
            let all: Vec<_> = nodes
                .iter()
                .map(|node| self.progress(*node, shard))
                .collect();
            let last = all[0].map_or(0, |progress| progress.last);
            all.iter().all(|progress| {
                progress.is_some_and(|progress| {
                    (progress.epoch, progress.last, progress.committed) == (epoch, last, last)
                })
            })
        })
        .await;
    }

    /// Whether somebody has accused this process.
    pub fn is_accused(&self, incarnation: u64) -> bool {
        let accused = self.heard.accused.lock().unwrap();
        accused.contains(&Incarnation(incarnation))
    }
}
