//! Persistence is turned on and off while a replica goes on `[C-65]` `[C-66]`.
//!
//! ```text
//!            on: its state is written              little is missing             all of that is durable
//!   nothing ───────────────────► Beside ───────────────────────► Limiting ───────────────────────► Counting
//!      ▲                            │  nobody waits for it           │  the chain waits for it         │ and its disk counts
//!      │            off, or it fails│                                │                                 │ off
//!      └────────────────────────────┴────────────────────────────────┘                                 ▼
//!      └────────────────────────────────────────────────────────────────────────────────────────────  Ending
//!                                                              the disk has forgotten
//! ```
//!
//! What is safe about it: a disk counts only while nothing is committed that it lacks. What was committed without it, was
//! applied here before the chain began to wait; so much has to be durable first. Each replica decides for itself, whatever the
//! others have heard.

use crate::{
    configuration::Beginning,
    disk::{Keep, Store, StoreId},
    entry::Index,
    machine::Machine,
    replica::{Output, Replica},
    switches::Rule,
};

/// What a disk did not do is tried again after so many time-outs.
const RETRY_TIMEOUTS: u64 = 10;

/// How far a store has come in counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is written beside: nobody waits for it, and its disk does not count.
    Beside,
    /// The chain waits for it. Entries through this one may have been committed without it: before they are durable, its disk
    /// does not count.
    Limiting(Index),
    /// The chain waits for it, and its disk counts.
    Counting,
    /// The chain waits until its disk does not count any more.
    Ending,
}

impl<M: Machine> Replica<M> {
    /// Whether anything is to be kept.
    pub(crate) fn keeps(&mut self, is_wanted: bool, outputs: &mut Vec<Output<M>>) {
        if self.disk.is_wanted != is_wanted {
            self.disk.is_wanted = is_wanted;
            self.disk.next_try = 0;
            self.tend_store(outputs);
            self.look_at_kept(outputs);
        }
    }

    /// What the disk held at the start, or when we were evicted, is of no use once a configuration leaves it out: an id never comes back `[C-63]`. Where nothing is
    /// to be kept it goes, whether we are anything in the chain or not.
    pub(crate) fn look_at_kept(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(configuration), None) = (&self.configuration, &self.state) else {
            return;
        };
        let counts = |id| configuration.names(id) || configuration.began == Beginning::Disk(id);
        let mut held = self.disk.held().peekable();
        if !self.disk.is_wanted && held.peek().is_some() && !held.any(counts) {
            drop(held);
            let store = self.disk.forget_kept();
            outputs.push(Output::Keep(Keep::Forget { store }));
        }
    }

    /// Goes a step further on the way to what is wanted, if it is time for one.
    pub(crate) fn tend_store(&mut self, outputs: &mut Vec<Output<M>>) {
        let (is_wanted, now) = (self.disk.is_wanted, self.now.monotonic);
        let is_time = now >= self.disk.next_try;
        let (options, switches) = (self.options, self.options.switches);
        let Some(state) = &mut self.state else {
            return;
        };
        let last = state.log.last();
        let Some(store) = &mut state.store else {
            if is_wanted && is_time {
                self.begin_beside(outputs);
            }
            return;
        };
        let id = store.id;
        match store.stage {
            Stage::Beside | Stage::Limiting(_) if !is_wanted => {
                // It never counted.
                state.store = None;
                outputs.push(Output::Keep(Keep::Forget { store: id }));
            }
            Stage::Beside => {
                let lacks = store.handed.saturating_sub(store.durable);
                let is_late = |since: u64| now.saturating_sub(since) >= options.timeout_micros;
                let is_near = |since| lacks <= options.learner_lag_max || is_late(since);
                if store.based_at.is_some_and(is_near) {
                    store.stage = Stage::Limiting(last);
                    self.tend_store(outputs);
                }
            }
            Stage::Limiting(through) if store.durable >= through => {
                store.stage = Stage::Counting;
                outputs.push(Output::Keep(Keep::Complete { store: id }));
            }
            Stage::Counting if !is_wanted => {
                store.stage = Stage::Ending;
                store.has_failed = false;
                outputs.push(Output::Keep(Keep::Forget { store: id }));
                if !switches.keep(Rule::C66) {
                    state.store = None;
                }
            }
            Stage::Ending if store.has_failed && is_time => {
                store.has_failed = false;
                outputs.push(Output::Keep(Keep::Forget { store: id }));
            }
            Stage::Limiting(_) | Stage::Counting | Stage::Ending => {}
        }
    }

    /// The state as it is begins on the disk, and everything goes on meanwhile.
    fn begin_beside(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(_), Some(state)) = (self.seat, &mut self.state) else {
            return;
        };
        let store = self.disk.new_store();
        state.store = Some(Store::new(store, Stage::Beside, state.log.last()));
        let is_beside = self.options.switches.keep(Rule::C65);
        self.begin_on_disk(store, is_beside, outputs);
    }

    /// The disk has forgotten all of the shard.
    pub(crate) fn forgotten(&mut self, id: StoreId, outputs: &mut Vec<Output<M>>) {
        let is_ending = |store: &Store| store.id == id && store.stage == Stage::Ending;
        if let Some(state) = &mut self.state
            && state.store.as_ref().is_some_and(is_ending)
        {
            state.store = None;
            self.tend_store(outputs);
        }
    }

    /// The disk failed, or is full. Where it counts we are of no use any more, and say so until somebody takes our place `[C-64]`;
    /// else we go on as if it had never begun.
    pub(crate) fn store_failed(&mut self, id: StoreId, outputs: &mut Vec<Output<M>>) {
        let retry = self.now.monotonic + RETRY_TIMEOUTS * self.options.timeout_micros;
        let Some(store) = self.store_mut(id) else {
            return;
        };
        match store.stage {
            Stage::Beside | Stage::Limiting(_) => {
                outputs.push(Output::Keep(Keep::End { store: id }));
                if let Some(state) = &mut self.state {
                    state.store = None;
                }
            }
            Stage::Counting | Stage::Ending => store.has_failed = true,
        }
        self.disk.next_try = retry;
        self.next_report = 0;
    }
}
