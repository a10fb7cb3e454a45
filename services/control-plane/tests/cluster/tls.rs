//! TLS with everybody: who may join, who may say what, and what is renewed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use catena_control_plane::{ControlPlane, Options, Traffic, store::Store};
use catena_membership::{
    ControlPlane as Client, JoinError, Member, NodeRegistration, Said, member, process_token,
};
use catena_pki::{
    Authority, Automatic, Ca, Connector, Identity, Internal, Joining, Keeping, OwnSigner, Role,
    Security, Served, Token, Trust, Wishes, generate, request,
};
use catena_proto::internal::v1::{
    self as proto, certificates_client::CertificatesClient, membership_client::MembershipClient,
};
use catena_resources::{Broker, Switch};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::world::{NEVER, broker, embedded, eventually, options};

const HOUR: Duration = Duration::from_secs(3_600);

/// A replica of the control plane with the cluster's CA, and what belongs to it.
struct Replica {
    server: ControlPlane,
    _automatic: Arc<Automatic>,
}

async fn replica(store: Arc<dyn Store>, secrets: &Path) -> Replica {
    let authority = Arc::new(Authority::open(secrets).unwrap());
    let me = Identity::new("test", Role::ControlPlane, "control-plane").unwrap();
    let trust = Trust::new(&authority.ca().trust_pem()).unwrap();
    let served = Served::new();
    let (_, duration) = watch::channel(HOUR);
    let signer = OwnSigner::new(authority.clone(), me.subject(), duration).showing_ca();
    let wishes = Wishes::default();
    let automatic = Automatic::showing(served.clone(), "test", None, wishes, signer, |_, _| {});
    automatic.ready().await;
    let internal = Internal::new(me, served, trust.clone()).unwrap();
    let automatic = Arc::new(automatic);
    let (renewed, source) = (automatic.clone(), authority.clone());
    tokio::spawn(async move {
        let mut changed = source.changed();
        while changed.changed().await.is_ok() {
            trust.set(&source.ca().trust_pem()).unwrap();
            renewed.renew();
        }
    });
    let options = Options {
        traffic: Traffic {
            security: Security::Mutual(internal),
            authority: Some(authority),
            in_process: false,
        },
        ..options(encrypted())
    };
    let server = ControlPlane::start(store, options).await.unwrap();
    server.reached().await;
    Replica {
        server,
        _automatic: automatic,
    }
}

/// A Broker that asks for encryption.
fn encrypted() -> Broker {
    let mut broker = broker(1, 1, NEVER);
    broker.advanced.encrypt_internal_traffic = Switch::Enabled;
    broker
}

/// One replica with its store and its CA.
struct World {
    replica: Replica,
    secrets: TempDir,
    _store: TempDir,
}

impl World {
    async fn new() -> World {
        let secrets = tempfile::tempdir().unwrap();
        Ca::open_or_create(secrets.path(), "test").unwrap();
        let (directory, store) = embedded().await;
        World {
            replica: replica(store, secrets.path()).await,
            secrets,
            _store: directory,
        }
    }

    fn endpoint(&self) -> String {
        self.replica.server.endpoint()
    }

    fn ca(&self) -> Ca {
        Ca::open(self.secrets.path()).unwrap()
    }

    fn token(&self, role: Role, ttl: Duration, at: SystemTime) -> String {
        Token::create(&self.ca(), "test", role, None, ttl, at).unwrap()
    }

    fn wants(&self, role: Role, name: &str, directory: &TempDir) -> Member {
        Member {
            role,
            name: name.to_owned(),
            control_plane: vec![self.endpoint()],
            data_dir: directory.path().to_owned(),
            token: Some(self.token(role, HOUR, SystemTime::now())),
        }
    }

    async fn joined(&self, role: Role, name: &str) -> (Internal, Keeping, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let joined = member(self.wants(role, name, &directory)).await;
        let (internal, keeping) = joined.unwrap();
        (internal, keeping, directory)
    }

    fn channel(&self, security: Security) -> Channel {
        let uri = self.endpoint().replace("https", "http");
        let endpoint = Endpoint::from_shared(uri).unwrap();
        endpoint.connect_with_connector_lazy(Connector::new(security, Role::ControlPlane))
    }
}

fn registration(name: &str) -> NodeRegistration {
    NodeRegistration {
        name: name.to_owned(),
        zone: None,
        addresses: vec!["127.0.0.1:9".to_owned()],
        process: process_token(),
        kept: Vec::new(),
    }
}

fn asks(name: &str) -> proto::RegisterNodeRequest {
    let registration = registration(name);
    proto::RegisterNodeRequest {
        registration: Some(proto::NodeRegistration {
            name: registration.name,
            zone: None,
            addresses: registration.addresses,
            process: registration.process.to_be_bytes().to_vec().into(),
            kept: Vec::new(),
            protocol: catena_proto::PROTOCOL,
        }),
    }
}

