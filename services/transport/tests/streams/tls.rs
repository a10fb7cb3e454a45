//! Who gets in with TLS, and who does not.

use std::time::{Duration, SystemTime};

use catena_chain::{Generation, message::Message};
use catena_pki::{
    Ca, Identity, Internal, Joining, Role, Security, Served as Shown, Trust, certified_key_at,
    generate, request,
};
use catena_replicated::FromOrigin;
use catena_shard::{Origin, Query};
use catena_transport::{
    Dial, DialError, GrpcDial, GrpcInspect, GrpcReach, Inspect, Options, Reach,
};
use tokio::net::TcpListener;

use crate::host::{
    self, REPLICA, SHARD, Served, acked, directory, envelope, hear, open, pass, quick, say, soon,
};

const HOUR: Duration = Duration::from_secs(3_600);
/// Slow machines take their time for handshakes, and nothing here is about being quick.
const PATIENT: Duration = Duration::from_secs(10);

/// A CA, and who trusts it.
struct World {
    ca: Ca,
}

impl World {
    fn new() -> World {
        let ca = Ca::create("test", SystemTime::now()).unwrap();
        World { ca }
    }

    fn internal(&self, cluster: &str, role: Role) -> Internal {
        self.issued(cluster, role, SystemTime::now())
    }

    /// Valid for an hour from `at`.
    fn issued(&self, cluster: &str, role: Role, at: SystemTime) -> Internal {
        let shown = Shown::new();
        let trust = Trust::new(&self.ca.trust_pem()).unwrap();
        let me = Identity::new(cluster, role, "somebody").unwrap();
        show(&self.ca, &shown, &me, at);
        Internal::new(me, shown, trust).unwrap()
    }

    fn options(&self, role: Role) -> Options {
        patient(Security::Mutual(self.internal("test", role)))
    }

    /// A backend.
    async fn served(&self) -> Served {
        host::served_by(self.options(Role::Backend)).await
    }
}

fn show(ca: &Ca, shown: &Shown, me: &Identity, at: SystemTime) {
    let key = generate(Default::default()).unwrap();
    let asked = request(&key).unwrap();
    let chain = ca.issue(&asked, &me.subject(), HOUR, at).unwrap();
    shown.set(certified_key_at(chain.as_bytes(), key.as_bytes(), at).unwrap());
}

fn patient(security: Security) -> Options {
    Options::within(PATIENT).secured(security)
}

fn dialler(served: &Served, options: Options) -> GrpcDial {
    GrpcDial::new(directory(&served.address), options)
}

/// What an origin has said: 0 for an Open, or how far it has come.
fn said(message: Option<FromOrigin>) -> Option<u64> {
    match message? {
        FromOrigin::Open { .. } => Some(0),
        FromOrigin::Acked { through, .. } => Some(through),
        _ => None,
    }
}

async fn turned_away(served: &mut Served, options: Options) -> String {
    let dial = dialler(served, options);
    let refused = dial.dial(SHARD, REPLICA).await.err();
    let Some(DialError::Failed(reason)) = refused else {
        panic!("it was let in, or accused of being gone: {refused:?}");
    };
    assert!(served.given.links.try_recv().is_err());
    reason
}

// A link that does not come about over TLS stops a cluster.
#[tokio::test]
async fn gateways_are_origins_and_backends_are_neighbours() {
    let world = World::new();
    let mut served = world.served().await;
    let dial = dialler(&served, world.options(Role::Gateway));
    let mut link = soon(dial.dial(SHARD, REPLICA)).await.unwrap();
    say(&mut link, open()).await.unwrap();
    say(&mut link, acked(1)).await.unwrap();
    let mut given = soon(served.given.links.recv()).await.unwrap();
    assert_eq!(said(soon(given.from_origin.recv()).await), Some(0));
    assert_eq!(said(soon(given.from_origin.recv()).await), Some(1));

    let reach = GrpcReach::new(directory(&served.address), world.options(Role::Backend));
    let mut stream = soon(reach.reach(SHARD, REPLICA)).await.unwrap();
    // Larger than what one record of TLS and one buffer hold.
    pass(&mut stream, envelope(SHARD, vec![7; 3 << 20]))
        .await
        .unwrap();
    let mut chain = soon(served.given.chains.recv()).await.unwrap();
    let arrived = soon(chain.recv()).await.unwrap().message;
    let Message::SnapshotPart { piece, .. } = arrived else {
        panic!("a part of a snapshot");
    };
    assert!(piece.bytes.len() == 3 << 20 && piece.bytes.iter().all(|byte| *byte == 7));
}

