//! Resources are applied, told, compared and deleted: on both stores, and by two at once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use catena_control_plane::{
    Catalogue, Change, Happened, Refused,
    store::{
        Entry, Error, Key, LeaseId, Listing, Outcome, Prefix, Revision, Store, Transaction, Watch,
    },
};
use catena_membership::ControlPlane;
use catena_proto::admin::v1::{self as proto, resources_client::ResourcesClient};
use catena_resources::{Kind, Place, Resource, ResourceId};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    server::Server,
    world::{NEVER, broker, embedded, etcd, eventually, start},
};

const AUTHENTICATION: &str = "
apiVersion: catena.dev/v1
kind: BrokerAuthentication
metadata: {name: passwords}
spec:
  authenticationMethods:
  - method: Password
    passwordSettings: {secretRef: users}
";

fn listener(name: &str, port: u16, authentication: &str) -> String {
    format!(
        "apiVersion: catena.dev/v1\nkind: BrokerListener\nmetadata: {{name: {name}}}\n\
         spec:\n  ports:\n  - port: {port}\n    authenticationRef: {authentication}\n"
    )
}

fn parsed(text: &str) -> Vec<Resource> {
    catena_resources::parse(text).unwrap()
}

fn id(kind: Kind, name: &str) -> ResourceId {
    let name = name.to_owned();
    ResourceId { kind, name }
}

fn message(id: &ResourceId) -> proto::ResourceId {
    proto::ResourceId {
        kind: id.kind.to_string(),
        name: id.name.clone(),
    }
}

fn apply(manifests: &[&str]) -> proto::ApplyResourcesRequest {
    proto::ApplyResourcesRequest {
        manifests: manifests.iter().map(|text| (*text).to_owned()).collect(),
        ..proto::ApplyResourcesRequest::default()
    }
}

async fn outcomes(
    client: &mut ResourcesClient<Channel>,
    request: proto::ApplyResourcesRequest,
) -> Vec<proto::applied_resource::Outcome> {
    let answer = client.apply_resources(request).await.unwrap().into_inner();
    answer
        .resources
        .iter()
        .map(proto::AppliedResource::outcome)
        .collect()
}

async fn names(client: &mut ResourcesClient<Channel>, kind: &str) -> Vec<String> {
    let kind = kind.to_owned();
    let asked = client.list_resources(proto::ListResourcesRequest { kind });
    let listed = asked.await.unwrap().into_inner().resources;
    let ids = listed.into_iter().map(|resource| resource.id.unwrap());
    ids.map(|id| format!("{}/{}", id.kind, id.name)).collect()
}

