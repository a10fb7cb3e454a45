//! Every metric, in one place: its name, what it counts, and its labels.
//!
//! `aio_broker_` names are those that Azure IoT Operations documents, so that its dashboards work here; they have the label
//! `hostname` besides those that are listed. `catena_` names are ours. docs/metrics.md is checked against this list.

use crate::samples::{Kind, Metric};

/// Whether the metric has the label `hostname` before those that it lists.
pub fn has_hostname(metric: &Metric) -> bool {
    metric.name.starts_with("aio_broker_")
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                help: $help,
                labels: &[$($label),*],
            };
        )+

        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    // Clients and their messages, of a gateway.
    AIO_PUBLISHES_RECEIVED Counter "aio_broker_publishes_received" "{messages}" ["category"] "Messages that clients published";
    AIO_PUBLISHES_SENT Counter "aio_broker_publishes_sent" "{messages}" ["category"] "Messages that were written to clients";
    AIO_PAYLOAD_RECEIVED Counter "aio_broker_payload_bytes_received" "By" ["category"] "Bytes of payload that clients published";
    AIO_PAYLOAD_SENT Counter "aio_broker_payload_bytes_sent" "By" ["category"] "Bytes of payload that were written to clients";
    AIO_AUTHENTICATION_SUCCESSES Counter "aio_broker_authentication_successes" "1" ["category"] "Clients that proved who they are";
    AIO_AUTHENTICATION_FAILURES Counter "aio_broker_authentication_failures" "1" ["category"] "Clients of which it could not be decided who they are";
    AIO_AUTHENTICATION_DENY Counter "aio_broker_authentication_deny" "1" ["category"] "Clients that did not prove who they are";
    AIO_AUTHORIZATION_ALLOW Counter "aio_broker_authorization_allow" "1" ["category"] "What policies allowed: to connect, to publish, to subscribe";
    AIO_AUTHORIZATION_DENY Counter "aio_broker_authorization_deny" "1" ["category"] "What policies did not allow";
    AIO_QOS0_DROPPED Counter "aio_broker_qos0_messages_dropped" "{messages}" ["category", "direction"] "QoS 0 messages that found no room, incoming or outgoing";
    AIO_CONNECTED_SESSIONS Gauge "aio_broker_connected_sessions" "{sessions}" ["mqtt_version"] "Clients that are connected to this gateway";
    AIO_BACKPRESSURE_REJECTED Counter "aio_broker_backpressure_packets_rejected" "{packets}" [] "Packets that were refused because there was no room for them";

    ACCEPTED Counter "catena_gateway_accepted_total" "{connections}" [] "Sockets that were accepted";
    CERTIFICATE_EXPIRY Gauge "catena_certificate_expiry_timestamp_seconds" "s" ["listener"] "When the certificate of a port expires, in seconds since 1970";
    CONNECTED Counter "catena_gateway_connected_total" "{clients}" [] "Clients that were told yes";
    CONNECTIONS Gauge "catena_gateway_connections" "{connections}" [] "Connections that are open, also those that are not yet through CONNECT";
    REFUSED Counter "catena_gateway_refused_total" "{clients}" ["reason"] "Clients that were told no at CONNECT, by MQTT 5's reason";
    DISCONNECTED Counter "catena_gateway_disconnected_total" "{clients}" ["reason"] "Connections that ended after CONNECT, by MQTT 5's reason; UnspecifiedError is a socket that broke";
    TURNED_AWAY Counter "catena_gateway_turned_away_total" "{connections}" ["reason"] "Sockets on which MQTT did not begin, or that were closed without a word, by reason";
    DENIED Counter "catena_gateway_denied_total" "1" ["action"] "What policies did not allow, by what it was";
    DROPPED Counter "catena_gateway_messages_dropped_total" "{messages}" ["reason"] "Messages that were not delivered or not taken, by reason";
    SLOWED Counter "catena_gateway_slowed_total" "1" [] "Times that a client's publishes had to wait because it was faster than it may be";
    MEMORY_SHORT Counter "catena_gateway_memory_short_total" "1" [] "Times that what a worker's connections hold in memory came to its bound";
    LINKS_BROKEN Counter "catena_gateway_links_broken_total" "{links}" [] "Links to shards that broke";
    LINKS_WHOLE Gauge "catena_gateway_links_whole" "{links}" ["shard"] "Workers of this gateway whose link to a shard is whole: all of them, when nothing is wrong";
    LINK_OPS Counter "catena_gateway_link_ops_total" "{ops}" ["shard"] "Ops that this gateway sent to a shard";
    LINK_EFFECTS Counter "catena_gateway_link_effects_total" "{effects}" ["shard"] "Effects of a shard that this gateway handed to its clients";
    LINK_UNCOMMITTED Gauge "catena_gateway_link_uncommitted_ops" "{ops}" ["shard"] "Ops to a shard that are not yet committed; a worker's window is 8,192 publishes";
    FAILOVER_GAP Histogram "catena_gateway_failover_gap_seconds" "s" [] "For how long a link to a shard was not whole, once it was again: what clients of a failover see";
    AUTHENTICATIONS Counter "catena_authentication_total" "1" ["method", "outcome"] "What authenticators decided, by method";
    AUTHENTICATION_IRRELEVANT Counter "catena_authentication_irrelevant_total" "{clients}" [] "Clients refused because no method was for what they brought";

    // Replicas of shards, of a backend.
    AIO_RETAINED_MESSAGES Gauge "aio_broker_store_retained_messages" "{messages}" ["chain_id", "is_tail"] "Retained messages";
    AIO_RETAINED_BYTES Gauge "aio_broker_store_retained_bytes" "By" ["chain_id", "is_tail"] "Bytes that retained messages weigh";
    AIO_BACKPRESSURE_MEMORY Counter "aio_broker_backpressure_packets_rejected_memory" "{packets}" [] "Publishes that shards refused because their memory was full, of the chains whose tail is here";
    AIO_BACKPRESSURE_DISK Counter "aio_broker_backpressure_packets_rejected_disk" "{packets}" [] "Publishes that they refused because the disk-backed message buffer was full too, or its disk failed or fell behind";
    AIO_WILL_MESSAGES Gauge "aio_broker_store_will_messages" "{messages}" ["chain_id", "is_tail"] "Wills that wait";
    AIO_WILL_BYTES Gauge "aio_broker_store_will_bytes" "By" ["chain_id", "is_tail"] "Bytes that they weigh";
    AIO_TOTAL_SESSIONS Gauge "aio_broker_total_sessions" "{sessions}" [] "Sessions, with and without a connection, of the chains whose tail is here";
    AIO_STORE_TOTAL_SESSIONS Gauge "aio_broker_store_total_sessions" "{sessions}" ["is_persistent", "is_tail", "chain_id"] "Sessions of a chain, with and without a connection";
    AIO_STORE_CONNECTED_SESSIONS Gauge "aio_broker_store_connected_sessions" "{sessions}" ["is_persistent", "is_tail", "chain_id"] "Of them, those with a connection";
    AIO_TOTAL_SUBSCRIPTIONS Gauge "aio_broker_total_subscriptions" "{subscriptions}" [] "Subscriptions of the chains whose tail is here; one with wildcards is on every chain";
    AIO_STORE_TOTAL_SUBSCRIPTIONS Gauge "aio_broker_store_total_subscriptions" "{subscriptions}" ["chain_id", "is_tail"] "Subscriptions of a chain, shared and not";
    AIO_SUBSCRIPTIONS Gauge "aio_broker_store_subscriptions" "{subscriptions}" ["chain_id", "is_tail"] "Subscriptions of a chain that are not shared";
    AIO_SHARED_SUBSCRIPTIONS Gauge "aio_broker_store_shared_subscriptions" "{subscriptions}" ["chain_id", "is_tail"] "Members of a chain's shared subscriptions";
    AIO_EXPIRED_MESSAGES Counter "aio_broker_store_expired_messages" "{messages}" ["chain_id", "is_tail"] "Messages that expired in a queue";
    AIO_DISK_BUFFER Gauge "aio_broker_total_disk_backed_message_buffer_usage" "By" [] "Bytes of long queues that left memory, of all replicas of this node";
    AIO_BUFFER_USED Gauge "aio_broker_buffer_pool_used_percent" "%" ["name"] "How much of a shard's room for messages is used";

    AIO_PERSISTENCE_USED Gauge "aio_broker_persistence_disk_usage" "By" [] "Bytes that is kept on disk takes, of all shards of this node";
    AIO_PERSISTENCE_AVAILABLE Gauge "aio_broker_persistence_disk_percent_available" "%" [] "How much of persistence.maxSize is left, or of the disk if that is less";
    AIO_PERSISTENCE_REQUESTS Counter "aio_broker_persistence_dynamic_requests" "1" ["allowed"] "CONNECTs and retained messages that asked to be kept on disk, by whether the Broker lets them ask; of the chains whose tail is here";
    AIO_PERSISTENCE_RECOVERY Gauge "aio_broker_persistence_last_recovery_time" "s" [] "Seconds that it took at the start to read back what was on disk; 0 when nothing was";
    AIO_DISK_TRANSFERS_COMPLETED Counter "aio_broker_disk_transfers_completed" "{parts}" [] "Parts of long queues, of up to 1,024 messages, that were written to the disk-backed message buffer";
    AIO_DISK_TRANSFERS_FAILED Counter "aio_broker_disk_transfers_failed" "{attempts}" [] "Attempts to write such a part that failed";
    AIO_TRANSFER_SENT Counter "aio_broker_store_transfer_batch_sender_message_count" "{messages}" ["chain_id"] "Parts of snapshots that were sent to a replica that joined";
    AIO_TRANSFER_BYTES Counter "aio_broker_store_transfer_batch_sender_transfer_bytes" "By" ["chain_id"] "Bytes of them";
    AIO_TRANSFER_RECEIVED Counter "aio_broker_store_transfer_batch_receiver_message_count" "{messages}" ["chain_id"] "Parts of snapshots that a replica here got when it joined";

    DISK_SYNCS Counter "catena_disk_syncs_total" "{syncs}" [] "Syncs of files and directories of what is kept on disk";
    DISK_SYNC_SECONDS Histogram "catena_disk_sync_seconds" "s" [] "How long syncs of logs took: acknowledgements wait for them, unless persistence.sync is Interval";
    DISK_ENTRIES Counter "catena_disk_entries_total" "{entries}" [] "Entries that were written to logs";
    DISK_WRITTEN Counter "catena_disk_written_bytes_total" "By" [] "Bytes that were written to logs and snapshots";
    DISK_MAX Gauge "catena_disk_max_bytes" "By" [] "persistence.maxSize";
    SHARD_LOG_BYTES Gauge "catena_shard_log_bytes" "By" ["shard"] "Bytes of entries on disk since the last snapshot";
    SHARD_OLDER_KEY Gauge "catena_shard_older_key" "1" ["shard"] "1 while anything that is on disk of a shard is encrypted with a key that was replaced";
    SHARD_UNKEPT Counter "catena_shard_unkept_dropped_total" "{messages}" ["shard"] "Messages that were dropped after a start from disk, since persistence does not keep them";
    SHARD_SNAPSHOT_AGE Gauge "catena_shard_snapshot_age_seconds" "s" ["shard"] "Age of the last snapshot on disk, if this process has written it";
    SHARD_DISK_COMPLETE Gauge "catena_shard_disk_complete" "1" ["shard"] "1 where what is on disk of a shard is enough to go on from; 0 while a first snapshot is written, and after a failure";
    SHARD_DISK_FAILED Gauge "catena_shard_disk_failed" "1" ["shard"] "1 where the disk of a replica is full or has failed: it acknowledges nothing any more";

    SHARD_ROLE Gauge "catena_shard_role" "1" ["shard", "role"] "1 for the role that this process has in the chain of a shard: head, middle, tail, alone, learner";
    SHARD_EPOCH Gauge "catena_shard_epoch" "1" ["shard"] "The epoch of the chain, as its replica here knows it";
    SHARD_INDEX Gauge "catena_shard_log_index" "{entries}" ["shard"] "The last entry that the replica has";
    SHARD_COMMIT Gauge "catena_shard_commit_index" "{entries}" ["shard"] "The last entry of which the replica knows that all have it";
    SHARD_TURNS Counter "catena_shard_turns_total" "{turns}" ["shard"] "Turns of a replica: the work of one is what had gathered";
    SHARD_ALARMS Counter "catena_shard_alarms_total" "1" ["shard"] "What must not happen to a replica, but did: divergence, gaps";
    SHARD_DIRECT_DROPPED Counter "catena_shard_direct_dropped_total" "{messages}" ["shard"] "QoS 0 deliveries past the log that found no room or nobody, and messages that were lost with their connection";
    SHARD_BYTES Gauge "catena_shard_bytes" "By" ["shard"] "Bytes that the state of a shard weighs, on this replica";
    SHARD_BUFFER_BYTES Gauge "catena_shard_buffer_bytes" "By" ["shard"] "Bytes that it may weigh: publishes are refused from three quarters on";
    SHARD_SPILLED Gauge "catena_shard_spilled_bytes" "By" ["shard"] "Bytes of long queues that left memory, on this replica";
    SHARD_STORED Gauge "catena_shard_stored_messages" "{messages}" ["shard"] "Messages in queues, in flight and retained";
    SHARD_PUBLISHES Counter "catena_shard_publishes_total" "{messages}" ["shard"] "Publishes that the replica applied";
    SHARD_DROPPED Counter "catena_shard_messages_dropped_total" "{messages}" ["shard", "reason"] "Messages that were not delivered or not taken, by reason";
    SHARD_TAKEOVERS Counter "catena_shard_takeovers_total" "{sessions}" ["shard"] "Sessions that another connection took over";
    SHARD_WILLS Counter "catena_shard_wills_total" "{messages}" ["shard"] "Wills that were published";
    SHARD_STALE Counter "catena_shard_stale_ops_total" "{ops}" ["shard"] "Ops of connections that were replaced, and did nothing";
    SHARD_CONGESTED Gauge "catena_shard_links_congested" "{links}" ["shard"] "Gateways and shards that do not take their effects as fast as they come, so that their readers wait";
    SHARD_JOBS Gauge "catena_shard_jobs" "{jobs}" ["shard"] "Pieces of work that are put off: large fan-outs, ends of large sessions";
    SHARD_QUEUED Gauge "catena_shard_queued_messages" "{messages}" ["shard"] "Messages that wait for single clients and for shared subscriptions, as counted some seconds ago";
    SHARD_SLOW Gauge "catena_shard_slow_consumers" "{clients}" ["shard"] "Clients that are connected, for which messages wait and which have as many unanswered as they may";
    SHARD_LONGEST Gauge "catena_shard_longest_queue_messages" "{messages}" ["shard", "rank"] "The longest queues of a shard, of clients and of shared subscriptions, the longest with rank 1; catena sessions tells whose those of clients are";
    SHARD_LINKS Gauge "catena_shard_links" "{links}" ["shard"] "Gateways whose links are open at this head";

    // The cluster, as a control plane sees it.
    AIO_BACKEND_REPLICAS Gauge "aio_broker_backend_replicas" "{nodes}" [] "Backends that the cluster should have";
    AIO_BACKEND_REPLICAS_CURRENT Gauge "aio_broker_backend_replicas_current" "{nodes}" [] "Backends that are live";
    AIO_BACKEND_CHAIN Gauge "aio_broker_backend_vertical_chain" "{replicas}" [] "Replicas that each chain should have";
    AIO_BACKEND_CHAIN_CURRENT Gauge "aio_broker_backend_vertical_chain_current" "{replicas}" [] "Live replicas of the chain that has fewest";
    AIO_BACKEND_PARTITIONS Gauge "aio_broker_backend_partitions" "{partitions}" [] "Partitions";
    AIO_BACKEND_WORKERS Gauge "aio_broker_backend_workers" "{workers}" [] "Shards of each partition";
    AIO_FRONTEND_REPLICAS Gauge "aio_broker_frontend_replicas" "{gateways}" [] "Gateways that the cluster should have";
    AIO_FRONTEND_REPLICAS_CURRENT Gauge "aio_broker_frontend_replicas_current" "{gateways}" [] "Gateways that are live";
    AIO_FRONTEND_WORKERS Gauge "aio_broker_frontend_workers" "{workers}" [] "Workers of each gateway";

    CONTROL_PLANE_LEADS Gauge "catena_control_plane_leads" "1" [] "1 where this replica of the control plane leads; what else a control plane tells of the cluster is told by the leader alone";
    CONTROL_PLANE_STORE Gauge "catena_control_plane_store_contact" "1" [] "1 while this replica is in contact with the store";
    CONTROL_PLANE_REVISION Gauge "catena_control_plane_revision" "1" [] "The revision of the store that this replica knows";
    CLUSTER_NODES Gauge "catena_cluster_nodes" "{nodes}" ["liveness"] "Nodes by liveness";
    CLUSTER_GATEWAYS Gauge "catena_cluster_gateways" "{gateways}" [] "Gateways whose ops shards take";
    CLUSTER_ALARMS Gauge "catena_cluster_alarms" "{alarms}" ["kind"] "Alarms, as catena status shows them";
    CHAIN_LIVE Gauge "catena_chain_live_replicas" "{replicas}" ["shard"] "Live replicas of a chain, without its learner";
    CHAIN_LAG Gauge "catena_chain_lag" "{entries}" ["shard"] "Entries that the replica furthest behind lacks of the head's";
    CHAIN_EPOCH Gauge "catena_chain_epoch" "1" ["shard"] "The epoch of a chain: each change of it is one more";
    CHAIN_GENERATION Gauge "catena_chain_generation" "1" ["shard"] "How often a shard has begun anew: empty, or after a power cut with persistence.sync Interval";

    // What the probe finds.
    PROBE_UP Gauge "catena_probe_up" "1" ["gateway", "shard"] "1 where the last round of the probe on this route went well";
    PROBE_ROUNDS Counter "catena_probe_rounds_total" "{rounds}" [] "Rounds of the probe, each on one route";
    PROBE_CONNECT_CORRECT Gauge "aio_broker_connect_route_replication_correctness" "1" ["gateway", "shard"] "1 where the last CONNECT of the probe went well, by route";
    PROBE_CONNECT_ROUTE Gauge "aio_broker_connect_latency_route_ms" "ms" ["gateway", "shard"] "Milliseconds that the last CONNECT of the probe took, by route";
    PROBE_CONNECT_LAST Gauge "aio_broker_connect_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of CONNECT";
    PROBE_CONNECT_MU Gauge "aio_broker_connect_latency_mu_ms" "ms" [] "Mean in milliseconds, of CONNECT";
    PROBE_CONNECT_SIGMA Gauge "aio_broker_connect_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of CONNECT";
    PROBE_PING_CORRECT Gauge "aio_broker_ping_correctness" "1" ["gateway", "shard"] "1 where the last PINGREQ of the probe went well, by route";
    PROBE_PING_ROUTE Gauge "aio_broker_ping_latency_route_ms" "ms" ["gateway", "shard"] "Milliseconds that the last PINGREQ of the probe took, by route";
    PROBE_PING_LAST Gauge "aio_broker_ping_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of PINGREQ";
    PROBE_PING_MU Gauge "aio_broker_ping_latency_mu_ms" "ms" [] "Mean in milliseconds, of PINGREQ";
    PROBE_PING_SIGMA Gauge "aio_broker_ping_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of PINGREQ";
    PROBE_SUBSCRIBE_CORRECT Gauge "aio_broker_subscribe_route_replication_correctness" "1" ["gateway", "shard"] "1 where the last SUBSCRIBE of the probe went well, by route";
    PROBE_SUBSCRIBE_ROUTE Gauge "aio_broker_subscribe_latency_route_ms" "ms" ["gateway", "shard"] "Milliseconds that the last SUBSCRIBE of the probe took, by route";
    PROBE_SUBSCRIBE_LAST Gauge "aio_broker_subscribe_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of SUBSCRIBE";
    PROBE_SUBSCRIBE_MU Gauge "aio_broker_subscribe_latency_mu_ms" "ms" [] "Mean in milliseconds, of SUBSCRIBE";
    PROBE_SUBSCRIBE_SIGMA Gauge "aio_broker_subscribe_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of SUBSCRIBE";
    PROBE_PUBLISH_CORRECT Gauge "aio_broker_publish_route_replication_correctness" "1" ["gateway", "shard"] "1 where the last PUBLISH of the probe went well, by route";
    PROBE_PUBLISH_ROUTE Gauge "aio_broker_publish_latency_route_ms" "ms" ["gateway", "shard"] "Milliseconds that the last PUBLISH of the probe took, by route";
    PROBE_PUBLISH_LAST Gauge "aio_broker_publish_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of PUBLISH";
    PROBE_PUBLISH_MU Gauge "aio_broker_publish_latency_mu_ms" "ms" [] "Mean in milliseconds, of PUBLISH";
    PROBE_PUBLISH_SIGMA Gauge "aio_broker_publish_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of PUBLISH";
    PROBE_UNSUBSCRIBE_CORRECT Gauge "aio_broker_unsubscribe_route_replication_correctness" "1" ["gateway", "shard"] "1 where the last UNSUBSCRIBE of the probe went well, by route";
    PROBE_UNSUBSCRIBE_ROUTE Gauge "aio_broker_unsubscribe_latency_route_ms" "ms" ["gateway", "shard"] "Milliseconds that the last UNSUBSCRIBE of the probe took, by route";
    PROBE_UNSUBSCRIBE_LAST Gauge "aio_broker_unsubscribe_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of UNSUBSCRIBE";
    PROBE_UNSUBSCRIBE_MU Gauge "aio_broker_unsubscribe_latency_mu_ms" "ms" [] "Mean in milliseconds, of UNSUBSCRIBE";
    PROBE_UNSUBSCRIBE_SIGMA Gauge "aio_broker_unsubscribe_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of UNSUBSCRIBE";
    PROBE_PAYLOAD_CHECK_LAST Gauge "aio_broker_payload_check_latency_last_value_ms" "ms" [] "Milliseconds that 99 of 100 of the last did not exceed, of the way of a message to its subscriber";
    PROBE_PAYLOAD_CHECK_MU Gauge "aio_broker_payload_check_latency_mu_ms" "ms" [] "Mean in milliseconds, of the way of a message to its subscriber";
    PROBE_PAYLOAD_CHECK_SIGMA Gauge "aio_broker_payload_check_latency_sigma_ms" "ms" [] "Standard deviation in milliseconds, of the way of a message to its subscriber";
    PROBE_SENT Counter "aio_broker_payload_check_total_messages_sent" "{messages}" [] "Messages that the probe published";
    PROBE_RECEIVED Counter "aio_broker_payload_check_total_messages_received" "{messages}" [] "Of them, those that came back as they were sent";
    PROBE_LOST Counter "aio_broker_payload_check_total_messages_lost" "{messages}" [] "Of them, those that did not come back in time";

    // The process, by the names that all processes have.
    BUILD_INFO Gauge "catena_build_info" "1" ["version", "role"] "1, with the version of the binary and what the process does";
    PROCESS_CPU Counter "process_cpu_seconds_total" "s" [] "Seconds on processors, of all threads";
    PROCESS_RESIDENT Gauge "process_resident_memory_bytes" "By" [] "Bytes of memory that the process has";
    PROCESS_OPEN_FILES Gauge "process_open_fds" "{files}" [] "Files and sockets that are open";
    PROCESS_FILES_MAX Gauge "process_max_fds" "{files}" [] "Files and sockets that may be open";
    PROCESS_THREADS Gauge "process_threads" "{threads}" [] "Threads";
    PROCESS_START_TIME Gauge "process_start_time_seconds" "s" [] "When the process started, in seconds since 1970";
    SPANS Counter "catena_telemetry_spans_total" "{spans}" [] "Spans of traces that were made here";
    SPANS_DROPPED Counter "catena_telemetry_spans_dropped_total" "{spans}" [] "Spans that there was no room for: the collector does not take them as fast as they come, or is away";
    SERIES_DROPPED Counter "catena_telemetry_series_dropped_total" "1" [] "Series that this answer leaves out because a metric has too many";
}

