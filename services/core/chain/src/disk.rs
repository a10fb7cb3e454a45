//! What a replica keeps on its disk, and when an entry counts because of that `[C-59]` to `[C-64]`.
//!
//! The replica says what is to be kept ([`Keep`]), in order; its host tells how far that is durable ([`Input::Durable`]).
//! Entries are forwarded before they are durable. Down the chain goes how far an entry is durable on everyone above, so
//! that the tail commits what all have `[C-62]`:
//!
//! ```text
//!         head              middle             tail
//!   own: 120        own: 115         own: 118
//!        └─ 120 ─────► min = 115 ────► min = 115: commit
//! ```
//!
//! A replica that keeps nothing waits for nothing, and tells its successor so. That may change while everything runs:
//! `wanted.rs`.
//!
//! [`Input::Durable`]: crate::Input::Durable

use std::sync::Arc;

use crate::{
    clock::{Clock, Now},
    commit::Cut,
    configuration::{Beginning, Configuration, Generation, ReplicaId},
    entry::{Entry, Index, Stamp},
    log::{Log, Position},
    machine::Machine,
    message::{Message, News},
    replica::{Output, Replica, State},
    switches::Rule,
    wanted::Stage,
};

/// Names one store of a replica, uniquely in the life of its process: news of an earlier one comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct StoreId(pub u64);

/// What is to be done on the disk, in this order. Nothing is answered but by how far it is durable.
#[derive(Debug)]
pub enum Keep<M: Machine> {
    /// A new state begins: `joining` is durable before the one before is moved aside, `complete` once `checkpoint` is
    /// durable, or at once without one `[C-61]`. Only then is anything of it durable.
    Begin {
        store: StoreId,
        generation: Generation,
        replica: ReplicaId,
        /// `None`: the state is empty.
        checkpoint: Option<Checkpoint<M>>,
        /// Of a replica that goes on meanwhile: it is not `complete` before [`Keep::Complete`] `[C-65]`.
        is_beside: bool,
    },
    /// The state on the disk counts from now on: `complete`.
    Complete { store: StoreId },
    /// Nothing that the disk has of the shard counts any more, whatever it is of, and it goes. [`Input::Forgotten`] answers
    /// once that is durable `[C-66]`.
    ///
    /// [`Input::Forgotten`]: crate::Input::Forgotten
    Forget { store: StoreId },
    /// What the disk held at the start goes on under another name `[C-63]`; only then is anything of it durable.
    Rename {
        store: StoreId,
        generation: Generation,
        replica: ReplicaId,
    },
    /// The next entries, each with the running digest after it.
    Append {
        store: StoreId,
        entries: Vec<(Arc<Entry<M>>, u64)>,
    },
    /// Nothing more is kept in it. What there is stays, until a new state begins `[C-3]`.
    End { store: StoreId },
}

/// The state at one index, to be made bytes and kept.
#[derive(Debug)]
pub struct Checkpoint<M: Machine> {
    end: Position,
    at: Stamp,
    frozen: M::Frozen,
}

impl<M: Machine> Checkpoint<M> {
    /// What it is the state at.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Its bytes in pieces, as [`Kept::read`] takes them, until `out` wants no more. Takes time by the size of the state.
    pub fn write(self, out: &mut dyn FnMut(&[u8]) -> bool) {
        if out(&self.at.0.to_le_bytes()) {
            M::write(self.frozen, out);
        }
    }
}

/// Why what was on the disk cannot be gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("the snapshot cannot be read")]
    Snapshot,
    #[error("entry {0} does not follow the one before")]
    Gap(Index),
    #[error("entry {0} comes to something else than when it was written")]
    Differs(Index),
}

/// A state as it was found on the disk, entry by entry.
#[derive(Debug)]
pub struct Kept<M: Machine> {
    replica: ReplicaId,
    state: State<M>,
    at: Stamp,
}

