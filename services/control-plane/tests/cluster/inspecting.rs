//! The services for administrators' looks into shards, on shards without chains: who is asked, and what becomes of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use catena_chain::Member;
use catena_control_plane::ControlPlane;
use catena_proto::admin::v1::{
    self as admin, retained_client::RetainedClient, sessions_client::SessionsClient,
};
use catena_shard::{
    Command, ConnId, Effects, Entry, Input, Message, Op, Origin, Query, Settings, Shard, Time, op,
};
use catena_slots::{ShardId, SlotTable};
use catena_transport::{Answered, Directory, Inspect, NotAnswered, Saving};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    node::Node,
    world::{NEVER, broker, embedded, eventually, is_complete, options},
};

const SHARDS: usize = 4;
const GATEWAY: Origin = Origin::Gateway {
    incarnation: 1,
    worker: 0,
};

/// Shards, and those that are asked as if they were far away.
#[derive(Debug)]
struct Far {
    shards: Vec<Mutex<(Shard, u64)>>,
    /// So often they say that they cannot.
    refusals: AtomicU32,
    asked: AtomicU32,
}

impl Far {
    fn new() -> Far {
        let slots = SlotTable::even(SHARDS, 0).unwrap();
        let shard = |shard| {
            let mut made = Shard::new(shard, 1);
            let settings = Settings::new(shard, slots.clone());
            let (version, live) = (1, &[1][..]);
            apply(&mut made, Input::Gateways { version, live });
            apply(&mut made, Input::Configure(&settings));
            Mutex::new((made, 0))
        };
        Far {
            shards: slots.shards().map(shard).collect(),
            refusals: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        }
    }

    fn op(&self, shard: ShardId, op: &Op) {
        let (shard, number) = &mut *self.shards[shard.index()].lock().unwrap();
        *number += 1;
        let (number, acked_through) = (*number, 0);
        let origin = GATEWAY;
        apply(
            shard,
            Input::Op {
                origin,
                number,
                acked_through,
                op,
            },
        );
    }

    fn connect(&self, id: &str, conn: u64) {
        let home = SlotTable::even(SHARDS, 0).unwrap().home(id);
        let attachment = op::Attachment {
            conn: ConnId(conn),
            persistent: true,
            receive_maximum: 10,
            window_messages: 10,
            window_bytes: 1 << 20,
            keeps: Default::default(),
        };
        let connect = op::Connect {
            client_id: id.to_owned().into(),
            clean_start: true,
            expiry: 60,
            will: None,
            principal: None,
            asked_at: Time(1_000),
            protocol: 5,
            attachment,
        };
        self.op(home, &Op::Connect(Box::new(connect)));
    }

    fn refuse(&self) -> Result<(), NotAnswered> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let left = self.refusals.load(Ordering::Relaxed);
        if left == 0 {
            return Ok(());
        }
        self.refusals.store(left - 1, Ordering::Relaxed);
        Err(NotAnswered::NotServing)
    }
}

fn apply(shard: &mut Shard, input: Input<'_>) {
    let at = Time(1_000);
    shard.apply(&Entry { at, input }, &mut Effects::default());
}

#[tonic::async_trait]
impl Inspect for Far {
    async fn query(
        &self,
        shard: ShardId,
        _: Member,
        query: Query,
    ) -> Result<Answered, NotAnswered> {
        self.refuse()?;
        let (shard, _) = &*self.shards[shard.index()].lock().unwrap();
        Ok(Answered {
            generation: shard.generation(),
            now: shard.now().0,
            answer: shard.query(&query),
        })
    }

    async fn save(&self, _: ShardId, _: Member) -> Result<Saving, NotAnswered> {
        Err(NotAnswered::NotServing)
    }

    async fn command(
        &self,
        shard: ShardId,
        _: Member,
        command: Command,
    ) -> Result<bool, NotAnswered> {
        self.refuse()?;
        let (shard, _) = &mut *self.shards[shard.index()].lock().unwrap();
        let would_act = shard.would_act(&command);
        apply(shard, Input::Command(&command));
        Ok(would_act)
    }
}

struct World {
    far: Arc<Far>,
    control_plane: ControlPlane,
    _node: Node,
    _directory: tempfile::TempDir,
}

impl World {
    async fn start() -> World {
        let (directory, store) = embedded().await;
        let options = options(broker(SHARDS as u16, 1, NEVER));
        let far = Arc::new(Far::new());
        let addresses = Directory::default();
        let started = ControlPlane::start_beside(store, options, addresses, far.clone()).await;
        let control_plane = started.unwrap();
        let node = Node::start("a", vec![control_plane.endpoint()]).await;
        let cluster = node.control_plane.watch();
        eventually("chains", async || {
            is_complete(&cluster.borrow(), SHARDS as u16, 1).then_some(())
        })
        .await;
        World {
            far,
            control_plane,
            _node: node,
            _directory: directory,
        }
    }

    async fn sessions(&self) -> SessionsClient<tonic::transport::Channel> {
        let endpoint = self.control_plane.admin_endpoint();
        SessionsClient::connect(endpoint).await.unwrap()
    }

