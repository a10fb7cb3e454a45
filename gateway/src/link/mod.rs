//! A worker's link to one shard: what is to be sent, what is not yet committed, and how far its effects were taken.
//!
//! The link outlives its transport. No IO here; [`task`] does that.

pub(crate) mod task;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::VecDeque, sync::Arc, task::Waker};

use catena_connection::input::Now;
use catena_link::{Batch, Class, Full, Gap, Receiver, Sender, Window};
use catena_mqtt::QoS;
use catena_shard::{ConnId, Op, Origin, Time, op::Publish, wire::ToShard};
use hashbrown::HashSet;

use crate::limits::{
    ACK_BYTES, ACK_EFFECTS, DIRECT_BYTES, DIRECT_PUBLISHES, LINK_PUBLISH_BYTES, LINK_PUBLISHES,
};

/// The direct lane: QoS 0 publishes outside the log, counted `[F-41]`.
#[derive(Debug, Default)]
struct Direct {
    waiting: Vec<Publish>,
    waiting_bytes: usize,
    /// Publishes ever taken.
    taken: u64,
    /// Of those, how many were taken before this transport carried its first.
    before: u64,
    /// How many are over: handled, or lost with a transport.
    through: u64,
}

/// How the transport is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No transport, or `Open` is not yet answered.
    Closed,
    Open,
}

/// The link.
#[derive(Debug)]
pub(crate) struct Link {
    state: State,
    /// The generation of the shard that the numbers belong to; `None` before it was first open.
    generation: Option<u32>,
    sender: Sender<Op>,
    receiver: Receiver,
    /// The last effect that was handed to a connection.
    pub handed_through: u64,
    /// Batches that were sent before a break, to be sent again.
    again: VecDeque<Arc<Batch<Op>>>,
    direct: Direct,
    /// Connections that are gone and whose publishes were given up `[F-43]`: what they still had in hand must not
    /// overtake what their clients will resend.
    forsaken: HashSet<ConnId>,
    acked_through: u64,
    /// Bytes of effects since the last acknowledgement.
    unacked_bytes: usize,
    /// Nothing has come for a while: what was taken is acknowledged.
    pub is_idle: bool,
    /// Connections that want to hear of progress.
    waiting: Vec<ConnId>,
    /// The shard's time, and ours when it was told.
    time: Option<(Time, Now)>,
    /// The task that carries the link, unless it is awake.
    carrier: Option<Waker>,
}

/// What an answer to `Open` means for the link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It goes on.
    Yes,
    /// The shard has started anew: ask again, having taken none of its effects `[C-2]`.
    Anew,
}

impl Link {
    pub fn new() -> Link {
        let window = Window {
            publishes: LINK_PUBLISHES,
            publish_bytes: LINK_PUBLISH_BYTES,
        };
        Link {
            state: State::Closed,
            generation: None,
            sender: Sender::new(window),
            receiver: Receiver::default(),
            handed_through: 0,
            again: VecDeque::new(),
            direct: Direct::default(),
            forsaken: HashSet::new(),
            acked_through: 0,
            unacked_bytes: 0,
            is_idle: false,
            waiting: Vec::new(),
            time: None,
            carrier: None,
        }
    }

    // What connections ask.

    pub fn push(&mut self, class: Class, op: Op) -> Result<u64, Full> {
        let op = if self.is_forsaken(&op) { Op::Noop } else { op };
        let number = self.sender.push(class, op)?;
        self.wake();
        Ok(number)
    }

    fn is_forsaken(&self, op: &Op) -> bool {
        !self.forsaken.is_empty()
            && matches!(op, Op::Publish(publish)
                if publish.message.qos > QoS::AtMostOnce && self.forsaken.contains(&publish.conn))
    }

    /// The connection has nothing more to send.
    pub fn forget(&mut self, conn: ConnId) {
        self.forsaken.remove(&conn);
    }

    pub fn push_direct(&mut self, publish: Publish) -> Result<u64, Full> {
        let direct = &mut self.direct;
        let bytes = publish.message.weight();
        let has_room = direct.waiting_bytes + bytes <= DIRECT_BYTES || direct.waiting.is_empty();
        if !has_room || direct.taken - direct.through >= DIRECT_PUBLISHES {
            return Err(Full);
        }
        direct.waiting.push(publish);
        direct.waiting_bytes += bytes;
        direct.taken += 1;
        let number = direct.taken;
        self.wake();
        Ok(number)
    }

    pub fn committed_through(&self) -> u64 {
        self.sender.committed_through()
    }

    pub fn direct_through(&self) -> u64 {
        self.direct.through
    }

    pub fn await_progress(&mut self, conn: ConnId) {
        self.waiting.push(conn);
    }

    /// The shard's time at `now`, which may be up to a tenth of the time since the last word of it off.
    pub fn time(&self, now: Now) -> Option<Time> {
        self.time
            .map(|(told, at)| told.plus_millis(now.0.saturating_sub(at.0)))
    }

