//! Streams between neighbours: nothing flows before Hello `[C-20]`.
//!
//! The successor begins a stream and names it; the predecessor verifies that the successor's log is a prefix of its own
//! and sends what follows. Whatever is lost with a connection shows as a gap, and a gap is another Hello.

use std::sync::Arc;

use crate::{
    clock::Now,
    configuration::ReplicaId,
    entry::{Entry, Index},
    log::Position,
    machine::Machine,
    message::{Alarm, Message, PeerProgress},
    replica::{Output, Replica},
    switches::Rule,
};

/// Entries that travel in one message.
const APPEND_ENTRIES_MAX: usize = 256;

/// Bytes of entries in one message; one entry always fits.
const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Entries that a learner may be sent beyond what it has acknowledged.
const LEARNER_WINDOW: u64 = 4_096;

/// A neighbour is spoken to this many times in a time-out `[C-51]`.
const PINGS: u64 = 3;

/// Hello is repeated this many times in a time-out.
const HELLOS: u64 = 20;

/// The stream from the predecessor.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    /// Names the stream; never used twice.
    nonce: u64,
    is_established: bool,
    pub said_at: u64,
    pub heard_at: u64,
    acked: Option<(Index, Option<Index>, Index)>,
    /// How far the log is durable on everyone above, as far as the predecessor has told in this epoch; `None`: nobody
    /// there keeps anything `[C-62]`.
    pub above: Option<Index>,
}

impl Upstream {
    /// Nothing has come from the predecessor of a new epoch.
    pub fn after(before: &Upstream, now: Now) -> Upstream {
        Upstream {
            nonce: before.nonce,
            // Who was told last that nobody waits, has nothing that anybody above now has to have on disk [C-65].
            above: before.above.map(|_| 0),
            heard_at: now.monotonic,
            ..Upstream::default()
        }
    }
}

/// The stream to the successor.
#[derive(Debug, Default)]
pub(crate) struct Downstream {
    /// As the successor named it; `None` before its Hello.
    nonce: Option<u64>,
    sent: Index,
    /// What the successor is known to have applied.
    pub acked: Index,
    /// How far it has that on disk, if it is a learner that keeps anything.
    durable: Option<Index>,
    /// When `acked` last reached what had been sent, or grew.
    progressed_at: u64,
    said_at: u64,
    pub heard_at: u64,
    /// How far it was told that the log is durable; `None`: that nobody above keeps anything.
    durable_told: Option<Index>,
}

impl Downstream {
    /// Nothing flows in a new epoch.
    pub fn waiting(now: Now) -> Downstream {
        Downstream {
            heard_at: now.monotonic,
            progressed_at: now.monotonic,
            ..Downstream::default()
        }
    }

    /// Ends the stream, and returns its name if there was one.
    pub fn give_up(&mut self, now: Now) -> Option<u64> {
        let ended = std::mem::replace(self, Downstream::waiting(now));
        ended.nonce
    }

    pub fn is_established(&self) -> bool {
        self.nonce.is_some()
    }

    /// The stream's name; `None` before the successor's Hello.
    pub fn nonce(&self) -> Option<u64> {
        self.nonce
    }

    /// The last entry that was sent.
    pub fn sent(&self) -> Index {
        self.sent
    }

    /// What the successor is known to have for good `[C-62]`.
    pub fn has(&self) -> Index {
        self.acked.min(self.durable.unwrap_or(self.acked))
    }

    /// Whether it is worth a message of its own that all through `durable` is.
    pub fn is_news(&self, durable: Option<Index>) -> bool {
        match durable {
            Some(through) => through > self.durable_told.unwrap_or(0),
            None => self.durable_told.is_some(),
        }
    }

    /// The successor was told that all through `durable` is.
    pub fn said(&mut self, durable: Option<Index>, now: Now) {
        self.durable_told = durable;
        self.said_at = now.monotonic;
    }
}

