//! What gateways and backends are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytestring::ByteString;
use catena_chain::{Configuration, Incarnation};
use catena_resources::{
    Broker, QueueStrategy, Resources, SharedStrategy, Switch, broker::PersistMode,
};
use catena_shard::{
    query::Pattern,
    unkept::{Durable, Which},
};
use catena_slots::ShardId;
use catena_topology::{GatewayIncarnation, Layout};

/// All that gateways and backends are told. Each version replaces the one before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// The store revision that it is of; 0 until the first news.
    pub version: u64,
    /// `None` until the cluster is laid out.
    pub layout: Option<Layout>,
    /// A shard that was never founded has none. Of two epochs the higher is told, whatever the store says `[C-11]`.
    pub chains: BTreeMap<ShardId, Configuration>,
    /// `host:port` of each thread of the registered nodes.
    pub addresses: BTreeMap<Incarnation, Arc<[String]>>,
    /// The store revision that `gateways` was read at: an incarnation that is not listed and not above it is refused
    /// `[C-43]`.
    pub gateways_version: u64,
    /// Incarnations of the gateways that shards take ops from, ascending.
    pub gateways: Arc<[u64]>,
    /// Gateways that an administrator wants without clients: they are to drain.
    pub draining: BTreeSet<GatewayIncarnation>,
    /// All that administrators applied. What has not changed stays the same `Arc`.
    pub resources: Arc<Resources>,
    /// The one among them. The failure time-out is in it too.
    pub broker: Broker,
    /// Rises with the Broker, the layout, and each shard that starts empty.
    pub settings_version: u64,
}

impl Cluster {
    /// What `shard` is configured with. `None` before the layout is known, and for a shard that is not of it.
    pub fn shard_settings(&self, shard: ShardId) -> Option<catena_shard::Settings> {
        let layout = self.layout.as_ref()?;
        let slots = &layout.slots;
        if shard.index() >= slots.shard_count() {
            return None;
        }
        let generation = |shard: ShardId| {
            let chain = self.chains.get(&shard);
            chain.map_or(1, |configuration| configuration.generation.0.max(1))
        };
        let advanced = &self.broker.advanced;
        let clients = &advanced.clients;
        let queue = clients.subscriber_queue_limit;
        Some(catena_shard::Settings {
            version: self.settings_version,
            generations: slots.shards().map(generation).collect(),
            buffer_bytes: self.broker.memory_profile.buffer_bytes(),
            spill_bytes_max: self.spill_bytes() / u64::from(layout.workers.max(1)),
            message_expiry_max: clients.max_message_expiry_seconds,
            queue_length_max: queue.length,
            queue_drop_oldest: queue.strategy == QueueStrategy::DropOldest,
            retained_messages_max: advanced.retained.max_messages,
            retained_bytes_max: self.broker.retained_bytes_max(),
            subscriptions_max: clients.max_subscriptions,
            shared_strategy: match advanced.shared_subscriptions.strategy {
                SharedStrategy::RoundRobin => catena_shard::SharedStrategy::RoundRobin,
                SharedStrategy::LeastInflight => catena_shard::SharedStrategy::LeastInflight,
                SharedStrategy::TopicHash => catena_shard::SharedStrategy::TopicHash,
            },
            durable: self.durable(),
            ..catena_shard::Settings::new(shard, slots.clone())
        })
    }

    /// What of the messages outlives a start from disk.
    fn durable(&self) -> Durable {
        let Some(persistence) = &self.broker.persistence else {
            return Durable::default();
        };
        let which = |mode, asked: Option<Switch>| match mode {
            PersistMode::All => Which::All,
            PersistMode::None => Which::None,
            PersistMode::Custom => Which::Custom {
                asked: asked == Some(Switch::Enabled),
            },
        };
        let retained = persistence.retain.retain_settings.as_ref();
        let queues = persistence
            .subscriber_queue
            .subscriber_queue_settings
            .as_ref();
        let topics = retained.map(|settings| settings.topics.iter());
        Durable {
            retained: which(
                persistence.retain.mode,
                retained.map(|settings| settings.dynamic.mode),
            ),
            retained_topics: topics
                .into_iter()
                .flatten()
                .map(|topic| topic.as_str().into())
                .collect(),
            queues: which(
                persistence.subscriber_queue.mode,
                queues.map(|settings| settings.dynamic.mode),
            ),
            property: self.keep_property(),
        }
    }

