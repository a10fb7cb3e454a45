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
    clock::Clock,
    configuration::Epoch,
    disk::Source,
    entry::Stamp,
    log::Position,
    machine::Machine,
    message::{Alarm, Message, News, SnapshotHeader},
    replica::{Output, Replica, State},
    snapshot::{Decoded, Decoding, Encoded, Encoding},
    switches::Rule,
};

/// Parts of a snapshot that are on their way at once.
const PARTS_AHEAD: usize = 4;

/// How far the tail's learner has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
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
    transfer: Option<Transfer>,
}

impl Join {
    /// The learner has a state of its own.
    pub fn installed(&mut self) {
        self.transfer = None;
    }
}

/// A snapshot on its way.
#[derive(Debug)]
struct Transfer {
    /// Of the learner's last Hello `[C-30]`.
    nonce: u64,
    end: Position,
    at: Stamp,
    /// `None` until it is encoded.
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    header: SnapshotHeader,
    bytes: Vec<u8>,
    sent: usize,
    taken: usize,
}

/// The learner's side.
#[derive(Debug, Default)]
pub(crate) struct Install {
    arriving: Option<Arriving>,
    /// The stream of a snapshot that has arrived whole and is being read, and its epoch.
    decoding: Option<(u64, Epoch)>,
    /// At most one is installed per epoch `[C-30]`.
    installed_in: Option<Epoch>,
}

