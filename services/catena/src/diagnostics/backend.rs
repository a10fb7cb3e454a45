//! What replicas of shards measure, under its names; and when a backend is ready.

use std::sync::Arc;

use catena_backend::{Held, Measured, Pulse, Spill, Storage, ToKeep, storage::SYNC_MICROS};
use catena_chain::Incarnation;
use catena_membership::Cluster;
use catena_telemetry::{Health, Samples, Source, names, samples::Histogram};
use tokio::sync::watch;

/// The replicas of a process.
pub struct Replicas {
    pub pulse: Pulse,
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// What is kept on disk, if anything is.
    pub to_keep: watch::Receiver<ToKeep>,
    pub spill: Spill,
}

impl Source for Replicas {
    fn collect(&self, samples: &mut Samples) {
        let buffer = self.cluster.borrow().broker.memory_profile.buffer_bytes();
        let (mut sessions, mut subscriptions, mut spilled) = (0, 0, 0);
        let (mut refused_memory, mut refused_disk) = (0, 0);
        for (shard, measured) in self.pulse.measured() {
            let name = &*shard.0.to_string();
            collect_replica(name, &measured, samples);
            if let Some(held) = &measured.held {
                let is_tail = matches!(measured.role, "tail" | "alone");
                collect_held(name, is_tail, held, buffer, samples);
                spilled += held.stats.spilled_bytes;
                if is_tail {
                    let counted = &held.counted;
                    let away = counted.persistent_away;
                    sessions += counted.persistent_connected + away + counted.ephemeral;
                    let disk = held.stats.publishes_refused_disk;
                    refused_disk += disk;
                    refused_memory += held.stats.publishes_refused - disk;
                    for (allowed, count) in [
                        ("true", held.stats.asked_allowed),
                        ("false", held.stats.asked_denied),
                    ] {
                        samples.add(&names::AIO_PERSISTENCE_REQUESTS, [allowed], count);
                    }
                    subscriptions += counted.subscriptions + counted.shared_subscriptions;
                }
            }
        }
        samples.add(&names::AIO_TOTAL_SESSIONS, [], sessions);
        samples.add(&names::AIO_TOTAL_SUBSCRIPTIONS, [], subscriptions);
        samples.add(&names::AIO_BACKPRESSURE_MEMORY, [], refused_memory);
        samples.add(&names::AIO_BACKPRESSURE_DISK, [], refused_disk);
        samples.add(&names::AIO_DISK_BUFFER, [], spilled);
        let to_keep = self.to_keep.borrow();
        if let Some(storage) = to_keep.storage.as_ref().filter(|_| to_keep.is_wanted) {
            collect_storage(storage, samples);
        }
        drop(to_keep);
        let spill = self.spill.status();
        samples.add(&names::AIO_DISK_TRANSFERS_COMPLETED, [], spill.written);
        samples.add(&names::AIO_DISK_TRANSFERS_FAILED, [], spill.failed);
    }
}

fn collect_storage(storage: &Storage, samples: &mut Samples) {
    let figures = storage.figures();
    samples.add(&names::AIO_PERSISTENCE_USED, [], figures.bytes_used);
    let room = figures.bytes_max.saturating_sub(figures.bytes_used);
    // A disk that does not say how much is left has failed, and that is told elsewhere.
    let left = storage.free().map_or(room, |free| free.min(room));
    if figures.bytes_max > 0 {
        let percent = left as f64 * 100.0 / figures.bytes_max as f64;
        samples.add(&names::AIO_PERSISTENCE_AVAILABLE, [], percent);
        samples.add(&names::DISK_MAX, [], figures.bytes_max);
    }
    let recovery = storage.recovery().unwrap_or_default().as_secs_f64();
    samples.add(&names::AIO_PERSISTENCE_RECOVERY, [], recovery);
    samples.add(&names::DISK_SYNCS, [], figures.syncs);
    samples.add(&names::DISK_ENTRIES, [], figures.entries);
    samples.add(&names::DISK_WRITTEN, [], figures.bytes_written);
    let syncs = Histogram {
        bounds: SYNC_MICROS
            .iter()
            .map(|micros| *micros as f64 / 1e6)
            .collect(),
        counts: figures.sync_counts.to_vec(),
        sum: figures.sync_time.as_secs_f64(),
    };
    samples.add(&names::DISK_SYNC_SECONDS, [], syncs);
}

