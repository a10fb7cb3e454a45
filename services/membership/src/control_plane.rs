//! The control plane, through any of its replicas.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use catena_chain::Incarnation;
use catena_pki::Security;
use catena_proto::internal::v1 as proto;
use catena_telemetry::passports::Passports;
use catena_topology::GatewayIncarnation;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{Code, Status};
use tracing::{error, info, warn};

use crate::{
    cluster::Cluster,
    endpoints::{Endpoints, InvalidEndpoint, Turn},
    passports,
    registration::{GatewayRegistration, NodeRegistration},
    signers::ServerSigner,
    speaking::{self, GatewaySpeaker, NodeSpeaker},
    voice::{GatewayVoice, NodeVoice, Said},
    watching::{self, Ahead, News},
};

/// Reports and accusations that wait for the stream.
const URGENT_MAX: usize = 256;
/// How long a registration may take before another replica is asked.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The control plane, through any of its replicas; reconnects by itself with backoff and jitter. Cheap to clone; with the
/// last clone the watch ends, while voices go on.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    endpoints: Endpoints,
    cluster: watch::Receiver<Arc<Cluster>>,
    ahead: watch::Receiver<Ahead>,
    /// Who registered through this, for their voices to say again.
    registered: Arc<Mutex<Registered>>,
    _watching: Arc<Watching>,
}

#[derive(Debug, Default)]
struct Registered {
    nodes: HashMap<Incarnation, NodeRegistration>,
    gateways: HashMap<GatewayIncarnation, GatewayRegistration>,
}