async fn is_applied_and_told(store: Arc<dyn Store>) {
    use proto::applied_resource::Outcome::{Configured, Created, Unchanged};
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let gateway = ControlPlane::new(vec![server.endpoint()]).unwrap();
    eventually("there is a Broker", async || {
        let listed = names(&mut client, "").await;
        (listed == ["Broker/default"]).then_some(())
    })
    .await;

    // What a dry run answers must be what would happen, and nothing must.
    let first = listener("first", 1883, "passwords");
    let both = apply(&[&first, AUTHENTICATION]);
    let dry = proto::ApplyResourcesRequest {
        dry_run: true,
        ..both.clone()
    };
    assert_eq!(outcomes(&mut client, dry).await, [Created, Created]);
    assert_eq!(names(&mut client, "").await, ["Broker/default"]);
    assert_eq!(
        outcomes(&mut client, both.clone()).await,
        [Created, Created]
    );
    assert_eq!(outcomes(&mut client, both).await, [Unchanged, Unchanged]);
    let other = listener("first", 1884, "passwords");
    assert_eq!(outcomes(&mut client, apply(&[&other])).await, [Configured]);
    assert_eq!(
        names(&mut client, "brokerlistener").await,
        ["BrokerListener/first"]
    );
    let cluster = eventually("gateways are told", async || {
        let cluster = gateway.watch().borrow().clone();
        let (_, listener) = cluster.resources.listeners().next()?;
        (listener.ports[0].port == 1884).then_some(cluster)
    })
    .await;
    assert!(cluster.resources.authentication("passwords").is_some());
    assert_eq!(cluster.resources.broker(), Some(&cluster.broker));

    // An export applies as it is, and says at which version it is.
    let get = proto::GetResourceRequest {
        id: Some(message(&id(Kind::BrokerListener, "first"))),
    };
    let got = client.get_resource(get.clone()).await.unwrap().into_inner();
    let got = got.resource.unwrap();
    let stored = cluster.resources.get(&id(Kind::BrokerListener, "first"));
    assert_eq!(stored.unwrap().version, got.version);
    assert!(
        got.manifest.contains("\"resourceVersion\""),
        "{}",
        got.manifest
    );
    assert_eq!(
        outcomes(&mut client, apply(&[&got.manifest])).await,
        [Unchanged]
    );

    // What is referred to stays; all goes together.
    let delete = |ids: &[ResourceId]| proto::DeleteResourcesRequest {
        ids: ids.iter().map(message).collect(),
        ..proto::DeleteResourcesRequest::default()
    };
    let passwords = id(Kind::BrokerAuthentication, "passwords");
    let refused = client.delete_resources(delete(std::slice::from_ref(&passwords)));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(
        refused.message().contains("BrokerListener/first"),
        "{refused}"
    );
    let refused = client.delete_resources(delete(&[id(Kind::Broker, "default")]));
    assert_eq!(refused.await.unwrap_err().code(), Code::FailedPrecondition);
    let all = [passwords, id(Kind::BrokerListener, "first")];
    let deleted = client.delete_resources(delete(&all)).await.unwrap();
    assert_eq!(deleted.into_inner().deleted.len(), 2);
    assert_eq!(names(&mut client, "").await, ["Broker/default"]);
    let refused = client.delete_resources(delete(&all)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(
        client.get_resource(get).await.unwrap_err().code(),
        Code::NotFound
    );
    eventually("gateways are told", async || {
        let cluster = gateway.watch().borrow().clone();
        cluster.resources.listeners().next().is_none().then_some(())
    })
    .await;
    server.shutdown().await;
}

// This is how a broker is configured: what is answered, stored and told must be the same.
#[tokio::test(flavor = "multi_thread")]
async fn resources_are_applied_told_and_deleted() {
    let (_directory, store) = embedded().await;
    is_applied_and_told(store).await;
    let server = Server::start(&[]).await;
    is_applied_and_told(etcd(&server, "edge").await).await;
}

// A mistake at a time is found by as many applies; and half an apply is a broken cluster.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_said_at_once_and_nothing_is_written() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let good = listener("good", 1883, "passwords");
    let missing = listener("missing", 1884, "nobody");
    let taken = listener("taken", 1883, "passwords");
    let request = apply(&[AUTHENTICATION, &good, &missing, &taken]);
    let refused = client.apply_resources(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "BrokerListener/missing: spec.ports[0].authenticationRef",
            "BrokerListener/taken: spec.ports[0].port"
        ]
    );
    assert!(names(&mut client, "BrokerAuthentication").await.is_empty());

    // The same resource twice: one of them would be lost without a word.
    let twice = apply(&[&good, &good, AUTHENTICATION]);
    let refused = client.apply_resources(twice).await.unwrap_err();
    assert!(refused.message().contains("twice"), "{refused}");
    // More than fits a refusal's headers is counted.
    let many: Vec<String> = (0..90)
        .map(|port| {
            listener(
                &format!("listener-{port}"),
                2_000 + port,
                "nobody-whom-anybody-knows",
            )
        })
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = client.apply_resources(apply(&many)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let last = &violations.last().unwrap().description;
    assert!(last.contains("more problems"), "{last}");
    let refused = client.apply_resources(apply(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    server.shutdown().await;
}

// Two administrators edit the same listener: the second must not undo what the first did.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_expects_another_version_is_refused() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let expecting = |text: &str, version| proto::ApplyResourcesRequest {
        expected: vec![proto::ExpectedVersion {
            id: Some(message(&id(Kind::BrokerAuthentication, "passwords"))),
            version,
        }],
        ..apply(&[text])
    };
    let created = client.apply_resources(expecting(AUTHENTICATION, 0)).await;
    let created = created.unwrap().into_inner().resources.remove(0).after;
    let version = created.unwrap().version;
    assert!(version > 0);
    let refused = client.apply_resources(expecting(AUTHENTICATION, 0)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
    let changed = AUTHENTICATION.replace("users", "others");
    let written = client.apply_resources(expecting(&changed, version)).await;
    assert!(written.is_ok());
    let refused = client
        .apply_resources(expecting(AUTHENTICATION, version))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    assert!(refused.message().contains("BrokerAuthentication/passwords"));
    server.shutdown().await;
}

// With other shards than the cluster was laid out for, sessions would be looked for where they are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_changes_but_for_what_would_lose_data() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(2, 1, NEVER)).await;
    let node = crate::node::Node::start("a", vec![server.endpoint()]).await;
    eventually("it is laid out", async || {
        node.cluster().layout.as_ref().map(|_| ())
    })
    .await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let broker = |workers: u16, expiry: u32| {
        format!(
            "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec:\n\
             \x20 cardinality: {{backendChain: {{partitions: 1, workers: {workers}, redundancyFactor: 1}}}}\n\
             \x20 advanced: {{clients: {{maxSessionExpirySeconds: {expiry}}}}}\n"
        )
    };
    let refused = client
        .apply_resources(apply(&[&broker(3, 60)]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(
        violations[0].field,
        "Broker/default: spec.cardinality.backendChain.workers"
    );
    let before = node.cluster().settings_version;
    client
        .apply_resources(apply(&[&broker(2, 60)]))
        .await
        .unwrap();
    eventually("all are told", async || {
        let cluster = node.cluster();
        let told = cluster.broker.advanced.clients.max_session_expiry_seconds == 60;
        (told && cluster.settings_version > before).then_some(())
    })
    .await;
    server.shutdown().await;
}

// A standalone broker has a shard per core: a manifest about something else would ask for one shard, and be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_in_one_process_keeps_its_number_of_shards() {
    let manifest = |spec: &str| {
        let text = format!(
            "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec: {spec}\n"
        );
        catena_resources::read(&text).unwrap()
    };
    for (place, spec, expected) in [
        (Place::Standalone, "{memoryProfile: Low}", 3),
        (
            Place::Standalone,
            "{cardinality: {backendChain: {workers: 2}}}",
            2,
        ),
        (Place::Elsewhere, "{memoryProfile: Low}", 1),
    ] {
        let (_directory, store) = embedded().await;
        let catalogue = Catalogue { store, place };
        let first = manifest("{cardinality: {backendChain: {workers: 3}}}");
        for read in [first, manifest(spec)] {
            let change = Change {
                put: read.resources,
                leaves_out_workers: read.leaves_out_workers,
                ..Change::default()
            };
            catalogue.change(&change).await.unwrap();
        }
        let known = catalogue.known().await.unwrap();
        let chain = known.resources.broker().unwrap().cardinality.backend_chain;
        assert_eq!(chain.workers, expected, "{place:?} {spec}");
    }
}

// Who empties a list to take rights away gives all of them: the one who applies it must hear of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_noticed_of_manifests_is_answered() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let rules = "apiVersion: catena.dev/v1\nkind: BrokerAuthorization\nmetadata: {name: plant}\n\
                 spec: {authorizationPolicies: {rules: [{brokerResources: [{method: Publish, topics: []}]}]}}\n";
    let request = apply(&[AUTHENTICATION, rules]);
    let answer = client.apply_resources(request).await.unwrap().into_inner();
    assert_eq!(answer.resources.len(), 2);
    assert_eq!(answer.warnings.len(), 1);
    assert!(
        answer.warnings[0].starts_with("BrokerAuthorization/plant: spec."),
        "{:?}",
        answer.warnings
    );
    server.shutdown().await;
}

