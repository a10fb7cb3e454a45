//! What all clients of a run share.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{
    history::{Gap, History, Kind},
    plan::{Length, Plan},
};

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Everybody connects and subscribes.
    Setup,
    /// Publishers publish, and clients move.
    Load,
    /// Nothing new is sent; what is missing may still come.
    Settle,
    /// Everybody leaves.
    Over,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    /// What it does.
    pub plan: Plan,
    history: Mutex<History>,
    phase: watch::Sender<Phase>,
    origin: Instant,
    published: AtomicU64,
    ready: AtomicUsize,
    problem: Mutex<Option<Problem>>,
}

/// What keeps a client from taking part.
#[derive(Debug, Clone)]
pub struct Problem {
    /// In words.
    pub text: String,
    /// Whether it may pass.
    pub may_pass: bool,
}

impl Run {
    /// A run in which nobody takes part yet.
    pub fn new(plan: Plan, history: History) -> Run {
        Run {
            plan,
            history: Mutex::new(history),
            phase: watch::Sender::new(Phase::Setup),
            origin: Instant::now(),
            published: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
            problem: Mutex::new(None),
        }
    }

    /// What happened so far. Not to be held for long: everybody needs it.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nobody panics with the history")
    }

    /// The phase, to look at or to wait for.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes on to the next phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// One that the run cannot begin without takes part now.
    pub fn is_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have said so.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// Says why a client cannot connect or subscribe.
    pub fn complain(&self, problem: Problem) {
        *self.problem.lock().expect("nobody panics with a problem") = Some(problem);
    }

    /// The last complaint.
    pub fn problem(&self) -> Option<Problem> {
        self.problem
            .lock()
            .expect("nobody panics with a problem")
            .clone()
    }

    /// How many messages were published.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Takes one of the messages that are to be published; false when there are no more.
    pub fn take_message(&self) -> bool {
        let published = self.published.fetch_add(1, Ordering::Relaxed);
        let left = match self.plan.length {
            Length::Time(_) => true,
            Length::Messages(count) => published < count,
        };
        if !left {
            self.published.fetch_sub(1, Ordering::Relaxed);
        }
        left
    }

    /// Takes down how long a client waited.
    pub fn waited(&self, kind: Kind, client: usize, length: Duration) {
        let at = self.now();
        self.history().waited(kind, Gap { client, length, at });
    }
}