// Whoever has got hold of a gateway could write to the shards' own log.
#[tokio::test]
async fn a_gateway_is_no_backend() {
    let world = World::new();
    let mut served = world.served().await;
    let options = world.options(Role::Gateway);
    let reach = GrpcReach::new(directory(&served.address), options.clone());
    let refused = soon(reach.reach(SHARD, REPLICA)).await.err();
    let reason = format!("{refused:?}");
    assert!(reason.contains("is no backend"), "{reason}");

    let mut link = soon(dialler(&served, options).dial(SHARD, REPLICA))
        .await
        .unwrap();
    let FromOrigin::Open {
        lane,
        replica,
        epoch,
        generation,
        ..
    } = open()
    else {
        panic!("an Open");
    };
    let as_a_shard = FromOrigin::Open {
        origin: Origin::Shard {
            shard: SHARD,
            generation: Generation(1).0,
        },
        lane,
        replica,
        epoch,
        generation,
        first_uncommitted: 1,
        effects_through: 0,
    };
    say(&mut link, as_a_shard).await.unwrap();
    let broken = soon(hear(&mut link)).await.unwrap_err();
    assert!(broken.0.contains("may not be who it says"), "{broken}");
    assert!(served.given.links.try_recv().is_err());
    assert!(served.given.chains.try_recv().is_err());
}

// The control plane asks shards for administrators. Who can decide about chains need not be able to publish as anybody, and who
// carries messages must not read or end all sessions.
#[tokio::test]
async fn the_control_plane_inspects_and_nobody_else_does() {
    let world = World::new();
    let mut served = world.served().await;
    let nothing = || Query::Readers { sessions: vec![] };
    let looks = async |role| {
        let inspect = GrpcInspect::new(directory(&served.address), world.options(role));
        soon(inspect.query(SHARD, REPLICA, nothing())).await
    };
    for role in [Role::Gateway, Role::Backend] {
        let refused = format!("{:?}", looks(role).await.err());
        assert!(
            refused.contains("is no replica of the control plane"),
            "{refused}"
        );
    }
    // The host of these tests answers nothing: what counts is that it was asked.
    let answer = format!("{:?}", looks(Role::ControlPlane).await.err());
    assert!(!answer.contains("is no "), "{answer}");

    let options = world.options(Role::ControlPlane);
    let mut link = soon(dialler(&served, options.clone()).dial(SHARD, REPLICA))
        .await
        .unwrap();
    say(&mut link, open()).await.unwrap();
    let broken = soon(hear(&mut link)).await.unwrap_err();
    assert!(broken.0.contains("may not be who it says"), "{broken}");
    let reach = GrpcReach::new(directory(&served.address), options);
    let refused = format!("{:?}", soon(reach.reach(SHARD, REPLICA)).await.err());
    assert!(refused.contains("is no backend"), "{refused}");
    assert!(served.given.links.try_recv().is_err());
    assert!(served.given.chains.try_recv().is_err());
}

