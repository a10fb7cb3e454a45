//! What a replica is in a configuration.

use crate::configuration::{Configuration, Member, ReplicaId};

/// A replica's place and its neighbours. One replica alone is both head and tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Role {
    /// Takes ops.
    pub is_head: bool,
    /// Emits effects; its apply is the commit `[C-22]`.
    pub is_tail: bool,
    pub is_learner: bool,
    pub predecessor: Option<Member>,
    pub successor: Option<Member>,
}

impl Role {
    /// The role of `id`; none at all for a stranger.
    pub fn of(configuration: &Configuration, id: ReplicaId) -> Role {
        let is = |member: Option<Member>| member.is_some_and(|member| member.id == id);
        Role {
            is_head: is(configuration.head()),
            is_tail: is(configuration.tail()),
            is_learner: is(configuration.learner),
            predecessor: configuration.predecessor(id),
            successor: configuration.successor(id),
        }
    }

    /// Whether it is of the chain proper.
    pub fn is_of_chain(&self) -> bool {
        self.is_head || self.is_tail || (self.predecessor.is_some() && !self.is_learner)
    }
}
