//! Keeps the ports as resources ask for them.
//!
//! What did not change is not touched; what cannot be opened is tried again, and says why. Runs on the first worker.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use catena_membership::Cluster;
use catena_mqtt::ReasonCode;
use catena_resources::{
    Resources,
    listener::{Protocol, ProxyProtocol},
};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
};
use tracing::{info, warn};

use crate::{
    config::Config,
    entrance::{Entrance, Rules},
    limits::PORT_RETRY_MS,
    listener::{self, Deal, Listener, accept},
    ports::{
        Listeners, OWN, PortStatus,
        certificate::{Certificate, Origin, Suppliers},
        made::Made,
        tls,
        wanted::{Wanted, wanted},
    },
    stream::Origins,
    worker::News,
};

/// What is wrong with a port whose certificate is being issued.
const NO_CERTIFICATE_YET: &str = "there is no certificate yet";
/// So long it may take from the moment that the port is wanted, before it is something to warn of.
const ISSUING: Duration = Duration::from_secs(10);

/// All ports of a gateway.
#[derive(Debug)]
pub(crate) struct Keeper {
    deal: Deal,
    cluster: watch::Receiver<Arc<Cluster>>,
    suppliers: Suppliers,
    /// Counts changes of secrets.
    changes: watch::Receiver<u64>,
    told: watch::Sender<Option<Arc<[PortStatus]>>>,
    own: Vec<Listener>,
    taken: Vec<Listener>,
    resources: Arc<Resources>,
    ports: BTreeMap<u16, Port>,
    made: Made,
}

/// A port that resources ask for.
#[derive(Debug)]
struct Port {
    wanted: Wanted,
    open: Option<Open>,
    certificate: Option<Certificate>,
    /// The change of secrets after which clients were looked at.
    proofs_at: u64,
    problem: Option<String>,
    /// When it was first wanted; and whether its present problem was only mentioned, because it may well be over in a moment.
    since: Instant,
    is_mentioned: bool,
}

#[derive(Debug)]
struct Open {
    entrance: Arc<Entrance>,
    accepting: JoinHandle<()>,
    /// What the rules were made of.
    made_of: Option<TlsParts>,
}

/// What a TLS configuration is made of.
#[derive(Debug, Clone)]
struct TlsParts {
    served: Arc<catena_pki::Served>,
    asks_for_certificate: bool,
    config: Arc<rustls::ServerConfig>,
}

impl Keeper {
    pub fn new(config: &Config, listeners: Listeners, deal: Deal) -> Keeper {
        Keeper {
            deal,
            cluster: config.cluster.clone(),
            changes: config.secrets.changed(),
            suppliers: Suppliers {
                secrets: config.secrets.clone(),
                issues: config.issues.clone(),
            },
            told: config.ports.clone(),
            own: listeners.own,
            taken: listeners.taken,
            resources: Arc::default(),
            ports: BTreeMap::new(),
            made: Made::new(config.means.clone()),
        }
    }

    /// Keeps the ports until the gateway drains, or its life is over.
    pub async fn run(mut self) {
        let (mut shutdown, mut is_over) = (self.deal.shutdown.clone(), self.deal.is_over.clone());
        let own = self.open_own();
        loop {
            self.resources = self.cluster.borrow_and_update().resources.clone();
            self.keep().await;
            // What nobody asked for is not kept open.
            self.taken.clear();
            self.tell(&own);
            loop {
                tokio::select! {
                    // All only wait.
                    Ok(()) = self.cluster.changed() => {
                        let news = self.cluster.borrow_and_update().resources.clone();
                        if !Arc::ptr_eq(&news, &self.resources) {
                            break;
                        }
                    }
                    () = tokio::time::sleep(Duration::from_millis(PORT_RETRY_MS)) => break,
                    () = shutdown.begun() => return,
                    () = is_over.begun() => return,
                }
            }
        }
    }

    /// Ports of the command line are as they are.
    fn open_own(&mut self) -> Vec<PortStatus> {
        let mut own = Vec::new();
        for listener in std::mem::take(&mut self.own) {
            own.push(PortStatus {
                listener: OWN.to_owned(),
                address: listener.address(),
                protocol: Protocol::Mqtt,
                has_tls: false,
                is_open: true,
                has_authentication: false,
                certificate_until: None,
                problem: None,
            });
            let entrance = Entrance::new(
                OWN.to_owned(),
                Protocol::Mqtt,
                ProxyProtocol::Disabled,
                Rules::default(),
            );
            match listener.watched() {
                Ok(watched) => {
                    spawn_local(accept(watched, Arc::new(entrance), self.deal.clone()));
                }
                Err(error) => {
                    let problem = format!("{error}: {}", error.source);
                    warn!(listener = OWN, problem, "the port is closed");
                    if let Some(status) = own.last_mut() {
                        status.is_open = false;
                        status.problem = Some(problem);
                    }
                }
            }
        }
        own
    }

