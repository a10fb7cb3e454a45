//! The workload of the small machine: every write has an id of its own.

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Configuration, Generation, Machine, uplink::Action};
use catena_link::Class;
use catena_slots::{ShardId, SlotTable};

use crate::{
    plan::{Loosened, Plan},
    register::{Effect, Op, Origin, Register, Settings},
    workload::{Gate, Life, Loss, Scene, Violation, Workload},
};

/// One op that was sent.
#[derive(Debug)]
struct Write {
    id: u64,
    pass_on: Option<ShardId>,
    number: u64,
    /// The generation in which it was called committed, and when.
    committed_in: Option<(u32, u64)>,
    is_answered: bool,
}

/// What one gateway knows of one shard.
#[derive(Debug, Default)]
struct Half {
    writes: Vec<Write>,
    /// Those before are committed.
    uncommitted_from: usize,
    answers: u64,
    is_lost: bool,
}

pub struct Writes {
    shards: usize,
    next_id: u64,
    halves: BTreeMap<(Life, ShardId), Half>,
    losses: Vec<Loss>,
    /// How far the state of each tail's generation was looked through.
    looked: BTreeMap<(ShardId, Generation), usize>,
    /// In which generation and when an op was first seen at a tail all of whose entries were committed; `None`: it was not yet.
    seen: BTreeMap<(ShardId, u64), Option<(u32, u64)>>,
}

impl Writes {
    fn sent(&mut self, life: Life, shard: ShardId, write: Write) {
        let half = self.halves.entry((life, shard)).or_default();
        half.writes.push(write);
    }

    /// What was called committed so far.
    fn committed(&mut self, shard: ShardId, gate: &Gate<'_, Register>, now: u64) {
        let uplink = &gate.uplinks[shard.index()];
        let generation = uplink.configuration().map_or(0, |c| c.generation.0);
        let number = uplink.committed_through();
        let half = self.halves.entry((gate.life, shard)).or_default();
        while let Some(write) = half.writes.get_mut(half.uncommitted_from) {
            if write.number > number {
                return;
            }
            write.committed_in = Some((generation, now));
            half.uncommitted_from += 1;
        }
    }

    /// Whether a shard may lack what it had called committed at `at`, in this generation or a later one.
    fn may_lack(&self, shard: ShardId, at: u64, generation: u32) -> bool {
        self.losses
            .iter()
            .any(|loss| loss.shard == shard && loss.generation > generation && loss.from <= at)
    }

    fn effect(&mut self, life: Life, shard: ShardId, effect: Effect) -> Result<(), Violation> {
        let half = self.halves.entry((life, shard)).or_default();
        let Effect::Done { id, count } = effect else {
            return Err(format!("{life:?} was sent {effect:?}"));
        };
        half.answers += 1;
        if half.answers != count {
            let had = half.answers - 1;
            return Err(format!(
                "{life:?} got answer {count} of {shard:?} after {had}"
            ));
        }
        match half.writes.iter_mut().find(|write| write.id == id) {
            Some(write) if !write.is_answered => write.is_answered = true,
            _ => return Err(format!("op {id} was answered twice, or never asked")),
        }
        Ok(())
    }
}

impl Workload for Writes {
    type Machine = Register;
    type Event = ();