// Programs follow what is configured by this.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_resources_begins_with_all_and_goes_on_with_changes() {
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    client
        .apply_resources(apply(&[AUTHENTICATION]))
        .await
        .unwrap();
    let asked = proto::WatchResourcesRequest {
        kind: "BrokerAuthentication".to_owned(),
    };
    let mut watch = client.watch_resources(asked).await.unwrap().into_inner();
    let mut told = watch.message().await.unwrap().unwrap();
    assert!(told.snapshot);
    while told.resources.is_empty() {
        told = watch.message().await.unwrap().unwrap();
    }
    let before = told.resources[0].version;
    // Of another kind: not told.
    let listener = listener("first", 1883, "passwords");
    client.apply_resources(apply(&[&listener])).await.unwrap();
    let changed = AUTHENTICATION.replace("users", "others");
    client.apply_resources(apply(&[&changed])).await.unwrap();
    let told = watch.message().await.unwrap().unwrap();
    assert!(!told.snapshot && told.resources.len() == 1);
    assert!(told.resources[0].version > before);
    server.shutdown().await;
    while let Ok(Some(_)) = watch.message().await {}
}

/// A store in which someone else changes something right before our first commit.
#[derive(Debug)]
struct Meanwhile {
    store: Arc<dyn Store>,
    change: Mutex<Option<Change>>,
}