// A token that is used up when the answer is lost, or needed again after a restart, would keep processes out.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_joins_once_and_then_has_its_certificate() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let wants = world.wants(Role::Backend, "backend-0", &directory);
    let (internal, keeping) = member(wants.clone()).await.unwrap();
    let me = "catena://test/backend/backend-0";
    assert_eq!(internal.me().to_string(), me);
    let client = Client::secured(vec![world.endpoint()], Security::Mutual(internal)).unwrap();
    let first = client.register_node(registration("backend-0")).await;
    assert!(first.0 > 0);
    drop(keeping);

    // The answer was lost: the same key asks again with the same token.
    std::fs::remove_file(directory.path().join("internal/member.pem")).unwrap();
    assert!(member(wants.clone()).await.is_ok());
    // And from now on without one.
    let without = Member {
        token: None,
        ..wants.clone()
    };
    assert!(member(without.clone()).await.is_ok());
    // What belongs to another is not used.
    let other = Member {
        name: "backend-1".to_owned(),
        ..without.clone()
    };
    assert!(matches!(
        member(other).await,
        Err(JoinError::Another { .. })
    ));
    let elsewhere = tempfile::tempdir().unwrap();
    let lost = Member {
        data_dir: elsewhere.path().to_owned(),
        ..without
    };
    let said = member(lost).await.unwrap_err().to_string();
    assert!(said.contains("catena ca token --role backend"), "{said}");
}

// Who finds a token in a log, or has one for something else, must not get in by it.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_once_for_one_role_and_for_a_time() {
    let world = World::new().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wants = world.wants(Role::Gateway, "gateway-0", &first);
    assert!(member(wants.clone()).await.is_ok());
    let again = Member {
        data_dir: second.path().to_owned(),
        ..wants
    };
    let said = member(again.clone()).await.unwrap_err().to_string();
    assert!(said.contains("used by gateway-0 already"), "{said}");

    let now = SystemTime::now();
    let with = |token| Member {
        token: Some(token),
        ..again.clone()
    };
    let backend = world.token(Role::Backend, HOUR, now);
    assert!(matches!(
        member(with(backend)).await,
        Err(JoinError::Token(_))
    ));
    let expired = world.token(Role::Gateway, HOUR, now - 2 * HOUR);
    let said = member(with(expired.clone())).await.unwrap_err().to_string();
    assert!(said.contains("expired"), "{said}");
    // Another CA's: the control plane is not who the token says.
    let another = Ca::create("test", now).unwrap();
    let forged = Token::create(&another, "test", Role::Gateway, None, HOUR, now).unwrap();
    let joining = member(with(forged.clone()));
    let joined = tokio::time::timeout(Duration::from_secs(1), joining).await;
    assert!(joined.is_err(), "it goes on trying");

    // And whoever does not look at it himself is told.
    let joining = Joining::new("test".to_owned(), world.ca().fingerprint()).unwrap();
    let channel = world.channel(Security::Joining(joining));
    let mut client = CertificatesClient::new(channel);
    let asked = request(&generate(Default::default()).unwrap()).unwrap();
    for token in [expired, forged, String::new()] {
        let refused = client.join(proto::JoinRequest {
            token,
            name: "gateway-0".to_owned(),
            request: asked.clone().into(),
        });
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
}

