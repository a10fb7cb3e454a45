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
//! A replica that keeps nothing waits for nothing, and tells its successor so.
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
    },
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
    id: StoreId,
    /// Entries through this one were handed over.
    handed: Index,
    /// Everything through this one is durable. 0 until the state is complete on the disk.
    durable: Index,
    /// The disk failed: nothing more becomes durable `[C-64]`.
    has_failed: bool,
}

impl Store {
    pub fn id(&self) -> StoreId {
        self.id
    }
}

/// What a replica knows of disks.
#[derive(Debug)]
pub(crate) struct Disk<M: Machine> {
    /// What the disk held when the process began, until it is gone on from or is of no use any more.
    kept: Option<Kept<M>>,
    last_store: StoreId,
}

impl<M: Machine> Default for Disk<M> {
    fn default() -> Self {
        Disk {
            kept: None,
            last_store: StoreId(0),
        }
    }
}

impl<M: Machine> Disk<M> {
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
    pub(crate) fn begin_store(&mut self, is_kept: bool, outputs: &mut Vec<Output<M>>) {
        let (true, Some(seat), Some(state)) = (self.options.keeps, self.seat, self.state.as_mut())
        else {
            return;
        };
        self.disk.kept = None;
        self.disk.last_store.0 += 1;
        let (store, generation) = (self.disk.last_store, state.generation);
        state.store = Some(Store {
            id: store,
            handed: state.log.last(),
            durable: 0,
            has_failed: false,
        });
        let end = state.log.end();
        outputs.push(Output::Keep(if is_kept {
            Keep::Rename {
                store,
                generation,
                replica: seat,
            }
        } else {
            Keep::Begin {
                store,
                generation,
                replica: seat,
                checkpoint: (end.index > 0).then(|| Checkpoint {
                    end,
                    at: state.clock.time(self.now),
                    frozen: state.machine.freeze(),
                }),
            }
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
        let Some(store) = state.store.as_mut().filter(|store| !store.has_failed) else {
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
    pub(crate) fn durable(&mut self, id: StoreId, through: Index) {
        if let Some(store) = self.store_mut(id).filter(|store| !store.has_failed) {
            store.durable = store.durable.max(through.min(store.handed));
        }
    }

    /// The disk failed, or is full: we are of no use any more, and say so until somebody takes our place `[C-64]`.
    pub(crate) fn store_failed(&mut self, id: StoreId) {
        if let Some(store) = self.store_mut(id) {
            store.has_failed = true;
            self.next_report = 0;
        }
    }

    fn store_mut(&mut self, id: StoreId) -> Option<&mut Store> {
        let store = self.state.as_mut()?.store.as_mut();
        store.filter(|store| store.id == id)
    }

    /// What is to be reported of the disk.
    pub(crate) fn disk_news(&self) -> Option<News> {
        let has_failed = self.state.as_ref()?.store?.has_failed;
        has_failed.then_some(News::DiskFailed)
    }

    /// How far our own log is durable; `None`: we keep none, and nobody is to wait for us.
    fn own_durable(&self) -> Option<Index> {
        let store = self.state.as_ref()?.store?;
        self.options
            .switches
            .keep(Rule::C62)
            .then_some(store.durable)
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

    /// Tells the successor that more is durable than it knows.
    pub(crate) fn tell_durable(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(through) = self.durable_through() else {
            return;
        };
        let (false, Some(nonce), Some(successor)) =
            (self.role.is_tail, self.down.nonce(), self.role.successor)
        else {
            return;
        };
        if self.down.durable_told >= through {
            return;
        }
        self.down.said(through, self.now);
        let append = Message::Append {
            nonce,
            entries: Vec::new(),
            last: self.down.sent(),
            durable: Some(through),
        };
        self.send(successor, append, outputs);
    }
}