// Each of them is somebody who must not get in.
#[tokio::test]
async fn strangers_are_turned_away_before_anything_is_taken() {
    let world = World::new();
    let mut served = world.served().await;
    let gateway = Role::Gateway;
    let elsewhere = World::new().internal("test", gateway);
    turned_away(&mut served, patient(Security::Mutual(elsewhere))).await;
    let namesake = world.internal("another", gateway);
    turned_away(&mut served, patient(Security::Mutual(namesake))).await;
    let expired = world.issued("test", gateway, SystemTime::now() - 2 * HOUR);
    turned_away(&mut served, patient(Security::Mutual(expired))).await;
    turned_away(&mut served, patient(Security::Plain)).await;
    // Without a certificate.
    let joining = Joining::new("test".to_owned(), world.ca.fingerprint()).unwrap();
    turned_away(&mut served, patient(Security::Joining(joining))).await;
    let nothing = Internal::new(
        Identity::new("test", gateway, "somebody").unwrap(),
        Shown::new(),
        Trust::new(&world.ca.trust_pem()).unwrap(),
    );
    let nothing = patient(Security::Mutual(nothing.unwrap()));
    let reason = turned_away(&mut served, nothing).await;
    assert!(reason.contains("no certificate yet"), "{reason}");
    // And those who belong there get in.
    let dial = dialler(&served, world.options(gateway));
    assert!(soon(dial.dial(SHARD, REPLICA)).await.is_ok());
}

// A gateway that takes anybody for a backend hands him what its clients publish.
#[tokio::test]
async fn who_is_no_backend_is_not_spoken_to() {
    let world = World::new();
    let gateway = world.options(Role::Gateway);
    let mut imposter = host::served_by(gateway.clone()).await;
    turned_away(&mut imposter, gateway.clone()).await;
    let mut in_the_open = host::served_by(quick()).await;
    turned_away(&mut in_the_open, gateway.clone()).await;
    // A port where nobody speaks at all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options = Options {
        connect_timeout: Duration::from_millis(200),
        ..gateway
    };
    let dial = GrpcDial::new(directory(&address), options);
    let refused = soon(dial.dial(SHARD, REPLICA)).await.err();
    assert!(matches!(refused, Some(DialError::Failed(_))), "{refused:?}");
}

// A renewal must not cost a connection, and the trust in a new CA must not need a restart.
#[tokio::test]
async fn certificates_and_cas_are_exchanged_under_open_connections() {
    let world = World::new();
    let now = SystemTime::now();
    let backend = world.internal("test", Role::Backend);
    let gateway = world.internal("test", Role::Gateway);
    let mut served = host::served_by(patient(Security::Mutual(backend.clone()))).await;
    let security = Security::Mutual(gateway.clone());
    let mut old = {
        let dial = dialler(&served, patient(security.clone()));
        soon(dial.dial(SHARD, REPLICA)).await.unwrap()
    };
    say(&mut old, open()).await.unwrap();
    let mut given = soon(served.given.links.recv()).await.unwrap();
    assert_eq!(said(soon(given.from_origin.recv()).await), Some(0));

    let successor = world.ca.successor("test", now).unwrap();
    let reconnect = async |served: &Served| {
        let dial = dialler(served, patient(security.clone()));
        soon(dial.dial(SHARD, REPLICA)).await
    };
    // The gateway has not heard of the new CA yet.
    show(&successor, backend.served(), backend.me(), now);
    assert!(reconnect(&served).await.is_ok());
    // The backend trusts both, the gateway is still of the old one, then of the new one.
    backend.trust().set(&successor.trust_pem()).unwrap();
    assert!(reconnect(&served).await.is_ok());
    gateway.trust().set(&successor.trust_pem()).unwrap();
    show(&successor, gateway.served(), gateway.me(), now);
    assert!(reconnect(&served).await.is_ok());
    // The old one is done with.
    let alone = successor.alone().unwrap();
    for internal in [&backend, &gateway] {
        internal.trust().set(&alone.trust_pem()).unwrap();
        show(&alone, internal.served(), internal.me(), now);
    }
    assert!(reconnect(&served).await.is_ok());
    let late = world.options(Role::Gateway);
    let mut served = served;
    while served.given.links.try_recv().is_ok() {}
    turned_away(&mut served, late).await;
    // All that time.
    say(&mut old, acked(3)).await.unwrap();
    assert_eq!(said(soon(given.from_origin.recv()).await), Some(3));
}