impl<M: Machine> Kept<M> {
    /// Of a replica whose log began with the first entry.
    pub fn empty(shard: catena_slots::ShardId, generation: Generation, replica: ReplicaId) -> Self {
        let machine = M::empty(shard, generation);
        Kept::new(generation, replica, Position::default(), Stamp(0), machine)
    }

    /// Of a replica with this snapshot, which comes in pieces. `look` sees the state while it grows.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn read(
        (generation, replica): (Generation, ReplicaId),
        end: Position,
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
        look: &mut dyn FnMut(&M),
    ) -> Result<Self, NotKept> {
        let mut first = pieces().ok_or(NotKept::Snapshot)?;
        let at = first.split_first_chunk().ok_or(NotKept::Snapshot)?.0;
        let at = Stamp(u64::from_le_bytes(*at));
        first.drain(..size_of::<u64>());
        let mut first = Some(first);
        let mut rest = || first.take().or_else(&mut *pieces);
        let machine = M::read(&mut rest, look).map_err(|_| NotKept::Snapshot)?;
        Ok(Kept::new(generation, replica, end, at, machine))
    }

    fn new(
        generation: Generation,
        replica: ReplicaId,
        end: Position,
        at: Stamp,
        machine: M,
    ) -> Self {
        let clock = Clock::resuming(at, Now::default());
        let state = State::new(generation, machine, end, clock);
        Kept { replica, state, at }
    }

    /// Applies the next entry; one that the snapshot has is passed over.
    ///
    /// # Errors
    /// It does not follow, or does not give what it gave when it was written.
    pub fn replay(&mut self, entry: &Entry<M>, digest: u64) -> Result<(), NotKept> {
        let state = &mut self.state;
        let last = state.log.last();
        if entry.index <= last {
            return Ok(());
        }
        if entry.index != last + 1 {
            return Err(NotKept::Gap(entry.index));
        }
        let (_, has_diverged) = state.apply(entry, Now::default());
        if has_diverged || state.digest != digest {
            return Err(NotKept::Differs(entry.index));
        }
        self.at = self.at.max(entry.at);
        state.log = Log::after(Position {
            index: entry.index,
            epoch: entry.epoch,
            digest,
        });
        Ok(())
    }

    /// What it has come to.
    pub fn machine(&self) -> &M {
        &self.state.machine
    }

    /// Where its log ends.
    pub fn end(&self) -> Position {
        self.state.log.end()
    }

    /// Whose it was.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Of which generation it is.
    pub fn generation(&self) -> Generation {
        self.state.generation
    }
}

/// The store of a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store {
    pub id: StoreId,
    /// Whether anybody waits for it, and whether its disk counts.
    pub stage: Stage,
    /// Entries through this one were handed over.
    pub handed: Index,
    /// Everything through this one is durable. 0 until the snapshot that it begins with is.
    pub durable: Index,
    /// When that became durable, in microseconds.
    pub based_at: Option<u64>,
    /// The disk failed: nothing more becomes durable `[C-64]`.
    pub has_failed: bool,
}

impl Store {
    /// Of a state whose log ends at `end`.
    pub fn new(id: StoreId, stage: Stage, end: Index) -> Store {
        Store {
            id,
            stage,
            handed: end,
            durable: 0,
            based_at: None,
            has_failed: false,
        }
    }
}

/// Where a state that begins comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From nowhere, or from another replica.
    New,
    /// It is what the disk holds.
    Disk,
    /// It came about from what the disk holds, which is another state `[C-64]`.
    Reborn,
}

/// What a replica knows of disks.
#[derive(Debug)]
pub(crate) struct Disk<M: Machine> {
    /// What the disk held when the process began, until it is gone on from or is of no use any more.
    kept: Option<Kept<M>>,
    last_store: StoreId,
    /// Whose state is still there although the replica has dropped its own.
    pub left: Option<ReplicaId>,
    /// Whether anything is to be kept.
    pub is_wanted: bool,
    /// When what the disk did not do is tried again, in microseconds.
    pub next_try: u64,
}

