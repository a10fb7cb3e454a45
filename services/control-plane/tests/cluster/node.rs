//! A backend that has no shards: it registers, heartbeats, and reports as a replica would.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use catena_chain::{
    Incarnation,
    message::{News, Report},
};
use catena_membership::{Cluster, ControlPlane, NodeRegistration, NodeVoice, Said, process_token};
use catena_topology::{GatewayIncarnation, Progress};
use tokio::{sync::watch, task::JoinHandle};

pub struct Node {
    pub name: String,
    pub incarnation: Incarnation,
    pub control_plane: ControlPlane,
    pub voice: Arc<NodeVoice>,
    pub leaving: Arc<AtomicBool>,
    /// Gateways from which its heads have a link.
    pub linked: Arc<Mutex<BTreeSet<GatewayIncarnation>>>,
    /// Whoever is probed is found here, until it is dropped.
    port: Option<TcpListener>,
    reporting: JoinHandle<()>,
}

impl Node {
    /// A node that speaks to `endpoints`.
    pub async fn start(name: &str, endpoints: Vec<String>) -> Node {
        Node::start_linked(name, endpoints, BTreeSet::new()).await
    }

    /// One whose heads have links from these gateways, from its first heartbeat on.
    pub async fn start_linked(
        name: &str,
        endpoints: Vec<String>,
        linked: BTreeSet<GatewayIncarnation>,
    ) -> Node {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let control_plane = ControlPlane::new(endpoints).unwrap();
        let registration = NodeRegistration {
            name: name.to_owned(),
            zone: None,
            addresses: vec![port.local_addr().unwrap().to_string()],
            process: process_token(),
            kept: Vec::new(),
        };
        let incarnation = control_plane.register_node(registration).await;
        let leaving = Arc::new(AtomicBool::new(false));
        let linked = Arc::new(Mutex::new(linked));
        let said = {
            let (cluster, leaving) = (control_plane.watch(), leaving.clone());
            let linked = linked.clone();
            let turns = AtomicU64::new(0);
            move || Said {
                leaving: leaving.load(Ordering::Relaxed),
                replicas: replicas(
                    &cluster.borrow(),
                    incarnation,
                    turns.fetch_add(1, Ordering::Relaxed),
                ),
                linked: linked.lock().unwrap().clone(),
            }
        };
        let voice = Arc::new(control_plane.node_voice(name.to_owned(), incarnation, said));
        let reporting = tokio::spawn(report(control_plane.watch(), incarnation, voice.clone()));
        Node {
            name: name.to_owned(),
            incarnation,
            control_plane,
            voice,
            leaving,
            linked,
            port: Some(port),
            reporting,
        }
    }

    /// Nobody listens on its port any more. It goes on to heartbeat, as a process does that is about to die.
    pub fn close_port(&mut self) {
        self.port = None;
    }

    /// As by kill -9: the port is closed and the stream of heartbeats ends.
    pub fn kill(self) {
        self.reporting.abort();
    }

    pub fn cluster(&self) -> Arc<Cluster> {
        self.control_plane.watch().borrow().clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.reporting.abort();
    }
}

fn replicas(cluster: &Cluster, incarnation: Incarnation, turns: u64) -> Vec<Progress> {
    let chains = cluster.chains.values();
    chains
        .filter_map(|chain| {
            let member = chain.role_of(incarnation)?;
            Some(Progress {
                shard: chain.shard,
                replica: member.id,
                epoch: chain.epoch,
                turns,
                received: turns,
                last: 10,
                committed: 10,
            })
        })
        .collect()
}

/// As tail, says of each learner that it is synced; again and again, as replicas do.
async fn report(
    cluster: watch::Receiver<Arc<Cluster>>,
    incarnation: Incarnation,
    voice: Arc<NodeVoice>,
) {
    loop {
        let now = cluster.borrow().clone();
        for chain in now.chains.values() {
            let tail = chain.tail().filter(|tail| tail.incarnation == incarnation);
            if let (Some(tail), Some(learner)) = (tail, chain.learner) {
                voice.report(Report {
                    shard: chain.shard,
                    epoch: chain.epoch,
                    generation: chain.generation,
                    from: tail.id,
                    news: News::LearnerSynced {
                        learner: learner.id,
                    },
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