#[derive(Debug)]
struct Arriving {
    nonce: u64,
    header: SnapshotHeader,
    bytes: Vec<u8>,
    heard_at: u64,
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
        let timeout = self.options.timeout_micros;
        let has_stopped = |arriving: &Arriving| {
            self.now.monotonic.saturating_sub(arriving.heard_at) > timeout / 4
        };
        if self.install.arriving.as_ref().is_some_and(has_stopped) {
            self.install.arriving = None;
        }
    }

    /// Forgets what nobody below has to be sent any more.
    pub(crate) fn forget(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(state) = &mut self.state else {
            return;
        };
        let mut through = state.commit;
        let mut given_up = None;
        if self.role.is_tail && self.role.successor.is_some() {
            let is_alone = self.join.phase == Phase::CatchingUp;
            // What is not committed is kept whatever becomes of the learner.
            if is_alone && state.log.exceeds(through, self.options.learner_bytes_max) {
                // Too far behind: it takes another snapshot, and one that had its snapshot is dropped when it stalls [C-34].
                given_up = self.down.give_up(self.now);
                self.join.transfer = None;
            } else if let Some(transfer) = &self.join.transfer {
                through = through.min(transfer.end.index);
            } else if self.down.is_established() {
                through = through.min(self.down.acked);
            }
        }
        state.log.forget(through);
        if let (Some(nonce), Some(learner)) = (given_up, self.role.successor) {
            self.send(learner, Message::Mismatch { nonce }, outputs);
        }
    }

    /// As the tail: the learner has nothing and asks for all.
    pub(crate) fn begin_snapshot(&mut self, nonce: u64, outputs: &mut Vec<Output<M>>) {
        let Some(state) = &self.state else {
            return;
        };
        if self.join.phase != Phase::CatchingUp {
            return;
        }
        match &mut self.join.transfer {
            Some(transfer) if transfer.nonce == nonce => return,
            // It asks again because it was told nothing yet, or has given up. The entries after it are all kept.
            Some(transfer) => {
                transfer.nonce = nonce;
                if let Some(body) = &mut transfer.body {
                    (body.sent, body.taken) = (0, 0);
                    self.send_parts(outputs);
                }
                return;
            }
            None => {}
        }
        let end = state.log.end();
        let encoding = Encoding {
            end,
            frozen: state.machine.freeze(),
        };
        self.join.transfer = Some(Transfer {
            nonce,
            end,
            at: state.clock.time(self.now),
            body: None,
        });
        if self.options.offloads_snapshots {
            outputs.push(Output::Encode(encoding));
        } else {
            self.snapshot_encoded(encoding.run(), outputs);
        }
    }

    /// As the tail: the bytes are there.
    pub(crate) fn snapshot_encoded(&mut self, encoded: Encoded, outputs: &mut Vec<Output<M>>) {
        let is_wanted =
            |transfer: &&mut Transfer| transfer.body.is_none() && transfer.end == encoded.end;
        let Some(transfer) = self.join.transfer.as_mut().filter(is_wanted) else {
            return;
        };
        let header = SnapshotHeader {
            end: encoded.end,
            at: transfer.at,
            bytes: encoded.bytes.len(),
            checksum: encoded.checksum,
        };
        transfer.body = Some(Body {
            header,
            bytes: encoded.bytes,
            sent: 0,
            taken: 0,
        });
        self.send_parts(outputs);
    }

    pub(crate) fn snapshot_taken(
        &mut self,
        nonce: u64,
        offset: usize,
        outputs: &mut Vec<Output<M>>,
    ) {
        let transfer = self.join.transfer.as_mut();
        let Some(transfer) = transfer.filter(|transfer| transfer.nonce == nonce) else {
            return;
        };
        if let Some(body) = &mut transfer.body {
            body.taken = body.taken.max(offset);
            self.send_parts(outputs);
        }
    }

    fn send_parts(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(mut transfer), Some(learner)) = (self.join.transfer.take(), self.role.successor)
        else {
            return;
        };
        let nonce = transfer.nonce;
        let part = self.options.snapshot_part_bytes;
        if let Some(body) = &mut transfer.body {
            let is_first = body.sent == 0;
            while (is_first && body.sent == 0)
                || (body.sent < body.bytes.len() && body.sent < body.taken + part * PARTS_AHEAD)
            {
                let end = (body.sent + part).min(body.bytes.len());
                let message = Message::SnapshotPart {
                    nonce,
                    header: body.header,
                    offset: body.sent,
                    bytes: body.bytes[body.sent..end].to_vec(),
                };
                self.transfers.sent += 1;
                self.transfers.sent_bytes += (end - body.sent) as u64;
                body.sent = end;
                self.send(learner, message, outputs);
                if end == 0 {
                    break;
                }
            }
        }
        self.join.transfer = Some(transfer);
    }

    /// Whether no snapshot is on its way down.
    pub(crate) fn join_is_idle(&self) -> bool {
        self.join.transfer.is_none()
    }

    /// Whether a snapshot is arriving, or being read.
    pub(crate) fn is_installing(&self) -> bool {
        self.install.arriving.is_some() || self.is_decoding()
    }

    /// Whether we are a learner that had its one snapshot of this epoch: without state it has to join anew `[C-30]`.
    pub(crate) fn has_installed(&self) -> bool {
        self.role.is_learner && self.install.installed_in == Some(self.epoch())
    }

    fn is_decoding(&self) -> bool {
        let current = Some((self.stream(), self.epoch()));
        self.state.is_none() && self.install.decoding.is_some() && self.install.decoding == current
    }

    /// As the learner: tells the tail that one lives, while there is nothing else to say.
    pub(crate) fn installing(&mut self, outputs: &mut Vec<Output<M>>) {
        let offset = match &self.install.arriving {
            Some(arriving) => arriving.bytes.len(),
            None => 0,
        };
        let nonce = self.stream();
        if let Some(tail) = self.role.predecessor {
            self.send(tail, Message::SnapshotTaken { nonce, offset }, outputs);
        }
    }

    /// As the learner: a part of the state, of the snapshot that answers our last Hello `[C-30]`.
    pub(crate) fn install_part(
        &mut self,
        nonce: u64,
        header: SnapshotHeader,
        offset: usize,
        bytes: &[u8],
        outputs: &mut Vec<Output<M>>,
    ) {
        if self.options.switches.keep(Rule::C30) {
            let is_due = self.state.is_none() && self.install.installed_in != Some(self.epoch());
            if nonce != self.stream() || !is_due {
                return;
            }
        }
        if offset == 0 {
            self.install.arriving = Some(Arriving {
                nonce,
                header,
                bytes: Vec::new(),
                heard_at: 0,
            });
        }
        let Some(arriving) = &mut self.install.arriving else {
            return;
        };
        if arriving.nonce != nonce || arriving.bytes.len() != offset {
            return;
        }
        self.transfers.received += 1;
        arriving.heard_at = self.now.monotonic;
        arriving.bytes.extend_from_slice(bytes);
        let offset = arriving.bytes.len();
        if let Some(tail) = self.role.predecessor {
            self.send(tail, Message::SnapshotTaken { nonce, offset }, outputs);
        }
        if offset >= header.bytes {
            self.install_whole(outputs);
        }
    }

    fn install_whole(&mut self, outputs: &mut Vec<Output<M>>) {
        let Some(arrived) = self.install.arriving.take() else {
            return;
        };
        self.install.decoding = Some((arrived.nonce, self.epoch()));
        let decoding = Decoding {
            nonce: arrived.nonce,
            header: arrived.header,
            bytes: arrived.bytes,
        };
        if self.options.offloads_snapshots {
            outputs.push(Output::Decode(decoding));
        } else {
            self.snapshot_decoded(decoding.run(), outputs);
        }
    }

    /// As the learner: the state is there, if nothing has changed meanwhile.
    pub(crate) fn snapshot_decoded(&mut self, decoded: Decoded<M>, outputs: &mut Vec<Output<M>>) {
        let awaited = self.install.decoding.take();
        let is_of = |(nonce, epoch)| nonce == decoded.nonce && epoch == self.epoch();
        let is_due = self.state.is_none() || !self.options.switches.keep(Rule::C30);
        let Some(configuration) = &self.configuration else {
            return;
        };
        if !(awaited.is_some_and(is_of) && self.role.is_learner && is_due) {
            return;
        }
        match decoded.machine {
            Some(machine) => {
                self.install.installed_in = Some(configuration.epoch);
                let clock = Clock::resuming(decoded.header.at, self.now);
                let generation = configuration.generation;
                let mut state = State::new(generation, machine, decoded.header.end, clock);
                // It is the state that the tail had applied: that is committed once it is durable above, or the tail has said
                // since that nobody waits for that [C-62] [C-65].
                state.commit = 0;
                self.up.above = Some(0);
                self.state = Some(state);
                self.begin_store(Source::New, outputs);
            }
            None => {
                let index = decoded.header.end.index;
                outputs.push(Output::Alarm(Alarm::BadSnapshot { index }));
                // Another one is asked for when a Tick repeats the Hello: it may well be as bad, and is as large.
                self.up.said_at = self.now.monotonic;
                return;
            }
        }
        self.hello(outputs);
    }
}