    /// Makes the ports what they are to be, as far as it goes.
    async fn keep(&mut self) {
        let mut wanted = wanted(&self.resources);
        self.made.forget(&self.resources);
        let known: Vec<u16> = self.ports.keys().copied().collect();
        // What is closed comes first: it may make room for what is opened.
        for number in known {
            let is_kept = wanted.get(&number).is_some_and(|wanted| {
                self.ports
                    .get(&number)
                    .is_some_and(|port| port.wanted.fixed() == wanted.fixed())
            });
            if !is_kept {
                self.close(number, wanted.contains_key(&number)).await;
            }
        }
        while let Some((number, wanted)) = wanted.pop_first() {
            let mut port = self.ports.remove(&number).unwrap_or(Port {
                wanted: wanted.clone(),
                open: None,
                certificate: None,
                proofs_at: *self.changes.borrow(),
                problem: None,
                since: Instant::now(),
                is_mentioned: false,
            });
            port.wanted = wanted;
            let outcome = self.keep_port(&mut port).await;
            port.say(outcome);
            self.ports.insert(number, port);
        }
    }

    async fn close(&mut self, number: u16, comes_back: bool) {
        let Some(port) = self.ports.remove(&number) else {
            return;
        };
        let Some(open) = port.open else {
            return;
        };
        let listener = &port.wanted.listener;
        open.entrance.close();
        open.accepting.abort();
        // Then the socket is closed, and the port is free.
        let _ = open.accepting.await;
        if comes_back {
            info!(
                listener,
                number, "the port is opened anew, with other settings"
            );
        } else {
            info!(listener, number, "the port is closed");
        }
        let reason = ReasonCode::AdministrativeAction;
        self.deal
            .tell(|| News::Closed(open.entrance.clone(), reason))
            .await;
    }

    /// Opens the port if it can be, and brings an open one up to date. What is wrong is told, also with an open one.
    async fn keep_port(&mut self, port: &mut Port) -> Result<Option<String>, String> {
        self.keep_proofs(port).await;
        let authentication = self.made.authenticator(&port.wanted, &self.resources)?;
        let policy = self.made.policy(&port.wanted, &self.resources)?;
        let asks_for_certificate = authentication
            .as_ref()
            .is_some_and(|authenticator| authenticator.asks_for_certificate());
        let mut problems = Vec::from_iter(self.keep_certificate(port)?);
        problems.extend(authentication.iter().flat_map(|who| who.problems()));
        let made_of = match &port.certificate {
            None => None,
            Some(certificate) => {
                let before = port.open.as_ref().and_then(|open| open.made_of.clone());
                let protocol = port.wanted.port.protocol;
                Some(TlsParts::of(
                    certificate,
                    asks_for_certificate,
                    protocol,
                    before,
                )?)
            }
        };
        let rules = Rules {
            tls: made_of.as_ref().map(|parts| parts.config.clone()),
            authentication,
            policy,
            compatibility: port.wanted.port.compatibility,
            origins: Origins::of(&port.wanted.port),
        };
        match &mut port.open {
            Some(open) => open.made_of = made_of,
            None => port.open = Some(self.open(&port.wanted, made_of)?),
        }
        if let Some(open) = &port.open {
            let before = open.entrance.rules();
            let is_same_policy = is_same(before.policy.as_ref(), rules.policy.as_ref());
            let authentication = rules.authentication.as_ref();
            let is_asked_otherwise = authentication.is_some()
                && !is_same(before.authentication.as_ref(), authentication);
            open.entrance.set_rules(rules);
            if is_asked_otherwise {
                self.deal.tell(|| News::Proofs(open.entrance.clone())).await;
            }
            if !is_same_policy {
                self.deal.tell(|| News::Policy(open.entrance.clone())).await;
            }
            let spec = &port.wanted.port;
            open.entrance
                .set_limits(spec.max_connections, spec.max_connect_rate);
        }
        Ok((!problems.is_empty()).then(|| problems.join("; ")))
    }

    /// When secrets have changed, clients may not be who they were, whatever else is to be said of the port.
    async fn keep_proofs(&self, port: &mut Port) {
        let changes = *self.changes.borrow();
        let is_news = changes != std::mem::replace(&mut port.proofs_at, changes);
        if is_news
            && let Some(open) = &port.open
            && open.entrance.rules().authentication.is_some()
        {
            self.deal.tell(|| News::Proofs(open.entrance.clone())).await;
        }
    }

    fn keep_certificate(&mut self, port: &mut Port) -> Result<Option<String>, String> {
        if port.wanted.port.tls.is_none() {
            port.certificate = None;
            return Ok(None);
        }
        let origin = Origin::of(&port.wanted, &self.resources)?;
        let certificate = match &mut port.certificate {
            Some(certificate) => {
                certificate.look(origin, &self.suppliers);
                certificate
            }
            none => none.insert(Certificate::new(origin, &self.suppliers)),
        };
        Ok(certificate.problem())
    }