/// The metrics of one step of the probe.
#[derive(Debug, Clone, Copy)]
pub struct OfProbe {
    pub correctness: Option<&'static Metric>,
    pub route: Option<&'static Metric>,
    pub last: &'static Metric,
    pub mean: &'static Metric,
    pub sigma: &'static Metric,
}

/// Those of CONNECT.
pub const OF_CONNECT: OfProbe = OfProbe {
    correctness: Some(&PROBE_CONNECT_CORRECT),
    route: Some(&PROBE_CONNECT_ROUTE),
    last: &PROBE_CONNECT_LAST,
    mean: &PROBE_CONNECT_MU,
    sigma: &PROBE_CONNECT_SIGMA,
};

/// Those of PINGREQ.
pub const OF_PING: OfProbe = OfProbe {
    correctness: Some(&PROBE_PING_CORRECT),
    route: Some(&PROBE_PING_ROUTE),
    last: &PROBE_PING_LAST,
    mean: &PROBE_PING_MU,
    sigma: &PROBE_PING_SIGMA,
};

/// Those of SUBSCRIBE.
pub const OF_SUBSCRIBE: OfProbe = OfProbe {
    correctness: Some(&PROBE_SUBSCRIBE_CORRECT),
    route: Some(&PROBE_SUBSCRIBE_ROUTE),
    last: &PROBE_SUBSCRIBE_LAST,
    mean: &PROBE_SUBSCRIBE_MU,
    sigma: &PROBE_SUBSCRIBE_SIGMA,
};

