//! What gateways and backends say and are told.

use std::{pin::Pin, time::Duration};

use catena_chain::Incarnation;
use catena_membership::{Cluster, wire};
use catena_pki::{Peer, Role};
use catena_proto::internal::v1::{self as proto, membership_client::MembershipClient};
use catena_slots::SHARDS_MAX;
use catena_topology::{GatewayIncarnation, NodeName, Zone};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{Context, ended, is_ending, no_leader, node_stream, status};
use crate::{
    leader::Input,
    record::{Newcomer, NodeRecord, PortRecord, Process, SELF_CHECK},
    registry::{Kept, Refused},
    routes::{Route, forwarded, is_forwarded},
    traffic::{named, only},
};

/// Messages of a stream that wait for the network.
pub const OUTGOING_MAX: usize = 64;
/// How often in the life of its lease a registration is renewed.
const RENEWALS: u32 = 4;
/// Addresses that a node may have: one for each of its threads.
const ADDRESSES_MAX: usize = 256;
/// Longest name, zone and address, in bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Ports that a gateway may tell of; and how long what is wrong with one may be, in characters.
const PORTS_MAX: usize = 256;
const PROBLEM_MAX: usize = 512;
/// How long after a failure the next one of a gateway is logged: at first, and at most.
const FAILURES_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURES_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often a gateway's ports are written at most.
const PORTS_PAUSE: Duration = Duration::from_secs(1);

pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Whoever has a certificate of the cluster.
const MEMBERS: [Role; 3] = [Role::Gateway, Role::Backend, Role::ControlPlane];

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl proto::membership_server::Membership for Service {
    async fn register_node(
        &self,
        request: Request<proto::RegisterNodeRequest>,
    ) -> Result<Response<proto::RegisterNodeResponse>, Status> {
        let peer = only(&request, &[Role::Backend])?;
        let registration = request.into_inner().registration;
        let (name, newcomer) = newcomer(registration)?;
        named(&peer, Role::Backend, &name.0)?;
        self.may_register(&name.0)?;
        self.tell_what_is_missed(&name, &newcomer);
        let registered = self.0.registry.register_node(&name, newcomer).await;
        let incarnation = registered.map_err(|refused| status(&refused))?;
        info!(node = name.0, incarnation = incarnation.0, "registered");
        Ok(Response::new(proto::RegisterNodeResponse {
            incarnation: incarnation.0,
        }))
    }

    async fn register_gateway(
        &self,
        request: Request<proto::RegisterGatewayRequest>,
    ) -> Result<Response<proto::RegisterGatewayResponse>, Status> {
        let peer = only(&request, &[Role::Gateway])?;
        let proto::RegisterGatewayRequest {
            name,
            process,
            protocol,
        } = request.into_inner();
        check_protocol(protocol)?;
        let process = process_of(&process)?;
        check_text("name", &name)?;
        named(&peer, Role::Gateway, &name)?;
        self.may_register(&name)?;
        let registry = &self.0.registry;
        let registered = registry.register_gateway(&name, process, self.ttl()).await;
        let incarnation = registered.map_err(|refused| status(&refused))?;
        info!(gateway = name, incarnation = incarnation.0, "registered");
        Ok(Response::new(proto::RegisterGatewayResponse {
            incarnation: incarnation.0,
        }))
    }

    type NodeHeartbeatsStream = Answers<proto::NodeHeard>;

    async fn node_heartbeats(
        &self,
        request: Request<Streaming<proto::NodeHeartbeat>>,
    ) -> Result<Response<Self::NodeHeartbeatsStream>, Status> {
        let was_forwarded = is_forwarded(&request);
        let peer = only(&request, &[Role::Backend, Role::ControlPlane])?;
        let messages = request.into_inner();
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        match self.0.routes.now() {
            Route::Us(inputs) => {
                let ending = self.0.ending.clone();
                tokio::spawn(node_stream::take(messages, peer, out, inputs, ending));
            }
            Route::Other(channel) if !was_forwarded => {
                let client = MembershipClient::new(channel);
                let ending = self.0.ending.clone();
                tokio::spawn(node_stream::forward(messages, peer, out, client, ending));
            }
            _ => return Err(no_leader()),
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    type GatewayHeartbeatsStream = Answers<proto::GatewayHeard>;

    async fn gateway_heartbeats(
        &self,
        request: Request<Streaming<proto::GatewayHeartbeat>>,
    ) -> Result<Response<Self::GatewayHeartbeatsStream>, Status> {
        let peer = only(&request, &[Role::Gateway])?;
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let service = self.clone();
        let messages = request.into_inner();
        tokio::spawn(async move {
            let failed = service.keep_gateway(messages, &peer, &out).await;
            if let Err(failed) = failed {
                let _ = out.send(Err(failed)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn accuse(
        &self,
        request: Request<proto::AccuseRequest>,
    ) -> Result<Response<proto::AccuseResponse>, Status> {
        only(&request, &MEMBERS)?;
        let was_forwarded = is_forwarded(&request);
        let accused = request.into_inner().accused;
        match self.0.routes.now() {
            Route::Us(inputs) => {
                let accused = accused.into_iter().map(Incarnation).collect();
                let taken = inputs.send(Input::Accused(accused)).await;
                taken.map_err(|_| no_leader())?;
            }
            Route::Other(channel) if !was_forwarded => {
                let mut leader = MembershipClient::new(channel);
                leader
                    .accuse(forwarded(proto::AccuseRequest { accused }))
                    .await?;
            }
            _ => return Err(no_leader()),
        }
        Ok(Response::new(proto::AccuseResponse {}))
    }

    type WatchStream = Answers<proto::WatchResponse>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        only(&request, &MEMBERS)?;
        if !*self.0.following.contact.borrow() {
            return Err(out_of_contact());
        }
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(failed) = service.tell(&out).await {
                let _ = out.send(Err(failed)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

type Out<T> = mpsc::Sender<Result<T, Status>>;

impl Service {
    /// Refuses what the Broker forbids, once there is one.
    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    /// A new process whose disk does not have what a chain counts on: the disk was lost, damaged or exchanged.
    fn tell_what_is_missed(&self, name: &NodeName, newcomer: &Newcomer) {
        let view = self.0.following.view.borrow().clone();
        let is_kept = (view.broker.as_ref()).is_some_and(|broker| broker.persistence.is_some());
        let is_new = |record: &NodeRecord| record.process != newcomer.process;
        if !is_kept || !view.nodes.get(name).is_some_and(is_new) {
            return;
        }
        for chain in view.topology.chains.values() {
            let (shard, generation) = (chain.configuration.shard, chain.configuration.generation);
            let mut members = chain.configuration.chain.iter();
            let is_member = members.any(|member| chain.homes.get(&member.id) == Some(name));
            let mut kept = newcomer.kept.iter();
            if is_member && !kept.any(|it| (it.shard, it.generation) == (shard, generation)) {
                warn!(
                    node = name.0, %shard,
                    "a node comes back without what its disk is to hold of a shard: it gets everything from another one"
                );
            }
        }
    }

    fn may_register(&self, name: &str) -> Result<(), Status> {
        let view = self.0.following.view.borrow().clone();
        if (view.broker.as_ref()).is_none_or(|broker| self.0.traffic.allows(broker)) {
            return Ok(());
        }
        warn!(
            name,
            "it is not registered: the Broker asks for encrypted traffic, and this is plain"
        );
        Err(Status::failed_precondition(
            "the Broker's advanced.encryptInternalTraffic is Enabled, and this cluster's processes speak plain text: \
             start them without --internal-tls off, or set it to Disabled",
        ))
    }

    /// How long a gateway's registration lasts.
    fn ttl(&self) -> Duration {
        let broker = self.0.following.told.borrow().broker.clone();
        broker.failure_timeout()
    }

    /// Tells the cluster as it is, then what changes, until the store is out of reach `[C-15]`.
    async fn tell(&self, out: &Out<proto::WatchResponse>) -> Result<(), Status> {
        let mut tellings = self.0.following.told.clone();
        let mut contact = self.0.following.contact.clone();
        let mut known: Option<std::sync::Arc<Cluster>> = None;
        loop {
            let told = tellings.borrow_and_update().clone();
            if told.version > 0 {
                let difference = wire::difference(known.as_deref(), &told);
                if out.send(Ok(difference)).await.is_err() {
                    return Ok(());
                }
                known = Some(told);
            }
            tokio::select! {
                changed = tellings.changed() => if changed.is_err() { return Err(is_ending()) },
                _ = contact.wait_for(|contact| !*contact) => return Err(out_of_contact()),
                () = out.closed() => return Ok(()),
                () = ended(self.0.ending.clone()) => return Err(is_ending()),
            }
        }
    }

    /// Keeps a gateway's registration alive for as long as it heartbeats.
    async fn keep_gateway(
        &self,
        mut messages: Streaming<proto::GatewayHeartbeat>,
        peer: &Peer,
        out: &Out<proto::GatewayHeard>,
    ) -> Result<(), Status> {
        let mut renewed: Option<Instant> = None;
        let mut told: Option<Instant> = None;
        let mut failures = Failures::default();
        loop {
            let message = tokio::select! {
                message = messages.message() => message,
                () = ended(self.0.ending.clone()) => return Err(is_ending()),
            };
            let Ok(Some(message)) = message else {
                return Ok(());
            };
            named(peer, Role::Gateway, &message.name)?;
            let process = process_of(&message.process)?;
            let incarnation = GatewayIncarnation(message.incarnation);
            if !message.accused.is_empty() {
                tokio::spawn(self.clone().pass_on(message.accused.clone()));
            }
            let is_due = told.is_none_or(|told| told.elapsed() >= PORTS_PAUSE);
            // With accusations no ports are told.
            if is_due && message.accused.is_empty() && !message.leaving {
                told = Some(Instant::now());
                let mut ports = ports(message.ports)?;
                ports.extend(message.self_check.map(self_check));
                let view = self.0.following.view.borrow().clone();
                if let Err(refused) = self.0.registry.keep_ports(&view, process, &ports).await {
                    debug!(gateway = message.name, %refused, "its ports are not written");
                }
            }
            let mut over = false;
            if message.leaving {
                let ended = self.0.registry.end_gateway(process).await;
                ended.map_err(|refused| status(&refused))?;
                info!(
                    gateway = message.name,
                    incarnation = incarnation.0,
                    "it has ended"
                );
            } else {
                let is_due =
                    renewed.is_none_or(|renewed| renewed.elapsed() >= self.ttl() / RENEWALS);
                let view = self.0.following.view.borrow().clone();
                let is_there = view
                    .registrations
                    .get(&process)
                    .is_some_and(|known| known.incarnation == incarnation);
                if is_due || !is_there {
                    let registry = &self.0.registry;
                    let kept = registry
                        .keep_gateway(&view, &message.name, process, incarnation, self.ttl())
                        .await;
                    match kept {
                        Ok(Kept::Yes) => {
                            renewed = Some(Instant::now());
                            failures = Failures::default();
                        }
                        Ok(Kept::Over) => over = true,
                        // What has changed is seen in a moment: the next heartbeat is answered.
                        Err(Refused::Contended) => continue,
                        Err(refused) => {
                            failures.tell(&message.name, &refused);
                            continue;
                        }
                    }
                }
            }
            let heard = proto::GatewayHeard {
                number: message.number,
                over,
            };
            if out.send(Ok(heard)).await.is_err() || message.leaving {
                return Ok(());
            }
        }
    }

    /// Tells the leader whom a gateway cannot reach. It repeats that while it lasts.
    async fn pass_on(self, accused: Vec<u64>) {
        let mut request = Request::new(proto::AccuseRequest { accused });
        // Who says it was asked before.
        request.extensions_mut().insert(Peer::Anyone);
        let _ = proto::membership_server::Membership::accuse(&self, request).await;
    }
}

/// Heartbeats come several times in a second, and a store may be away for hours: each line comes later than the one before.
#[derive(Debug, Default)]
struct Failures {
    next: Option<(Instant, Duration)>,
    left_out: u64,
}

impl Failures {
    /// Logs it, or counts it for the next line.
    fn tell(&mut self, gateway: &str, refused: &Refused) {
        let now = Instant::now();
        if self.next.is_some_and(|(at, _)| now < at) {
            self.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut self.left_out);
        warn!(gateway, %refused, left_out, "a gateway's registration cannot be kept alive");
        let pause = self.next.map_or(FAILURES_PAUSE_MIN, |(_, pause)| {
            (2 * pause).min(FAILURES_PAUSE_MAX)
        });
        self.next = Some((now + pause, pause));
    }
}

fn out_of_contact() -> Status {
    Status::unavailable("this replica of the control plane is out of contact with its store")
}

/// Whether a process speaks as we do, or did one version ago, or will in the next.
fn check_protocol(protocol: u32) -> Result<(), Status> {
    if catena_proto::understands(protocol) {
        return Ok(());
    }
    let ours = catena_proto::PROTOCOL;
    Err(Status::failed_precondition(format!(
        "this process speaks version {protocol} of the cluster's protocols and the control plane version {ours}, which differ by more than one: \
         go through each minor version"
    )))
}

/// Who registers.
pub fn newcomer(
    registration: Option<proto::NodeRegistration>,
) -> Result<(NodeName, Newcomer), Status> {
    let registration =
        registration.ok_or_else(|| Status::invalid_argument("registration: it is missing"))?;
    check_text("name", &registration.name)?;
    check_protocol(registration.protocol)?;
    if registration.addresses.len() > ADDRESSES_MAX {
        return Err(Status::invalid_argument("addresses: more than 256"));
    }
    for address in &registration.addresses {
        check_text("addresses", address)?;
    }
    if let Some(zone) = &registration.zone {
        check_text("zone", zone)?;
    }
    if registration.kept.len() > SHARDS_MAX {
        return Err(Status::invalid_argument(
            "kept: more than there can be shards",
        ));
    }
    let kept = registration
        .kept
        .iter()
        .map(wire::kept)
        .collect::<Result<_, _>>();
    let kept = kept.map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
    let newcomer = Newcomer {
        process: process_of(&registration.process)?,
        zone: registration.zone.map(Zone),
        addresses: registration.addresses,
        kept,
    };
    Ok((NodeName(registration.name), newcomer))
}

fn ports(told: Vec<proto::PortStatus>) -> Result<Vec<PortRecord>, Status> {
    let told = told.into_iter().take(PORTS_MAX);
    let ports = told.map(|told| {
        let port = u16::try_from(told.port);
        let problem = told.problem.filter(|problem| !problem.is_empty());
        check_text("ports.listener", &told.listener)?;
        Ok(PortRecord {
            listener: told.listener,
            port: port.map_err(|_| Status::invalid_argument("ports.port: must be a TCP port"))?,
            open: told.open,
            problem: problem.map(|problem| problem.chars().take(PROBLEM_MAX).collect()),
        })
    });
    ports.collect()
}

/// What a gateway's own client found.
fn self_check(told: proto::SelfCheck) -> PortRecord {
    PortRecord {
        listener: SELF_CHECK.to_owned(),
        port: 0,
        open: told.problem.is_none(),
        problem: told
            .problem
            .map(|problem| problem.chars().take(PROBLEM_MAX).collect()),
    }
}

fn process_of(bytes: &[u8]) -> Result<Process, Status> {
    let process = wire::process(bytes);
    process
        .map(Process)
        .map_err(|malformed| Status::invalid_argument(malformed.to_string()))
}

fn check_text(field: &str, text: &str) -> Result<(), Status> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        let problem = format!("{field}: must have 1 to {TEXT_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(problem));
    }
    Ok(())
}