impl<M: Machine> Replica<M> {
    /// To the predecessor, if there is one: where our log ends. It begins a new stream.
    pub(crate) fn hello(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(predecessor), Some(configuration)) = (self.role.predecessor, &self.configuration)
        else {
            return;
        };
        let may_speak = self.state.is_some() || self.role.is_learner;
        if !may_speak || (self.state.is_none() && self.is_installing()) {
            return;
        }
        self.up.nonce += 1;
        self.up.is_established = false;
        self.up.said_at = self.now.monotonic;
        self.up.acked = None;
        let hello = Message::Hello {
            configuration: configuration.clone(),
            nonce: self.up.nonce,
            end: self.state.as_ref().map(|state| state.log.end()),
            commit: self.state.as_ref().map_or(0, |state| state.commit),
            peers: self.unlogged_progress().collect(),
            durable: self.learner_durable(),
        };
        self.send(predecessor, hello, outputs);
    }

    /// A neighbour is there.
    pub(crate) fn heard(&mut self, predecessor: bool, successor: bool) {
        if predecessor {
            self.up.heard_at = self.now.monotonic;
        }
        if successor {
            self.down.heard_at = self.now.monotonic;
        }
    }

    /// The name of the stream that we asked for last.
    pub(crate) fn stream(&self) -> u64 {
        self.up.nonce
    }

    /// What was on its way to or from a neighbour may be lost.
    pub(crate) fn reconnected(&mut self, member: crate::Member, outputs: &mut Vec<Output<M>>) {
        if self.role.predecessor == Some(member) && self.options.switches.keep(Rule::C20) {
            self.doubt_install();
            self.hello(outputs);
        }
    }

    /// As the predecessor: verifies where the successor stands, and goes on from there.
    pub(crate) fn welcome(
        &mut self,
        nonce: u64,
        end: Option<Position>,
        durable: Option<Index>,
        told: (Index, &[PeerProgress]),
        outputs: &mut Vec<Output<M>>,
    ) {
        let (Some(state), Some(successor)) = (&self.state, self.role.successor) else {
            return;
        };
        if self.down.nonce.is_some_and(|known| nonce < known) {
            return;
        }
        let Some(end) = end else {
            if self.role.is_tail {
                self.begin_snapshot(nonce, outputs);
            }
            return;
        };
        if state.log.at(end.index) != Some(end) {
            self.down.nonce = None;
            self.send(successor, Message::Mismatch { nonce }, outputs);
            return;
        }
        self.down.nonce = Some(nonce);
        self.down.sent = end.index;
        self.down.acked = end.index;
        self.down.durable = durable;
        self.down.progressed_at = self.now.monotonic;
        self.join.installed();
        self.progress_from_below(told.0, told.1);
        let durable = self.durable_through();
        self.down.durable_told = durable;
        let empty = Message::Append {
            nonce,
            entries: Vec::new(),
            last: end.index,
            durable,
        };
        self.send(successor, empty, outputs);
    }

    /// As the predecessor: cumulative news from below. Only what a tail has committed counts `[C-22]`.
    fn progress_from_below(&mut self, commit: Index, peers: &[PeerProgress]) {
        for progress in peers {
            self.progressed(*progress);
        }
        if let (false, Some(state)) = (self.role.is_tail, &mut self.state) {
            state.commit = state.commit.max(commit.min(state.log.last()));
        }
    }

    pub(crate) fn acknowledged(
        &mut self,
        nonce: u64,
        (last, durable): (Index, Option<Index>),
        commit: Index,
        peers: &[PeerProgress],
    ) {
        if self.down.nonce != Some(nonce) {
            return;
        }
        if last > self.down.acked || last >= self.down.sent {
            self.down.progressed_at = self.now.monotonic;
        }
        self.down.acked = self.down.acked.max(last);
        self.down.durable = durable;
        self.progress_from_below(commit, peers);
    }

    /// As the successor: how far everyone above has the log on disk `[C-62]`.
    pub(crate) fn durable_above(&mut self, nonce: u64, durable: Option<Index>) {
        if nonce == self.up.nonce {
            self.up.above = durable.max(self.up.above.filter(|_| durable.is_some()));
        }
    }

    /// As the successor: the next entries.
    pub(crate) fn appended(
        &mut self,
        nonce: u64,
        entries: Vec<Arc<Entry<M>>>,
        last: Index,
        outputs: &mut Vec<Output<M>>,
    ) {
        if nonce != self.up.nonce || self.state.is_none() {
            return;
        }
        self.up.is_established = true;
        let switches = self.options.switches;
        let epoch = self.epoch();
        for entry in entries {
            let next = self.state.as_ref().map_or(0, |state| state.log.last()) + 1;
            if entry.index < next || (!switches.keep(Rule::C21) && entry.epoch < epoch) {
                continue;
            }
            if entry.index > next && switches.keep(Rule::C20) {
                break;
            }
            self.take(entry);
        }
        let ours = self.state.as_ref().map_or(0, |state| state.log.last());
        if ours < last && switches.keep(Rule::C20) {
            self.hello(outputs);
        }
    }

    /// Our log is no prefix of the predecessor's: it goes, loudly, unless we only join. Or the snapshot on its way to us cannot be gone on
    /// from any more.
    pub(crate) fn mismatch(&mut self, nonce: u64, outputs: &mut Vec<Output<M>>) {
        if nonce != self.up.nonce {
            return;
        }
        if let Some(state) = &self.state {
            if !self.role.is_learner {
                let end = state.log.end();
                outputs.push(Output::Alarm(Alarm::Mismatch { end }));
            }
            self.drop_state(None, outputs);
        } else {
            self.give_up_install();
        }
        self.hello(outputs);
    }

    /// Sends what the successor lacks.
    pub(crate) fn forward(&mut self, outputs: &mut Vec<Output<M>>) {
        let durable = self.durable_through();
        let (Some(state), Some(successor), Some(nonce)) =
            (&self.state, self.role.successor, self.down.nonce)
        else {
            return;
        };
        let mut last = state.log.last();
        if self.role.is_tail {
            last = last.min(self.down.acked + LEARNER_WINDOW);
        }
        if self.down.sent == self.down.acked {
            self.down.progressed_at = self.now.monotonic;
        }
        let mut messages = Vec::new();
        while self.down.sent < last {
            let count = ((last - self.down.sent) as usize).min(APPEND_ENTRIES_MAX);
            let entries = state.log.from(self.down.sent, count, APPEND_BYTES_MAX);
            if entries.is_empty() {
                break;
            }
            self.down.sent += entries.len() as u64;
            self.down.said(durable, self.now);
            messages.push(Message::Append {
                nonce,
                entries,
                last: self.down.sent,
                durable,
            });
        }
        for message in messages {
            self.send(successor, message, outputs);
        }
    }

    /// Tells the predecessor what is new: the commit, and of a learner what it has.
    pub(crate) fn acknowledge(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(state) = &self.state else {
            return;
        };
        let has_progress = if self.role.is_learner {
            state.log.last()
        } else {
            0
        };
        let news = (has_progress, self.learner_durable(), state.commit);
        let has_peers = self.role.is_tail && self.peers.has_news();
        if self.up.is_established && (self.up.acked != Some(news) || has_peers) {
            self.up.acked = Some(news);
            self.peers.told();
            self.ack(outputs);
        }
    }

    fn ack(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(state), Some(predecessor)) = (&self.state, self.role.predecessor) else {
            return;
        };
        let ack = Message::Ack {
            nonce: self.up.nonce,
            last: state.log.last(),
            durable: self.learner_durable(),
            commit: state.commit,
            peers: self.unlogged_progress().collect(),
        };
        self.up.said_at = self.now.monotonic;
        self.send(predecessor, ack, outputs);
    }

    /// Speaks to neighbours that have heard nothing for a while: what was lost shows then.
    pub(crate) fn keep_alive(&mut self, outputs: &mut Vec<Output<M>>) {
        let since = |at: u64| self.now.monotonic.saturating_sub(at);
        let timeout = self.options.timeout_micros;
        let ping = timeout / PINGS;
        let is_quiet_up = since(self.up.said_at) >= ping;
        // Of a snapshot the first part may take its time: another Hello would make it one that nobody asked for.
        let awaits_snapshot = self.role.is_learner && self.state.is_none();
        let may_repeat =
            is_quiet_up || (since(self.up.said_at) >= timeout / HELLOS && !awaits_snapshot);
        if since(self.down.said_at) >= ping
            && let (Some(nonce), Some(successor)) = (self.down.nonce, self.role.successor)
        {
            let durable = self.durable_through();
            self.down.said(durable, self.now);
            let append = Message::Append {
                nonce,
                entries: Vec::new(),
                last: self.down.sent,
                durable,
            };
            self.send(successor, append, outputs);
        }
        let is_waiting = !self.down.is_established();
        if let (true, true, Some(successor), Some(configuration)) = (
            self.options.switches.keep(Rule::C11) && is_waiting,
            since(self.down.said_at) >= ping,
            self.role.successor,
            &self.configuration,
        ) {
            // It may never have heard of this epoch; and one that waits for a snapshot hears that we live.
            let configuration = configuration.clone();
            self.down.said_at = self.now.monotonic;
            self.send(successor, Message::Newer { configuration }, outputs);
        }
        if is_quiet_up && self.is_installing() {
            self.say_taken(outputs);
        } else if !self.up.is_established && may_repeat {
            self.hello(outputs);
        } else if self.up.is_established && is_quiet_up {
            self.ack(outputs);
        }
    }

    /// The neighbour that has been silent, or has not gone on, for a time-out `[C-24]`.
    pub(crate) fn suspect(&self) -> Option<ReplicaId> {
        let is_long_ago =
            |at: u64| self.now.monotonic.saturating_sub(at) > self.options.timeout_micros;
        let has_stalled = self.down.is_established() && is_long_ago(self.down.progressed_at);
        let successor = self
            .role
            .successor
            .filter(|_| is_long_ago(self.down.heard_at) || has_stalled);
        let predecessor = self
            .role
            .predecessor
            .filter(|_| is_long_ago(self.up.heard_at));
        successor.or(predecessor).map(|member| member.id)
    }
}
