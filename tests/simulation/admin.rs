//! An administrator who disconnects clients, ends sessions and takes retained messages away, at any moment: he looks at a
//! tail, and tells the head.

use catena_chain::{CommandId, Input, Member, NotTaken};

use crate::{
    network::Place,
    parcel::Event,
    workload::{Phase, Workload},
    world::World,
};

impl<W: Workload> World<W> {
    /// Now and then, as long as things go wrong.
    pub fn administer(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let gap = self.plan.command_gap;
        let at = self.now + self.random.within(gap / 10, gap);
        self.schedule(at, Event::Administer);
        let shard = self.random.below(self.plan.shards());
        let content = self.store.content().clone();
        let Some(chain) = content.configuration(shard) else {
            return;
        };
        let live = |member: Option<Member>| {
            let member = member?;
            let node = *self.store.place_of.get(&member.incarnation)?;
            let health = self.health(Place::Node(node));
            let answers =
                health.is_up && !health.is_stopped && self.nodes[node].is(member.incarnation);
            answers.then_some(node)
        };
        let (Some(head), Some(tail)) = (live(chain.head()), live(chain.tail())) else {
            return;
        };
        let seen = self.nodes[tail].replicas.get(shard);
        let Some(machine) = seen.and_then(|replica| replica.machine()) else {
            return;
        };
        let Some(command) = self.workload.command(machine, &mut self.random, self.now) else {
            return;
        };
        self.trace(|| format!("an administrator asks shard {shard}: {command:?}"));
        self.commands_asked += 1;
        let id = CommandId(self.commands_asked);
        self.unanswered.insert(id, head);
        self.step(head, shard, Input::Command { id, command });
    }

    /// The answer to a command. It comes once, from the replica that was asked.
    pub fn commanded(&mut self, node: usize, id: CommandId, outcome: Result<bool, NotTaken>) {
        if self.unanswered.remove(&id) != Some(node) {
            self.fail(format!(
                "node {node} answers {id:?}, which it owes nobody: {outcome:?}"
            ));
        }
        self.commands_done += u64::from(outcome == Ok(true));
    }
}
