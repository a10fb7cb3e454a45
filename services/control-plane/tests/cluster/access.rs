//! The admin port: who is let in, and what he may do.

use std::{path::PathBuf, sync::Arc};

use catena_control_plane::{ControlPlane, Options, StartError, access::Access, store::Embedded};
use catena_proto::admin::v1::{self as proto, resources_client::ResourcesClient};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::world::{self, NEVER, broker, eventually};

/// SHA-256 of `secret`, of `look` and of `new`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const LOOK: &str = "3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8";
const NEW: &str = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";

/// Who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, unit: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, unit);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

struct Port {
    directory: TempDir,
    server: ControlPlane,
    servers: Authority,
    clients: Authority,
}

impl Port {
    async fn open() -> Port {
        let directory = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new(), Authority::new());
        let (certificate, key) = servers.issue("catena", "servers");
        let file = |name: &str, text: &str| -> PathBuf {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let access = Access {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: Some((file("tls.crt", &certificate), file("tls.key", &key))),
            client_ca: Some(file("ca.crt", &clients.pem)),
            tokens: Some(file(
                "tokens",
                &format!("admin: {SECRET} alice\nviewer: sha256:{LOOK} bob\n"),
            )),
        };
        let store = Embedded::open(&directory.path().join("store.redb")).await;
        let server = ControlPlane::start(Arc::new(store.unwrap()), options(access))
            .await
            .unwrap();
        server.reached().await;
        Port {
            directory,
            server,
            servers,
            clients,
        }
    }

    async fn connect(&self, identity: Option<(String, String)>) -> Result<Channel, String> {
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.servers.pem));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(self.server.admin_endpoint()).unwrap();
        let connected = endpoint.tls_config(tls).unwrap().connect().await;
        connected.map_err(|error| error.to_string())
    }
}

fn options(admin: Access) -> Options {
    Options {
        admin,
        ..world::options(broker(1, 1, NEVER))
    }
}

fn with<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn reads(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let mut client = ResourcesClient::new(channel.clone());
    let request = with(token, proto::ListResourcesRequest::default());
    client.list_resources(request).await.map(|_| ())
}

async fn changes(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let mut client = ResourcesClient::new(channel.clone());
    let manifest = "{apiVersion: catena.dev/v1, kind: BrokerAuthorization, metadata: {name: plant}, \
                    spec: {authorizationPolicies: {rules: []}}}";
    let request = proto::ApplyResourcesRequest {
        manifests: vec![manifest.to_owned()],
        ..proto::ApplyResourcesRequest::default()
    };
    client
        .apply_resources(with(token, request))
        .await
        .map(|_| ())
}

fn code(result: Result<(), Status>) -> Code {
    result.map_or_else(|status| status.code(), |()| Code::Ok)
}

// Whoever reaches the port would configure the broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_by_its_role() {
    let port = Port::open().await;
    let channel = port.connect(None).await.unwrap();
    assert_eq!(code(reads(&channel, None).await), Code::Unauthenticated);
    for wrong in ["Secret", "", "secret secret"] {
        let refused = reads(&channel, Some(wrong)).await;
        assert_eq!(code(refused), Code::Unauthenticated, "{wrong}");
    }
    assert_eq!(code(reads(&channel, Some("look")).await), Code::Ok);
    assert_eq!(
        code(changes(&channel, Some("look")).await),
        Code::PermissionDenied
    );
    assert_eq!(code(changes(&channel, Some("secret")).await), Code::Ok);
    // Kubernetes asks without.
    let mut health = HealthClient::new(channel.clone());
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());

    // Tokens are exchanged without a restart, and a file that is of no use changes nothing.
    let tokens = port.directory.path().join("tokens");
    std::fs::write(&tokens, format!("admin: {NEW}\n")).unwrap();
    eventually("the new token lets in", async || {
        changes(&channel, Some("new")).await.ok()
    })
    .await;
    assert_eq!(
        code(reads(&channel, Some("secret")).await),
        Code::Unauthenticated
    );
    port.server.shutdown().await;
}