// One gateway that was broken into must not take the cluster with it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_plays_another_role_or_goes_by_another_name() {
    let world = World::new().await;
    let (gateway, _gateway, _at) = world.joined(Role::Gateway, "gateway-0").await;
    let (backend, _backend, _there) = world.joined(Role::Backend, "backend-0").await;
    let of = |internal: &Internal| world.channel(Security::Mutual(internal.clone()));
    let denied =
        |status: tonic::Status| assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let mut as_gateway = MembershipClient::new(of(&gateway));
    let mut as_backend = MembershipClient::new(of(&backend));
    denied(
        as_gateway
            .register_node(asks("gateway-0"))
            .await
            .unwrap_err(),
    );
    denied(
        as_backend
            .register_node(asks("backend-1"))
            .await
            .unwrap_err(),
    );
    assert!(as_backend.register_node(asks("backend-0")).await.is_ok());
    let asks_gateway = |name: &str| proto::RegisterGatewayRequest {
        name: name.to_owned(),
        protocol: catena_proto::PROTOCOL,
        process: process_token().to_be_bytes().to_vec().into(),
    };
    denied(
        as_backend
            .register_gateway(asks_gateway("backend-0"))
            .await
            .unwrap_err(),
    );
    denied(
        as_gateway
            .register_gateway(asks_gateway("gateway-1"))
            .await
            .unwrap_err(),
    );
    assert!(
        as_gateway
            .register_gateway(asks_gateway("gateway-0"))
            .await
            .is_ok()
    );
    let beats = tokio_stream::iter([proto::NodeHeartbeat::default()]);
    denied(as_gateway.node_heartbeats(beats).await.unwrap_err());
    // Speaking for another node ends the stream.
    let beat = proto::NodeHeartbeat {
        number: 1,
        registration: asks("backend-1").registration,
        ..proto::NodeHeartbeat::default()
    };
    let mut answers = eventually("a leader", async || {
        let beats = tokio_stream::iter([beat.clone()]);
        as_backend.node_heartbeats(beats).await.ok()
    })
    .await
    .into_inner();
    denied(answers.message().await.unwrap_err());

    // Certificates of listeners are for gateways, and for listeners that there are.
    let asked = request(&generate(Default::default()).unwrap()).unwrap();
    let server = proto::SignServerRequest {
        listener: "default".to_owned(),
        port: 8883,
        request: asked.into(),
        names: Vec::new(),
    };
    let mut signs = CertificatesClient::new(of(&backend));
    denied(signs.sign_server(server.clone()).await.unwrap_err());
    let mut signs = CertificatesClient::new(of(&gateway));
    let refused = signs.sign_server(server).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");

    // Without a certificate there is nothing but joining.
    let joining = Joining::new("test".to_owned(), world.ca().fingerprint()).unwrap();
    let stranger = world.channel(Security::Joining(joining));
    let unknown =
        |status: tonic::Status| assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let mut client = MembershipClient::new(stranger.clone());
    unknown(client.watch(proto::WatchRequest {}).await.unwrap_err());
    unknown(client.register_node(asks("backend-0")).await.unwrap_err());
    let mut client = CertificatesClient::new(stranger);
    unknown(
        client
            .get_trust(proto::GetTrustRequest {})
            .await
            .unwrap_err(),
    );
    let mut plain = MembershipClient::new(world.channel(Security::Plain));
    assert!(plain.watch(proto::WatchRequest {}).await.is_err());
}

// What a follower passes on goes over TLS too, and the leader has to believe the follower and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_pass_on_what_members_say() {
    let secrets = tempfile::tempdir().unwrap();
    let ca = Ca::open_or_create(secrets.path(), "test").unwrap();
    let (_directory, store) = embedded().await;
    let leader = replica(store.clone(), secrets.path()).await;
    eventually("a leader", async || leader.server.is_leader().then_some(())).await;
    let follower = replica(store, secrets.path()).await;
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let token = Token::create(&ca, "test", Role::Backend, None, HOUR, now).unwrap();
    let endpoints = vec![follower.server.endpoint()];
    let wants = Member {
        role: Role::Backend,
        name: "backend-0".to_owned(),
        control_plane: endpoints.clone(),
        data_dir: directory.path().to_owned(),
        token: Some(token),
    };
    let (internal, _keeping) = member(wants).await.unwrap();
    let client = Client::secured(endpoints, Security::Mutual(internal)).unwrap();
    let incarnation = client.register_node(registration("backend-0")).await;
    let voice = client.node_voice("backend-0".to_owned(), incarnation, Said::default);
    let mut heard = voice.is_heard();
    let hearing = heard.wait_for(|heard| *heard);
    let hearing = tokio::time::timeout(crate::world::LIMIT, hearing).await;
    assert!(hearing.is_ok_and(|heard| heard.is_ok()));
    assert!(!follower.server.is_leader());
}

// A CA that can be replaced only by stopping everything is never replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_ca_reaches_all_members() {
    let world = World::new().await;
    let (internal, _keeping, directory) = world.joined(Role::Gateway, "gateway-0").await;
    let before = internal.served().current().unwrap().chain()[0].clone();
    let ca = world.ca();
    let successor = ca.successor("test", SystemTime::now()).unwrap();
    successor.save(world.secrets.path()).unwrap();
    eventually("trust in both, and a new certificate", async || {
        let shown = internal.served().current()?.chain()[0].clone();
        let is_new = shown != before && internal.trust().pem() == successor.trust_pem();
        if is_new {
            return Some(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        None
    })
    .await;
    let kept = std::fs::read_to_string(directory.path().join("internal/ca.crt")).unwrap();
    assert_eq!(kept, successor.trust_pem());
}

// Half of a cluster in the open is a cluster in the open.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_in_plain_text_when_the_broker_forbids_it() {
    let (_directory, store) = embedded().await;
    let server = ControlPlane::start(store, options(encrypted()))
        .await
        .unwrap();
    server.reached().await;
    let mut client = MembershipClient::connect(server.endpoint()).await.unwrap();
    eventually("the Broker to be known", async || {
        let refused = client.register_node(asks("backend-0")).await.err()?;
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("encryptInternalTraffic"));
        Some(())
    })
    .await;
    server.shutdown().await;
}
