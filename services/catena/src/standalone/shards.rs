//! The shards of a standalone broker: one process, which founds each of them.

use std::{num::NonZeroUsize, sync::Arc};

use catena_backend::{Backend, Options, Pulse, Shards, Voice};
use catena_chain::{
    Configuration, Epoch, Generation, Incarnation, Member, ReplicaId, message::Report,
};
use catena_membership::{Cluster, GatewayIncarnation};
use catena_resources::{Broker, QueueStrategy};
use catena_slots::SlotTable;
use catena_topology::Layout;
use catena_transport::Local;
use tokio::sync::watch;
use tracing::warn;

use super::settings::Settings;

/// The one backend.
const BACKEND: Incarnation = Incarnation(1);

/// What a control plane would tell.
pub struct Told {
    /// It does not change while this is held.
    pub cluster: watch::Sender<Arc<Cluster>>,
    /// Nobody is to be heard.
    pub heard: watch::Sender<bool>,
}

/// Nobody to report to: a chain of one has no neighbours.
struct Nobody;

impl Voice for Nobody {
    fn report(&self, report: Report) {
        warn!(?report, "a shard reports");
    }

    fn accuse(&self, _: Incarnation) {}
}

/// The cluster of one process.
pub fn cluster(settings: &Settings, slots: SlotTable, gateway: GatewayIncarnation) -> Told {
    let founder = Member {
        id: ReplicaId(1),
        incarnation: BACKEND,
    };
    let (epoch, generation) = (Epoch(1), Generation(1));
    let founded = |shard| {
        (
            shard,
            Configuration::founded(shard, epoch, generation, founder),
        )
    };
    let cluster = Cluster {
        version: gateway.0,
        chains: slots.shards().map(founded).collect(),
        layout: Some(Layout {
            partitions: 1,
            workers: u16::try_from(slots.shard_count()).unwrap_or(u16::MAX),
            slots,
        }),
        gateways_version: gateway.0,
        gateways: [gateway.0].into(),
        broker: broker(settings),
        settings_version: 1,
        ..Cluster::default()
    };
    Told {
        cluster: watch::Sender::new(Arc::new(cluster)),
        heard: watch::Sender::new(true),
    }
}

fn broker(settings: &Settings) -> Broker {
    let mut broker = Broker {
        memory_profile: settings.profile.resource(),
        ..Broker::default()
    };
    let clients = &mut broker.advanced.clients;
    clients.max_session_expiry_seconds = settings.clients.session_expiry_max;
    clients.max_message_expiry_seconds = settings.message_expiry_max;
    clients.max_packet_size_bytes = Some(settings.clients.maximum_packet_size);
    clients.max_receive_maximum = settings.clients.client_receive_maximum_max;
    clients.max_keep_alive_seconds = settings.clients.keep_alive_max;
    clients.subscriber_queue_limit.length = settings.queue_length_max;
    if settings.queue_drop_oldest {
        clients.subscriber_queue_limit.strategy = QueueStrategy::DropOldest;
    }
    broker
}

/// The shards on `threads` threads, and the way to them.
pub fn start(told: &Told, threads: NonZeroUsize) -> (Local<Backend>, Vec<Shards>) {
    let (backend, shards) = Backend::new(Options {
        me: BACKEND,
        threads,
        cluster: told.cluster.subscribe(),
        heard: told.heard.subscribe(),
        voice: Arc::new(Nobody),
        pulse: Pulse::default(),
    });
    let local = Local::default();
    local.add(BACKEND, backend);
    (local, shards)
}
