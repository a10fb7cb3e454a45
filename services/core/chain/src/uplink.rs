//! A gateway's side of a link to one shard: ops to its head, effects from its tail, each exactly once.
//!
//! It has two lanes, each with a connection of its own ([`Lane`]). Whoever carries them asks [`Uplink::wanted`] which
//! connections to make, [`Uplink::next`] for what to send while there is room, and hands what arrives to
//! [`Uplink::receive`]. What was on its way when a connection broke is sent again on the next.

use std::{collections::VecDeque, sync::Arc};

use catena_link::{Batch, Class, Full, Receiver, Sender, Window};

use crate::{
    clock::Now,
    configuration::{Configuration, Generation},
    entry::Stamp,
    machine::Machine,
    message::{ConnectionId, FromOrigin, Lane, ToOrigin},
    route::{Route, Wanted},
    switches::{Rule, Switches},
};

/// Effects after which `acked_through` travels alone `[C-44]`.
const ACK_EFFECTS: u64 = 256;

/// Bytes of effects after which `acked_through` travels alone `[C-44]`.
const ACK_BYTES: usize = 64 * 1024;

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action<M: Machine> {
    /// Such a connection is not wanted any more.
    Disconnect { connection: ConnectionId },
    /// The next effects, each once, and behind them deliveries that passed by the log.
    Effects {
        /// Number of the first effect.
        first: u64,
        effects: Vec<M::Effect>,
        direct: Vec<M::Effect>,
        /// The shard's time.
        now: Stamp,
    },
    /// Ops were committed, or what passes by the log was handled.
    Progress,
    /// The shard told its time, and takes ops again.
    Opened { now: Stamp },
    /// The shard has begun anew: its effects count from 1 again, and what it held is lost `[C-2]`.
    NewGeneration(Generation),
    /// This incarnation is over `[C-43]`.
    Refused,
}

/// Room for what passes by the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectWindow {
    /// Publishes that are not yet known to be handled.
    pub publishes: u64,
    /// Bytes of those that wait to be sent; one always fits.
    pub waiting_bytes: usize,
}

/// What passes by the log, counted `[F-41]`.
#[derive(Debug)]
struct Direct<M: Machine> {
    window: DirectWindow,
    waiting: Vec<M::Direct>,
    waiting_bytes: usize,
    /// Ever taken.
    taken: u64,
    /// Of those, how many were taken before this connection carried its first.
    before: u64,
    /// How many are over: handled, or lost with a connection.
    through: u64,
}

impl<M: Machine> Direct<M> {
    fn sent(&self) -> u64 {
        self.taken - self.waiting.len() as u64
    }
}

/// The link of one origin to one shard.
#[derive(Debug)]
pub struct Uplink<M: Machine> {
    me: M::Origin,
    route: Route,
    sender: Sender<M::Op>,
    receiver: Receiver,
    /// Batches that were sent before a break, to be sent again.
    again: VecDeque<Arc<Batch<M::Op>>>,
    direct: Direct<M>,
    acked_through: u64,
    /// Bytes of effects since the last acknowledgement.
    unacked_bytes: usize,
    next_connection: u64,
    switches: Switches,
}

impl<M: Machine> Uplink<M> {
    /// A link of `me` that has sent nothing. Its connections get ids above `connections_after`.
    pub fn new(
        me: M::Origin,
        window: Window,
        direct: DirectWindow,
        connections_after: u64,
        switches: Switches,
    ) -> Self {
        Uplink {
            me,
            route: Route::default(),
            sender: Sender::new(window),
            receiver: Receiver::default(),
            again: VecDeque::new(),
            direct: Direct {
                window: direct,
                waiting: Vec::new(),
                waiting_bytes: 0,
                taken: 0,
                before: 0,
                through: 0,
            },
            acked_through: 0,
            unacked_bytes: 0,
            next_connection: connections_after,
            switches,
        }
    }

    // What the origin asks.

    /// From here on the windows are others; what has been taken stays.
    pub fn set_windows(&mut self, window: Window, direct: DirectWindow) {
        self.sender.set_window(window);
        self.direct.window = direct;
    }

    /// Takes an op and returns its number.
    ///
    /// # Errors
    /// [`Full`] for a publish that does not fit the window.
    pub fn push(&mut self, class: Class, op: M::Op) -> Result<u64, Full> {
        self.sender.push(class, op)
    }

    /// Takes a publish of `bytes` that passes by the log, and returns how many were taken in all.
    ///
    /// # Errors
    /// [`Full`] when it does not fit the window.
    pub fn push_direct(&mut self, publish: M::Direct, bytes: usize) -> Result<u64, Full> {
        let direct = &mut self.direct;
        let fits = direct.waiting_bytes + bytes <= direct.window.waiting_bytes;
        let has_room = fits || direct.waiting.is_empty();
        if !has_room || direct.taken - direct.through >= direct.window.publishes {
            return Err(Full);
        }
        direct.waiting.push(publish);
        direct.waiting_bytes += bytes;
        direct.taken += 1;
        Ok(direct.taken)
    }

