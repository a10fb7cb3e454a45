//! What the gateways of a simulation ask of the shards, and what must come of it.

use catena_chain::{Configuration, Machine};
use catena_link::Class;
use catena_slots::ShardId;

use crate::random::Random;

/// One life of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub gateway: usize,
    pub incarnation: u64,
}

/// What is wrong.
pub type Violation = String;

/// A state machine with clients of its own, who know what they were promised.
pub trait Workload: Sized {
    type Machine: Machine;

    fn new(shards: usize) -> Self;

    /// The gateway as an origin.
    fn origin(incarnation: u64) -> <Self::Machine as Machine>::Origin;

    /// The gateway that an origin is.
    fn incarnation(origin: &<Self::Machine as Machine>::Origin) -> Option<u64>;

    /// The cluster's settings for `shard`.
    fn settings(
        shard: ShardId,
        version: u64,
        generations: &[u32],
        admits_all: bool,
    ) -> <Self::Machine as Machine>::Settings;

    /// The next op of a gateway, and where it goes.
    fn offer(&mut self, random: &mut Random, life: Life) -> Option<Offer<Self::Machine>>;

    /// The offered op got this number, in what the gateway takes for this generation.
    fn sent(&mut self, life: Life, shard: ShardId, number: u64);

    /// Ops through `number` were called committed.
    fn committed(&mut self, life: Life, shard: ShardId, generation: u32, number: u64);

    /// An effect arrived.
    fn effect(
        &mut self,
        life: Life,
        shard: ShardId,
        effect: <Self::Machine as Machine>::Effect,
    ) -> Result<(), Violation>;

    /// The shard has lost everything, lawfully.
    fn new_generation(&mut self, life: Life, shard: ShardId);

    /// The gateway is gone; nobody waits for its answers.
    fn over(&mut self, life: Life);

    /// Whether all that was asked by those who live is answered.
    fn is_settled(&self, lives: &[Life]) -> Result<(), Violation>;

    /// Everything is quiet: the state at each tail, with its configuration.
    fn check(&self, tails: &[(&Configuration, &Self::Machine)]) -> Result<(), Violation>;
}

/// An op that a gateway sends.
pub struct Offer<M: Machine> {
    pub shard: ShardId,
    pub class: Class,
    pub op: M::Op,
}
