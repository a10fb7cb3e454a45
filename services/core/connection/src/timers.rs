//! The moments at which a connection wants to be woken.

use crate::input::Now;

/// What a moment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The phase takes too long.
    Phase,
    /// Look whether the client has been silent for too long.
    KeepAlive,
    /// A shard does not answer Subscribe.
    Request,
    /// Publishes need not wait for a request any longer.
    Barrier,
    /// A shared delivery waits too long.
    Shared,
    /// Credit is held back too long.
    Credit,
    /// A client of 3.1.1 has been held long enough.
    Hold,
    /// What proved who the client is expires.
    Expiry,
    /// The client's rates let its next publish go.
    Rate,
}

const TIMERS: [Timer; 9] = [
    Timer::Phase,
    Timer::KeepAlive,
    Timer::Request,
    Timer::Barrier,
    Timer::Shared,
    Timer::Credit,
    Timer::Hold,
    Timer::Expiry,
    Timer::Rate,
];

const OFF: u64 = u64::MAX;

/// One moment per [`Timer`].
#[derive(Debug)]
pub(crate) struct Timers([u64; TIMERS.len()]);

impl Timers {
    pub fn new() -> Timers {
        Timers([OFF; TIMERS.len()])
    }

    pub fn set(&mut self, timer: Timer, at: Now) {
        self.0[timer as usize] = at.0;
    }

    /// Sets the timer unless it is set.
    pub fn start(&mut self, timer: Timer, at: Now) {
        if self.0[timer as usize] == OFF {
            self.set(timer, at);
        }
    }

    pub fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = OFF;
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != OFF
    }

    /// The earliest moment.
    pub fn next(&self) -> Option<Now> {
        let next = self.0.iter().copied().fold(OFF, u64::min);
        (next != OFF).then_some(Now(next))
    }

    /// Stops one timer whose moment has come, and tells which.
    pub fn take_due(&mut self, now: Now) -> Option<Timer> {
        let due = TIMERS
            .into_iter()
            .find(|timer| self.0[*timer as usize] <= now.0)?;
        // A clock that stands at its very end must not fire what is off.
        if !self.is_set(due) {
            return None;
        }
        self.stop(due);
        Some(due)
    }
}