/// Those of PUBLISH.
pub const OF_PUBLISH: OfProbe = OfProbe {
    correctness: Some(&PROBE_PUBLISH_CORRECT),
    route: Some(&PROBE_PUBLISH_ROUTE),
    last: &PROBE_PUBLISH_LAST,
    mean: &PROBE_PUBLISH_MU,
    sigma: &PROBE_PUBLISH_SIGMA,
};

/// Those of UNSUBSCRIBE.
pub const OF_UNSUBSCRIBE: OfProbe = OfProbe {
    correctness: Some(&PROBE_UNSUBSCRIBE_CORRECT),
    route: Some(&PROBE_UNSUBSCRIBE_ROUTE),
    last: &PROBE_UNSUBSCRIBE_LAST,
    mean: &PROBE_UNSUBSCRIBE_MU,
    sigma: &PROBE_UNSUBSCRIBE_SIGMA,
};

/// Those of the way of a message to its subscriber.
pub const OF_PAYLOAD_CHECK: OfProbe = OfProbe {
    correctness: None,
    route: None,
    last: &PROBE_PAYLOAD_CHECK_LAST,
    mean: &PROBE_PAYLOAD_CHECK_MU,
    sigma: &PROBE_PAYLOAD_CHECK_SIGMA,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Two metrics of a name would be one; a name that Prometheus does not take would end every scrape.
    #[test]
    fn names_are_valid_and_each_is_there_once() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(metric.name.chars().all(valid), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| label.chars().all(valid)));
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
            // Azure's names are what they are.
            if !has_hostname(metric) {
                let is_total = metric.name.ends_with("_total");
                assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
            }
        }
    }
}
