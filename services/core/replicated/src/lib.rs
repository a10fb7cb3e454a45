//! The shard as the state machine of a chain: where `catena-shard` and `catena-chain` meet.
//!
//! Nothing is decided here. [`Replicated`] hands each entry of the log to the shard; the other names are those of
//! `catena-chain` for it.

mod digest;

use catena_chain::{Generation, Machine, Payload, Stamp, Standing, Unreadable};
use catena_link::Outbox;
use catena_shard::{
    Command, Effect, Effects, Entry as ShardEntry, Frozen, Input as ShardInput, Op, Origin,
    Settings, Shard, Time, direct::Rest, op::Publish,
};
use catena_slots::ShardId;

/// One replica's part in a shard.
pub type Replica = catena_chain::Replica<Replicated>;
/// What happens to it.
pub type Input = catena_chain::Input<Replicated>;
/// What is to be done then.
pub type Output = catena_chain::Output<Replicated>;
/// A gateway's side of a link.
pub type Uplink = catena_chain::Uplink<Replicated>;
/// What is to be done for it.
pub type Action = catena_chain::uplink::Action<Replicated>;
/// From an origin to a replica.
pub type FromOrigin = catena_chain::message::FromOrigin<Replicated>;
/// From a replica to an origin.
pub type ToOrigin = catena_chain::message::ToOrigin<Replicated>;
/// Between the replicas of a shard.
pub type Envelope = catena_chain::message::Envelope<Replicated>;
/// See [`Envelope`].
pub type Message = catena_chain::message::Message<Replicated>;
/// What the log holds.
pub type Entry = catena_chain::Entry<Replicated>;

/// Bytes that anything but a message takes, roughly.
const SMALL_BYTES: usize = 64;

/// Bytes of entries that are kept for a learner whatever the memory profile is.
const LEARNER_BYTES_MIN: usize = 24 * 1024 * 1024;

/// A shard that a chain replicates.
#[derive(Debug)]
pub struct Replicated {
    shard: Shard,
    effects: Effects,
}

