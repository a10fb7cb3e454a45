//! What heartbeats say of the replicas: written by each shard's own thread, read by the main thread.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use catena_chain::{Epoch, ReplicaId};
use catena_membership::{GatewayIncarnation, Said};
use catena_replicated::Replica;
use catena_shard::Origin;
use catena_slots::ShardId;
use catena_topology::Progress;

/// The pulse of a process: of all its shards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_leaving: AtomicBool,
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

impl Pulse {
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
    pub fn ticked(&self, replica: &Replica) {
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
