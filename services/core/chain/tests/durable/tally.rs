//! The smallest machine with links: it counts ops and answers each.

use std::collections::BTreeMap;

use catena_chain::{Generation, Machine, Payload, Stamp, Standing, Unreadable};
use catena_link::{Admission, Inbound, Outbox};
use catena_slots::ShardId;

#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub applied: Vec<u64>,
    /// The generation that it is, if it was reborn.
    pub lives: u32,
    links: BTreeMap<u64, (u64, u64)>,
    outboxes: BTreeMap<u64, Outbox<u64>>,
}

impl Machine for Tally {
    type Frozen = Tally;
    type Origin = u64;
    type Op = u64;
    type Effect = u64;
    type Direct = ();
    type Rest = ();
    type Command = u64;
    type Settings = u64;

    fn empty(_: ShardId, _: Generation) -> Self {
        Tally::default()
    }

    fn reborn(&mut self, _: Stamp, generation: Generation) {
        self.lives = generation.0;
        self.links.clear();
        self.outboxes.clear();
    }

    fn apply(&mut self, _: Stamp, payload: &Payload<Self>, grown: &mut Vec<u64>) {
        match payload {
            Payload::Command(number) => self.applied.push(*number),
            Payload::LinkOpen { origin, .. } => {
                self.links.entry(*origin).or_default();
                self.outboxes.entry(*origin).or_default();
            }
            Payload::Ops { origin, batch, .. } => {
                let (applied, _) = self.links.entry(*origin).or_default();
                for (number, op) in (batch.first..).zip(&batch.ops) {
                    let mut inbound = Inbound::starting_at(*applied + 1);
                    if inbound.admit(number) == Admission::Apply {
                        *applied = number;
                        self.applied.push(*op);
                        self.outboxes.entry(*origin).or_default().push(1, *op);
                        grown.push(*origin);
                    }
                }
            }
            _ => {}
        }
    }

    fn direct(&self, _: Stamp, (): &(), _: &mut u32, _: &mut Vec<(u64, u64)>) -> Option<()> {
        None
    }

    fn direct_more(&self, (): (), _: &mut u32, _: &mut Vec<(u64, u64)>) -> Option<()> {
        None
    }

    fn would_act(&self, number: &u64) -> bool {
        !self.applied.contains(number)
    }

    fn outbox(&self, origin: &u64) -> Option<&Outbox<u64>> {
        self.outboxes.get(origin)
    }

    fn applied_through(&self, origin: &u64) -> Option<u64> {
        self.links.get(origin).map(|(applied, _)| *applied)
    }

    fn origins(&self) -> Vec<u64> {
        self.links.keys().copied().collect()
    }

    fn standing(&self, _: &u64) -> Standing {
        Standing::Known
    }

    fn settings_version(&self) -> u64 {
        0
    }

    fn gateways_version(&self) -> u64 {
        0
    }

    fn version_of(_: &u64) -> u64 {
        0
    }

    fn next_timer(&self) -> Option<Stamp> {
        None
    }

    fn has_deferred_work(&self) -> bool {
        false
    }

    fn digest(effect: &u64) -> u64 {
        *effect
    }

    fn weight(_: &u64) -> usize {
        8
    }

    fn effect_weight(_: &u64) -> usize {
        8
    }

    fn shard_of(_: &u64) -> Option<(ShardId, Generation)> {
        None
    }

    fn origin_of(_: ShardId, _: Generation) -> u64 {
        u64::MAX
    }

    fn as_op(_: &u64) -> Option<u64> {
        None
    }

    fn freeze(&self) -> Tally {
        self.clone()
    }

    fn write(frozen: Tally, out: &mut dyn FnMut(&[u8]) -> bool) {
        let mut numbers = frozen.applied.iter();
        numbers.all(|number| out(&number.to_le_bytes()));
    }

    fn read(
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
        look: &mut dyn FnMut(&Self),
    ) -> Result<Self, Unreadable> {
        let mut tally = Tally::default();
        while let Some(piece) = pieces() {
            let (numbers, rest) = piece.as_chunks();
            if !rest.is_empty() {
                return Err(Unreadable);
            }
            let numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
            tally.applied.extend(numbers);
            look(&tally);
        }
        Ok(tally)
    }
}
