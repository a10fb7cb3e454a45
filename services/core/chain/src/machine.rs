//! What is replicated: the state machine, seen from the chain.

use std::fmt;

use catena_link::Outbox;
use catena_slots::ShardId;

use crate::{
    configuration::Generation,
    entry::{Payload, Stamp},
};

/// Bytes that are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be read")]
pub struct Unreadable;

/// Whether ops of an origin may be taken, as the log says it `[C-43]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A gateway that lives, a shard in its latest generation.
    Known,
    /// Newer than what the log says: asked again, it may be known.
    NotYet,
    /// Over; it never comes back.
    Refused,
}

/// A deterministic state machine with links. The same payloads in the same order give the same state and effects.
pub trait Machine: fmt::Debug + Sized {
    /// See [`Machine::freeze`].
    type Frozen: fmt::Debug;
    type Origin: Copy + Ord + fmt::Debug;
    type Op: Clone + fmt::Debug;
    type Effect: Clone + fmt::Debug;
    /// What passes by the log: it changes nothing and is never repeated `[F-41]` `[C-51]`.
    type Direct: fmt::Debug;
    /// What is left of one that is for many `[F-60]`.
    type Rest: fmt::Debug;
    /// What an administrator asks for. It says what it is about, so that a second one of the same does nothing.
    type Command: Clone + fmt::Debug;
    /// What `apply` reads of the cluster's settings; versions rise `[C-50]`.
    type Settings: Clone + fmt::Debug;

    /// The state before the first entry of a generation.
    fn empty(shard: ShardId, generation: Generation) -> Self;

    /// Goes on as a later generation, from a disk that may lack what was committed `[C-64]`: nobody who is owed anything, and
    /// nobody whose ops were applied, may be gone on with as if nothing were missing.
    fn reborn(&mut self, at: Stamp, generation: Generation);

    /// Applies one payload and tells whose outboxes grew. Never called with a checkpoint.
    fn apply(&mut self, at: Stamp, payload: &Payload<Self>, grown: &mut Vec<Self::Origin>);

    /// Whom `publish` is to be delivered to, as things stand: nothing is changed `[C-51]`. It goes as far as `work` reaches, and takes
    /// of it what it did; [`Machine::direct_more`] goes on with the rest.
    fn direct(
        &self,
        at: Stamp,
        publish: &Self::Direct,
        work: &mut u32,
        deliveries: &mut Vec<(Self::Origin, Self::Effect)>,
    ) -> Option<Self::Rest>;

    /// Goes on with what is left, as far as `work` reaches.
    fn direct_more(
        &self,
        rest: Self::Rest,
        work: &mut u32,
        deliveries: &mut Vec<(Self::Origin, Self::Effect)>,
    ) -> Option<Self::Rest>;

    /// Whether `command` would do anything as things stand.
    fn would_act(&self, command: &Self::Command) -> bool;

    /// What an origin is owed; `None` when it has no link.
    fn outbox(&self, origin: &Self::Origin) -> Option<&Outbox<Self::Effect>>;

    /// The highest op number of an origin that was applied; `None` when it has no link.
    fn applied_through(&self, origin: &Self::Origin) -> Option<u64>;

    /// Who has a link, in ascending order.
    fn origins(&self) -> Vec<Self::Origin>;

    /// Whether ops of `origin` may be taken now.
    fn standing(&self, origin: &Self::Origin) -> Standing;

    /// The version of the settings that were applied last; 0 before the first.
    fn settings_version(&self) -> u64;

    /// The version of the list of gateways that was applied last; 0 before the first.
    fn gateways_version(&self) -> u64;

    /// The version of `settings`.
    fn version_of(settings: &Self::Settings) -> u64;

    /// When the next timer is due.
    fn next_timer(&self) -> Option<Stamp>;

    /// Whether a Tick would go on with work that was put off `[F-60]`.
    fn has_deferred_work(&self) -> bool;

    /// Depends on all of `effect` `[C-52]`.
    fn digest(effect: &Self::Effect) -> u64;

    /// Bytes that `op` takes, roughly.
    fn weight(op: &Self::Op) -> usize;

    /// Bytes that `effect` takes, roughly.
    fn effect_weight(effect: &Self::Effect) -> usize;

    /// Which shard `origin` is; `None` for a gateway.
    fn shard_of(origin: &Self::Origin) -> Option<(ShardId, Generation)>;

    /// The shard as an origin, and as one that is owed ops.
    fn origin_of(shard: ShardId, generation: Generation) -> Self::Origin;

    /// The op that an effect for another shard is `[C-42]`; `None` when it is none.
    fn as_op(effect: &Self::Effect) -> Option<Self::Op>;

    /// The whole state as it is now, to be encoded elsewhere while the machine goes on: what is large in it is shared
    /// `[C-30]`.
    fn freeze(&self) -> Self::Frozen;

    /// The frozen state as bytes, in pieces, until `out` wants no more. A machine that may hold more than memory does makes them
    /// one by one.
    fn write(frozen: Self::Frozen, out: &mut dyn FnMut(&[u8]) -> bool);

    /// The state whose [`Machine::write`] gave these pieces; they need not be cut as they were. `look` sees it while it grows.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else.
    fn read(
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
        look: &mut dyn FnMut(&Self),
    ) -> Result<Self, Unreadable>;

    /// Bytes of entries that its settings have room for while a learner has not taken them.
    fn learner_bytes_max(&self) -> usize {
        usize::MAX
    }
}
