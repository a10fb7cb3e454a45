//! A gateway's side of a link to one shard: ops to its head, effects from its tail, each exactly once.

use std::sync::Arc;

use catena_link::{Batch, Class, Full, Receiver, Sender, Window};

use crate::{
    clock::Now,
    configuration::{Configuration, Generation, Member},
    machine::Machine,
    message::{ConnectionId, FromOrigin, Lane, ToOrigin},
    route::Route,
    switches::{Rule, Switches},
};

/// Effects after which `acked_through` travels alone `[C-44]`.
const ACK_EFFECTS: u64 = 256;

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action<M: Machine> {
    /// A connection to a replica of the shard is wanted.
    Connect {
        connection: ConnectionId,
        to: Member,
    },
    /// On such a connection.
    Send {
        connection: ConnectionId,
        message: FromOrigin<M>,
    },
    /// Such a connection is not wanted any more.
    Disconnect { connection: ConnectionId },
    /// The next effect, once.
    Effect { number: u64, effect: M::Effect },
    /// The shard has begun anew: its effects count from 1 again, and what it held is lost `[C-2]`.
    NewGeneration(Generation),
    /// This incarnation is over `[C-43]`.
    Refused,
}

/// The link of one origin to one shard.
#[derive(Debug)]
pub struct Uplink<M: Machine> {
    me: M::Origin,
    route: Route,
    sender: Sender<M::Op>,
    receiver: Receiver,
    acked_through: u64,
    next_connection: u64,
    switches: Switches,
}

impl<M: Machine> Uplink<M> {
    /// A link of `me` that has sent nothing. Its connections get ids above `connections_after`.
    pub fn new(me: M::Origin, window: Window, connections_after: u64, switches: Switches) -> Self {
        Uplink {
            me,
            route: Route::default(),
            sender: Sender::new(window),
            receiver: Receiver::default(),
            acked_through: 0,
            next_connection: connections_after,
            switches,
        }
    }

    /// Takes an op and returns its number.
    ///
    /// # Errors
    /// [`Full`] for a publish that does not fit the window.
    pub fn push(&mut self, class: Class, op: M::Op) -> Result<u64, Full> {
        self.sender.push(class, op)
    }

    /// The highest op that is known to be committed.
    pub fn committed_through(&self) -> u64 {
        self.sender.committed_through()
    }

    /// The newest configuration that was heard of.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.route.configuration()
    }

    /// Takes a configuration of the shard, whoever carries it.
    pub fn adopt(&mut self, configuration: Configuration, actions: &mut Vec<Action<M>>) {
        let generation = configuration.generation;
        let Some(adopted) = self.route.adopt(configuration) else {
            return;
        };
        for connection in adopted.closed {
            actions.push(Action::Disconnect { connection });
        }
        if adopted.is_new_generation {
            if self.switches.keep(Rule::C2) {
                self.receiver = Receiver::default();
                self.acked_through = 0;
            }
            actions.push(Action::NewGeneration(generation));
        }
    }

    /// Sends what has gathered and makes the connections that are wanted; to be called whenever something was pushed
    /// and as time goes on.
    pub fn tick(&mut self, now: Now, actions: &mut Vec<Action<M>>) {
        let Some((epoch, generation)) = self.route.configuration().map(|c| (c.epoch, c.generation))
        else {
            return;
        };
        for wanted in self.route.wanted(now, &mut self.next_connection) {
            let (connection, to) = (wanted.connection, wanted.to);
            actions.push(Action::Connect { connection, to });
            let message = FromOrigin::Open {
                origin: self.me,
                lane: wanted.lane,
                replica: to.id,
                epoch,
                generation,
                first_uncommitted: self.sender.first_uncommitted(),
                effects_through: self.receiver.have_through(),
            };
            actions.push(Action::Send {
                connection,
                message,
            });
        }
        if let Some(connection) = self.route.open(Lane::Ops) {
            if let Some(batch) = self.sender.batch() {
                self.send_ops(connection, generation, batch, actions);
            }
        }
        self.acknowledge(1, actions);
    }

    fn send_ops(
        &mut self,
        connection: ConnectionId,
        generation: Generation,
        batch: Arc<Batch<M::Op>>,
        actions: &mut Vec<Action<M>>,
    ) {
        self.acked_through = self.receiver.have_through();
        let message = FromOrigin::Ops {
            generation,
            acked_through: self.acked_through,
            batch,
        };
        actions.push(Action::Send {
            connection,
            message,
        });
    }

    /// `acked_through` alone, when that many effects have not been acknowledged `[C-44]`.
    fn acknowledge(&mut self, least: u64, actions: &mut Vec<Action<M>>) {
        let through = self.receiver.have_through();
        let (Some(connection), Some(generation)) =
            (self.route.open(Lane::Ops), self.route.generation())
        else {
            return;
        };
        if through >= self.acked_through + least {
            self.acked_through = through;
            let message = FromOrigin::Acked {
                generation,
                through,
            };
            actions.push(Action::Send {
                connection,
                message,
            });
        }
    }

    /// A connection broke.
    pub fn lost(&mut self, connection: ConnectionId, now: Now) {
        self.route.lost(connection, now);
    }

    /// The shard says something.
    pub fn receive(
        &mut self,
        now: Now,
        connection: ConnectionId,
        message: ToOrigin<M>,
        actions: &mut Vec<Action<M>>,
    ) {
        // What a connection says that is not wanted any more is true nevertheless, if the generation is right [C-41].
        let lane = self.route.lane_of(connection);
        let ours = self.route.generation();
        match message {
            ToOrigin::OpsOpened {
                generation,
                applied_through,
                ..
            } if lane == Some(Lane::Ops) && Some(generation) == ours => {
                self.route.opened(Lane::Ops);
                // The shard kept nothing of the acknowledgements that were on their way.
                self.acked_through = 0;
                self.resend(connection, generation, applied_through, actions);
            }
            ToOrigin::Gap { applied_through } if lane == Some(Lane::Ops) => {
                if let Some(generation) = ours {
                    self.resend(connection, generation, applied_through, actions);
                }
            }
            ToOrigin::Effects {
                generation,
                first,
                effects,
                committed,
                ..
            } => {
                if Some(generation) != ours && self.switches.keep(Rule::C2) {
                    return;
                }
                if lane == Some(Lane::Effects) {
                    self.route.opened(Lane::Effects);
                }
                self.sender.committed(committed);
                self.effects(first, effects, actions);
            }
            ToOrigin::NotYet { configuration } => {
                if lane.is_some() {
                    self.route.lost(connection, now);
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

    fn resend(
        &mut self,
        connection: ConnectionId,
        generation: Generation,
        applied_through: u64,
        actions: &mut Vec<Action<M>>,
    ) {
        if !self.switches.keep(Rule::C40) {
            self.sender.committed(applied_through);
        }
        for batch in self.sender.resend(applied_through, Clone::clone) {
            self.send_ops(connection, generation, batch, actions);
        }
    }

    fn effects(&mut self, first: u64, effects: Vec<M::Effect>, actions: &mut Vec<Action<M>>) {
        let taken = match self.receiver.take(first, effects.len()) {
            Ok(skip) if self.switches.keep(Rule::C41) => skip,
            Ok(_) => 0,
            // Another connection will bring what is missing.
            Err(_) => return,
        };
        for (number, effect) in (first..).zip(effects).skip(taken) {
            actions.push(Action::Effect { number, effect });
        }
        self.acknowledge(ACK_EFFECTS, actions);
    }
}
