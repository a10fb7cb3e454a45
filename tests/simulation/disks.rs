//! The disks of nodes: the real storage over a simulated disk, which loses what was not synced when the power goes, tears,
//! flips, fills up and fails `[C-61]` to `[C-64]`.
//!
//! What an entry *is* need not be written as bytes here, where other tests look: a record holds the number under which the
//! entry is found. Whether the record is there is what this is about.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use catena_chain::{
    Checkpoint, Entry, Generation, Incarnation, Input, Keep, Kept, Machine, ReplicaId, StoreId,
};
use catena_slots::ShardId;
use catena_storage::{
    Failure, Found, Identity, Keys, Options, Reason, Record, State, Status, Sync, Volume,
    simulated::Simulated,
};

use crate::{
    network::Place,
    parcel::{Event, Parcel},
    plan::Syncing,
    unsynced::{INTERVAL, Left},
    workload::Workload,
    world::World,
};

fn bytes_of<M: Machine>(checkpoint: Checkpoint<M>) -> Vec<u8> {
    let mut bytes = Vec::new();
    checkpoint.write(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    bytes
}

/// A log of so many bytes is cut behind a snapshot.
const LOG_BYTES: u64 = 256 * 1024;
const FEATURE_LEVEL: u32 = 1;
/// One in so many states that begin to count sees all nodes lose power.
const TARGETED: u64 = 30;

/// The disk of one node: it outlives processes.
pub struct Disk {
    pub disk: Simulated,
    /// Something was flipped, cut, or failed: what is missing then is nobody's fault.
    pub is_damaged: bool,
    /// Has no room until then.
    pub full_until: u64,
    /// By shard: whose state on it is complete, and may be gone on from.
    pub counts: BTreeMap<usize, ReplicaId>,
    /// By shard: how the last process left its state, or this one found it.
    pub left: BTreeMap<usize, Left>,
    /// By shard: since when what was written may be missing.
    pub lacks: BTreeMap<usize, u64>,
    /// When the power went last.
    pub cut_at: Option<u64>,
}

/// A replica as its disk has it, and what reads and writes that disk.
type OnDisk<M> = (Kept<M>, State);

/// What a process has of its disk.
pub struct Volumes<W: Workload> {
    volume: Volume,
    /// What it found, by shard, until it has registered.
    found: BTreeMap<usize, OnDisk<W::Machine>>,
    stores: BTreeMap<usize, Store>,
    /// What a thread is about to forget.
    forgetting: BTreeMap<usize, StoreId>,
    /// When entries are to count.
    sync: Sync,
    /// When everything was synced last, where that is done at intervals.
    synced_at: u64,
}

/// The store of one replica.
struct Store {
    id: StoreId,
    state: State,
    is_syncing: bool,
    is_checkpointing: bool,
    /// It is complete when the replica says so `[C-65]`.
    is_beside: bool,
    /// Since when an entry waits for its sync.
    unsynced_since: Option<u64>,
}

impl Store {
    /// What was found at the start has this name until it is gone on from.
    const FOUND: StoreId = StoreId(0);

    /// How far it would be if its process ended now.
    fn left(&self) -> Left {
        Left::of(&self.state, self.unsynced_since)
    }

    /// Something was written, or synced.
    fn note(&mut self, now: u64) {
        let since = *self.unsynced_since.get_or_insert(now);
        self.unsynced_since = self.state.is_dirty().then_some(since);
    }

    /// Entries through this one count.
    fn counts_through(&self) -> u64 {
        match self.state.meta().sync {
            Sync::Always => self.state.durable(),
            Sync::Interval => self.state.end().index,
        }
    }
}

/// What a thread of the disk has come to.
pub enum Work {
    /// The snapshot of a state that begins is to be written.
    Complete {
        snapshot: Option<(catena_chain::Position, Vec<u8>)>,
    },
    /// A snapshot of a state that goes on.
    Checkpoint {
        at: catena_chain::Position,
        bytes: Vec<u8>,
    },
    Sync,
    /// Meta has the new name.
    Renamed,
    /// Nothing of the shard is to be on the disk any more.
    Forget,
    /// The shard's thread hears how far it has come.
    Told {
        through: u64,
    },
}

impl<W: Workload> World<W> {
    /// New disks for all nodes.
    pub fn new_disks(&mut self) {
        for node in 0..self.plan.nodes {
            let seed = self.plan.seed.wrapping_mul(31) + node as u64;
            self.disks.push(Disk {
                disk: Simulated::new(seed),
                is_damaged: false,
                full_until: 0,
                counts: BTreeMap::new(),
                left: BTreeMap::new(),
                lacks: BTreeMap::new(),
                cut_at: None,
            });
        }
    }

    /// A process of the node starts: it reads what is there.
    pub fn open_volume(&mut self, node: usize, control: usize) -> Option<Volumes<W>> {
        let disk = self.disks.get(node)?;
        let options = Options {
            segment_bytes: 32 * 1024,
            ..Options::new(Keys::public())
        };
        let opened = Volume::open(Arc::new(disk.disk.clone()), Path::new("/data"), options);
        let volume = match opened {
            Ok(volume) => volume,
            Err(error) => {
                let is_excused = disk.is_damaged || disk.disk.is_off();
                if !is_excused {
                    self.fail(format!("the disk of node {node} does not open: {error}"));
                }
                self.ends_at_once(node);
                return None;
            }
        };
        let mut found = BTreeMap::new();
        for shard in 0..self.plan.shards() {
            match self.read_state(&volume, shard) {
                Ok(Some(kept)) => {
                    self.trace(|| {
                        format!("node {node} has shard {shard} through {:?}", kept.0.end())
                    });
                    if let Err(problem) = self.disks[node].found(shard, &kept.1) {
                        self.fail(format!(
                            "the disk of node {node} has lost something of shard {shard}: {problem}"
                        ));
                    }
                    found.insert(shard, kept);
                }
                Ok(None) => {}
                Err(problem) => {
                    self.trace(|| format!("node {node} cannot use its shard {shard}: {problem}"));
                    if self.disks[node].disk.is_off() {
                        self.ends_at_once(node);
                    } else if !self.disks[node].is_damaged {
                        self.fail(format!(
                            "the state of shard {shard} on node {node} is broken: {problem}"
                        ));
                    }
                }
            }
        }
        Some(Volumes {
            volume,
            found,
            stores: BTreeMap::new(),
            forgetting: BTreeMap::new(),
            sync: self.begins_with_sync(control),
            synced_at: self.now,
        })
    }

    /// A process that cannot use its disk does not begin.
    fn ends_at_once(&mut self, node: usize) {
        let long = self
            .random
            .within(self.plan.timeout / 4, 2 * self.plan.timeout);
        let is_off = true;
        self.schedule(self.now, Event::Crash { node, long, is_off });
    }

    fn read_state(
        &self,
        volume: &Volume,
        shard: usize,
    ) -> Result<Option<OnDisk<W::Machine>>, String> {
        let id = ShardId(shard as u16);
        let state = match volume.find(id).map_err(|error| error.to_string())? {
            Found::Nothing => return Ok(None),
            // A directory that was being made when the power went.
            Found::Unusable(unusable) if matches!(unusable.reason, Reason::Missing) => {
                return Ok(None);
            }
            Found::Unusable(unusable) => return Err(unusable.to_string()),
            Found::State(state) => state,
        };
        let meta = state.meta();
        if meta.status != Status::Complete {
            return Ok(None);
        }
        let (generation, replica) = (meta.generation, meta.replica);
        let mut kept = match state.read_snapshot().map_err(|error| error.to_string())? {
            None => Kept::empty(id, generation, replica),
            Some(mut reader) => {
                let (end, mut failed) = (reader.position(), None);
                let mut pieces = || {
                    reader.read().unwrap_or_else(|error| {
                        failed = Some(error.to_string());
                        None
                    })
                };
                let kept = Kept::read((generation, replica), end, &mut pieces, &mut |_| ());
                if let Some(error) = failed {
                    return Err(error);
                }
                kept.map_err(|error| error.to_string())?
            }
        };
        let mut entries = state.entries();
        while let Some(records) = entries.read().map_err(|error| error.to_string())? {
            for record in records {
                let entry = &self.entries[&number(&record.bytes)];
                kept.replay(entry, record.position.digest)
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(Some((kept, *state)))
    }

    /// What a node tells of its disk when it registers `[C-63]`.
    pub fn kept(&self, node: usize) -> Vec<catena_topology::topology::Kept> {
        let found = self.nodes[node]
            .volumes
            .iter()
            .flat_map(|volumes| &volumes.found);
        found
            .map(|(shard, (kept, state))| catena_topology::topology::Kept {
                shard: ShardId(*shard as u16),
                generation: kept.generation(),
                replica: kept.replica(),
                may_lack: state.meta().may_lack,
            })
            .collect()
    }

    /// What a replica that begins finds.
    pub fn take_found(&mut self, node: usize, shard: usize) -> Option<Kept<W::Machine>> {
        let volumes = self.nodes[node].volumes.as_mut()?;
        let (kept, state) = volumes.found.remove(&shard)?;
        let store = Store {
            id: Store::FOUND,
            state,
            is_syncing: false,
            is_checkpointing: false,
            is_beside: false,
            unsynced_since: None,
        };
        volumes.stores.insert(shard, store);
        Some(kept)
    }

    /// A replica wants something kept.
    pub fn do_keep(&mut self, node: usize, shard: usize, keep: Keep<W::Machine>) {
        let store = match &keep {
            Keep::Begin { store, .. }
            | Keep::Rename { store, .. }
            | Keep::Append { store, .. }
            | Keep::Complete { store }
            | Keep::Forget { store }
            | Keep::End { store } => *store,
        };
        if let Err(failure) = self.try_keep(node, shard, keep) {
            self.disk_failed(node, shard, store, &failure);
        }
        self.look_at_power(node);
    }

    fn try_keep(
        &mut self,
        node: usize,
        shard: usize,
        keep: Keep<W::Machine>,
    ) -> Result<(), Failure> {
        if matches!(keep, Keep::Begin { .. } | Keep::Forget { .. }) {
            self.close(node, shard, None);
        }
        let now = self.now;
        let Some(volumes) = self.nodes[node].volumes.as_mut() else {
            return Ok(());
        };
        match keep {
            Keep::Begin {
                store,
                generation,
                replica,
                checkpoint,
                is_beside,
            } => {
                if volumes.forgetting.remove(&shard).is_some() {
                    // One thing after the other.
                    volumes.volume.forget(ShardId(shard as u16))?;
                }
                let base = checkpoint
                    .as_ref()
                    .map(|kept| kept.end())
                    .unwrap_or_default();
                let identity = identity(generation, replica);
                let id = ShardId(shard as u16);
                let state = volumes.volume.begin(id, identity, base, volumes.sync)?;
                let begun = Store {
                    id: store,
                    state,
                    is_syncing: true,
                    is_checkpointing: true,
                    is_beside,
                    unsynced_since: None,
                };
                volumes.stores.insert(shard, begun);
                let snapshot = checkpoint.map(|kept| (kept.end(), bytes_of(kept)));
                self.disk_works(node, shard, store, Work::Complete { snapshot }, 60_000);
            }
            Keep::Rename {
                store,
                generation,
                replica,
            } => {
                if let Some(renamed) = volumes.stores.get_mut(&shard) {
                    renamed.id = store;
                    renamed.is_syncing = true;
                    renamed.state.rename(identity(generation, replica))?;
                    self.disks[node].counts.insert(shard, replica);
                    self.disks[node].is_whole(shard);
                    self.disk_works(node, shard, store, Work::Renamed, 20_000);
                }
            }
            Keep::Append { store, entries } => {
                let records = self.records(entries);
                let Some(open) = self.store(node, shard, store) else {
                    return Ok(());
                };
                open.state.append(&records)?;
                open.note(now);
                if !std::mem::replace(&mut open.is_syncing, true) {
                    let slow = if self.random.once_in(20) {
                        80_000
                    } else {
                        6_000
                    };
                    self.disk_works(node, shard, store, Work::Sync, slow);
                }
            }
            Keep::Complete { store } => {
                if let Some(open) = self.store(node, shard, store) {
                    open.state.complete()?;
                    open.note(now);
                    let replica = open.state.meta().replica;
                    self.counts(node, shard, replica);
                }
            }
            Keep::Forget { store } => {
                volumes.forgetting.insert(shard, store);
                self.disk_works(node, shard, store, Work::Forget, 60_000);
            }
            Keep::End { store } => self.close(node, shard, Some(store)),
        }
        Ok(())
    }

    /// Nothing more is written to a state: it is closed in order, unless it was never gone on from.
    fn close(&mut self, node: usize, shard: usize, only: Option<StoreId>) {
        let Some(volumes) = self.nodes[node].volumes.as_mut() else {
            return;
        };
        let is_it = |store: &Store| only.is_none_or(|only| store.id == only);
        let Some(store) = volumes.stores.get(&shard).filter(|store| is_it(store)) else {
            return;
        };
        let (id, left) = (store.id, store.left());
        let is_complete = store.state.meta().status == Status::Complete;
        let Some(store) = volumes.stores.remove(&shard).filter(|_| id != Store::FOUND) else {
            return;
        };
        let done = store.state.close_in_order();
        if is_complete {
            let left = if done.is_ok() { left.closed() } else { left };
            self.disks[node].left.insert(shard, left);
        }
    }

    /// From now on entries count then.
    pub fn set_sync(&mut self, node: usize, shard: usize, sync: Sync) {
        let now = self.now;
        let Some(volumes) = self.nodes[node].volumes.as_mut() else {
            return;
        };
        volumes.sync = sync;
        let open = volumes.stores.get_mut(&shard);
        let Some(open) = open.filter(|open| open.id != Store::FOUND) else {
            return;
        };
        let done = open.state.set_sync(sync);
        open.note(now);
        let (store, through) = (open.id, open.counts_through());
        let is_complete = open.state.meta().status == Status::Complete;
        if self.look_at_power(node) {
            return;
        }
        match done {
            Ok(()) if is_complete => {
                self.disk_works(node, shard, store, Work::Told { through }, 10_000);
            }
            Ok(()) => {}
            Err(failure) => self.disk_failed(node, shard, store, &failure),
        }
    }

    /// What counts before it is synced is synced, when it is time.
    fn sync_at_intervals(&mut self, node: usize) {
        let now = self.now;
        let Some(volumes) = self.nodes[node].volumes.as_mut() else {
            return;
        };
        if now - volumes.synced_at < INTERVAL {
            return;
        }
        volumes.synced_at = now;
        let mut failed = Vec::new();
        for (shard, open) in &mut volumes.stores {
            if open.state.meta().sync == Sync::Interval
                && open.state.is_dirty()
                && let Err(failure) = open.state.sync()
            {
                failed.push((*shard, open.id, failure));
            }
            open.note(now);
        }
        if self.look_at_power(node) {
            return;
        }
        for (shard, store, failure) in failed {
            self.disk_failed(node, shard, store, &failure);
        }
        self.tell_later(node);
    }

    fn records(&mut self, entries: Vec<(Arc<Entry<W::Machine>>, u64)>) -> Vec<Record> {
        let mut records = Vec::new();
        for (entry, digest) in entries {
            let number = self.entries.len() as u64;
            let position = catena_chain::Position {
                index: entry.index,
                epoch: entry.epoch,
                digest,
            };
            let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
            records.push(Record { position, bytes });
            self.entries.insert(number, entry);
        }
        records
    }

    fn store(&mut self, node: usize, shard: usize, id: StoreId) -> Option<&mut Store> {
        let volumes = self.nodes[node].volumes.as_mut()?;
        volumes
            .stores
            .get_mut(&shard)
            .filter(|store| store.id == id)
    }

    /// The thread of the disk takes its time.
    fn disk_works(&mut self, node: usize, shard: usize, store: StoreId, work: Work, most: u64) {
        let Some(incarnation) = self.nodes[node].incarnation else {
            return;
        };
        let at = self.now + self.random.within(50, most);
        let parcel = Parcel::Disk {
            incarnation,
            shard,
            store,
            work,
        };
        self.schedule(
            at,
            Event::Notice {
                to: Place::Node(node),
                parcel,
            },
        );
    }

    /// It is done, or was about to be.
    pub fn disk_worked(
        &mut self,
        node: usize,
        of: Incarnation,
        shard: usize,
        store: StoreId,
        work: Work,
    ) {
        if !self.nodes[node].is(of) {
            return;
        }
        if matches!(work, Work::Forget) {
            return self.forget(node, shard, store);
        }
        if self.store(node, shard, store).is_none() {
            return;
        }
        if let Work::Told { through } = work {
            return self.step(node, shard, Input::Durable { store, through });
        }
        let done = self.try_work(node, shard, store, work);
        if self.look_at_power(node) {
            return;
        }
        match done {
            Ok(Some(through)) => {
                self.disk_works(node, shard, store, Work::Told { through }, 10_000);
            }
            Ok(None) => {}
            Err(failure) => self.disk_failed(node, shard, store, &failure),
        }
    }

    /// A state is complete, and counts from now on. If that is too early, a loss of power soon after shows it.
    fn counts(&mut self, node: usize, shard: usize, replica: ReplicaId) {
        self.disks[node].counts.insert(shard, replica);
        self.disks[node].is_whole(shard);
        if self.plan.turns_disks && self.random.once_in(TARGETED) {
            let (now, long) = (self.now, self.plan.timeout);
            self.outage_of_power(now + 20_000, long);
        }
    }

    fn forget(&mut self, node: usize, shard: usize, store: StoreId) {
        let volumes = self.nodes[node].volumes.as_mut();
        let Some(volumes) = volumes.filter(|it| it.forgetting.get(&shard) == Some(&store)) else {
            return;
        };
        volumes.forgetting.remove(&shard);
        // From here on it may count or not.
        self.disks[node].counts.remove(&shard);
        let done = volumes.volume.forget(ShardId(shard as u16));
        if self.look_at_power(node) {
            return;
        }
        match done {
            Ok(()) => self.step(node, shard, Input::Forgotten { store }),
            Err(failure) => self.disk_failed(node, shard, store, &failure),
        }
    }

    fn try_work(
        &mut self,
        node: usize,
        shard: usize,
        store: StoreId,
        work: Work,
    ) -> Result<Option<u64>, Failure> {
        let now = self.now;
        let Some(open) = self.store(node, shard, store) else {
            return Ok(None);
        };
        match work {
            Work::Complete { snapshot } => {
                if let Some((at, bytes)) = snapshot {
                    write_snapshot(&mut open.state, at, &bytes)?;
                }
                open.is_syncing = false;
                open.is_checkpointing = false;
                if !open.is_beside {
                    open.state.complete()?;
                    let replica = open.state.meta().replica;
                    self.counts(node, shard, replica);
                }
            }
            Work::Checkpoint { at, bytes } => {
                write_snapshot(&mut open.state, at, &bytes)?;
                open.is_checkpointing = false;
            }
            Work::Sync => {
                open.is_syncing = false;
                if open.state.meta().sync == Sync::Always {
                    open.state.sync()?;
                }
            }
            Work::Renamed => open.is_syncing = false,
            Work::Forget | Work::Told { .. } => return Ok(None),
        }
        let Some(open) = self.store(node, shard, store) else {
            return Ok(None);
        };
        let is_based = open.is_beside && !open.is_checkpointing;
        let is_complete = is_based || open.state.meta().status == Status::Complete;
        open.note(now);
        let durable = open.counts_through();
        let waits = open.state.is_dirty() && open.state.meta().sync == Sync::Always;
        if waits && !std::mem::replace(&mut open.is_syncing, true) {
            self.disk_works(node, shard, store, Work::Sync, 6_000);
        }
        Ok(is_complete.then_some(durable))
    }

    fn disk_failed(&mut self, node: usize, shard: usize, store: StoreId, failure: &Failure) {
        self.trace(|| format!("the disk of node {node} fails shard {shard}: {failure}"));
        if !self.disks[node].is_damaged && !self.disks[node].disk.is_off() {
            self.fail(format!(
                "the disk of node {node} fails shard {shard}: {failure}"
            ));
        }
        // Not within the step in which it came about.
        let input = Input::DiskFailed { store };
        self.nodes[node].has_failed_disk = true;
        self.nodes[node].later.push((shard, input));
    }

    /// What the last step could not be told.
    pub fn tell_later(&mut self, node: usize) {
        for (shard, input) in std::mem::take(&mut self.nodes[node].later) {
            self.step(node, shard, input);
        }
    }

    /// The power of a machine went while it wrote: the process is gone with it.
    fn look_at_power(&mut self, node: usize) -> bool {
        let is_off = self.disks.get(node).is_some_and(|disk| disk.disk.is_off());
        if is_off && self.health(Place::Node(node)).is_up {
            let long = self
                .random
                .within(self.plan.timeout / 4, 3 * self.plan.timeout);
            self.crash(Place::Node(node), long, true);
        }
        is_off
    }

    /// Logs that have grown are cut behind a snapshot.
    pub fn tend_disks(&mut self, node: usize) {
        self.sync_at_intervals(node);
        for shard in 0..self.nodes[node].replicas.len() {
            let Some(volumes) = &self.nodes[node].volumes else {
                return;
            };
            let is_due = volumes.stores.get(&shard).is_some_and(|store| {
                !store.is_checkpointing && store.state.log_bytes() > LOG_BYTES
            });
            let checkpoint = self.nodes[node].replicas[shard].checkpoint();
            let Some((store, checkpoint)) = checkpoint.filter(|_| is_due) else {
                continue;
            };
            let Some(open) = self.store(node, shard, store) else {
                continue;
            };
            // Of an entry that the log does not have yet, there would be a gap.
            if open.state.end().index >= checkpoint.end().index {
                open.is_checkpointing = true;
                let (at, bytes) = (checkpoint.end(), bytes_of(checkpoint));
                self.disk_works(node, shard, store, Work::Checkpoint { at, bytes }, 60_000);
            }
        }
    }

    /// The process ends, and perhaps the power goes.
    pub fn end_disk(&mut self, node: usize, is_off: bool) {
        let now = self.now;
        let ends_in_order =
            !is_off && self.plan.syncing != Syncing::Always && self.random.once_in(4);
        for shard in 0..self.plan.shards() {
            let store = self.nodes[node].volumes.as_mut();
            let Some(store) = store.and_then(|volumes| volumes.stores.get_mut(&shard)) else {
                continue;
            };
            if ends_in_order {
                self.close(node, shard, None);
            } else if store.id != Store::FOUND && store.state.meta().status == Status::Complete {
                let left = store.left();
                self.disks[node].left.insert(shard, left);
            }
        }
        if let Some(disk) = self.disks.get_mut(node) {
            self.nodes[node].volumes = None;
            if is_off {
                disk.disk.cut_power();
                disk.lose(now);
            } else {
                disk.disk.kill();
            }
        }
    }

    /// Something goes wrong with one disk.
    pub fn spoil(&mut self, node: usize, long: u64) {
        let kind = self.random.below(4);
        let (some, bit) = (self.random.next(), self.random.next());
        let Some(disk) = self.disks.get_mut(node) else {
            return;
        };
        let files = disk.disk.files();
        match kind {
            0 => disk.disk.cut_power_in(some % 12),
            1 => {
                disk.is_damaged = true;
                disk.disk.fail_sync_in(some % 5);
            }
            2 => {
                disk.is_damaged = true;
                disk.full_until = self.now + long;
                disk.disk.set_capacity(0);
            }
            // A process that runs would not see it.
            _ if !self.health(Place::Node(node)).is_up => {
                let disk = &mut self.disks[node];
                let Some(file) = files.get(some as usize % files.len().max(1)) else {
                    return;
                };
                let bits = disk.disk.length(file).unwrap_or(0) * 8;
                if bits > 0 {
                    disk.is_damaged = true;
                    let _ = disk.disk.flip(file, bit % bits);
                }
            }
            _ => {}
        }
        self.trace(|| format!("the disk of node {node} is spoiled: {kind}"));
    }

    /// There is room again.
    pub fn make_room(&mut self) {
        let (now, heals) = (self.now, self.phase > crate::workload::Phase::Faults);
        for disk in &mut self.disks {
            if disk.full_until != 0 && (heals || now >= disk.full_until) {
                disk.full_until = 0;
                disk.disk.set_capacity(u64::MAX);
            }
        }
    }

    /// What was to go wrong with disks does not any more.
    pub fn mend_disks(&mut self) {
        for disk in &self.disks {
            disk.disk.cut_power_in(u64::MAX / 2);
            disk.disk.fail_sync_in(u64::MAX / 2);
        }
    }

    /// Whether what a member of a chain acknowledged is certainly on its node's disk.
    pub fn disk_is_sound(&self, node: usize) -> bool {
        self.disks.get(node).is_some_and(|disk| !disk.is_damaged)
    }
}

fn write_snapshot(
    state: &mut State,
    at: catena_chain::Position,
    bytes: &[u8],
) -> Result<(), Failure> {
    let mut writer = state.write_snapshot(at)?;
    writer.write(bytes)?;
    state.install(writer.finish()?)
}

fn identity(generation: Generation, replica: ReplicaId) -> Identity {
    Identity {
        generation,
        replica,
        feature_level: FEATURE_LEVEL,
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}
