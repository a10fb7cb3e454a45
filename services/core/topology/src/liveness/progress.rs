//! How far each replica has come, and since when it has not come further `[C-24]`.

use catena_chain::{Epoch, ReplicaId};
use catena_slots::ShardId;

/// What a heartbeat says of one replica. The shard's own thread makes it, so that a thread that hangs shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub shard: ShardId,
    pub replica: ReplicaId,
    pub epoch: Epoch,
    /// Counts the turns of the thread's loop: it moves when nothing else does.
    pub turns: u64,
    /// What has arrived, counted in anything that only rises while it does: a joining replica's snapshot bytes too.
    pub received: u64,
    /// Index of the last entry.
    pub last: u64,
    /// Index of the last entry that it knows to be committed.
    pub committed: u64,
}

/// The last progress of one replica, and when each part of it moved.
#[derive(Debug, Clone)]
pub struct Trace {
    progress: Option<Progress>,
    since_ms: u64,
    ticked_ms: u64,
    received_ms: u64,
    committed_ms: u64,
}

impl Trace {
    /// A replica that is waited for from now on.
    pub fn new(now_ms: u64) -> Trace {
        Trace {
            progress: None,
            since_ms: now_ms,
            ticked_ms: now_ms,
            received_ms: now_ms,
            committed_ms: now_ms,
        }
    }

    /// Takes what a heartbeat says.
    pub fn take(&mut self, now_ms: u64, progress: Progress) {
        let last = self.progress.replace(progress);
        let moved = |part: fn(&Progress) -> u64| last.as_ref().map(part) != Some(part(&progress));
        if moved(|progress| progress.turns) {
            self.ticked_ms = now_ms;
        }
        if moved(|progress| progress.received) {
            self.received_ms = now_ms;
        }
        // One that has nothing to wait for does not stand still.
        if moved(|progress| progress.committed) || progress.committed >= progress.last {
            self.committed_ms = now_ms;
        }
    }

    /// When the thread last moved.
    pub fn ticked_ms(&self) -> u64 {
        self.ticked_ms
    }

    /// When something last arrived.
    pub fn received_ms(&self) -> u64 {
        self.received_ms
    }
}

/// The pair of neighbours, the learner behind the tail included, that acks have stood still at for one time-out: of those
/// that differ, the one nearest the end, because what stands still there stands still all the way up.
pub fn broken<'m, 't>(
    members: &'m [ReplicaId],
    trace: impl Fn(ReplicaId) -> Option<&'t Trace>,
    now_ms: u64,
    timeout_ms: u64,
) -> Option<&'m [ReplicaId]> {
    let head = trace(*members.first()?)?;
    let waits = |trace: &Trace| {
        trace
            .progress
            .is_some_and(|progress| progress.committed < progress.last)
    };
    if !waits(head) || now_ms - head.committed_ms < timeout_ms {
        return None;
    }
    // A learner that has just come has had no time to say or to have anything.
    let is_new = |id| trace(id).is_none_or(|trace| now_ms - trace.since_ms < timeout_ms);
    let differs = |pair: &&[ReplicaId]| {
        if is_new(pair[1]) {
            return false;
        }
        let progress = |id| trace(id).and_then(|trace| trace.progress);
        match (progress(pair[0]), progress(pair[1])) {
            (Some(before), Some(after)) => {
                after.last < before.last || before.committed < after.committed
            }
            // It has not said anything for so long.
            (Some(_), None) => true,
            _ => false,
        }
    };
    members.windows(2).rev().find(differs)
}
