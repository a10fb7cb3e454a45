//! What is on the port beside membership: watches, status, health and reflection.

use catena_proto::{
    admin::v1 as admin,
    internal::v1::{WatchRequest, membership_client::MembershipClient},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    node::Node,
    world::{self, NEVER, broker, embedded, eventually, start},
};

// A watcher that misses the beginning or a change routes to replicas that are not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_everything_and_goes_on_with_changes() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = MembershipClient::connect(server.endpoint()).await.unwrap();
    let mut stream = eventually("a watch", async || {
        let watch = client.watch(WatchRequest {}).await;
        watch.ok().map(tonic::Response::into_inner)
    })
    .await;
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.snapshot && first.version > 0);
    assert!(first.gateways.is_some());
    let mut version = first.version;
    let mut chains = first.chains.len();
    let mut resources = first.resources.len();
    let node = Node::start("a", vec![server.endpoint()]).await;
    while chains == 0 {
        let next = stream.message().await.unwrap().unwrap();
        assert!(!next.snapshot && next.version > version, "{next:?}");
        version = next.version;
        chains += next.chains.len();
        resources += next.resources.len();
        assert!(chains <= 1, "told once");
    }
    assert_eq!(node.name, "a");
    assert_eq!(resources, 1, "the Broker, told once");
    server.shutdown().await;
    // Nobody is left waiting for a replica that ends.
    while let Ok(Some(_)) = stream.message().await {}
}

// `catena status --watch` shows a failover as it happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_shows_what_changes() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = world::admin(&server.admin_endpoint()).await;
    let watch = client.watch_status(admin::WatchStatusRequest {}).await;
    let mut stream = watch.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().status.unwrap();
    assert_eq!((first.cluster.as_str(), first.nodes.len()), ("test", 0));
    let _node = Node::start("a", vec![server.endpoint()]).await;
    loop {
        let next = stream.message().await.unwrap().unwrap().status.unwrap();
        if next.nodes.len() == 1 && next.shards.len() == 1 {
            break;
        }
    }
    server.shutdown().await;
}

// Kubernetes asks for health, and people without our files ask for reflection.
#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_served() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    for (address, services) in [
        (server.endpoint(), &["catena.internal.v1.Membership"][..]),
        (
            server.admin_endpoint(),
            &["catena.admin.v1.Cluster", "catena.admin.v1.Resources"],
        ),
    ] {
        let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        for service in [""].iter().chain(services) {
            let service = (*service).to_owned();
            let answer = health.check(HealthCheckRequest { service }).await.unwrap();
            assert_eq!(answer.into_inner().status, 1);
        }
        let mut reflection = ServerReflectionClient::new(channel);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answers = reflection
            .server_reflection_info(tokio_stream::once(request))
            .await;
        let answer = answers.unwrap().into_inner().message().await.unwrap();
        let Some(MessageResponse::ListServicesResponse(listed)) = answer.unwrap().message_response
        else {
            panic!("a list of services");
        };
        let names: Vec<&str> = listed.service.iter().map(|s| s.name.as_str()).collect();
        for service in services {
            assert!(names.contains(service), "{names:?}");
        }
    }
    server.shutdown().await;
}