impl<M: Machine> Disk<M> {
    pub fn new(is_wanted: bool) -> Self {
        Disk {
            kept: None,
            last_store: StoreId(0),
            left: None,
            is_wanted,
            next_try: 0,
        }
    }

    /// A name for another store.
    pub fn new_store(&mut self) -> StoreId {
        self.last_store.0 += 1;
        self.last_store
    }

    /// What it held is of no use; comes back with a name for what is done about that.
    pub fn forget_kept(&mut self) -> StoreId {
        (self.kept, self.left) = (None, None);
        self.new_store()
    }

    /// Whose states are there, while there is none that is written to.
    pub fn held(&self) -> impl Iterator<Item = ReplicaId> {
        let kept = self.kept.as_ref().map(|kept| kept.replica);
        kept.into_iter().chain(self.left)
    }

    /// What the disk held, while it may still be gone on from.
    pub fn kept(&self) -> Option<&Kept<M>> {
        self.kept.as_ref()
    }
}

impl<M: Machine> Replica<M> {
    /// What this process found on its disk; before the first configuration. A founder from disk goes on from it `[C-63]`.
    pub fn keep(&mut self, kept: Kept<M>) {
        self.disk.kept = Some(kept);
    }

    /// The state on which the founder of `configuration` goes on: what its disk held of the one that is named.
    pub(crate) fn take_kept(&mut self, configuration: &Configuration) -> Option<State<M>> {
        let Beginning::Disk(source) = configuration.began else {
            return None;
        };
        // An id is never used twice in a shard; the generation is higher when the disk may lack what was committed [C-64].
        let is_it = |kept: &mut Kept<M>| {
            kept.replica == source && kept.state.generation <= configuration.generation
        };
        let Kept { mut state, at, .. } = self.disk.kept.take_if(is_it)?;
        state.clock = Clock::from_disk(at, self.now);
        if state.generation < configuration.generation {
            state.generation = configuration.generation;
            let at = state.clock.time(self.now);
            state.machine.reborn(at, configuration.generation);
        }
        // A member's disk has everything that was ever committed, and nobody has more [C-63].
        let last = state.log.last();
        state.commit = last;
        state.cut = Cut::whole(&state.machine, last);
        state.cut.advance(last, |_| ());
        Some(state)
    }

    /// A state has begun: from now on it is kept, if anything is.
    pub(crate) fn begin_store(&mut self, source: Source, outputs: &mut Vec<Output<M>>) {
        let (Some(replica), Some(state)) = (self.seat, self.state.as_mut()) else {
            return;
        };
        let is_of_no_use = self.disk.held().next().is_some();
        (self.disk.kept, self.disk.left) = (None, None);
        let end = state.log.last();
        if !self.disk.is_wanted {
            if source != Source::New {
                // The disk counts until it has forgotten: so it bounds what is committed until then [C-66].
                let store = self.disk.new_store();
                state.store = Some(Store {
                    durable: end,
                    ..Store::new(store, Stage::Ending, end)
                });
                outputs.push(Output::Keep(Keep::Forget { store }));
            } else if is_of_no_use {
                let store = self.disk.new_store();
                outputs.push(Output::Keep(Keep::Forget { store }));
            }
            return;
        }
        let (store, generation) = (self.disk.new_store(), state.generation);
        state.store = Some(Store::new(store, Stage::Counting, end));
        if source == Source::Disk {
            outputs.push(Output::Keep(Keep::Rename {
                store,
                generation,
                replica,
            }));
        } else {
            self.begin_on_disk(store, false, outputs);
        }
    }

    /// The present state is to be begun on the disk.
    pub(crate) fn begin_on_disk(
        &mut self,
        store: StoreId,
        is_beside: bool,
        outputs: &mut Vec<Output<M>>,
    ) {
        let (Some(replica), Some(state)) = (self.seat, self.state.as_ref()) else {
            return;
        };
        let end = state.log.end();
        outputs.push(Output::Keep(Keep::Begin {
            store,
            generation: state.generation,
            replica,
            checkpoint: (end.index > 0).then(|| Checkpoint {
                end,
                at: state.clock.time(self.now),
                frozen: state.machine.freeze(),
            }),
            is_beside,
        }));
    }

