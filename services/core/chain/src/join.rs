//! Joining: a learner behind the tail catches up, is in sync, is reported, and becomes the tail `[C-30]` to `[C-35]`.
//!
//! ```text
//!            its Hello fits, small lag            it has all that was committed
//!  CatchingUp ──────────────────────► InSync ─────────────────────────────────► Reported ──► the next epoch
//!      ▲        (commits alone)          │       (commits what the learner has)    (for ever, in this epoch)
//!      └─────────────────────────────────┘
//!            silent, or no control plane
//! ```

use crate::{
    machine::Machine,
    message::{Message, News},
    replica::{Output, Replica},
    switches::Rule,
    transfer::Transfer,
};

/// How far the tail's learner has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// The tail commits without it.
    #[default]
    CatchingUp,
    /// The tail commits only what it has `[C-31]`.
    InSync,
    /// The same, and there is no way back `[C-32]`.
    Reported,
}

/// The tail's side.
#[derive(Debug, Default)]
pub(crate) struct Join {
    phase: Phase,
    pub transfer: Option<Transfer>,
}

impl Join {
    /// How far its learner has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The learner has a state of its own.
    pub fn installed(&mut self) {
        self.transfer = None;
    }
}

impl<M: Machine> Replica<M> {
    /// As the tail: how far everything is committed now.
    pub(crate) fn advance_commit(&mut self) {
        self.tend_learner();
        let durable = self.durable_through();
        let Some(state) = &mut self.state else {
            return;
        };
        let last = state.log.last();
        let switches = self.options.switches;
        if self.role.is_tail {
            let alone = self.join.phase == Phase::CatchingUp || !switches.keep(Rule::C31);
            let through = if alone {
                last
            } else {
                last.min(self.down.has())
            };
            let through = through.min(durable.unwrap_or(last));
            state.commit = state.commit.max(through);
        } else if !switches.keep(Rule::C22) && !self.role.is_learner {
            state.commit = last;
        }
        if self.role.is_tail {
            let links = &mut self.links;
            let commit = if switches.keep(Rule::C23) {
                state.commit
            } else {
                last
            };
            state.cut.advance(commit, |origin| links.mark(&origin));
        }
    }

    /// As the tail: from catching up to sync to the report, which [`Replica::tend_learner_on_tick`] repeats.
    fn tend_learner(&mut self) {
        let (true, Some(_), Some(state)) = (self.role.is_tail, self.role.successor, &self.state)
        else {
            return;
        };
        let is_fit = self.down.is_established();
        let lag = state.log.last().saturating_sub(self.down.has());
        let is_silent = self.now.monotonic.saturating_sub(self.down.heard_at)
            > self.options.timeout_micros * 2 / 3;
        let may_sync = is_fit && !is_silent && self.is_control_plane_reachable;
        let asks_for_all = self.options.switches.keep(Rule::C32);
        match self.join.phase {
            Phase::CatchingUp if may_sync && lag <= self.options.learner_lag_max => {
                self.join.phase = Phase::InSync;
                self.next_report = 0;
            }
            Phase::InSync if !may_sync => self.join.phase = Phase::CatchingUp,
            Phase::InSync if self.down.has() >= state.commit || !asks_for_all => {
                self.join.phase = Phase::Reported;
                self.next_report = 0;
            }
            _ => {}
        }
    }

    /// As the tail: the report, until a higher epoch comes; and a snapshot that does not get on begins anew.
    pub(crate) fn tend_learner_on_tick(&mut self, outputs: &mut Vec<Output<M>>) {
        self.advance_commit();
        if let (Phase::Reported, true, Some(learner)) = (
            self.join.phase,
            self.now.monotonic >= self.next_report,
            self.role.successor,
        ) {
            let learner = learner.id;
            self.report(News::LearnerSynced { learner }, outputs);
        }
        self.tend_install();
    }

    /// Forgets what nobody below has to be sent any more.
    pub(crate) fn forget(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(state) = &mut self.state else {
            return;
        };
        let learner_bytes_max = self.options.learner_bytes_max;
        let learner_bytes_max = learner_bytes_max.min(state.machine.learner_bytes_max());
        let mut through = state.commit;
        let mut given_up = None;
        if self.role.is_tail && self.role.successor.is_some() {
            let is_alone = self.join.phase == Phase::CatchingUp;
            // What is not committed is kept whatever becomes of the learner.
            if is_alone && state.log.exceeds(through, learner_bytes_max) {
                // Too far behind: it takes another snapshot, and one that had its snapshot is dropped when it stalls [C-34].
                given_up = self.down.give_up(self.now);
                let transfer = self.join.transfer.take();
                given_up = given_up.or(transfer.map(|transfer| transfer.nonce()));
            } else if let Some(transfer) = &self.join.transfer {
                through = through.min(transfer.end().index);
            } else if self.down.is_established() {
                through = through.min(self.down.acked);
            }
        }
        state.log.forget(through);
        if let (Some(nonce), Some(learner)) = (given_up, self.role.successor) {
            self.send(learner, Message::Mismatch { nonce }, outputs);
        }
    }
}
