//! The learner's side of a snapshot: what arrives, and the state that comes of it `[C-30]`.

use crate::{
    clock::Clock,
    configuration::Epoch,
    disk::Source,
    machine::Machine,
    message::{Alarm, Message, SnapshotHeader},
    replica::{Output, Replica, State},
    snapshot::{Decoded, Decoding, PIECES_AHEAD, Piece},
    switches::Rule,
};

/// A learner asks anew when nothing has come from the tail for this part of a time-out.
const SILENCES: u64 = 2;

/// See the file.
#[derive(Debug, Default)]
pub(crate) struct Install {
    arriving: Option<Arriving>,
    /// At most one is installed per epoch `[C-30]`.
    installed_in: Option<Epoch>,
}

/// A snapshot that arrives and is read meanwhile.
#[derive(Debug)]
struct Arriving {
    nonce: u64,
    epoch: Epoch,
    header: SnapshotHeader,
    /// Bytes that have come, and that were read of them.
    come: usize,
    read: usize,
    /// Its last piece has come.
    is_whole: bool,
    /// A connection broke since: some of it may be lost.
    may_lack: bool,
    /// When it got on last, in microseconds.
    moved_at: u64,
}

impl<M: Machine> Replica<M> {
    /// Whether a snapshot that is of use is arriving, or being read.
    pub(crate) fn is_installing(&self) -> bool {
        self.decoding().is_some()
    }

    /// The snapshot whose pieces are of use; all others are to be given up.
    pub fn decoding(&self) -> Option<u64> {
        let arriving = self.install.arriving.as_ref()?;
        let is_asked_for = self.state.is_none()
            && arriving.nonce == self.stream()
            && arriving.epoch == self.epoch();
        (is_asked_for || !self.options.switches.keep(Rule::C30)).then_some(arriving.nonce)
    }

    /// Whether we are a learner that had its one snapshot of this epoch: without state it has to join anew `[C-30]`.
    pub(crate) fn has_installed(&self) -> bool {
        self.role.is_learner && self.install.installed_in == Some(self.epoch())
    }

    /// As the learner: a piece of the state, of the snapshot that answers our last Hello `[C-30]`.
    pub(crate) fn install_piece(
        &mut self,
        nonce: u64,
        header: SnapshotHeader,
        piece: Piece,
        outputs: &mut Vec<Output<M>>,
    ) {
        let is_due = self.state.is_none() && !self.has_installed() && nonce == self.stream();
        let keeps_rule = self.options.switches.keep(Rule::C30);
        if !self.role.is_learner || (keeps_rule && !is_due) {
            return;
        }
        if piece.offset == 0 && !self.is_arriving(nonce) {
            self.install.arriving = Some(Arriving {
                nonce,
                epoch: self.epoch(),
                header,
                come: 0,
                read: 0,
                is_whole: false,
                may_lack: false,
                moved_at: 0,
            });
            outputs.push(Output::Decode(Decoding { nonce }));
        }
        let now = self.now.monotonic;
        let room = self.options.snapshot_piece_bytes * (PIECES_AHEAD + 1);
        let Some(arriving) = &mut self.install.arriving else {
            return;
        };
        let is_next = arriving.nonce == nonce && arriving.come == piece.offset;
        if !is_next || arriving.is_whole {
            return;
        }
        if piece.bytes.len() > room - (arriving.come - arriving.read).min(room) {
            // The tail sends more than was agreed: memory has no room for it. Another is asked for.
            self.install.arriving = None;
            return;
        }
        self.transfers.received += 1;
        arriving.come += piece.bytes.len();
        arriving.is_whole = piece.is_last;
        arriving.moved_at = now;
        outputs.push(Output::Arrived { nonce, piece });
    }

    fn is_arriving(&self, nonce: u64) -> bool {
        let arriving = self.install.arriving.as_ref();
        arriving.is_some_and(|arriving| arriving.nonce == nonce && arriving.epoch == self.epoch())
    }

    /// As the learner: so many bytes more were read, and the tail may go on.
    pub(crate) fn piece_read(&mut self, nonce: u64, bytes: usize, outputs: &mut Vec<Output<M>>) {
        let now = self.now.monotonic;
        let arriving = self.install.arriving.as_mut();
        if let Some(arriving) = arriving.filter(|arriving| arriving.nonce == nonce) {
            arriving.read = arriving.come.min(arriving.read + bytes);
            arriving.moved_at = now;
            self.say_taken(outputs);
        }
    }

    /// As the learner: tells the tail how far we have read, and that we live.
    pub(crate) fn say_taken(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(arriving), Some(tail)) = (&self.install.arriving, self.role.predecessor) else {
            return;
        };
        let taken = Message::SnapshotTaken {
            nonce: arriving.nonce,
            through: arriving.read,
        };
        self.up.said_at = self.now.monotonic;
        self.send(tail, taken, outputs);
    }

    /// As the learner: whoever hears nothing of its snapshot any more asks for another.
    pub(crate) fn tend_install(&mut self) {
        let timeout = self.options.timeout_micros;
        let since = |at: u64| self.now.monotonic.saturating_sub(at);
        let has_stopped = |arriving: &Arriving| {
            // What has come and is not read takes as long as it takes. A tail that speaks makes the next piece.
            let is_starved = arriving.read == arriving.come && !arriving.is_whole;
            let is_silent = since(self.up.heard_at) > timeout / SILENCES;
            let patience = match arriving.may_lack || is_silent {
                true => timeout / SILENCES,
                false => timeout,
            };
            is_starved && since(arriving.moved_at) > patience
        };
        let is_over = self.install.arriving.as_ref().is_some_and(has_stopped);
        if is_over || !self.is_installing() {
            self.install.arriving = None;
        }
    }

    /// As the learner: what was on its way to us may be lost.
    pub(crate) fn doubt_install(&mut self) {
        if let Some(arriving) = &mut self.install.arriving {
            arriving.may_lack = true;
        }
    }

    /// As the learner: the tail will not go on with it.
    pub(crate) fn give_up_install(&mut self) {
        self.install.arriving = None;
    }

    /// As the learner: the state is there, if nothing has changed meanwhile.
    pub(crate) fn snapshot_decoded(&mut self, decoded: Decoded<M>, outputs: &mut Vec<Output<M>>) {
        let is_wanted = self.role.is_learner && self.decoding() == Some(decoded.nonce);
        let arriving = self.install.arriving.take_if(|_| is_wanted);
        let (Some(arriving), Some(configuration)) = (arriving, &self.configuration) else {
            return;
        };
        let Some(machine) = decoded.machine else {
            let index = arriving.header.end.index;
            outputs.push(Output::Alarm(Alarm::BadSnapshot { index }));
            // Another one is asked for when a Tick repeats the Hello: it may well be as bad, and is as large.
            self.up.said_at = self.now.monotonic;
            return;
        };
        self.install.installed_in = Some(configuration.epoch);
        let clock = Clock::resuming(arriving.header.at, self.now);
        let generation = configuration.generation;
        let mut state = State::new(generation, machine, arriving.header.end, clock);
        // It is the state that the tail had applied: that is committed once it is durable above, or the tail has said
        // since that nobody waits for that [C-62] [C-65].
        state.commit = 0;
        self.up.above = Some(0);
        self.state = Some(state);
        self.begin_store(Source::New, outputs);
        self.hello(outputs);
    }
}