#[derive(Debug)]
struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ControlPlane {
    /// Must be called inside a tokio runtime. `endpoints` are `http://host:port` or `host:port`; none of them need be there
    /// yet.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for any other text, and when there is none.
    pub fn new(endpoints: Vec<String>) -> Result<Self, InvalidEndpoint> {
        ControlPlane::secured(endpoints, Security::Plain)
    }

    /// The same, speaking like this. With TLS, endpoints are `https://host:port` or `host:port`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for any other text, and when there is none.
    pub fn secured(endpoints: Vec<String>, security: Security) -> Result<Self, InvalidEndpoint> {
        let endpoints = Endpoints::new(&endpoints, &security)?;
        let (told, cluster) = watch::channel(Arc::default());
        let (above, ahead) = watch::channel(Ahead::default());
        let news = News {
            cluster: told,
            ahead: above,
        };
        let watching = tokio::spawn(watching::run(endpoints.clone(), news));
        Ok(ControlPlane {
            endpoints,
            cluster,
            ahead,
            registered: Arc::default(),
            _watching: Arc::new(Watching(watching)),
        })
    }

    /// Has the port of a listener signed for by the cluster's CA, for the DNS names and IP addresses that its manifest asks
    /// for: `names` are those that are expected.
    pub fn server_signer(&self, listener: String, port: u16, names: Vec<String>) -> ServerSigner {
        ServerSigner::new(self.endpoints.clone(), listener, port, names)
    }

    /// Carries the passports of this process, for as long as the present runtime runs. `role` and `name`: as it registers.
    pub fn carry_passports(&self, role: &'static str, name: String, passports: Passports) {
        tokio::spawn(passports::run(
            self.endpoints.clone(),
            role,
            name,
            passports,
        ));
    }

    /// The cluster as it is told; version 0 until the first news. With the control plane away it stays as it is.
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.cluster.clone()
    }

    /// Registers the node, however long that takes. The same process token gets the same incarnation.
    pub async fn register_node(&self, registration: NodeRegistration) -> Incarnation {
        let request = proto::RegisterNodeRequest {
            registration: Some(registration.message()),
        };
        let mut turn = self.endpoints.turn();
        let mut failures = Failures::default();
        loop {
            let mut client = turn.client();
            let asked = client.register_node(request.clone());
            match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
                Ok(Ok(answer)) => {
                    let incarnation = Incarnation(answer.into_inner().incarnation);
                    info!(
                        name = registration.name,
                        incarnation = incarnation.0,
                        "registered"
                    );
                    self.registered().nodes.insert(incarnation, registration);
                    return incarnation;
                }
                Ok(Err(status)) => failures.log(&registration.name, &turn, &status),
                Err(_) => failures.log(&registration.name, &turn, &slow()),
            }
            turn.failed().await;
        }
    }

    /// Registers the gateway, however long that takes. The same process token gets the same incarnation, as long as the
    /// registration is kept alive.
    pub async fn register_gateway(&self, registration: GatewayRegistration) -> GatewayIncarnation {
        let request = proto::RegisterGatewayRequest {
            name: registration.name.clone(),
            process: process_bytes(registration.process),
            protocol: catena_proto::PROTOCOL,
        };
        let mut turn = self.endpoints.turn();
        let mut failures = Failures::default();
        loop {
            let mut client = turn.client();
            let asked = client.register_gateway(request.clone());
            match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
                Ok(Ok(answer)) => {
                    let incarnation = GatewayIncarnation(answer.into_inner().incarnation);
                    info!(
                        name = registration.name,
                        incarnation = incarnation.0,
                        "registered"
                    );
                    self.registered().gateways.insert(incarnation, registration);
                    return incarnation;
                }
                Ok(Err(status)) => failures.log(&registration.name, &turn, &status),
                Err(_) => failures.log(&registration.name, &turn, &slow()),
            }
            turn.failed().await;
        }
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.registered
            .lock()
            .expect("nothing panics while it is held")
    }

    /// Begins the heartbeats of a node that registered through this, a tenth of the failure time-out apart; `said` is asked for each.
    pub fn node_voice(
        &self,
        name: String,
        incarnation: Incarnation,
        said: impl Fn() -> Said + Send + 'static,
    ) -> NodeVoice {
        let (urgent, urgent_out) = mpsc::channel(URGENT_MAX);
        let (hearing, heard) = watch::channel(false);
        let (replacing, replaced) = watch::channel(false);
        let known = self.registered().nodes.get(&incarnation).cloned();
        let registration = known.unwrap_or_else(|| NodeRegistration {
            name: name.clone(),
            zone: None,
            addresses: Vec::new(),
            process: 0,
            kept: Vec::new(),
        });
        tokio::spawn(speaking::node(NodeSpeaker {
            endpoints: self.endpoints.clone(),
            cluster: self.cluster.clone(),
            ahead: self.ahead.clone(),
            registration,
            incarnation,
            said: Box::new(said),
            urgent: urgent_out,
            heard: hearing,
            replaced: replacing,
        }));
        NodeVoice {
            urgent,
            heard,
            replaced,
        }
    }

    /// Keeps the registration of a gateway alive that registered through this.
    pub fn gateway_voice(&self, name: String, incarnation: GatewayIncarnation) -> GatewayVoice {
        let known = self.registered().gateways.get(&incarnation).cloned();
        let registration = known.unwrap_or(GatewayRegistration { name, process: 0 });
        let (accusations, accusations_out) = mpsc::channel(URGENT_MAX);
        let (hearing, heard) = watch::channel(false);
        let (living, live) = watch::channel(true);
        let (ports, told_ports) = watch::channel(Vec::new());
        let (self_check, self_checked) = watch::channel(None);
        tokio::spawn(speaking::gateway(GatewaySpeaker {
            endpoints: self.endpoints.clone(),
            cluster: self.cluster.clone(),
            registration,
            incarnation,
            accusations: accusations_out,
            heard: hearing,
            live: living,
            ports: told_ports,
            self_checked,
        }));
        GatewayVoice {
            accusations,
            heard,
            live,
            ports,
            self_check,
        }
    }
}

impl NodeRegistration {
    pub(crate) fn message(&self) -> proto::NodeRegistration {
        proto::NodeRegistration {
            name: self.name.clone(),
            zone: self.zone.clone(),
            addresses: self.addresses.clone(),
            process: process_bytes(self.process),
            protocol: catena_proto::PROTOCOL,
            kept: self.kept.iter().map(crate::wire::kept_message).collect(),
        }
    }
}

pub(crate) fn process_bytes(process: u128) -> bytes::Bytes {
    process.to_be_bytes().to_vec().into()
}

fn slow() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// Says once that the control plane is away, and every time that it refuses.
#[derive(Debug, Default)]
struct Failures {
    said: bool,
}

impl Failures {
    fn log(&mut self, name: &str, turn: &Turn, status: &Status) {
        let address = turn.address();
        match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition => {
                error!(name, address, reason = status.message(), "not registered");
            }
            _ if self.said => {}
            _ => {
                self.said = true;
                warn!(name, address, %status, "cannot register yet: trying again and again");
            }
        }
    }
}
