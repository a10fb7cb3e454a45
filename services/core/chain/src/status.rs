//! What a replica shows of itself: to heartbeats, to its host's reads, and to whoever watches over the rules.

use crate::{
    clock::Now,
    configuration::{Epoch, Generation},
    entry::Index,
    log::Position,
    machine::Machine,
    replica::Replica,
};

/// How far a replica has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub epoch: Epoch,
    pub generation: Generation,
    /// Where its log ends.
    pub end: Position,
    /// What it knows to be committed.
    pub commit: Index,
}

/// Parts of snapshots that went to learners and came from tails, since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfers {
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
}

impl<M: Machine> Replica<M> {
    /// What went from replica to replica so that one joins.
    pub fn transfers(&self) -> Transfers {
        self.transfers
    }

    /// How far it has come; `None` without state.
    pub fn status(&self) -> Option<Status> {
        let state = self.state.as_ref()?;
        Some(Status {
            epoch: self.epoch(),
            generation: state.generation,
            end: state.log.end(),
            commit: state.commit,
        })
    }

    /// What stands at `index` of its log; `None` for what it has not or has forgotten.
    pub fn position(&self, index: Index) -> Option<Position> {
        self.state.as_ref()?.log.at(index)
    }

    /// The state machine, whatever it has applied.
    pub fn machine(&self) -> Option<&M> {
        self.state.as_ref().map(|state| &state.machine)
    }

    /// The state machine, for a test that switches off its rules.
    #[cfg(any(test, feature = "switches"))]
    pub fn machine_mut(&mut self) -> Option<&mut M> {
        self.state.as_mut().map(|state| &mut state.machine)
    }

    /// The state machine for what passes by the log: of a tail that has heard from its predecessor within a
    /// time-out `[C-51]`.
    pub fn direct(&self) -> Option<&M> {
        let silence = self.now.monotonic.saturating_sub(self.up.heard_at);
        let is_heard = self.role.predecessor.is_none() || silence <= self.options.timeout_micros;
        self.machine().filter(|_| self.role.is_tail && is_heard)
    }

    /// In how many microseconds a Tick would let timers fire or deferred work go on `[C-53]`; `None`: not as things stand.
    pub fn tick_due_in(&self, now: Now) -> Option<u64> {
        let state = self.state.as_ref().filter(|_| self.role.is_head)?;
        if state.machine.has_deferred_work() {
            return Some(0);
        }
        let allowed = state.last_tick.0 + self.options.tick_ms;
        let due = state.machine.next_timer()?.0.max(allowed);
        let wait_ms = due.saturating_sub(state.clock.time(now).0);
        Some(wait_ms.saturating_mul(1_000))
    }
}
