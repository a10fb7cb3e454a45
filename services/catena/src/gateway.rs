//! `catena gateway`: listeners and clients of a cluster, whose shards are reached over gRPC.
//!
//! The process has one life after another `[C-43]`: it registers, opens its ports once it knows where shards live, and
//! serves until it is to stop, to drain, or its registration is over. Reads like a table of contents: settings, ports,
//! lives, and how it ends. One life is in [`life`].

mod life;
pub mod ports;
mod settings;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use catena_authentication::Means;
use catena_gateway::{listener::Port, ports::Issues};
use catena_membership::{
    Cluster, ControlPlane, GatewayIncarnation, GatewayRegistration, GatewayVoice, process_token,
};
use catena_pki::{Role, Security};
use catena_runtime::{
    panics,
    shutdown::{self, Shutdown, Signals},
    telemetry::{self, Logs},
};
use catena_secrets::Secrets;
use catena_transport::Directory;
use tokio::sync::watch;
use tracing::{info, warn};

pub use self::settings::Arguments;
use self::{
    life::{End, Life},
    settings::Settings,
};
use crate::{
    diagnostics::{self, Diagnostics, Reach, authentication::Authenticators},
    internal_tls::Entered,
    issuing::ByControlPlane,
    relay::relay,
};

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(arguments)?;
    let logs = telemetry::start(settings.log.as_deref(), settings.log_format)?;
    panics::abort_on_panic();
    let ports = ports::take(&settings.listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_until_stopped(settings, logs, ports))
}

async fn run_until_stopped(
    settings: Settings,
    logs: Logs,
    ports: Vec<Port>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (tell, wanted) = diagnostics::wanted();
    let diagnostics =
        Diagnostics::start("gateway", &settings.diagnostics, Reach::Everybody, wanted).await?;
    let (name, endpoints) = (&settings.name, &settings.control_plane);
    let entered = (settings.membership)
        .enter(Role::Gateway, name, endpoints, &mut signals)
        .await?;
    let Some(Entered {
        security,
        control_plane,
        keeping: _keeping,
    }) = entered
    else {
        return Ok(ExitCode::SUCCESS);
    };
    let directory = Directory::default();
    let (trigger, stop) = shutdown::shutdown();
    let secrets = Secrets::open(settings.secrets_dir.clone());
    let issues: Arc<dyn Issues> = Arc::new(ByControlPlane::new(&control_plane, &security));
    let gateway = Process {
        cluster: relay(control_plane.watch(), directory.clone()),
        control_plane,
        directory,
        security,
        stop,
        connections_max: ports::connections_max(),
        issues: Some(issues),
        means: Arc::new(Means::new(secrets.clone(), settings.kubernetes.clone())),
        secrets,
        diagnostics,
        settings,
    };
    gateway.carry_passports();
    diagnostics::follow(gateway.cluster.clone(), tell, logs, gateway.secrets.clone());
    let authenticators = Authenticators(gateway.means.clone());
    gateway.diagnostics.registry.add(authenticators);
    let mut lives = std::pin::pin!(gateway.live(ports));
    tokio::select! {
        // It ends by itself only when it cannot go on.
        outcome = &mut lives => return outcome.map(|()| ExitCode::FAILURE),
        signal = signals.next() => {
            info!(
                signal,
                "stopping: clients are told to leave; send the signal again to stop at once"
            );
        }
    }
    trigger.begin();
    tokio::select! {
        outcome = lives => outcome?,
        signal = signals.next() => {
            warn!(signal, "stopped at once");
            std::process::exit(1);
        }
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What outlasts lives.
struct Process {
    settings: Settings,
    control_plane: ControlPlane,
    cluster: watch::Receiver<Arc<Cluster>>,
    directory: Directory,
    security: Security,
    stop: Shutdown,
    connections_max: usize,
    secrets: Secrets,
    issues: Option<Arc<dyn Issues>>,
    means: Arc<Means>,
    diagnostics: Diagnostics,
}

/// A registration.
struct Registered {
    me: GatewayIncarnation,
    voice: GatewayVoice,
}

impl Process {
    /// One life after another, until the process is to stop.
    async fn live(mut self, mut ports: Vec<Port>) -> anyhow::Result<()> {
        let addresses: Vec<SocketAddr> = ports.iter().map(Port::address).collect();
        loop {
            let mut stop = self.stop.clone();
            let health = self.diagnostics.health.clone();
            health.misses("registration", "the control plane has not answered yet");
            let registered = tokio::select! {
                registered = self.register() => registered,
                () = stop.begun() => return Ok(()),
            };
            health.has("registration");
            if !self.may_serve(&registered).await {
                continue;
            }
            if self.stop.has_begun() {
                return Ok(());
            }
            match Life::begin(&self, &registered, ports)?.end().await {
                End::Stopped => return Ok(()),
                End::Drained => {
                    info!("drained: no client is taken until the process is started anew");
                }
                End::Over => warn!("the registration is over: registering anew"),
            }
            ports = ports::take(&addresses)?;
            // Links begin anew with a life, so that it needs a name of its own.
            self.drained(&registered).await;
        }
    }

    /// What an administrator follows, is told to it by the control plane, and it tells what it sees.
    fn carry_passports(&self) {
        let passports = self.diagnostics.tracing.passports.clone();
        let name = self.settings.name.clone();
        self.control_plane
            .carry_passports("gateway", name, passports);
    }

    async fn register(&self) -> Registered {
        let registration = GatewayRegistration {
            name: self.settings.name.clone(),
            // Another token each time: an incarnation that is over never comes back [C-43].
            process: process_token(),
        };
        let me = self.control_plane.register_gateway(registration).await;
        let voice = self
            .control_plane
            .gateway_voice(self.settings.name.clone(), me);
        Registered { me, voice }
    }

    /// Waits until clients can be served; `false` when the registration is over before.
    async fn may_serve(&mut self, registered: &Registered) -> bool {
        let me = registered.me;
        let mut live = registered.voice.is_live();
        let mut stop = self.stop.clone();
        let ready =
            |cluster: &Arc<Cluster>| cluster.layout.is_some() && !cluster.draining.contains(&me);
        if self.cluster.borrow().layout.is_none() {
            info!("waiting for the layout of the cluster");
            let health = &self.diagnostics.health;
            health.misses("ports", "the layout of the cluster is not known yet");
        }
        tokio::select! {
            _ = self.cluster.wait_for(ready) => true,
            _ = live.wait_for(|live| !live) => false,
            () = stop.begun() => true,
        }
    }

    /// Waits until a drain is taken back, if there is one.
    async fn drained(&mut self, registered: &Registered) {
        let me = registered.me;
        let mut live = registered.voice.is_live();
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = self.cluster.wait_for(|cluster| !cluster.draining.contains(&me)) => {}
            _ = live.wait_for(|live| !live) => {}
            () = stop.begun() => {}
        }
    }
}