    fn open(&mut self, wanted: &Wanted, made_of: Option<TlsParts>) -> Result<Open, String> {
        let listener = self.listen(wanted)?.watched();
        let listener = listener.map_err(|error| format!("{error}: {}", error.source))?;
        let spec = &wanted.port;
        let entrance = Arc::new(Entrance::new(
            wanted.listener.clone(),
            spec.protocol,
            spec.proxy_protocol,
            Rules::default(),
        ));
        // Nothing is accepted before this returns to the runtime, and the rules are set by then.
        let accepting = spawn_local(accept(listener, entrance.clone(), self.deal.clone()));
        info!(
            listener = wanted.listener, address = %wanted.address(), protocol = %spec.protocol,
            tls = spec.tls.is_some(), "the port is open"
        );
        Ok(Open {
            entrance,
            accepting,
            made_of,
        })
    }

    fn listen(&mut self, wanted: &Wanted) -> Result<Listener, String> {
        let address = wanted.address();
        let taken = self
            .taken
            .iter()
            .position(|taken| taken.address() == address);
        if let Some(taken) = taken {
            return Ok(self.taken.swap_remove(taken));
        }
        let port = match wanted.port.address {
            Some(_) => listener::Port::take(address),
            None => listener::Port::take_everywhere(address.port()),
        };
        port.and_then(listener::Port::open)
            .map_err(|error| format!("{error}: {}", error.source))
    }

    fn tell(&self, own: &[PortStatus]) {
        let all: Arc<[PortStatus]> = own
            .iter()
            .cloned()
            .chain(self.ports.values().map(Port::status))
            .collect();
        self.told.send_if_modified(|told| {
            let is_news = told.as_ref() != Some(&all);
            *told = Some(all);
            is_news
        });
    }
}

fn is_same<T>(before: Option<&Arc<T>>, after: Option<&Arc<T>>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (before, after) => before.is_none() && after.is_none(),
    }
}

impl TlsParts {
    fn of(
        certificate: &Certificate,
        asks_for_certificate: bool,
        protocol: Protocol,
        before: Option<TlsParts>,
    ) -> Result<TlsParts, String> {
        let Some(served) = certificate.served() else {
            return Err(certificate
                .problem()
                .unwrap_or_else(|| NO_CERTIFICATE_YET.to_owned()));
        };
        let same = before.filter(|before| {
            Arc::ptr_eq(&before.served, &served)
                && before.asks_for_certificate == asks_for_certificate
        });
        if let Some(same) = same {
            return Ok(same);
        }
        let made: io::Result<_> = tls::config(served.clone(), asks_for_certificate, protocol);
        let config = made.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(TlsParts {
            served,
            asks_for_certificate,
            config: Arc::new(config),
        })
    }
}

impl Port {
    /// Takes what came of it, and logs it when it is news.
    fn say(&mut self, outcome: Result<Option<String>, String>) {
        let problem = outcome.unwrap_or_else(Some);
        let is_young = self.since.elapsed() < ISSUING;
        let may_be_over_soon = is_young && problem.as_deref() == Some(NO_CERTIFICATE_YET);
        let is_told = !self.is_mentioned || may_be_over_soon;
        if problem == self.problem && is_told {
            return;
        }
        self.is_mentioned = may_be_over_soon;
        let (listener, address) = (&self.wanted.listener, self.wanted.address());
        match (&problem, self.open.is_some()) {
            (Some(_), false) if may_be_over_soon => {
                info!(listener, %address, "the port waits for its certificate");
            }
            (Some(problem), true) => {
                warn!(listener, %address, problem, "the port is open, and something is wrong with it");
            }
            (Some(problem), false) => {
                warn!(listener, %address, problem, "the port cannot be opened: trying again and again");
            }
            (None, _) => info!(listener, %address, "the port is as it should be"),
        }
        self.problem = problem;
    }

    fn status(&self) -> PortStatus {
        let spec = &self.wanted.port;
        PortStatus {
            listener: self.wanted.listener.clone(),
            address: self.wanted.address(),
            protocol: spec.protocol,
            has_tls: spec.tls.is_some(),
            is_open: self.open.is_some(),
            has_authentication: spec.authentication_ref.is_some(),
            certificate_until: self.certificate.as_ref().and_then(Certificate::until),
            problem: self.problem.clone(),
        }
    }
}

impl Wanted {
    fn address(&self) -> SocketAddr {
        let everywhere = Ipv6Addr::UNSPECIFIED.into();
        SocketAddr::new(self.port.address.unwrap_or(everywhere), self.port.port)
    }
}
