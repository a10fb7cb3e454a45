//! `persistence.sync: Interval`: an entry counts when it is written, syncs come at intervals, and a power cut may take what came after
//! the last `[C-64]`.
//!
//! What a disk must have and what it may lack is written down here from what was done to it. That is what the real storage, the
//! chain manager and the chain are held to: see `watch_generation`.

use catena_chain::{Beginning, Configuration, Generation, Index, ReplicaId};
use catena_storage::{State, Sync};

use crate::{
    disks::Disk,
    network::Place,
    plan::Syncing,
    workload::{Loss, Workload},
    world::World,
};

/// Microseconds between two syncs.
pub const INTERVAL: u64 = 200_000;

/// How the state of one shard on a disk was left, or found.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    pub replica: ReplicaId,
    /// The last entry that was written, and the last that was synced.
    end: Index,
    synced: Index,
    /// Since when an entry waits for its sync.
    since: Option<u64>,
    /// Such an entry may have counted.
    counts_unsynced: bool,
}

impl Left {
    /// In use.
    pub fn of(state: &State, since: Option<u64>) -> Left {
        let meta = state.meta();
        Left {
            replica: meta.replica,
            end: state.end().index,
            synced: state.durable(),
            since,
            counts_unsynced: meta.sync == Sync::Interval,
        }
    }

    /// Closed in order.
    pub fn closed(self) -> Left {
        Left {
            synced: self.end,
            since: None,
            counts_unsynced: false,
            ..self
        }
    }
}

impl Disk {
    /// The power goes: what was not synced is lost, as far as it pleases.
    pub fn lose(&mut self, now: u64) {
        self.cut_at = Some(now);
        for (shard, left) in &mut self.left {
            if left.counts_unsynced {
                let from = left.since.unwrap_or(now);
                let lacks = self.lacks.entry(*shard).or_insert(from);
                *lacks = from.min(*lacks);
            }
            left.end = left.synced;
            left.since = None;
        }
    }

    /// A process starts, and finds a state that ends there.
    pub fn found(&mut self, shard: usize, state: &State) -> Result<(), String> {
        let found = Left {
            synced: state.end().index,
            ..Left::of(state, None)
        };
        let before = self.left.insert(shard, found);
        let before = before.filter(|before| before.replica == found.replica && !self.is_damaged);
        match before {
            Some(before) if found.end < before.end => Err(format!(
                "it ends with entry {}, and went through {} when it was left",
                found.end, before.end
            )),
            _ => Ok(()),
        }
    }

    /// Another state is there now, of which nothing is missing.
    pub fn is_whole(&mut self, shard: usize) {
        self.lacks.remove(&shard);
    }
}

impl<W: Workload> World<W> {
    /// What a process that starts is told of syncs: it may be out of date.
    pub fn begins_with_sync(&self, control: usize) -> Sync {
        let copy = |control: usize| self.control.get(control).map(|process| &process.copy);
        let is_interval = match self.plan.syncing {
            Syncing::Always => false,
            Syncing::Interval => true,
            Syncing::Changing => copy(control).is_some_and(|copy| copy.is_interval),
        };
        mode(is_interval)
    }

    /// A node hears when entries are to count.
    pub fn follow_sync(&mut self, node: usize, shard: usize, is_interval: bool) {
        if self.plan.syncing == Syncing::Changing {
            self.set_sync(node, shard, mode(is_interval));
        }
    }

    /// A machine loses its power while no process runs there: the operating system had not written everything.
    pub fn cut_while_down(&mut self, node: usize) {
        let now = self.now;
        if self.plan.syncing != Syncing::Always
            && let Some(disk) = self.disks.get_mut(node)
        {
            disk.disk.cut_power();
            disk.lose(now);
            self.trace(|| format!("the machine of node {node} loses its power"));
        }
    }

    /// A process has ended; its machine may lose its power before another starts.
    pub fn may_be_cut_while_down(&mut self, node: usize, long: u64) {
        let is_any = self.plan.syncing != Syncing::Always && !self.plan.is_scripted;
        if is_any && self.random.once_in(4) {
            let at = self.now + self.random.within(0, long);
            let is_off = true;
            self.schedule(at, crate::parcel::Event::Crash { node, long, is_off });
        }
    }

    /// A shard goes on from a disk. It is of the generation before exactly if that disk has all that was committed in it.
    pub fn watch_generation(&mut self, before: Option<Generation>, after: &Configuration) {
        let (shard, generation) = (after.shard.index(), after.generation);
        let (Some(before), Some(head), Beginning::Disk(source)) =
            (before, after.head(), after.began)
        else {
            return;
        };
        let Some(node) = self.store.place_of.get(&head.incarnation).copied() else {
            return;
        };
        let Some(disk) = self.disks.get(node) else {
            return;
        };
        if before == generation {
            let committed = self.watch.committed_through(shard, generation);
            let left = disk.left.get(&shard).filter(|left| left.replica == source);
            let is_it = !disk.is_damaged && self.health(Place::Node(node)).is_up;
            if let Some(left) = left.filter(|left| is_it && left.end < committed) {
                let end = left.end;
                self.fail(format!(
                    "shard {shard} goes on from the disk of node {node} as if nothing were missing: it ends with entry {end}, and \
                     {committed} was committed"
                ));
            }
            return;
        }
        let Some(cut_at) = disk.cut_at.filter(|_| self.plan.syncing != Syncing::Always) else {
            self.fail(format!(
                "shard {shard} goes on from the disk of node {node} as {generation:?}, although nothing is missing there"
            ));
            return;
        };
        let loss = Loss {
            shard: after.shard,
            generation: generation.0,
            from: disk.lacks.get(&shard).copied().unwrap_or(cut_at),
            at: self.now,
        };
        self.trace(|| format!("{loss:?}"));
        self.watch.later_generations += 1;
        self.workload.lost(loss);
    }
}

fn mode(is_interval: bool) -> Sync {
    if is_interval {
        Sync::Interval
    } else {
        Sync::Always
    }
}