impl Replicated {
    /// The shard, for reading.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The shard, for a test that switches off its rules.
    #[cfg(feature = "switches")]
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Machine for Replicated {
    type Frozen = Frozen;
    type Origin = Origin;
    type Op = Op;
    type Effect = Effect;
    type Direct = Publish;
    type Rest = Rest;
    type Command = Command;
    type Settings = Settings;

    fn empty(shard: ShardId, generation: Generation) -> Self {
        Replicated {
            shard: Shard::new(shard, generation.0),
            effects: Effects::default(),
        }
    }

    fn reborn(&mut self, at: Stamp, generation: Generation) {
        self.shard.reborn(Time(at.0), generation.0);
    }

    fn apply(&mut self, at: Stamp, payload: &Payload<Self>, grown: &mut Vec<Origin>) {
        let mut apply = |input| {
            let at = Time(at.0);
            self.shard
                .apply(&ShardEntry { at, input }, &mut self.effects);
        };
        match payload {
            Payload::Ops {
                origin,
                acked_through,
                batch,
            } => {
                for (number, op) in (batch.first..).zip(&batch.ops) {
                    apply(ShardInput::Op {
                        origin: *origin,
                        number,
                        acked_through: *acked_through,
                        op,
                    });
                }
            }
            Payload::LinkOpen { origin, first } => apply(ShardInput::LinkOpen {
                origin: *origin,
                first: *first,
            }),
            Payload::Acked { origin, through } => apply(ShardInput::Acked {
                origin: *origin,
                through: *through,
            }),
            Payload::Gateways { version, live } => apply(ShardInput::Gateways {
                version: *version,
                live,
            }),
            Payload::PeerAck {
                shard,
                generation,
                through,
            } => apply(ShardInput::PeerAck {
                shard: *shard,
                generation: generation.0,
                through: *through,
            }),
            Payload::Command(command) => apply(ShardInput::Command(command)),
            Payload::Configure(settings) => apply(ShardInput::Configure(settings)),
            Payload::Tick => apply(ShardInput::Tick),
            Payload::Checkpoint { .. } => {}
        }
        grown.extend(self.effects.drain());
    }

    fn direct(
        &self,
        at: Stamp,
        publish: &Publish,
        work: &mut u32,
        deliveries: &mut Vec<(Origin, Effect)>,
    ) -> Option<Rest> {
        self.shard.direct(publish, Time(at.0), work, deliveries)
    }

    fn direct_more(
        &self,
        rest: Rest,
        work: &mut u32,
        deliveries: &mut Vec<(Origin, Effect)>,
    ) -> Option<Rest> {
        self.shard.direct_more(rest, work, deliveries)
    }

    fn would_act(&self, command: &Command) -> bool {
        self.shard.would_act(command)
    }

    fn outbox(&self, origin: &Origin) -> Option<&Outbox<Effect>> {
        self.shard.outbox(origin)
    }

    fn applied_through(&self, origin: &Origin) -> Option<u64> {
        self.shard.outbox(origin)?;
        Some(self.shard.applied_through(origin))
    }

    fn origins(&self) -> Vec<Origin> {
        self.shard.origins().collect()
    }

    fn standing(&self, origin: &Origin) -> Standing {
        match origin {
            Origin::Gateway { incarnation, .. } => {
                let (version, is_live) = self.shard.gateway(*incarnation);
                match is_live {
                    true => Standing::Known,
                    false if *incarnation > version => Standing::NotYet,
                    false => Standing::Refused,
                }
            }
            Origin::Shard { shard, generation } => match self.shard.generation_of(*shard) {
                Some(known) if known == *generation => Standing::Known,
                Some(known) if known > *generation => Standing::Refused,
                _ => Standing::NotYet,
            },
        }
    }

    fn settings_version(&self) -> u64 {
        self.shard.settings_version()
    }

    fn gateways_version(&self) -> u64 {
        self.shard.gateways_version()
    }

    fn version_of(settings: &Settings) -> u64 {
        settings.version
    }

    fn next_timer(&self) -> Option<Stamp> {
        self.shard.next_timer().map(|at| Stamp(at.0))
    }

    fn has_deferred_work(&self) -> bool {
        self.shard.has_deferred_work()
    }

    fn digest(effect: &Effect) -> u64 {
        digest::of(effect)
    }

    fn weight(op: &Op) -> usize {
        SMALL_BYTES
            + match op {
                Op::Publish(publish) => publish.message.weight(),
                _ => 0,
            }
    }

    fn effect_weight(effect: &Effect) -> usize {
        match effect {
            Effect::Deliver(deliver) => {
                deliver.message.weight() + SMALL_BYTES * deliver.targets.len()
            }
            _ => SMALL_BYTES,
        }
    }

    fn shard_of(origin: &Origin) -> Option<(ShardId, Generation)> {
        match origin {
            Origin::Shard { shard, generation } => Some((*shard, Generation(*generation))),
            Origin::Gateway { .. } => None,
        }
    }

    fn origin_of(shard: ShardId, generation: Generation) -> Origin {
        Origin::Shard {
            shard,
            generation: generation.0,
        }
    }

    fn as_op(effect: &Effect) -> Option<Op> {
        match effect {
            Effect::Peer(op) => Some(Op::clone(op)),
            _ => None,
        }
    }

    fn freeze(&self) -> Frozen {
        self.shard.freeze()
    }

    fn write(frozen: Frozen, out: &mut dyn FnMut(&[u8]) -> bool) {
        frozen.write(out);
    }

    fn read(
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
        look: &mut dyn FnMut(&Self),
    ) -> Result<Self, Unreadable> {
        let (shard, mut parts) = Shard::read(pieces).map_err(|_| Unreadable)?;
        let machine = Replicated {
            shard,
            effects: Effects::default(),
        };
        while parts.fill_next(&machine.shard).map_err(|_| Unreadable)? {
            look(&machine);
        }
        Ok(machine)
    }

    /// What is in the log is in the buffer too, most of it; beyond that it is bounded as other queues of one connection are.
    fn learner_bytes_max(&self) -> usize {
        let buffer = usize::try_from(self.shard.buffer_bytes()).unwrap_or(usize::MAX);
        LEARNER_BYTES_MIN.saturating_add(buffer / 2)
    }
}
