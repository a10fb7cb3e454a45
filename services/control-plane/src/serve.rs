//! The two ports: one for gateways, backends and the other replicas, and one for administrators.

use std::time::Duration;

use catena_pki::Role;
use catena_proto::{
    admin::v1::{
        authorization_server::{AuthorizationServer, SERVICE_NAME as AUTHORIZATION},
        backups_server::{BackupsServer, SERVICE_NAME as BACKUPS},
        cluster_server::{ClusterServer, SERVICE_NAME as CLUSTER},
        resources_server::{ResourcesServer, SERVICE_NAME as RESOURCES},
        retained_server::{RetainedServer, SERVICE_NAME as RETAINED},
        sessions_server::{SERVICE_NAME as SESSIONS, SessionsServer},
        traces_server::{SERVICE_NAME as TRACES, TracesServer},
    },
    internal::v1::{
        certificates_server::{CertificatesServer, SERVICE_NAME as CERTIFICATES},
        membership_server::{MembershipServer, SERVICE_NAME as MEMBERSHIP},
        passports_server::{PassportsServer, SERVICE_NAME as PASSPORTS},
    },
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::{Request, Status, service::RoutesBuilder, transport::Server};
use tracing::warn;

use crate::{
    access::{Guard, accept, gate::Gates},
    routes::is_forwarded,
    server::{
        Context, admin, backups, certificates, door,
        inspect::{self, Shards},
        membership, passports, resources,
    },
    traffic::only,
};

/// Largest message that is taken.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Pings find clients that were cut off.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Reflection cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("reflection: {0}")]
pub struct NoReflection(String);

/// Serves gateways, backends and the other replicas. Of what administrators ask, other replicas send on here what only the
/// leader may take: the rest is for the other port, which knows them.
pub async fn members(
    listener: TcpListener,
    context: Context,
    ending: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send + 'static, NoReflection> {
    let membership = MembershipServer::new(membership::Service(context.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let certificates = CertificatesServer::new(certificates::Service(context.clone()));
    let carried = PassportsServer::new(passports::Service(context.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let security = context.traffic.security.clone();
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(membership)
        .add_service(certificates)
        .add_service(carried);
    // In one process there is no other replica: whoever comes is somebody on this machine who evades the admin port.
    if !context.traffic.in_process {
        routes.add_service(ClusterServer::with_interceptor(
            admin::Service(context),
            only_forwarded,
        ));
    }
    common(&mut routes, &[MEMBERSHIP, CERTIFICATES, PASSPORTS]).await?;
    let incoming = door::connections(listener, security, ending.clone());
    let serving = server()
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(incoming, ended(ending));
    Ok(async move {
        if let Err(error) = serving.await {
            warn!(%error, "the port for gateways and backends ended");
        }
    })
}

/// Serves administrators, each by what he may do.
pub async fn administrators(
    listener: TcpListener,
    guard: Guard,
    context: Context,
    shards: Shards,
    ending: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send + 'static, NoReflection> {
    let sessions = inspect::sessions::Service {
        context: context.clone(),
        shards: shards.clone(),
    };
    let traces = inspect::traces::Service {
        context: context.clone(),
        shards: shards.clone(),
    };
    let retained = inspect::retained::Service {
        shards: shards.clone(),
    };
    let backups = backups::Service::new(context.clone(), shards);
    let authorization = inspect::authorization::Service(context.clone());
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(ClusterServer::new(admin::Service(context.clone())))
        .add_service(ResourcesServer::new(resources::Service(context)))
        .add_service(SessionsServer::new(sessions))
        .add_service(RetainedServer::new(retained))
        .add_service(AuthorizationServer::new(authorization))
        .add_service(TracesServer::new(traces))
        .add_service(BackupsServer::new(backups));
    let services = [
        CLUSTER,
        RESOURCES,
        SESSIONS,
        RETAINED,
        AUTHORIZATION,
        TRACES,
        BACKUPS,
    ];
    common(&mut routes, &services).await?;
    Ok(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn(guard.clone().keep());
        let incoming = accept::connections(listener, guard.clone(), &mut tasks);
        let serving = server()
            .layer(Gates::new(guard))
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(incoming, ended(ending));
        if let Err(error) = serving.await {
            warn!(%error, "the admin port ended");
        }
    })
}

/// Health and reflection.
async fn common(routes: &mut RoutesBuilder, services: &[&str]) -> Result<(), NoReflection> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in [""].iter().chain(services) {
        health
            .set_service_status(*service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(catena_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| NoReflection(error.to_string()))?;
    routes.add_service(health_service).add_service(reflection);
    Ok(())
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

#[allow(
    clippy::result_large_err,
    reason = "tonic says what interceptors return"
)]
fn only_forwarded(request: Request<()>) -> Result<Request<()>, Status> {
    if is_forwarded(&request) {
        // Whom the other replica has let in, is let in here.
        only(&request, &[Role::ControlPlane])?;
        Ok(request)
    } else {
        Err(Status::unimplemented(
            "this is the port for gateways and backends: the admin API has one of its own, 9700 unless it was set with --admin",
        ))
    }
}

async fn ended(mut ending: watch::Receiver<bool>) {
    // When nobody can end it any more it has ended.
    let _ = ending.wait_for(|ending| *ending).await;
}