fn collect_replica(shard: &str, measured: &Measured, samples: &mut Samples) {
    if measured.role != "none" {
        samples.add(&names::SHARD_ROLE, [shard, measured.role], 1_u64);
    }
    if let Some(progress) = &measured.progress {
        samples.add(&names::SHARD_EPOCH, [shard], progress.epoch.0);
        samples.add(&names::SHARD_INDEX, [shard], progress.last);
        samples.add(&names::SHARD_COMMIT, [shard], progress.committed);
    }
    samples.add(&names::SHARD_TURNS, [shard], measured.turns);
    samples.add(&names::SHARD_ALARMS, [shard], measured.alarms);
    samples.add(
        &names::SHARD_DIRECT_DROPPED,
        [shard],
        measured.direct_dropped,
    );
    samples.add(&names::SHARD_LINKS, [shard], measured.links);
    let transfers = measured.transfers;
    samples.add(&names::AIO_TRANSFER_SENT, [shard], transfers.sent);
    samples.add(&names::AIO_TRANSFER_BYTES, [shard], transfers.sent_bytes);
    samples.add(&names::AIO_TRANSFER_RECEIVED, [shard], transfers.received);
    if let Some(kept) = measured.kept {
        samples.add(&names::SHARD_LOG_BYTES, [shard], kept.log_bytes);
        samples.add(&names::SHARD_DISK_COMPLETE, [shard], kept.is_complete);
        samples.add(&names::SHARD_DISK_FAILED, [shard], kept.has_failed);
        samples.add(&names::SHARD_OLDER_KEY, [shard], kept.needs_older_key);
        if let Some(at) = kept.snapshot_at {
            let age = at.elapsed().as_secs_f64();
            samples.add(&names::SHARD_SNAPSHOT_AGE, [shard], age);
        }
    }
}

fn collect_held(shard: &str, is_tail: bool, held: &Held, buffer: u64, samples: &mut Samples) {
    let (stats, counted) = (&held.stats, &held.counted);
    let tail = if is_tail { "true" } else { "false" };
    samples.add(&names::SHARD_BYTES, [shard], stats.bytes);
    samples.add(&names::SHARD_BUFFER_BYTES, [shard], buffer);
    samples.add(&names::SHARD_SPILLED, [shard], stats.spilled_bytes);
    samples.add(&names::SHARD_STORED, [shard], stats.stored_messages);
    samples.add(&names::SHARD_PUBLISHES, [shard], stats.publishes);
    for (reason, count) in [
        ("no_memory", stats.publishes_refused),
        ("qos0_no_room", stats.qos0_dropped),
        ("expired", stats.expired),
        ("queue_full", stats.queue_dropped),
    ] {
        samples.add(&names::SHARD_DROPPED, [shard, reason], count);
    }
    samples.add(&names::SHARD_UNKEPT, [shard], stats.unkept_dropped);
    samples.add(&names::SHARD_TAKEOVERS, [shard], stats.takeovers);
    samples.add(&names::SHARD_WILLS, [shard], stats.wills);
    samples.add(&names::SHARD_STALE, [shard], stats.stale);
    samples.add(&names::SHARD_CONGESTED, [shard], stats.links_congested);
    samples.add(&names::SHARD_JOBS, [shard], stats.jobs);
    samples.add(&names::SHARD_QUEUED, [shard], counted.queued);
    samples.add(&names::SHARD_SLOW, [shard], counted.slow_readers);
    for (rank, length) in (1..).zip(counted.longest) {
        samples.add(&names::SHARD_LONGEST, [shard, &*rank.to_string()], length);
    }

    let of_chain = [shard, tail];
    samples.add(
        &names::AIO_RETAINED_MESSAGES,
        of_chain,
        stats.retained_messages,
    );
    samples.add(&names::AIO_RETAINED_BYTES, of_chain, stats.retained_bytes);
    samples.add(&names::AIO_EXPIRED_MESSAGES, of_chain, stats.expired);
    samples.add(&names::AIO_WILL_MESSAGES, of_chain, counted.wills);
    samples.add(&names::AIO_WILL_BYTES, of_chain, counted.will_bytes);
    let subscriptions = counted.subscriptions;
    let shared = counted.shared_subscriptions;
    samples.add(&names::AIO_SUBSCRIPTIONS, of_chain, subscriptions);
    samples.add(&names::AIO_SHARED_SUBSCRIPTIONS, of_chain, shared);
    samples.add(
        &names::AIO_STORE_TOTAL_SUBSCRIPTIONS,
        of_chain,
        subscriptions + shared,
    );
    for (is_persistent, all, connected) in [
        (
            "true",
            counted.persistent_connected + counted.persistent_away,
            counted.persistent_connected,
        ),
        ("false", counted.ephemeral, counted.ephemeral),
    ] {
        let labels = [is_persistent, tail, shard];
        samples.add(&names::AIO_STORE_TOTAL_SESSIONS, labels, all);
        samples.add(&names::AIO_STORE_CONNECTED_SESSIONS, labels, connected);
    }
    if buffer > 0 {
        let percent = stats.bytes as f64 * 100.0 / buffer as f64;
        let name = format!("shard-{shard}");
        samples.add(&names::AIO_BUFFER_USED, [&*name], percent);
    }
}