#[async_trait]
impl Store for Meanwhile {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<Listing, Error> {
        self.store.list(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        let change = self.change.lock().unwrap().take();
        if let Some(change) = change {
            catalogue(self.store.clone()).change(&change).await.unwrap();
        }
        self.store.commit(transaction).await
    }

    async fn watch(&self, prefix: &Prefix, after: Option<Revision>) -> Result<Watch, Error> {
        self.store.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.store.revoke(lease).await
    }
}

fn catalogue(store: Arc<dyn Store>) -> Catalogue {
    Catalogue {
        store,
        place: Place::Elsewhere,
    }
}

async fn only_one_of_two_wins(store: Arc<dyn Store>) {
    let ours = catalogue(store.clone());
    let put = |text: &str| Change {
        put: parsed(text),
        ..Change::default()
    };
    ours.change(&put(AUTHENTICATION)).await.unwrap();
    // Each is valid: that nobody refers to it any more, and that someone begins to.
    let delete = Change {
        delete: [id(Kind::BrokerAuthentication, "passwords")].into(),
        ..Change::default()
    };
    let refer = put(&listener("first", 1883, "passwords"));
    let raced = |change: &Change| {
        catalogue(Arc::new(Meanwhile {
            store: store.clone(),
            change: Mutex::new(Some(change.clone())),
        }))
    };
    let refused = raced(&refer).change(&delete).await.unwrap_err();
    assert!(matches!(refused, Refused::InUse(_)), "{refused}");
    let first = Change {
        delete: [id(Kind::BrokerListener, "first")].into(),
        ..Change::default()
    };
    ours.change(&first).await.unwrap();
    let refused = raced(&delete).change(&refer).await.unwrap_err();
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    // Two that were not there before, on one port.
    ours.change(&put(AUTHENTICATION)).await.unwrap();
    let same_port = put(&listener("second", 1883, "passwords"));
    let refused = raced(&same_port).change(&refer).await.unwrap_err();
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    // What has nothing to do with the other is decided anew and written.
    let other_port = put(&listener("third", 1885, "passwords"));
    let fourth = put(&listener("fourth", 1886, "passwords"));
    let changed = raced(&other_port).change(&fourth).await.unwrap();
    assert_eq!(changed[0].happened(), Happened::Created);
    let known = ours.known().await.unwrap();
    assert_eq!(known.resources.listeners().count(), 3);
}

// Two applies that are each valid and together are not would leave a listener that lets everybody in, or nobody.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_that_do_not_go_together_one_is_refused() {
    let (_directory, store) = embedded().await;
    only_one_of_two_wins(store).await;
    let server = Server::start(&[]).await;
    only_one_of_two_wins(etcd(&server, "edge").await).await;
}

