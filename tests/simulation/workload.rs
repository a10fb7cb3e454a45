//! What the gateways of a simulation ask of the shards, and what must come of it.

use catena_chain::{Configuration, Generation, Machine, Uplink, uplink::Action};
use catena_slots::{ShardId, SlotTable};

use crate::{
    plan::{Loosened, Plan},
    random::Random,
};

/// One life of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub gateway: usize,
    pub incarnation: u64,
}

/// What is wrong.
pub type Violation = String;

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Faults,
    /// Everything was mended a moment ago: no new work.
    Healing,
    /// A little new work.
    Probing,
    /// Nothing new any more.
    Quiet,
}

/// What the world lets a workload see and do at one moment.
pub struct Scene<'a, E> {
    /// Microseconds.
    pub now: u64,
    pub phase: Phase,
    pub random: &'a mut Random,
    /// What the workload wants to happen, when, and at which gateway.
    pub later: &'a mut Vec<(u64, Option<usize>, E)>,
    /// The gateways whose port can be reached: they run, stopped or not, and have registered.
    pub reachable: &'a [bool],
    /// The gateways that are on the list of those who live `[C-43]`.
    pub listed: &'a [bool],
    pub is_traced: bool,
}

impl<E> Scene<'_, E> {
    pub fn after(&mut self, micros: u64, gateway: Option<usize>, event: E) {
        self.later.push((self.now + micros, gateway, event));
    }

    pub fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>10.4} {}", self.now as f64 / 1e6, text());
        }
    }
}

/// A gateway that lives.
pub struct Gate<'a, M: Machine> {
    pub life: Life,
    /// Its links, by shard.
    pub uplinks: &'a mut [Uplink<M>],
}

/// A shard starts empty, or goes on from a disk that may lack what came last.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    pub shard: ShardId,
    /// The generation that begins.
    pub generation: u32,
    /// What was acknowledged before is there, and when it begins: in microseconds.
    pub from: u64,
    pub at: u64,
}

/// A state machine with clients of its own, who know what they were promised.
pub trait Workload: Sized {
    type Machine: Machine;
    /// What it lets happen by itself.
    type Event;

    fn new(plan: &Plan) -> Self;

    /// The gateway as an origin.
    fn origin(incarnation: u64) -> <Self::Machine as Machine>::Origin;

    /// The gateway that an origin is.
    fn incarnation(origin: &<Self::Machine as Machine>::Origin) -> Option<u64>;

    /// The cluster's settings for `shard`.
    fn settings(
        shard: ShardId,
        version: u64,
        slots: &SlotTable,
        generations: &[u32],
        off: Option<Loosened>,
    ) -> <Self::Machine as Machine>::Settings;

    /// Switches off a rule of the machine.
    fn loosen(_: &mut Self::Machine, _: Option<Loosened>) {}

    /// Once, at the start.
    fn begin(&mut self, _: &mut Scene<'_, Self::Event>) {}

    /// The gateway may send something.
    fn offer(
        &mut self,
        _: &mut Scene<'_, Self::Event>,
        _: &mut Gate<'_, Self::Machine>,
    ) -> Result<(), Violation> {
        Ok(())
    }

    /// Something happens that the workload has asked for; at a gateway that does not live, there is no gate.
    fn happen(
        &mut self,
        _: Self::Event,
        _: &mut Scene<'_, Self::Event>,
        _: Option<&mut Gate<'_, Self::Machine>>,
    ) -> Result<(), Violation> {
        Ok(())
    }

    /// A link of the gateway wants something done.
    fn act(
        &mut self,
        shard: ShardId,
        action: Action<Self::Machine>,
        scene: &mut Scene<'_, Self::Event>,
        gate: &mut Gate<'_, Self::Machine>,
    ) -> Result<(), Violation>;

    /// An op is about to be sent again `[F-43]`.
    fn rewrite(
        &self,
        _: Life,
        op: &<Self::Machine as Machine>::Op,
    ) -> <Self::Machine as Machine>::Op {
        op.clone()
    }

    /// The gateway is gone; nobody waits for its answers.
    fn over(&mut self, life: Life, scene: &mut Scene<'_, Self::Event>);

    /// A shard has lost something, lawfully.
    fn lost(&mut self, _: Loss) {}

    /// A tail has this state; whether all of it is committed.
    fn seen(&mut self, _: Generation, _: &Self::Machine, _is_committed: bool, _now: u64) {}

    /// What an administrator asks of a shard whose tail has this state, if anything. It may never be done.
    fn command(
        &mut self,
        _: &Self::Machine,
        _: &mut Random,
        _now: u64,
    ) -> Option<<Self::Machine as Machine>::Command> {
        None
    }

    /// A client does what a script says.
    fn script(&mut self, words: &[&str], _: &mut Scene<'_, Self::Event>) -> Result<(), Violation> {
        Err(format!("nobody here can do {words:?}"))
    }

    /// Whether something has come that a script expects.
    fn expect(&self, words: &[&str]) -> Result<(), Violation> {
        Err(format!("nobody here knows of {words:?}"))
    }

    /// Whether all that was asked by those who live is answered.
    fn is_settled(&self, lives: &[Life]) -> Result<(), Violation>;

    /// Everything is quiet: the state at each tail, with its configuration.
    fn check(&self, tails: &[(&Configuration, &Self::Machine)]) -> Result<(), Violation>;
}
