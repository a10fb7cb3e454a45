//! The real shard as a machine of the chain.

use std::collections::BTreeSet;

use catena_chain::{Generation, Machine, Payload, Stamp, Standing, Unreadable};
use catena_link::Outbox;
use catena_shard::{Effect, Effects, Entry, Input, Op, Origin, Settings, Shard, Time};
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

/// A shard, and what of its log says whose ops may be taken.
#[derive(Debug)]
pub struct Sharded {
    shard: Shard,
    effects: Effects,
    known: Known,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Known {
    live: BTreeSet<u64>,
    gateways_version: u64,
    generations: Vec<u32>,
    settings_version: u64,
}

impl Machine for Sharded {
    type Origin = Origin;
    type Op = Op;
    type Effect = Effect;
    type Settings = Settings;

    fn empty(shard: ShardId, generation: Generation) -> Self {
        Sharded {
            shard: Shard::new(shard, generation.0),
            effects: Effects::default(),
            known: Known::default(),
        }
    }

    fn apply(&mut self, at: Stamp, payload: &Payload<Self>, grown: &mut Vec<Origin>) {
        let input = match payload {
            Payload::Op {
                origin,
                number,
                acked_through,
                op,
            } => Input::Op {
                origin: *origin,
                number: *number,
                acked_through: *acked_through,
                op,
            },
            Payload::LinkOpen { origin, first } => Input::LinkOpen {
                origin: *origin,
                first: *first,
            },
            Payload::Acked { origin, through } => Input::Acked {
                origin: *origin,
                through: *through,
            },
            Payload::Gateways { version, live } => {
                self.known.gateways_version = *version;
                self.known.live = live.iter().copied().collect();
                Input::Gateways {
                    version: *version,
                    live,
                }
            }
            Payload::PeerAck {
                shard,
                generation,
                through,
            } => Input::PeerAck {
                shard: *shard,
                generation: generation.0,
                through: *through,
            },
            Payload::Configure(settings) => {
                self.known.settings_version = settings.version;
                self.known.generations.clone_from(&settings.generations);
                Input::Configure(settings)
            }
            Payload::Tick => Input::Tick,
            Payload::Checkpoint { .. } => unreachable!("no machine sees a checkpoint"),
        };
        let entry = Entry {
            at: Time(at.0),
            input,
        };
        self.shard.apply(&entry, &mut self.effects);
        grown.extend(self.effects.drain());
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
                if self.known.live.contains(incarnation) {
                    Standing::Known
                } else if *incarnation > self.known.gateways_version {
                    Standing::NotYet
                } else {
                    Standing::Refused
                }
            }
            Origin::Shard { shard, generation } => {
                match self.known.generations.get(shard.index()) {
                    Some(known) if known == generation => Standing::Known,
                    Some(known) if known > generation => Standing::Refused,
                    _ => Standing::NotYet,
                }
            }
        }
    }

    fn settings_version(&self) -> u64 {
        self.known.settings_version
    }

    fn gateways_version(&self) -> u64 {
        self.known.gateways_version
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
        let bytes = postcard::to_stdvec(effect).expect("every effect can be encoded");
        bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
                (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }

    fn weight(op: &Op) -> usize {
        match op {
            Op::Publish(publish) => publish.message.weight(),
            _ => 64,
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

    fn snapshot(&self) -> Vec<u8> {
        let parts = (&self.known, self.shard.snapshot());
        postcard::to_stdvec(&parts).expect("every part can be encoded")
    }

    fn restore(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (known, shard): (Known, Vec<u8>) =
            postcard::from_bytes(bytes).map_err(|_| Unreadable)?;
        Ok(Sharded {
            shard: Shard::restore(&shard).map_err(|_| Unreadable)?,
            effects: Effects::default(),
            known,
        })
    }
}