/// What a backend that is registered has to have to be ready: each shard whose chain names it is told so, and has its state
/// or gets it as a learner. A spare is ready.
const PART: &str = "shards";

/// Keeps `health` up to date about the shards of this backend, for as long as the present runtime runs.
pub fn watch_readiness(
    health: Health,
    me: Incarnation,
    pulse: Pulse,
    cluster: watch::Receiver<Arc<Cluster>>,
) {
    health.misses(PART, "not looked at yet");
    tokio::spawn(async move {
        loop {
            match missing(me, &pulse, &cluster.borrow()) {
                None => health.has(PART),
                Some(missing) => health.misses(PART, missing),
            }
            health.needed_for(needed(me, &cluster.borrow()));
            tokio::time::sleep(LOOK).await;
        }
    });
}

const LOOK: std::time::Duration = std::time::Duration::from_millis(250);

/// What this backend is needed for: chains of which it is a member, and that are short of replicas without it being gone.
fn needed(me: Incarnation, cluster: &Cluster) -> Option<String> {
    let wanted = usize::from(cluster.broker.cardinality.backend_chain.redundancy_factor);
    let ours = cluster.chains.iter().filter(|(_, chain)| {
        let mut members = chain.chain.iter();
        members.any(|member| member.incarnation == me)
    });
    let short: Vec<String> = ours
        .filter(|(_, chain)| chain.chain.len() < wanted || chain.learner.is_some())
        .map(|(shard, chain)| {
            let catching_up = match chain.learner {
                Some(_) => ", and one that catches up",
                None => "",
            };
            let count = chain.chain.len();
            format!(
                "shard {} has {count} of {wanted} replicas{catching_up}",
                shard.0
            )
        })
        .collect();
    (!short.is_empty()).then(|| short.join("\n"))
}

fn missing(me: Incarnation, pulse: &Pulse, cluster: &Cluster) -> Option<String> {
    if cluster.layout.is_none() {
        return Some("the cluster is not laid out yet".to_owned());
    }
    let measured = pulse.measured();
    let is_there = |shard| {
        let found = measured.iter().find(|(of, _)| *of == shard);
        found.is_some_and(|(_, measured)| {
            measured.role == "learner" || (measured.role != "none" && measured.held.is_some())
        })
    };
    let chains = cluster.chains.iter();
    let ours = chains.filter(|(_, chain)| chain.role_of(me).is_some());
    let absent: Vec<String> = ours
        .filter(|(shard, _)| !is_there(**shard))
        .map(|(shard, _)| shard.0.to_string())
        .collect();
    (!absent.is_empty()).then(|| format!("no state yet of {}", absent.join(", ")))
}