// Whoever may look would have the password that the broker shows to another server.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_headers_are_for_administrators() {
    let port = Port::open().await;
    let channel = port.connect(None).await.unwrap();
    let mut client = ResourcesClient::new(channel.clone());
    let manifest = "{apiVersion: catena.dev/v1, kind: BrokerAuthentication, metadata: {name: asked}, spec: {\
                    authenticationMethods: [{method: Custom, customSettings: {endpoint: 'https://a', headers: {x-key: of-us}}}]}}";
    let request = proto::ApplyResourcesRequest {
        manifests: vec![manifest.to_owned()],
        ..proto::ApplyResourcesRequest::default()
    };
    let applied = client.apply_resources(with(Some("secret"), request)).await;
    let applied = applied.unwrap().into_inner().resources.pop().unwrap();
    assert!(applied.after.unwrap().manifest.contains("of-us"));
    for (token, is_shown) in [("secret", true), ("look", false)] {
        let list = proto::ListResourcesRequest::default();
        let list = client.list_resources(with(Some(token), list)).await;
        let get = proto::GetResourceRequest {
            id: Some(proto::ResourceId {
                kind: "BrokerAuthentication".to_owned(),
                name: "asked".to_owned(),
            }),
        };
        let got = client.get_resource(with(Some(token), get)).await;
        let watch = proto::WatchResourcesRequest::default();
        let watched = client.watch_resources(with(Some(token), watch)).await;
        let mut watched = watched.unwrap().into_inner();
        let told = eventually("the watch tells it", async || {
            let told = watched.message().await.unwrap().unwrap();
            let told = told.resources.into_iter();
            let mut ours = told.filter(|told| told.manifest.contains("asked"));
            ours.next()
        });
        let listed = list.unwrap().into_inner().resources.into_iter();
        let listed = listed.filter(|listed| listed.manifest.contains("asked"));
        let mut shown: Vec<_> = listed.collect();
        shown.push(got.unwrap().into_inner().resource.unwrap());
        shown.push(told.await);
        assert_eq!(shown.len(), 3);
        for shown in shown {
            let (has_value, is_hidden) = (
                shown.manifest.contains("of-us"),
                shown.manifest.contains("***"),
            );
            assert_eq!(
                (has_value, is_hidden),
                (is_shown, !is_shown),
                "{token}: {}",
                shown.manifest
            );
        }
    }
    port.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_lets_in_by_its_unit() {
    let port = Port::open().await;
    for (unit, reading, changing) in [
        ("admin", Code::Ok, Code::Ok),
        ("viewer", Code::Ok, Code::PermissionDenied),
        ("sales", Code::PermissionDenied, Code::PermissionDenied),
    ] {
        let identity = port.clients.issue("carol", unit);
        let channel = port.connect(Some(identity)).await.unwrap();
        assert_eq!(code(reads(&channel, None).await), reading, "{unit}");
        assert_eq!(code(changes(&channel, None).await), changing, "{unit}");
    }
    // Of another authority, whatever it says.
    let stranger = Authority::new().issue("mallory", "admin");
    let refused = match port.connect(Some(stranger)).await {
        Ok(channel) => reads(&channel, None).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    // Without TLS nobody is spoken to.
    let plain = format!("http://{}", port.server.admin());
    let plain = Endpoint::from_shared(plain).unwrap().connect().await;
    if let Ok(channel) = plain {
        assert!(reads(&channel, Some("secret")).await.is_err());
    }
    port.server.shutdown().await;
}

// The port of gateways and backends knows no administrators: it must not be a way around.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_for_members_takes_nothing_of_administrators() {
    let port = Port::open().await;
    let endpoint = Endpoint::from_shared(port.server.endpoint()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    assert_eq!(
        code(reads(&channel, Some("secret")).await),
        Code::Unimplemented
    );
    let mut cluster = proto::cluster_client::ClusterClient::new(channel);
    let drain = proto::DrainNodeRequest {
        name: "a".to_owned(),
    };
    let refused = cluster.drain_node(drain).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("--admin"), "{refused}");
    port.server.shutdown().await;
}

// A mistake must be found before the port is open, not by whoever comes through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_protection_does_not_open_to_others() {
    let start = async |access| {
        let store = Embedded::in_memory().await.unwrap();
        ControlPlane::start(Arc::new(store), options(access)).await
    };
    let open = Access::local("0.0.0.0:0".parse().unwrap());
    let refused = start(open).await.unwrap_err();
    assert!(matches!(refused, StartError::Access(_)), "{refused}");
    let missing = Access {
        tokens: Some("/nowhere/tokens".into()),
        ..Access::local("127.0.0.1:0".parse().unwrap())
    };
    let refused = start(missing).await.unwrap_err().to_string();
    assert!(refused.contains("/nowhere/tokens"), "{refused}");
}
