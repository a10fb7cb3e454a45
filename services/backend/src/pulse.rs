//! What heartbeats say of the replicas: written by each shard's own thread, read by the main thread.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use catena_chain::{Epoch, ReplicaId, Role, Transfers};
use catena_membership::{GatewayIncarnation, Said};
use catena_replicated::Replica;
use catena_shard::{
    Origin, Stats,
    census::{Census, Counted},
};
use catena_slots::ShardId;
use catena_telemetry::traces::sampler::Tracing;
use catena_topology::Progress;

/// The pulse of a process: of all its shards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_leaving: AtomicBool,
    tracing: OnceLock<Tracing>,
    beats: Mutex<Vec<Arc<Beat>>>,
}

/// What was counted since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// What must not happen, but did.
    pub alarms: u64,
    /// Deliveries past the log that found no room or nobody to go to `[F-59]`.
    pub direct_dropped: u64,
}

/// How many rows of a shard are counted on a tick.
const CENSUS_ROWS: u32 = 1_024;

/// What a replica measures of itself, some moments ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// `None` without a replica, and while it changes.
    pub progress: Option<Progress>,
    /// `None` for a replica without state.
    pub held: Option<Held>,
    /// head, middle, tail, alone, learner; or none.
    pub role: &'static str,
    pub turns: u64,
    pub alarms: u64,
    pub direct_dropped: u64,
    /// Gateways whose links are open.
    pub links: u64,
    /// `None`: nothing is kept.
    pub kept: Option<OnDisk>,
    pub transfers: Transfers,
}

/// What is on disk of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnDisk {
    /// Of entries since the last snapshot.
    pub log_bytes: u64,
    /// When the last snapshot was written; `None`: not in this life of the process.
    pub snapshot_at: Option<Instant>,
    /// Entries count here only once they are synced, or written with `sync: Interval`: false while the state is not complete.
    pub is_complete: bool,
    /// Nothing becomes durable any more.
    pub has_failed: bool,
    /// Some of it is still encrypted with a key that was replaced.
    pub needs_older_key: bool,
}

/// What a shard's state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    pub stats: Stats,
    pub counted: Counted,
    pub generation: u32,
}

impl Pulse {
    /// What each shard's replica here measures.
    pub fn measured(&self) -> Vec<(ShardId, Measured)> {
        let beats = self.beats();
        let measured = beats.iter().map(|beat| (beat.shard, beat.measured()));
        measured.collect()
    }

    /// What the next heartbeat says.
    pub fn said(&self) -> Said {
        let beats = self.beats();
        let linked = beats.iter().map(|beat| beat.linked());
        Said {
            leaving: self.inner.is_leaving.load(Ordering::Relaxed),
            linked: linked.flatten().collect(),
            replicas: beats.iter().filter_map(|beat| beat.progress()).collect(),
        }
    }

    /// Heartbeats say from now on that the process is about to end.
    pub fn leave(&self) {
        self.inner.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Messages that are traced are to be told of there. Said once, before there are shards.
    pub fn trace(&self, tracing: Tracing) {
        let _ = self.inner.tracing.set(tracing);
    }

    /// Where messages that are traced are told of; nowhere unless [`Pulse::trace`] was called.
    pub(crate) fn tracing(&self) -> Tracing {
        self.inner.tracing.get().cloned().unwrap_or_default()
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let add = |sum: Counts, beat: &Arc<Beat>| Counts {
            alarms: sum.alarms + beat.alarms.load(Ordering::Relaxed),
            direct_dropped: sum.direct_dropped + beat.direct_dropped.load(Ordering::Relaxed),
        };
        self.beats().iter().fold(Counts::default(), add)
    }

    /// One more shard.
    pub(crate) fn add(&self, shard: ShardId) -> Arc<Beat> {
        let beat = Arc::new(Beat::new(shard));
        let mut beats = self.inner.beats.lock();
        beats
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut())
            .push(beat.clone());
        beat
    }