    /// The user property by which clients ask for their messages to be kept; empty when nothing is.
    fn keep_property(&self) -> (ByteString, ByteString) {
        let persistence = self.broker.persistence.as_ref();
        persistence.map_or_else(Default::default, |persistence| {
            let dynamic = &persistence.dynamic_settings;
            let (name, value) = (&dynamic.user_property_key, &dynamic.user_property_value);
            (name.as_str().into(), value.as_str().into())
        })
    }

    /// Whose queues are kept by their client ids. What is too long to be a pattern names nobody.
    fn kept_clients(&self) -> Arc<[Pattern]> {
        let policy = self
            .broker
            .persistence
            .as_ref()
            .map(|persistence| &persistence.subscriber_queue);
        let settings = policy.and_then(|policy| policy.subscriber_queue_settings.as_ref());
        let ids = settings
            .into_iter()
            .flat_map(|settings| &settings.subscriber_client_ids);
        ids.filter_map(|id| Pattern::parse(id.as_str().into()).ok())
            .collect()
    }

    /// How much of a node's disk long queues may take; 0: none.
    pub fn spill_bytes(&self) -> u64 {
        let buffer = self.broker.disk_backed_message_buffer.as_ref();
        buffer.map_or(0, |buffer| buffer.max_size.bytes())
    }

    /// Takes over from `known` every resource that is still the same.
    pub(crate) fn share(&mut self, known: &Cluster) {
        if self.resources == known.resources {
            self.resources = known.resources.clone();
            return;
        }
        let resources = Arc::make_mut(&mut self.resources);
        for (id, stored) in known.resources.iter() {
            if resources.get(id) == Some(stored) {
                resources.put(stored.version, stored.resource.clone());
            }
        }
    }

    /// What clients may ask for.
    pub fn client_settings(&self) -> catena_connection::Settings {
        let defaults = catena_connection::Settings::default();
        let advanced = &self.broker.advanced;
        let (clients, server_reference) = (&advanced.clients, &advanced.server_reference);
        catena_connection::Settings {
            receive_maximum: defaults.receive_maximum.min(clients.max_receive_maximum),
            client_receive_maximum_max: clients.max_receive_maximum,
            maximum_packet_size: self.broker.packet_bytes_max(),
            window_bytes: defaults
                .window_bytes
                .min(self.broker.memory_profile.packet_bytes() / 16),
            session_expiry_max: clients.max_session_expiry_seconds,
            publish_rate_max: clients.max_publish_rate,
            publish_bytes_rate_max: clients.max_publish_bytes_rate,
            keep_alive_max: clients.max_keep_alive_seconds,
            server_reference: server_reference.clone().map(Into::into),
            kept_clients: self.kept_clients(),
            keep_property: self.keep_property(),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use catena_slots::SlotTable;

    use super::*;

    // A limit that an administrator sets, and that no shard hears of, is found when it is needed.
    #[test]
    fn what_the_broker_says_reaches_shards_and_connections() {
        let layout = Layout {
            partitions: 1,
            workers: 1,
            slots: SlotTable::even(1, 0).unwrap(),
        };
        let mut cluster = Cluster {
            layout: Some(layout),
            ..Cluster::default()
        };
        let defaults = cluster.shard_settings(ShardId(0)).unwrap();
        assert_eq!(
            defaults.retained_bytes_max,
            catena_shard::entry::BUFFER_BYTES_DEFAULT / 4
        );
        let advanced = &mut cluster.broker.advanced;
        advanced.retained.max_messages = Some(7);
        advanced.retained.max_bytes = Some(8);
        advanced.clients.max_subscriptions = 9;
        advanced.shared_subscriptions.strategy = SharedStrategy::TopicHash;
        advanced.clients.max_publish_rate = Some(10);
        advanced.clients.max_publish_bytes_rate = Some(11);
        advanced.server_reference = Some("b.example.com:1883".to_owned());
        let settings = cluster.shard_settings(ShardId(0)).unwrap();
        assert_eq!(settings.retained_messages_max, Some(7));
        assert_eq!(settings.retained_bytes_max, 8);
        assert_eq!(settings.subscriptions_max, 9);
        assert_eq!(
            settings.shared_strategy,
            catena_shard::SharedStrategy::TopicHash
        );
        let client = cluster.client_settings();
        let reference = client.server_reference.as_deref();
        assert_eq!(reference, Some("b.example.com:1883"));
        assert_eq!(client.publish_rate_max, Some(10));
        assert_eq!(client.publish_bytes_rate_max, Some(11));
    }
}
