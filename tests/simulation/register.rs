//! A small machine with links and outboxes: it writes down which ops it applied, answers each, and passes some on to
//! another shard. What it holds says whether an op was lost or applied twice.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Generation, Machine, Payload, Stamp, Standing, Unreadable};
use catena_link::{Admission, Inbound, Outbox};
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    Gateway(u64),
    Shard(ShardId, u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Written down, answered, and passed on.
    Write { id: u64, pass_on: Option<ShardId> },
    /// The same, but answered by a timer.
    Later { id: u64, millis: u64 },
    /// From another shard.
    Passed { id: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Answers a write; `count` counts the answers to one origin, from 1.
    Done { id: u64, count: u64 },
    /// To another shard.
    Pass(Op),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub version: u64,
    pub generations: Vec<u32>,
    /// C-43 is switched off: gateways that are not live are admitted.
    pub admits_all: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Link {
    inbound: Inbound,
    outbox: Outbox<Effect>,
    answers: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Register {
    generation: u32,
    pub shard: ShardId,
    /// Ids of ops, in the order in which they were applied.
    pub applied: Vec<u64>,
    /// How many of them were there when each later generation began from a disk.
    pub births: Vec<usize>,
    links: BTreeMap<Origin, Link>,
    live: BTreeSet<u64>,
    gateways_version: u64,
    settings_version: u64,
    generations: Vec<u32>,
    admits_all: bool,
    timers: BTreeMap<(u64, u64), Origin>,
}

impl Register {
    fn answer(&mut self, origin: Origin, id: u64, grown: &mut Vec<Origin>) {
        if let Some(link) = self.links.get_mut(&origin) {
            link.answers += 1;
            let count = link.answers;
            link.outbox.push(16, Effect::Done { id, count });
            grown.push(origin);
        }
    }

    fn is_known(&self, origin: &Origin) -> bool {
        self.admits_all || self.standing(origin) == Standing::Known
    }

    fn apply_op(&mut self, at: Stamp, origin: Origin, op: &Op, grown: &mut Vec<Origin>) {
        match op {
            Op::Write { id, pass_on } => {
                self.applied.push(*id);
                self.answer(origin, *id, grown);
                if let Some(shard) = pass_on {
                    let generation = self.generations.get(shard.index()).copied().unwrap_or(1);
                    let peer = Origin::Shard(*shard, generation);
                    let link = self.links.entry(peer).or_default();
                    link.outbox.push(16, Effect::Pass(Op::Passed { id: *id }));
                    grown.push(peer);
                }
            }
            Op::Later { id, millis } => {
                self.applied.push(*id);
                self.timers.insert((at.0 + millis, *id), origin);
            }
            Op::Passed { id } => self.applied.push(*id),
        }
    }
}

impl Machine for Register {
    type Frozen = Vec<u8>;
    type Origin = Origin;
    type Op = Op;
    type Effect = Effect;
    type Direct = ();
    type Rest = ();
    /// The id to write down, unless it stands there already.
    type Command = u64;
    type Settings = Settings;

    fn empty(shard: ShardId, generation: Generation) -> Self {
        Register {
            shard,
            generation: generation.0,
            applied: Vec::new(),
            births: Vec::new(),
            links: BTreeMap::new(),
            live: BTreeSet::new(),
            gateways_version: 0,
            settings_version: 0,
            generations: Vec::new(),
            admits_all: false,
            timers: BTreeMap::new(),
        }
    }

    fn reborn(&mut self, _: Stamp, generation: Generation) {
        self.generation = generation.0;
        self.births.push(self.applied.len());
        self.timers.clear();
        if let Some(ours) = self.generations.get_mut(self.shard.index()) {
            *ours = generation.0;
        }
        self.links
            .retain(|origin, _| matches!(origin, Origin::Shard(..)));
        for link in self.links.values_mut() {
            link.inbound = Inbound::default();
        }
    }

    fn apply(&mut self, at: Stamp, payload: &Payload<Self>, grown: &mut Vec<Origin>) {
        match payload {
            Payload::Ops {
                origin,
                acked_through,
                batch,
            } => {
                let is_known = self.is_known(origin);
                let Some(link) = self.links.get_mut(origin).filter(|_| is_known) else {
                    return;
                };
                link.outbox.acknowledge(*acked_through);
                for (number, op) in (batch.first..).zip(&batch.ops) {
                    let link = self.links.get_mut(origin);
                    let is_next =
                        link.is_some_and(|link| link.inbound.admit(number) == Admission::Apply);
                    if is_next {
                        self.apply_op(at, *origin, op, grown);
                    }
                }
            }
            Payload::LinkOpen { origin, first } => {
                if self.is_known(origin) {
                    let link = self.links.entry(*origin).or_default();
                    if link.inbound.applied_through() == 0 {
                        link.inbound = Inbound::starting_at(*first);
                    }
                }
            }
            Payload::Acked { origin, through } => {
                if let Some(link) = self.links.get_mut(origin) {
                    link.outbox.acknowledge(*through);
                }
            }
            Payload::Gateways { version, live } => {
                self.gateways_version = *version;
                self.live = live.iter().copied().collect();
                let live = &self.live;
                self.links.retain(|origin, _| match origin {
                    Origin::Gateway(incarnation) => live.contains(incarnation),
                    Origin::Shard(..) => true,
                });
            }
            Payload::PeerAck {
                shard,
                generation,
                through,
            } => {
                if let Some(link) = self.links.get_mut(&Origin::Shard(*shard, generation.0)) {
                    link.outbox.acknowledge(*through);
                }
            }
            Payload::Command(id) => {
                if self.would_act(id) {
                    self.applied.push(*id);
                }
            }
            Payload::Configure(settings) => {
                let before = std::mem::replace(&mut self.generations, settings.generations.clone());
                self.settings_version = settings.version;
                self.admits_all = settings.admits_all;
                for (index, (old, new)) in before.iter().zip(&settings.generations).enumerate() {
                    let shard = ShardId(index as u16);
                    if new <= old {
                        continue;
                    }
                    if let Some(link) = self.links.remove(&Origin::Shard(shard, *old)) {
                        // Our ops go on with their numbers; those of the new generation begin anew.
                        let moved = self.links.entry(Origin::Shard(shard, *new)).or_default();
                        moved.outbox = link.outbox;
                    }
                }
            }
            Payload::Tick => {
                while let Some(timer) = self.timers.first_entry() {
                    if timer.key().0 > at.0 {
                        break;
                    }
                    let ((_, id), origin) = timer.remove_entry();
                    self.answer(origin, id, grown);
                }
            }
            Payload::Checkpoint { .. } => unreachable!("no machine sees a checkpoint"),
        }
    }

    fn direct(&self, _: Stamp, (): &(), _: &mut u32, _: &mut Vec<(Origin, Effect)>) -> Option<()> {
        None
    }

    fn direct_more(&self, (): (), _: &mut u32, _: &mut Vec<(Origin, Effect)>) -> Option<()> {
        None
    }

    fn would_act(&self, id: &u64) -> bool {
        !self.applied.contains(id)
    }

    fn outbox(&self, origin: &Origin) -> Option<&Outbox<Effect>> {
        Some(&self.links.get(origin)?.outbox)
    }

    fn applied_through(&self, origin: &Origin) -> Option<u64> {
        Some(self.links.get(origin)?.inbound.applied_through())
    }

    fn origins(&self) -> Vec<Origin> {
        self.links.keys().copied().collect()
    }

    fn standing(&self, origin: &Origin) -> Standing {
        match origin {
            Origin::Gateway(incarnation) if self.live.contains(incarnation) => Standing::Known,
            Origin::Gateway(incarnation) if *incarnation > self.gateways_version => {
                Standing::NotYet
            }
            Origin::Gateway(_) => Standing::Refused,
            Origin::Shard(shard, generation) => match self.generations.get(shard.index()) {
                Some(known) if known == generation => Standing::Known,
                Some(known) if known > generation => Standing::Refused,
                _ => Standing::NotYet,
            },
        }
    }

    fn settings_version(&self) -> u64 {
        self.settings_version
    }

    fn gateways_version(&self) -> u64 {
        self.gateways_version
    }

    fn version_of(settings: &Settings) -> u64 {
        settings.version
    }

    fn next_timer(&self) -> Option<Stamp> {
        self.timers.keys().next().map(|(at, _)| Stamp(*at))
    }

    fn has_deferred_work(&self) -> bool {
        false
    }

    fn digest(effect: &Effect) -> u64 {
        match effect {
            Effect::Done { id, count } => id << 20 | count,
            Effect::Pass(Op::Passed { id }) => id << 20,
            Effect::Pass(_) => 0,
        }
    }

    fn weight(_: &Op) -> usize {
        32
    }

    fn effect_weight(_: &Effect) -> usize {
        32
    }

    fn shard_of(origin: &Origin) -> Option<(ShardId, Generation)> {
        match origin {
            Origin::Shard(shard, generation) => Some((*shard, Generation(*generation))),
            Origin::Gateway(_) => None,
        }
    }

    fn origin_of(shard: ShardId, generation: Generation) -> Origin {
        Origin::Shard(shard, generation.0)
    }

    fn as_op(effect: &Effect) -> Option<Op> {
        match effect {
            Effect::Pass(op) => Some(op.clone()),
            Effect::Done { .. } => None,
        }
    }

    fn freeze(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("every part can be encoded")
    }

    fn write(frozen: Vec<u8>, out: &mut dyn FnMut(&[u8]) -> bool) {
        out(&frozen);
    }

    fn read(
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
        _: &mut dyn FnMut(&Self),
    ) -> Result<Self, Unreadable> {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces() {
            bytes.extend(piece);
        }
        postcard::from_bytes(&bytes).map_err(|_| Unreadable)
    }
}