    fn beats(&self) -> Vec<Arc<Beat>> {
        let beats = self.inner.beats.lock();
        beats.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The pulse of one shard.
#[derive(Debug)]
pub(crate) struct Beat {
    shard: ShardId,
    /// 0 while there is none, and while the rest changes to that of another.
    replica: AtomicU64,
    epoch: AtomicU64,
    turns: AtomicU64,
    received: AtomicU64,
    last: AtomicU64,
    committed: AtomicU64,
    alarms: AtomicU64,
    direct_dropped: AtomicU64,
    linked: Mutex<BTreeSet<GatewayIncarnation>>,
    held: Mutex<(&'static str, Option<Held>, Census)>,
    kept: Mutex<(Option<OnDisk>, Transfers)>,
}

impl Beat {
    fn new(shard: ShardId) -> Beat {
        Beat {
            shard,
            replica: AtomicU64::default(),
            epoch: AtomicU64::default(),
            turns: AtomicU64::default(),
            received: AtomicU64::default(),
            last: AtomicU64::default(),
            committed: AtomicU64::default(),
            alarms: AtomicU64::default(),
            direct_dropped: AtomicU64::default(),
            linked: Mutex::default(),
            held: Mutex::new(("none", None, Census::default())),
            kept: Mutex::default(),
        }
    }

    /// After a turn: how far `replica` is.
    pub fn turned(&self, replica: &Replica) {
        let seat = replica.seat().map_or(0, |seat| seat.0);
        if self.replica.load(Ordering::Relaxed) != seat {
            self.replica.store(0, Ordering::Release);
        }
        let status = replica.status();
        let (last, committed) = status.map_or((0, 0), |status| (status.end.index, status.commit));
        let epoch = replica.configuration().map_or(0, |known| known.epoch.0);
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.committed.store(committed, Ordering::Relaxed);
        self.replica.store(seat, Ordering::Release);
    }

    /// On a tick: what changes rarely.
    pub fn ticked(&self, replica: &Replica, kept: Option<OnDisk>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = (kept, replica.transfers());
        self.direct_dropped
            .store(replica.direct_dropped(), Ordering::Relaxed);
        let gateway = |origin| match origin {
            Origin::Gateway { incarnation, .. } => Some(GatewayIncarnation(incarnation)),
            Origin::Shard { .. } => None,
        };
        let linked = if replica.role().is_head {
            replica.connected_origins().filter_map(gateway).collect()
        } else {
            BTreeSet::new()
        };
        *self.linked.lock().unwrap_or_else(PoisonError::into_inner) = linked;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (role, held, census) = &mut *held;
        *role = role_name(replica.role());
        *held = replica.machine().map(|machine| {
            let shard = machine.shard();
            census.go_on(shard, CENSUS_ROWS);
            Held {
                stats: shard.stats(),
                counted: census.counted(),
                generation: shard.generation(),
            }
        });
    }

    fn measured(&self) -> Measured {
        let (role, held) = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (held.0, held.1)
        };
        let (kept, transfers) = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Measured {
            kept,
            transfers,
            progress: self.progress(),
            held,
            role,
            turns: self.turns.load(Ordering::Relaxed),
            alarms: self.alarms.load(Ordering::Relaxed),
            direct_dropped: self.direct_dropped.load(Ordering::Relaxed),
            links: self.linked().len() as u64,
        }
    }

    /// Something has arrived from another replica.
    pub fn received(&self, amount: u64) {
        self.received.fetch_add(amount, Ordering::Relaxed);
    }

    /// Something that must not happen did.
    pub fn alarmed(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    fn linked(&self) -> BTreeSet<GatewayIncarnation> {
        let linked = self.linked.lock();
        linked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `None` for a shard that has no replica here, and while it changes.
    fn progress(&self) -> Option<Progress> {
        let replica = self.replica.load(Ordering::Acquire);
        let progress = Progress {
            shard: self.shard,
            replica: ReplicaId(replica),
            epoch: Epoch(self.epoch.load(Ordering::Relaxed)),
            turns: self.turns.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            committed: self.committed.load(Ordering::Relaxed),
        };
        let is_same = self.replica.load(Ordering::Acquire) == replica;
        (replica != 0 && is_same).then_some(progress)
    }
}

pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        _ if role.is_head && role.is_tail => "alone",
        _ if role.is_head => "head",
        _ if role.is_tail => "tail",
        _ if role.is_learner => "learner",
        _ if role.is_of_chain() => "middle",
        _ => "none",
    }
}
