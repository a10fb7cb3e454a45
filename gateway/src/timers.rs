//! The moments at which a worker's connections want to be woken: coarse, and cheap to leave unused.
//!
//! A connection moves its deadline with nearly every packet. So an entry is not moved along: when it comes due, the
//! connection says whether it is still wanted, and when then.

use std::{
    collections::BTreeMap,
    task::{Context, Waker},
};

use catena_connection::input::Now;
use catena_shard::ConnId;

use crate::limits::TIMER_STEP_MS;

/// Entries by their moment.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// In steps of [`TIMER_STEP_MS`].
    steps: BTreeMap<u64, Vec<ConnId>>,
    /// Who sleeps until the first entry, and until when.
    sleeper: Option<(u64, Waker)>,
}

impl Timers {
    /// Enters `conn` for the first step at or after `at`, and returns that moment.
    pub fn enter(&mut self, conn: ConnId, at: Now) -> Now {
        let step = at.0.div_ceil(TIMER_STEP_MS);
        self.steps.entry(step).or_default().push(conn);
        if let Some((until, waker)) = &self.sleeper
            && step < *until
        {
            waker.wake_by_ref();
            self.sleeper = None;
        }
        Now(step.saturating_mul(TIMER_STEP_MS))
    }

    /// Takes the entries of the first step, if it has come by `now`.
    pub fn take_due(&mut self, now: Now) -> Option<(Now, Vec<ConnId>)> {
        let first = self.steps.first_entry()?;
        let at = Now(first.key().saturating_mul(TIMER_STEP_MS));
        (at <= now).then(|| (at, first.remove()))
    }

    /// The moment to sleep until; the task of `cx` is woken when an earlier one is entered.
    pub fn sleep_until(&mut self, cx: &Context<'_>) -> Option<Now> {
        let first = self.steps.first_key_value().map(|(step, _)| *step);
        self.sleeper = Some((first.unwrap_or(u64::MAX), cx.waker().clone()));
        first.map(|step| Now(step.saturating_mul(TIMER_STEP_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_due_in_their_step_and_never_before() {
        let mut timers = Timers::default();
        let at = timers.enter(ConnId(1), Now(17));
        timers.enter(ConnId(2), Now(100));
        timers.enter(ConnId(3), Now(32));
        assert_eq!(at, Now(32));
        assert_eq!(timers.take_due(Now(31)), None);
        assert_eq!(
            timers.take_due(Now(33)),
            Some((Now(32), vec![ConnId(1), ConnId(3)]))
        );
        assert_eq!(timers.take_due(Now(33)), None);
        assert_eq!(
            timers.take_due(Now(1000)),
            Some((Now(112), vec![ConnId(2)]))
        );
    }
}