    fn wake(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.wake();
        }
    }

    // What the task asks.

    /// Wakes the task of `carrier` when something is to be sent.
    pub fn sleep(&mut self, carrier: &Waker) {
        self.carrier = Some(carrier.clone());
    }

    /// The first message of a transport.
    pub fn open(&mut self, origin: Origin) -> ToShard {
        ToShard::Open {
            origin,
            first_uncommitted: self.sender.first_uncommitted(),
            effects_through: self.receiver.have_through(),
        }
    }

    /// Goes on where the shard says that it is.
    ///
    /// A client that is gone will resend what it was owed an answer to `[F-43]`, and no longer wants the session that
    /// it asked for `[F-15]`: such ops become no-ops. `is_closed`: the client of this connection is gone.
    pub fn opened(
        &mut self,
        generation: u32,
        applied_through: u64,
        committed: u64,
        is_closed: impl Fn(ConnId) -> bool,
    ) -> Opened {
        if self.generation.is_some_and(|known| known != generation)
            && self.receiver.have_through() > 0
        {
            self.generation = Some(generation);
            self.receiver = Receiver::default();
            self.handed_through = 0;
            self.acked_through = 0;
            return Opened::Anew;
        }
        self.generation = Some(generation);
        self.state = State::Open;
        self.sender.committed(committed);
        // What has gathered meanwhile is treated alike: else a client's second message could go out whose first does not.
        self.sender.batch();
        let forsaken = RefCell::new(std::mem::take(&mut self.forsaken));
        let batches = self.sender.resend(applied_through, |op| match op {
            Op::Publish(publish)
                if publish.message.qos > QoS::AtMostOnce && is_closed(publish.conn) =>
            {
                forsaken.borrow_mut().insert(publish.conn);
                Op::Noop
            }
            Op::Connect(connect) if is_closed(connect.attachment.conn) => Op::Noop,
            op => op.clone(),
        });
        self.again = batches.into();
        self.forsaken = forsaken.into_inner();
        self.direct.before = self.direct.taken - self.direct.waiting.len() as u64;
        Opened::Yes
    }

    /// The transport is gone, and with it what the direct lane had on its way `[F-41]`.
    pub fn closed(&mut self) {
        self.state = State::Closed;
        self.again.clear();
        self.direct.through = self.direct.taken - self.direct.waiting.len() as u64;
    }

    /// Whether a batch of `generation` belongs to this transport's life.
    pub fn takes(&self, generation: u32) -> bool {
        self.state == State::Open && self.generation == Some(generation)
    }

    /// Takes a batch of effects that weigh `bytes`; returns how many at its front were taken before.
    pub fn take(&mut self, first: u64, count: usize, bytes: usize) -> Result<usize, Gap> {
        if count == 0 {
            return Ok(0);
        }
        let skip = self.receiver.take(first, count)?;
        self.unacked_bytes += bytes;
        self.is_idle = false;
        Ok(skip)
    }

    /// Notes progress, and returns who wants to hear of it.
    pub fn progress(&mut self, committed: u64, direct_through: u64) -> Vec<ConnId> {
        let direct_through = self.direct.before + direct_through;
        let is_further = committed > self.sender.committed_through();
        self.sender.committed(committed);
        if !is_further && direct_through <= self.direct.through {
            return Vec::new();
        }
        self.direct.through = self.direct.through.max(direct_through);
        std::mem::take(&mut self.waiting)
    }

    /// Those that want to hear of progress, whatever it is.
    pub fn take_waiting(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.waiting)
    }

    pub fn set_time(&mut self, time: Time, now: Now) {
        self.time = Some((time, now));
    }

    pub fn has_unacked(&self) -> bool {
        self.receiver.have_through() > self.acked_through
    }

    /// Whether [`Link::next`] has something to send.
    pub fn wants_to_send(&self) -> bool {
        self.state == State::Open
            && (!self.again.is_empty()
                || self.sender.is_gathering()
                || !self.direct.waiting.is_empty()
                || self.must_ack())
    }

    /// `acked_through` rides on ops; it travels alone after a while `[C-44]`.
    fn must_ack(&self) -> bool {
        self.has_unacked()
            && (self.is_idle
                || self.receiver.have_through() - self.acked_through >= ACK_EFFECTS
                || self.unacked_bytes >= ACK_BYTES)
    }

    /// The next message; `None` when there is none.
    pub fn next(&mut self) -> Option<ToShard> {
        let generation = self.generation.filter(|_| self.state == State::Open)?;
        // Before the ops: the last of them may be the Detach of who published. An op that has to come first is
        // waited for by the connection `[F-41]`.
        if !self.direct.waiting.is_empty() {
            self.direct.waiting_bytes = 0;
            let publishes = std::mem::take(&mut self.direct.waiting);
            return Some(ToShard::Direct {
                generation,
                publishes,
            });
        }
        if let Some(batch) = self.again.pop_front().or_else(|| self.sender.batch()) {
            let acked_through = self.acknowledge();
            return Some(ToShard::Ops {
                generation,
                acked_through,
                batch,
            });
        }
        self.must_ack().then(|| ToShard::Acked {
            generation,
            through: self.acknowledge(),
        })
    }

    fn acknowledge(&mut self) -> u64 {
        self.acked_through = self.receiver.have_through();
        self.unacked_bytes = 0;
        self.acked_through
    }
}