    fn new(plan: &Plan) -> Self {
        Writes {
            shards: plan.shards(),
            next_id: 0,
            halves: BTreeMap::new(),
            losses: Vec::new(),
            looked: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn origin(incarnation: u64) -> Origin {
        Origin::Gateway(incarnation)
    }

    fn incarnation(origin: &Origin) -> Option<u64> {
        match origin {
            Origin::Gateway(incarnation) => Some(*incarnation),
            Origin::Shard(..) => None,
        }
    }

    fn settings(
        _: ShardId,
        version: u64,
        _: &SlotTable,
        generations: &[u32],
        off: Option<Loosened>,
    ) -> Settings {
        Settings {
            version,
            generations: generations.to_vec(),
            admits_all: off == Some(Loosened::Chain(catena_chain::Rule::C43)),
        }
    }

    fn offer(
        &mut self,
        scene: &mut Scene<'_, ()>,
        gate: &mut Gate<'_, Register>,
    ) -> Result<(), Violation> {
        self.next_id += 1;
        let (id, random) = (self.next_id, &mut *scene.random);
        let shard = ShardId(random.below(self.shards) as u16);
        let other = ShardId(random.below(self.shards) as u16);
        let pass_on = (other != shard).then_some(other);
        let (op, pass_on) = if random.once_in(10) {
            let millis = random.within(1, 400);
            (Op::Later { id, millis }, None)
        } else {
            (Op::Write { id, pass_on }, pass_on)
        };
        if let Ok(number) = gate.uplinks[shard.index()].push(Class::Publish(32), op) {
            let write = Write {
                id,
                pass_on,
                number,
                committed_in: None,
                is_answered: false,
            };
            self.sent(gate.life, shard, write);
        }
        Ok(())
    }

    fn act(
        &mut self,
        shard: ShardId,
        action: Action<Register>,
        scene: &mut Scene<'_, ()>,
        gate: &mut Gate<'_, Register>,
    ) -> Result<(), Violation> {
        self.committed(shard, gate, scene.now);
        match action {
            Action::Effects { effects, .. } => {
                for effect in effects {
                    self.effect(gate.life, shard, effect)?;
                }
            }
            Action::NewGeneration(_) => {
                let half = self.halves.entry((gate.life, shard)).or_default();
                half.answers = 0;
                half.is_lost = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn over(&mut self, _: Life, _: &mut Scene<'_, ()>) {}

    fn lost(&mut self, loss: Loss) {
        self.losses.push(loss);
    }

    fn seen(&mut self, generation: Generation, tail: &Register, is_committed: bool, now: u64) {
        let looked = self.looked.entry((tail.shard, generation)).or_default();
        for id in tail.applied.iter().skip(*looked) {
            let seen = self.seen.entry((tail.shard, *id)).or_default();
            if is_committed {
                seen.get_or_insert((generation.0, now));
            }
        }
        // What is not committed yet is looked at again.
        if is_committed {
            *looked = tail.applied.len();
        }
    }

    fn is_settled(&self, lives: &[Life]) -> Result<(), Violation> {
        for ((life, shard), half) in &self.halves {
            let waits = |write: &&Write| {
                write.committed_in.is_none() || (!half.is_lost && !write.is_answered)
            };
            if !lives.contains(life) {
                continue;
            }
            if let Some(write) = half.writes.iter().find(waits) {
                return Err(format!("{life:?} waits for {shard:?}: {write:?}"));
            }
        }
        Ok(())
    }

    fn check(&self, tails: &[(&Configuration, &Register)]) -> Result<(), Violation> {
        let generation = |shard: ShardId| tails[shard.index()].0.generation;
        let sources: BTreeMap<u64, ShardId> = self
            .halves
            .iter()
            .flat_map(|((_, shard), half)| half.writes.iter().map(|write| (write.id, *shard)))
            .collect();
        // A source that started empty may take an op anew that it had passed on before.
        let may_repeat = |id: u64, at: ShardId| {
            let source = sources.get(&id).copied();
            source.is_some_and(|source| source != at && generation(source) > Generation(1))
        };
        let mut applied = Vec::new();
        for (configuration, register) in tails {
            let (mut once, mut births) = (BTreeSet::new(), register.births.iter().peekable());
            let mut all = BTreeSet::new();
            for (place, id) in register.applied.iter().enumerate() {
                // What was not acknowledged is sent again to a generation that went on from a disk, which may have it.
                while births.next_if(|birth| **birth <= place).is_some() {
                    once.clear();
                }
                if !once.insert(*id) && !may_repeat(*id, configuration.shard) {
                    return Err(format!(
                        "op {id} was applied twice by {:?}",
                        configuration.shard
                    ));
                }
                all.insert(*id);
            }
            applied.push(all);
        }
        for ((life, shard), half) in &self.halves {
            for write in &half.writes {
                let Some((generation, at)) = write.committed_in else {
                    continue;
                };
                if self.may_lack(*shard, at, generation) {
                    continue;
                }
                if !applied[shard.index()].contains(&write.id) {
                    return Err(format!(
                        "op {} of {life:?} was acknowledged and lost",
                        write.id
                    ));
                }
                let Some(other) = write.pass_on else {
                    continue;
                };
                // One that never came there is still to come; one that came is there.
                let is_owed = match self.seen.get(&(other, write.id)) {
                    None => true,
                    Some(None) => !self.losses.iter().any(|loss| loss.shard == other),
                    Some(Some((generation, at))) => !self.may_lack(other, *at, *generation),
                };
                if is_owed && !applied[other.index()].contains(&write.id) {
                    return Err(format!("op {} never came to {other:?}", write.id));
                }
            }
        }
        for (configuration, register) in tails {
            let owed = register.origins().into_iter().filter(|origin| {
                let is_current = Register::shard_of(origin)
                    .is_some_and(|(other, known)| generation(other) == known);
                is_current
                    && register
                        .outbox(origin)
                        .is_some_and(|outbox| !outbox.is_empty())
            });
            if let Some(origin) = owed.into_iter().next() {
                return Err(format!("{:?} still owes {origin:?}", configuration.shard));
            }
        }
        Ok(())
    }
}