    /// The state as it is now, from which the log on the disk may be cut once it is durable there.
    pub fn checkpoint(&self) -> Option<(StoreId, Checkpoint<M>)> {
        let state = self.state.as_ref()?;
        let store = state.store.filter(|store| !store.has_failed)?;
        let checkpoint = Checkpoint {
            end: state.log.end(),
            at: state.clock.time(self.now),
            frozen: state.machine.freeze(),
        };
        Some((store.id, checkpoint))
    }

    /// Hands over the entries that are not yet.
    pub(crate) fn hand_over(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(state) = &mut self.state else {
            return;
        };
        let takes = |store: &&mut Store| !store.has_failed && store.stage != Stage::Ending;
        let Some(store) = state.store.as_mut().filter(takes) else {
            return;
        };
        let entries: Vec<_> = state.log.after_with_digests(store.handed).collect();
        if entries.is_empty() {
            return;
        }
        store.handed += entries.len() as u64;
        let store = store.id;
        outputs.push(Output::Keep(Keep::Append { store, entries }));
    }

    /// The host tells how far its disk has come.
    pub(crate) fn durable(&mut self, id: StoreId, through: Index, outputs: &mut Vec<Output<M>>) {
        let now = self.now.monotonic;
        if let Some(store) = self.store_mut(id).filter(|store| !store.has_failed) {
            store.durable = store.durable.max(through.min(store.handed));
            store.based_at.get_or_insert(now);
            self.tend_store(outputs);
        }
    }

    pub(crate) fn store_mut(&mut self, id: StoreId) -> Option<&mut Store> {
        let store = self.state.as_mut()?.store.as_mut();
        store.filter(|store| store.id == id)
    }

    /// Whether the disk failed, and counts: then we acknowledge nothing any more.
    pub fn has_failed_disk(&self) -> bool {
        let store = self.state.as_ref().and_then(|state| state.store);
        store.is_some_and(|store| store.has_failed)
    }

    /// What is to be reported of the disk.
    pub(crate) fn disk_news(&self) -> Option<News> {
        self.has_failed_disk().then_some(News::DiskFailed)
    }

    /// How far our own log is durable; `None`: we keep none, and nobody is to wait for us.
    fn own_durable(&self) -> Option<Index> {
        let store = self.state.as_ref()?.store?;
        let is_waited_for = store.stage != Stage::Beside;
        (self.options.switches.keep(Rule::C62) && is_waited_for).then_some(store.durable)
    }

    /// How far everyone from the head down to us who keeps anything has it on disk; `None`: nobody does `[C-62]`.
    pub(crate) fn durable_through(&self) -> Option<Index> {
        let counts = self.options.switches.keep(Rule::C62) && !self.role.is_head;
        let above = self.up.above.filter(|_| counts);
        let own = self.own_durable();
        own.into_iter().chain(above).min()
    }

    /// How far our log is durable, as a learner: its acks are what the tail may count on `[C-62]`.
    pub(crate) fn learner_durable(&self) -> Option<Index> {
        self.own_durable().filter(|_| self.role.is_learner)
    }

    /// Tells the successor that more is durable than it knows, or that nobody has to wait any more.
    pub(crate) fn tell_durable(&mut self, outputs: &mut Vec<Output<M>>) {
        let through = self.durable_through();
        if !self.down.is_news(through) {
            return;
        }
        let (false, Some(nonce), Some(successor)) =
            (self.role.is_tail, self.down.nonce(), self.role.successor)
        else {
            return;
        };
        self.down.said(through, self.now);
        let append = Message::Append {
            nonce,
            entries: Vec::new(),
            last: self.down.sent(),
            durable: through,
        };
        self.send(successor, append, outputs);
    }
}
