//! A worker's link to one shard, as its connections and its carrier see it.
//!
//! Numbering, windows, resending and acknowledgements are those of [`Uplink`]. Here stands what concerns clients: whose
//! publishes are given up, who waits for progress, what time it is in the shard. No IO; [`carrier`] does that.

pub(crate) mod carrier;
mod hand_over;
mod line;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, task::Waker};

use catena_chain::{
    Configuration, DirectWindow, Switches,
    message::{ConnectionId, Lane},
};
use catena_connection::input::Now;
use catena_link::{Class, Full, Window};
use catena_mqtt::QoS;
use catena_replicated::{Action, ToOrigin, Uplink};
use catena_shard::{ConnId, Op, Origin, Time, op::Publish};
use hashbrown::HashSet;

use crate::gauges::LinkSeen;
use crate::limits::{DIRECT_BYTES, DIRECT_PUBLISHES, LINK_PUBLISH_BYTES, LINK_PUBLISHES};

/// The windows of a link where memory for publishes is at most `bytes`.
fn windows(bytes: usize) -> (Window, DirectWindow) {
    let window = Window {
        publishes: LINK_PUBLISHES,
        publish_bytes: LINK_PUBLISH_BYTES.min(bytes),
    };
    let direct = DirectWindow {
        publishes: DIRECT_PUBLISHES,
        waiting_bytes: DIRECT_BYTES.min(bytes),
    };
    (window, direct)
}

/// The link.
#[derive(Debug)]
pub(crate) struct Link {
    uplink: Uplink,
    /// The last effect that was handed to a connection.
    pub handed_through: u64,
    /// Connections that are gone and whose publishes were given up `[F-43]`: what they still had in hand must not
    /// overtake what their clients will resend.
    forsaken: HashSet<ConnId>,
    /// Connections that want to hear of progress.
    waiting: Vec<ConnId>,
    /// The shard's time, and ours when it was told.
    time: Option<(Time, Now)>,
    /// Ops that were numbered.
    pushed: u64,
    /// Since when it is not whole, having been.
    broken_since: Option<Now>,
    /// A configuration that the carrier has not seen yet.
    news: Option<Configuration>,
    /// The task that carries the link, unless it is awake.
    carrier: Option<Waker>,
}

impl Link {
    pub fn new(origin: Origin) -> Link {
        let (window, direct) = windows(usize::MAX);
        Link {
            uplink: Uplink::new(origin, window, direct, 0, Switches::default()),
            handed_through: 0,
            forsaken: HashSet::new(),
            waiting: Vec::new(),
            time: None,
            pushed: 0,
            broken_since: None,
            news: None,
            carrier: None,
        }
    }

    /// Bytes of publishes that are not yet committed are bounded by this too.
    pub fn set_bytes_max(&mut self, bytes: usize) {
        let (window, direct) = windows(bytes);
        self.uplink.set_windows(window, direct);
    }

    // What connections ask.

    pub fn push(&mut self, class: Class, op: Op) -> Result<u64, Full> {
        let op = if self.is_forsaken(&op) { Op::Noop } else { op };
        let number = self.uplink.push(class, op)?;
        self.pushed = number;
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
        let bytes = publish.message.weight();
        let place = self.uplink.push_direct(publish, bytes)?;
        self.wake();
        Ok(place)
    }

    pub fn committed_through(&self) -> u64 {
        self.uplink.committed_through()
    }

    pub fn direct_through(&self) -> u64 {
        self.uplink.direct_through()
    }

    pub fn await_progress(&mut self, conn: ConnId) {
        self.waiting.push(conn);
    }

    /// The shard's time at `now`, which may be up to a tenth of the time since the last word of it off.
    pub fn time(&self, now: Now) -> Option<Time> {
        self.time
            .map(|(told, at)| told.plus_millis(now.0.saturating_sub(at.0)))
    }

    // What the worker asks.

    /// Takes a configuration of the shard; an older one is passed over.
    pub fn learn(&mut self, configuration: &Configuration) {
        let known = self.news.as_ref().or(self.uplink.configuration());
        if known.is_none_or(|known| known.epoch < configuration.epoch) {
            self.news = Some(configuration.clone());
            self.wake();
        }
    }

    /// Whether both lanes are open.
    pub fn is_whole(&self) -> bool {
        self.uplink.opened(Lane::Ops).is_some() && self.uplink.opened(Lane::Effects).is_some()
    }

    /// How it stands, for metrics.
    pub fn seen(&self) -> LinkSeen {
        LinkSeen {
            is_whole: self.is_whole(),
            pushed: self.pushed,
            committed: self.committed_through(),
            effects: self.handed_through,
        }
    }

    /// Something may have broken a lane of it, at `now`; it `was_whole` before.
    fn may_break(&mut self, was_whole: bool, now: Now) {
        if was_whole && !self.is_whole() {
            self.broken_since.get_or_insert(now);
        }
    }

    /// For how many milliseconds it was not whole, once it is again at `now`.
    fn mends(&mut self, now: Now) -> Option<u64> {
        let since = self.broken_since.filter(|_| self.is_whole())?;
        self.broken_since = None;
        Some(now.0.saturating_sub(since.0))
    }

    /// Whether the Open of `connection` was answered.
    fn is_open(&self, connection: ConnectionId) -> bool {
        [Lane::Ops, Lane::Effects]
            .into_iter()
            .any(|lane| self.uplink.opened(lane) == Some(connection))
    }

    fn wake(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.wake();
        }
    }

    // What the carrier asks.

    /// Wakes the task of `carrier` when something is to be sent.
    fn sleep(&mut self, carrier: &Waker) {
        match &mut self.carrier {
            Some(known) => known.clone_from(carrier),
            None => self.carrier = Some(carrier.clone()),
        }
    }

    /// The shard says something.
    ///
    /// A client that is gone will resend what it was owed an answer to `[F-43]`, and no longer wants the session that
    /// it asked for `[F-15]`: when they are sent again, such ops become no-ops. `is_closed`: the client of this
    /// connection is gone.
    fn receive(
        &mut self,
        now: catena_chain::Now,
        connection: ConnectionId,
        message: ToOrigin,
        is_closed: impl Fn(ConnId) -> bool,
        actions: &mut Vec<Action>,
    ) {
        let forsaken = RefCell::new(&mut self.forsaken);
        let rewrite = |op: &Op| match op {
            Op::Publish(publish)
                if publish.message.qos > QoS::AtMostOnce && is_closed(publish.conn) =>
            {
                forsaken.borrow_mut().insert(publish.conn);
                Op::Noop
            }
            Op::Connect(connect) if is_closed(connect.attachment.conn) => Op::Noop,
            op => op.clone(),
        };
        self.uplink
            .receive(now, connection, message, rewrite, actions);
    }

    /// Those that want to hear of progress.
    fn take_waiting(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.waiting)
    }

    fn set_time(&mut self, time: Time, now: Now) {
        self.time = Some((time, now));
    }
}
