//! Who is a chain: decided by the control plane alone, told in one self-contained piece `[C-10]`.

use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

/// Version of one chain's configuration. Only the control plane makes a new one, each one higher than the last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// Counts how often a shard started empty, from 1 `[C-2]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Generation(pub u32);

impl Generation {
    /// The one after this.
    pub const fn next(self) -> Generation {
        Generation(self.0 + 1)
    }
}

/// One membership of one process in one shard: a new one at each join, never used twice in a shard `[C-1]`. From 1; 0 is
/// nobody.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct ReplicaId(pub u64);

/// One life of a process: made once at its start, kept through lost heartbeats and re-registration `[C-1]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// A replica and the process that it is bound to: no other may ever play it `[C-1]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Member {
    pub id: ReplicaId,
    pub incarnation: Incarnation,
}

/// Where the first replica of the present line of state got it from `[C-10]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Beginning {
    /// From nothing: the generation was new.
    Empty,
    /// From what the disk of this replica, of an earlier epoch, had kept.
    Disk(ReplicaId),
}

/// One chain at one epoch. It says all there is to know: any higher one is adopted, skipping freely `[C-10]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configuration {
    pub shard: ShardId,
    pub epoch: Epoch,
    pub generation: Generation,
    /// Head first, tail last; never empty. A new one is a subsequence of the one before, plus at most the synced
    /// learner at its end `[C-12]`.
    pub chain: Vec<Member>,
    /// Joins behind the tail and is not yet of the chain.
    pub learner: Option<Member>,
    /// The epoch that added the learner; the last such when there is none now.
    pub joined: Epoch,
    /// Whose state all others come from. It need not be of the chain any more.
    pub founder: ReplicaId,
    pub began: Beginning,
}

impl Configuration {
    /// The first configuration of a shard that starts empty with `founder` alone.
    pub fn founded(
        shard: ShardId,
        epoch: Epoch,
        generation: Generation,
        founder: Member,
    ) -> Configuration {
        Configuration {
            shard,
            epoch,
            generation,
            chain: vec![founder],
            learner: None,
            joined: epoch,
            founder: founder.id,
            began: Beginning::Empty,
        }
    }

    /// The member that ops go to.
    pub fn head(&self) -> Option<Member> {
        self.chain.first().copied()
    }

    /// The member that effects come from.
    pub fn tail(&self) -> Option<Member> {
        self.chain.last().copied()
    }

    /// Place in the chain, 0 for the head; `None` for the learner and for strangers.
    pub fn position(&self, id: ReplicaId) -> Option<usize> {
        self.chain.iter().position(|member| member.id == id)
    }

    /// Whether `id` is of the chain or its learner.
    pub fn names(&self, id: ReplicaId) -> bool {
        self.member(id).is_some()
    }

    /// The member or learner with this id.
    pub fn member(&self, id: ReplicaId) -> Option<Member> {
        self.members().find(|member| member.id == id)
    }

    /// The chain from the head on, then the learner.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.chain.iter().copied().chain(self.learner)
    }

    /// What the process `incarnation` is here, if anything.
    pub fn role_of(&self, incarnation: Incarnation) -> Option<Member> {
        self.members()
            .find(|member| member.incarnation == incarnation)
    }

    /// Who sends `id` its entries: the one before it, for the learner the tail.
    pub fn predecessor(&self, id: ReplicaId) -> Option<Member> {
        if self.learner.is_some_and(|learner| learner.id == id) {
            return self.tail();
        }
        let position = self.position(id)?;
        self.chain.get(position.checked_sub(1)?).copied()
    }

    /// Who gets its entries from `id`: the one after it, for the tail the learner.
    pub fn successor(&self, id: ReplicaId) -> Option<Member> {
        let position = self.position(id)?;
        self.chain.get(position + 1).copied().or(self.learner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u64) -> Member {
        Member {
            id: ReplicaId(number),
            incarnation: Incarnation(100 + number),
        }
    }

    // Were the learner nobody's successor, it would never be sent an entry.
    #[test]
    fn neighbours_follow_the_order_and_the_learner_is_behind_the_tail() {
        let configuration = Configuration {
            chain: vec![member(1), member(2)],
            learner: Some(member(3)),
            ..Configuration::founded(ShardId(0), Epoch(4), Generation(1), member(1))
        };
        let before = |id| configuration.predecessor(ReplicaId(id));
        let after = |id| configuration.successor(ReplicaId(id));
        assert_eq!(
            [before(1), before(2), before(3), before(4)],
            [None, Some(member(1)), Some(member(2)), None]
        );
        assert_eq!(
            [after(1), after(2), after(3), after(4)],
            [Some(member(2)), Some(member(3)), None, None]
        );
        assert_eq!(configuration.position(ReplicaId(3)), None);
        assert_eq!(configuration.role_of(Incarnation(103)), Some(member(3)));
    }
}