// A port that stays closed on one gateway must be seen without a look at its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_shows_how_its_ports_are_on_each_gateway() {
    use catena_proto::internal::v1::{
        GatewayHeartbeat, PortStatus, RegisterGatewayRequest, SelfCheck,
        membership_client::MembershipClient,
    };
    let (_directory, store) = embedded().await;
    let server = start(store, broker(1, 1, NEVER)).await;
    let mut client = ResourcesClient::connect(server.admin_endpoint())
        .await
        .unwrap();
    let manifest = listener("first", 8883, "passwords");
    let request = apply(&[AUTHENTICATION, &manifest]);
    client.apply_resources(request).await.unwrap();

    let mut members = MembershipClient::connect(server.endpoint()).await.unwrap();
    let process = 7_u128.to_be_bytes().to_vec();
    let register = RegisterGatewayRequest {
        name: "gateway-0".to_owned(),
        process: process.clone().into(),
        protocol: catena_proto::PROTOCOL,
    };
    let registered = members.register_gateway(register).await.unwrap();
    let incarnation = registered.into_inner().incarnation;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let heard = members.gateway_heartbeats(said).await.unwrap();
    // Each heartbeat says all ports; the last of these closes.
    let beat = |number, problem: Option<&str>| GatewayHeartbeat {
        number,
        name: "gateway-0".to_owned(),
        process: process.clone().into(),
        incarnation,
        accused: vec![],
        leaving: false,
        ports: vec![PortStatus {
            listener: "first".to_owned(),
            port: 8883,
            open: problem.is_none(),
            problem: problem.map(str::to_owned),
        }],
        self_check: Some(SelfCheck {
            problem: problem.map(str::to_owned),
        }),
    };
    let get_broker = proto::GetResourceRequest {
        id: Some(message(&id(Kind::Broker, "default"))),
    };
    let get = proto::GetResourceRequest {
        id: Some(message(&id(Kind::BrokerListener, "first"))),
    };
    let mut number = 0;
    for problem in [None, Some("no certificate")] {
        let shown = eventually("it is shown", async || {
            number += 1;
            say.send(beat(number, problem)).await.unwrap();
            let got = client.get_resource(get.clone()).await.unwrap();
            let resource = got.into_inner().resource.unwrap();
            let port = resource.ports.first()?.clone();
            (port.open == problem.is_none()).then_some((port, resource.manifest))
        })
        .await;
        let (port, manifest) = shown;
        assert_eq!((port.gateway.as_str(), port.port), ("gateway-0", 8883));
        assert_eq!(port.problem, problem.unwrap_or_default());
        assert!(manifest.contains("\"status\""), "{manifest}");
        // What its own client found is kept with them, and is no port of anybody.
        let got = client.get_resource(get_broker.clone()).await.unwrap();
        let manifest = got.into_inner().resource.unwrap().manifest;
        let broker: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let condition = &broker["status"]["conditions"][0];
        assert_eq!(condition["type"], "BrokerProbeFailed");
        let wanted = problem.map_or(("False", "AllRoutesWork"), |_| ("True", "RouteFailed"));
        assert_eq!(condition["status"], wanted.0, "{condition}");
        assert_eq!(condition["reason"], wanted.1, "{condition}");
    }
    // With the gateway goes what it said.
    let leaving = GatewayHeartbeat {
        leaving: true,
        ..beat(number + 1, None)
    };
    say.send(leaving).await.unwrap();
    eventually("nothing is shown", async || {
        let got = client.get_resource(get.clone()).await.unwrap();
        let resource = got.into_inner().resource.unwrap();
        resource.ports.is_empty().then_some(())
    })
    .await;
    drop(heard);
    server.shutdown().await;
}
