//! What has left, or may leave, a tail: everything is cut at the commit index `[C-23]`.

use std::collections::{BTreeMap, VecDeque};

use crate::{entry::Index, machine::Machine};

/// How far one link has come at one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The last effect in the outbox.
    pub effects: u64,
    /// The last op that was applied.
    pub ops: u64,
}

/// How far each link has come at the commit index, and what the entries after it produced.
#[derive(Debug)]
pub struct Cut<O> {
    seen: BTreeMap<O, Seen>,
    pending: VecDeque<Produced<O>>,
    /// `seen` was read here: nothing may leave before this is committed.
    since: Index,
    committed: Index,
}

#[derive(Debug)]
struct Produced<O> {
    index: Index,
    links: Vec<(O, Option<Seen>)>,
}

impl<O> Default for Cut<O> {
    fn default() -> Self {
        Cut {
            seen: BTreeMap::new(),
            pending: VecDeque::new(),
            since: 0,
            committed: 0,
        }
    }
}

impl<O: Copy + Ord> Cut<O> {
    /// Of a new tail: `machine` has applied everything through `since`, and what that did to each link is not known entry
    /// by entry. So nothing leaves until all of it is committed.
    pub fn whole<M: Machine<Origin = O>>(machine: &M, since: Index) -> Cut<O> {
        let seen = |origin: O| Some((origin, now(machine, &origin)?));
        Cut {
            seen: machine.origins().into_iter().filter_map(seen).collect(),
            pending: VecDeque::new(),
            since,
            committed: 0,
        }
    }

    /// Takes note of what the entry at `index` did to the links of `touched`.
    pub fn produced<M: Machine<Origin = O>>(
        &mut self,
        index: Index,
        machine: &M,
        touched: impl Iterator<Item = O>,
    ) {
        let links: Vec<_> = touched
            .map(|origin| (origin, now(machine, &origin)))
            .collect();
        if !links.is_empty() {
            self.pending.push_back(Produced { index, links });
        }
    }

    /// Everything through `commit` may leave now; `changed` is told whose links that concerns.
    pub fn advance(&mut self, commit: Index, mut changed: impl FnMut(O)) {
        let was_held = self.committed < self.since;
        self.committed = self.committed.max(commit);
        if self.committed < self.since {
            return;
        }
        if was_held {
            self.seen.keys().copied().for_each(&mut changed);
        }
        while self
            .pending
            .front()
            .is_some_and(|first| first.index <= commit)
        {
            let Some(produced) = self.pending.pop_front() else {
                return;
            };
            for (origin, seen) in produced.links {
                match seen {
                    Some(seen) => self.seen.insert(origin, seen),
                    None => self.seen.remove(&origin),
                };
                changed(origin);
            }
        }
    }

    /// How far the link of `origin` has come at the commit index; `None` when it has none.
    pub fn seen(&self, origin: &O) -> Option<Seen> {
        let is_held = self.committed < self.since;
        self.seen.get(origin).copied().filter(|_| !is_held)
    }

    /// Whose links there are at the commit index.
    pub fn origins(&self) -> impl Iterator<Item = O> {
        self.seen.keys().copied()
    }
}

/// How far the link of `origin` has come in all that was applied.
pub fn now<M: Machine>(machine: &M, origin: &M::Origin) -> Option<Seen> {
    Some(Seen {
        effects: machine.outbox(origin)?.last(),
        ops: machine.applied_through(origin)?,
    })
}