    /// The highest op that is known to be committed.
    pub fn committed_through(&self) -> u64 {
        self.sender.committed_through()
    }

    /// How much of what passes by the log is over: handled, or lost.
    pub fn direct_through(&self) -> u64 {
        self.direct.through
    }

    /// The newest configuration that was heard of.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.route.configuration()
    }

    /// Whether ops reach the head now.
    pub fn is_open(&self) -> bool {
        self.opened(Lane::Ops).is_some()
    }

    /// The connection of `lane`, once its Open was answered.
    pub fn opened(&self, lane: Lane) -> Option<ConnectionId> {
        self.route.open(lane)
    }

    // What carries the connections asks.

    /// Takes a configuration of the shard, whoever carries it.
    pub fn adopt(&mut self, configuration: Configuration, actions: &mut Vec<Action<M>>) {
        let generation = configuration.generation;
        let carried = self.route.is_asked(Lane::Effects);
        let Some(adopted) = self.route.adopt(configuration) else {
            return;
        };
        for connection in adopted.closed {
            actions.push(Action::Disconnect { connection });
        }
        if carried != self.route.is_asked(Lane::Effects) {
            self.direct_lost(actions);
        }
        if adopted.is_new_generation {
            self.again.clear();
            if self.switches.keep(Rule::C2) {
                self.receiver = Receiver::default();
                self.acked_through = 0;
                self.unacked_bytes = 0;
            }
            actions.push(Action::NewGeneration(generation));
        }
    }

    /// The connections to make now, each with its first message.
    pub fn wanted(&mut self, now: Now) -> Vec<(Wanted, FromOrigin<M>)> {
        let Some((epoch, generation)) = self.route.configuration().map(|c| (c.epoch, c.generation))
        else {
            return Vec::new();
        };
        let wanted = self.route.wanted(now, &mut self.next_connection);
        let open = |wanted: Wanted| {
            let message = FromOrigin::Open {
                origin: self.me,
                lane: wanted.lane,
                replica: wanted.to.id,
                epoch,
                generation,
                first_uncommitted: self.sender.first_uncommitted(),
                effects_through: self.receiver.have_through(),
            };
            (wanted, message)
        };
        wanted.into_iter().map(open).collect()
    }

    /// When [`Uplink::wanted`] has something new by itself, on the monotonic clock in microseconds.
    pub fn wanted_at(&self) -> Option<u64> {
        self.route.wanted_at()
    }

    /// The lane of a connection; `None` once it is not wanted any more.
    pub fn lane_of(&self, connection: ConnectionId) -> Option<Lane> {
        self.route.lane_of(connection)
    }

    /// The connections that were asked for and are not lost.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + use<M> {
        self.route.connections()
    }

    /// Whether [`Uplink::next`] has something for this connection.
    pub fn wants_to_send(&self, connection: ConnectionId) -> bool {
        match self.route.lane_of(connection) {
            Some(Lane::Ops) if self.is_open() => {
                !self.again.is_empty() || self.sender.is_gathering() || self.must_ack()
            }
            Some(Lane::Effects) => {
                self.route.open(Lane::Effects).is_some() && !self.direct.waiting.is_empty()
            }
            _ => false,
        }
    }

    /// The next message for a connection that has room.
    pub fn next(&mut self, connection: ConnectionId) -> Option<FromOrigin<M>> {
        if !self.wants_to_send(connection) {
            return None;
        }
        let generation = self.route.generation()?;
        if self.route.lane_of(connection) == Some(Lane::Effects) {
            self.direct.waiting_bytes = 0;
            let publishes = std::mem::take(&mut self.direct.waiting);
            return Some(FromOrigin::Direct {
                generation,
                publishes,
            });
        }
        match self.again.pop_front().or_else(|| self.sender.batch()) {
            Some(batch) => Some(FromOrigin::Ops {
                generation,
                acked_through: self.acknowledge(),
                batch,
            }),
            None => Some(FromOrigin::Acked {
                generation,
                through: self.acknowledge(),
            }),
        }
    }

    /// Whether effects were taken that the shard was not told of.
    pub fn has_unacked(&self) -> bool {
        self.receiver.have_through() > self.acked_through
    }

    /// Nothing has come for a while: what was taken is acknowledged as soon as possible `[C-44]`.
    pub fn idle(&mut self) {
        if self.has_unacked() {
            self.unacked_bytes = self.unacked_bytes.max(ACK_BYTES);
        }
    }

    fn must_ack(&self) -> bool {
        self.has_unacked()
            && (self.receiver.have_through() - self.acked_through >= ACK_EFFECTS
                || self.unacked_bytes >= ACK_BYTES)
    }

    fn acknowledge(&mut self) -> u64 {
        self.acked_through = self.receiver.have_through();
        self.unacked_bytes = 0;
        self.acked_through
    }

    /// A connection broke, or cannot be made.
    pub fn lost(&mut self, connection: ConnectionId, now: Now, actions: &mut Vec<Action<M>>) {
        match self.route.lane_of(connection) {
            Some(Lane::Ops) => self.again.clear(),
            Some(Lane::Effects) => self.direct_lost(actions),
            None => {}
        }
        self.route.lost(connection, now);
    }

    /// What was on its way past the log went with the connection `[F-41]`.
    fn direct_lost(&mut self, actions: &mut Vec<Action<M>>) {
        let sent = self.direct.sent();
        self.direct.before = sent;
        if sent > self.direct.through {
            self.direct.through = sent;
            actions.push(Action::Progress);
        }
    }

    /// The shard says something. `rewrite` sees each op that is sent again, and may replace it `[F-43]`.
    pub fn receive(
        &mut self,
        now: Now,
        connection: ConnectionId,
        message: ToOrigin<M>,
        rewrite: impl Fn(&M::Op) -> M::Op,
        actions: &mut Vec<Action<M>>,
    ) {
        // What a connection says that is not wanted any more is true nevertheless, if the generation is right [C-41].
        let lane = self.route.lane_of(connection);
        let ours = self.route.generation();
        match message {
            ToOrigin::OpsOpened {
                generation,
                applied_through,
                now: time,
            } if lane == Some(Lane::Ops) && Some(generation) == ours => {
                self.route.opened(Lane::Ops);
                // The shard kept nothing of the acknowledgements that were on their way.
                self.acked_through = 0;
                self.resend(applied_through, rewrite);
                actions.push(Action::Opened { now: time });
            }
            ToOrigin::Gap { applied_through } if lane == Some(Lane::Ops) => {
                self.resend(applied_through, rewrite);
            }
            ToOrigin::Effects {
                generation,
                first,
                effects,
                committed,
                mut direct,
                direct_through,
                now: time,
                ..
            } => {
                if Some(generation) != ours && self.switches.keep(Rule::C2) {
                    return;
                }
                let is_current = lane == Some(Lane::Effects);
                if is_current && self.route.open(Lane::Effects).is_none() {
                    self.route.opened(Lane::Effects);
                    self.direct.before = self.direct.sent();
                }
                if !is_current {
                    // Of a tail that is none any more [C-51].
                    direct.clear();
                }
                self.effects(first, effects, direct, time, actions);
                let is_further = committed > self.sender.committed_through();
                self.sender.committed(committed);
                let direct_through = self.direct.before + direct_through;
                let has_passed = is_current && direct_through > self.direct.through;
                if has_passed {
                    self.direct.through = direct_through;
                }
                if is_further || has_passed {
                    actions.push(Action::Progress);
                }
            }
            ToOrigin::NotYet { configuration } => {
                if lane.is_some() {
                    self.lost(connection, now, actions);
                    actions.push(Action::Disconnect { connection });
                }
                if let (true, Some(configuration)) = (self.switches.keep(Rule::C11), configuration)
                {
                    self.adopt(configuration, actions);
                }
            }
            ToOrigin::Newer { configuration } => self.adopt(configuration, actions),
            ToOrigin::Refused if lane.is_some() => actions.push(Action::Refused),
            _ => {}
        }
    }

    fn resend(&mut self, applied_through: u64, rewrite: impl Fn(&M::Op) -> M::Op) {
        if !self.switches.keep(Rule::C40) {
            self.sender.committed(applied_through);
        }
        // What has gathered meanwhile is treated alike: else a client's second message could go out whose first does not.
        self.sender.batch();
        self.again = self.sender.resend(applied_through, rewrite).into();
    }

    fn effects(
        &mut self,
        first: u64,
        mut effects: Vec<M::Effect>,
        direct: Vec<M::Effect>,
        now: Stamp,
        actions: &mut Vec<Action<M>>,
    ) {
        let taken = match self.receiver.take(first, effects.len()) {
            Ok(skip) if self.switches.keep(Rule::C41) => skip,
            Ok(_) => 0,
            // Another connection will bring what is missing.
            Err(_) => return,
        };
        if taken > 0 {
            effects.drain(..taken.min(effects.len()));
        }
        if effects.is_empty() && direct.is_empty() {
            return;
        }
        self.unacked_bytes += effects.iter().map(M::effect_weight).sum::<usize>();
        let first = first + taken as u64;
        actions.push(Action::Effects {
            first,
            effects,
            direct,
            now,
        });
    }
}