    /// All sessions, by pages of this size.
    async fn list(&self, page_size: u32, pattern: &str) -> Vec<String> {
        let mut client = self.sessions().await;
        let mut request = admin::ListSessionsRequest {
            pattern: pattern.to_owned(),
            page_size,
            ..admin::ListSessionsRequest::default()
        };
        let mut all = Vec::new();
        loop {
            let page = client.list_sessions(request.clone()).await.unwrap();
            let page = page.into_inner();
            assert!(page.sessions.len() <= page_size as usize);
            all.extend(page.sessions.into_iter().map(|session| session.client_id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return all;
            }
        }
    }
}

// A page would end with its shard, or begin with it again.
#[tokio::test(flavor = "multi_thread")]
async fn pages_go_over_all_shards() {
    let world = World::start().await;
    let ids: BTreeSet<String> = (0..130).map(|n| format!("client-{n}")).collect();
    for (conn, id) in ids.iter().enumerate() {
        world.far.connect(id, conn as u64);
    }
    for page_size in [1, 7, 100, 1_000] {
        let listed = world.list(page_size, "").await;
        assert_eq!(listed.len(), 130);
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
    }
    assert_eq!(world.list(3, "client-12?").await.len(), 10);
    let (mut client, beyond) = (world.sessions().await, 1_001);
    let refused = client
        .list_sessions(admin::ListSessionsRequest {
            page_size: beyond,
            ..admin::ListSessionsRequest::default()
        })
        .await
        .unwrap_err();
    let details = refused.get_details_bad_request().expect("details");
    assert_eq!(details.field_violations[0].field, "page_size");
}

// A chain that is repaired within a second would fail every request meanwhile; one that is not would hold them for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_asked_again_and_then_named() {
    let world = World::start().await;
    world.far.connect("a", 1);
    world.far.refusals.store(3, Ordering::Relaxed);
    assert_eq!(world.list(10, "").await, ["a"]);
    assert!(world.far.asked.load(Ordering::Relaxed) >= 4 + SHARDS as u32);
    world.far.refusals.store(u32::MAX, Ordering::Relaxed);
    let mut client = world.sessions().await;
    let request = admin::GetSessionRequest {
        client_id: "a".to_owned(),
        subscriptions_max: 0,
    };
    let refused = client.get_session(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some());
    let info = refused.get_details_error_info().expect("details");
    assert_eq!(info.reason, "SHARD_UNAVAILABLE");
    assert!(refused.message().contains("another role"), "{refused}");
}

// Whoever asks for the wrong one must hear it, and a second request must do nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_disconnected_and_deleted_once() {
    let world = World::start().await;
    world.far.connect("a", 1);
    let mut client = world.sessions().await;
    let disconnect = |id: &str| admin::DisconnectSessionRequest {
        client_id: id.to_owned(),
        reason: "a test".to_owned(),
    };
    client.disconnect_session(disconnect("a")).await.unwrap();
    let refused = client
        .disconnect_session(disconnect("b"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(
        refused.get_details_resource_info().unwrap().resource_name,
        "b"
    );
    let delete = || admin::DeleteSessionRequest {
        client_id: "a".to_owned(),
        reason: String::new(),
    };
    let deleted = client.delete_session(delete()).await.unwrap().into_inner();
    assert_eq!(deleted.pending_shards, [0; 0]);
    let refused = client.delete_session(delete()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let mut forged = disconnect("a");
    forged.reason = "two\nlines".to_owned();
    let refused = client.disconnect_session(forged).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::InvalidArgument,
        "it would forge a line of the log"
    );
}

// Topics of several shards would come shard by shard, or some would be left out between two pages.
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_merged_in_the_order_of_their_topics() {
    let world = World::start().await;
    world.far.connect("a", 1);
    let slots = SlotTable::even(SHARDS, 0).unwrap();
    let topics: Vec<String> = (0..60).map(|n| format!("t/{n:02}/x")).collect();
    for topic in &topics {
        let message = Message {
            topic: topic.clone().into(),
            payload: "x".into(),
            properties: Default::default(),
            qos: catena_mqtt::QoS::AtLeastOnce,
            retain: true,
            expiry: None,
            publisher: catena_shard::ClientKey(0),
            counter: 0,
        };
        let message = Arc::new(message);
        let will = op::PublishWill { message };
        world.far.op(slots.topic(topic), &Op::PublishWill(will));
    }
    let endpoint = world.control_plane.admin_endpoint();
    let mut client = RetainedClient::connect(endpoint).await.unwrap();
    for page_size in [1, 9, 1_000] {
        let mut request = admin::ListRetainedRequest {
            filter: "t/+/x".to_owned(),
            page_size,
            page_token: String::new(),
        };
        let mut listed = Vec::new();
        loop {
            let page = client.list_retained(request.clone()).await.unwrap();
            let page = page.into_inner();
            listed.extend(page.messages.into_iter().map(|message| message.topic));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, topics, "{page_size}");
    }
}
