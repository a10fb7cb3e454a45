//! Configurations: any higher one is adopted, and what it takes away is given up at once `[C-10]` `[C-3]`.

use crate::{
    clock::Clock,
    commit::Cut,
    configuration::{Beginning, Configuration, ReplicaId},
    disk::{Keep, Source},
    hello::{Downstream, Upstream},
    join::Join,
    log::Position,
    machine::Machine,
    message::{Envelope, Lane, Message, ToOrigin},
    replica::{Output, Replica, State},
    role::Role,
    switches::Rule,
};

impl<M: Machine> Replica<M> {
    /// Takes a configuration of any shard.
    pub(crate) fn learn(&mut self, configuration: Configuration, outputs: &mut Vec<Output<M>>) {
        if configuration.shard == self.shard {
            self.adopt(configuration, outputs);
        } else {
            self.peers.adopt::<M>(configuration, outputs);
        }
    }

    /// Whether the configuration was newer than ours.
    fn adopt(&mut self, configuration: Configuration, outputs: &mut Vec<Output<M>>) {
        let switches = self.options.switches;
        if let Some(ours) = &self.configuration {
            let is_next = configuration.epoch == ours.epoch.next();
            if configuration.epoch <= ours.epoch || (!switches.keep(Rule::C10) && !is_next) {
                return;
            }
        }
        let seat = configuration.role_of(self.me).map(|member| member.id);
        let role = seat.map_or(Role::default(), |id| Role::of(&configuration, id));
        let is_same_line = self
            .state
            .as_ref()
            .is_some_and(|state| state.generation == configuration.generation);
        let is_same_seat = seat.is_some() && seat == self.seat;
        let keeps_state = (is_same_line && is_same_seat)
            || (is_same_line && seat.is_some() && !switches.keep(Rule::C35))
            || (self.state.is_some() && !switches.keep(Rule::C3));
        if !keeps_state {
            self.drop_state(Some(&configuration), outputs);
        }
        if seat != self.seat {
            self.dropped = None;
        }
        if self.role.is_head && !role.is_head {
            self.close_lane(Lane::Ops, &configuration, outputs);
        }
        if self.role.is_tail && !role.is_tail {
            self.close_lane(Lane::Effects, &configuration, outputs);
            self.peers.stop::<M>(outputs);
        }
        if switches.keep(Rule::C11) {
            for connection in self.links.all() {
                let configuration = configuration.clone();
                let message = ToOrigin::Newer { configuration };
                outputs.push(Output::Reply {
                    connection,
                    message,
                });
            }
        }
        let was_tail = self.role.is_tail;
        self.seat = seat;
        self.role = role;
        self.configuration = Some(configuration);
        self.up = Upstream::after(&self.up, self.now);
        self.down = Downstream::waiting(self.now);
        self.join = Join::default();
        self.diverged_at = None;
        self.begin_if_founder(outputs);
        self.look_at_kept(outputs);
        let durable = self.durable_through();
        if let Some(state) = &mut self.state {
            if role.is_tail && !was_tail {
                // The tail's apply is the commit, and everything above has passed through us [C-22]; as far as it is
                // durable [C-62].
                let last = state.log.last();
                state.commit = state.commit.max(durable.unwrap_or(last).min(last));
                state.cut = Cut::whole(&state.machine, last);
                state.cut.advance(state.commit, |_| ());
            } else if !role.is_tail {
                state.cut = Cut::default();
            }
        }
        self.hello(outputs);
    }

    /// The one whose state all others come from begins, once, when the generation is empty.
    fn begin_if_founder(&mut self, outputs: &mut Vec<Output<M>>) {
        let (None, Some(configuration), Some(seat)) = (&self.state, &self.configuration, self.seat)
        else {
            return;
        };
        let is_alone = configuration.chain.len() == 1 && self.role.is_head;
        let is_founder = configuration.founder == seat && is_alone && self.dropped != Some(seat);
        let begins = is_founder && configuration.began == Beginning::Empty;
        let plays_anyway = !self.options.switches.keep(Rule::C1) && self.role.is_of_chain();
        if is_founder && !begins {
            let configuration = configuration.clone();
            let generation = |kept: &crate::disk::Kept<M>| kept.generation();
            let before = self.disk.kept().map(generation);
            if let Some(state) = self.take_kept(&configuration) {
                // Under another generation it is another state, whose log begins here.
                let is_same_line = before == Some(state.generation);
                self.state = Some(state);
                let source = if is_same_line {
                    Source::Disk
                } else {
                    Source::Reborn
                };
                return self.begin_store(source, outputs);
            }
        }
        if begins || plays_anyway {
            let Some(configuration) = &self.configuration else {
                return;
            };
            let generation = configuration.generation;
            let state = State::new(
                generation,
                M::empty(self.shard, generation),
                Position::default(),
                Clock::starting(self.now),
            );
            self.state = Some(state);
            self.begin_store(Source::New, outputs);
        }
    }

    /// Gives up the state and every connection that rested on it `[C-3]` `[C-4]`.
    pub(crate) fn drop_state(
        &mut self,
        newer: Option<&Configuration>,
        outputs: &mut Vec<Output<M>>,
    ) {
        for connection in self.links.close_all() {
            let configuration = newer.cloned();
            outputs.push(Output::Reply {
                connection,
                message: ToOrigin::NotYet { configuration },
            });
            outputs.push(Output::Close { connection });
        }
        self.peers.stop::<M>(outputs);
        if let Some(state) = self.state.take() {
            self.dropped = self.seat;
            if let Some(store) = state.store {
                let store = store.id;
                self.disk.left = self.seat;
                outputs.push(Output::Keep(Keep::End { store }));
            }
        }
        self.diverged_at = None;
        self.progress.clear();
    }

    fn close_lane(
        &mut self,
        lane: Lane,
        configuration: &Configuration,
        outputs: &mut Vec<Output<M>>,
    ) {
        for connection in self.links.close(lane) {
            outputs.push(Output::Reply {
                connection,
                message: ToOrigin::NotYet {
                    configuration: Some(configuration.clone()),
                },
            });
            outputs.push(Output::Close { connection });
        }
    }

    /// A message from a replica: only of this epoch, this generation and this id `[C-1]` `[C-20]` `[C-25]`.
    pub(crate) fn message(&mut self, envelope: Envelope<M>, outputs: &mut Vec<Output<M>>) {
        let hands_on = self.options.switches.keep(Rule::C11);
        if let Message::Hello { configuration, .. } | Message::Newer { configuration } =
            &envelope.message
            && hands_on
            && configuration.shard == self.shard
        {
            self.adopt(configuration.clone(), outputs);
        }
        if envelope.epoch < self.epoch() {
            if let (true, Some(configuration)) = (hands_on, &self.configuration) {
                let configuration = configuration.clone();
                self.send(envelope.from, Message::Newer { configuration }, outputs);
            }
            return;
        }
        let generation = self.configuration.as_ref().map(|c| c.generation);
        if envelope.epoch > self.epoch()
            || generation != Some(envelope.generation)
            || self.seat != Some(envelope.to)
        {
            return;
        }
        let is = |member: Option<crate::Member>| member.is_some_and(|m| m == envelope.from);
        let (is_predecessor, is_successor) = (is(self.role.predecessor), is(self.role.successor));
        self.heard(is_predecessor, is_successor);
        match envelope.message {
            Message::Hello {
                nonce,
                end,
                commit,
                peers,
                durable,
                ..
            } if is_successor => self.welcome(nonce, end, durable, (commit, &peers), outputs),
            Message::Ack {
                nonce,
                last,
                durable,
                commit,
                peers,
            } if is_successor => self.acknowledged(nonce, (last, durable), commit, &peers),
            Message::SnapshotTaken { nonce, through } if is_successor => {
                self.snapshot_taken(nonce, through);
            }
            Message::Append {
                nonce,
                entries,
                last,
                durable,
            } if is_predecessor => {
                self.durable_above(nonce, durable);
                self.appended(nonce, entries, last, outputs);
            }
            Message::Mismatch { nonce } if is_predecessor => self.mismatch(nonce, outputs),
            Message::SnapshotPart {
                nonce,
                header,
                piece,
            } if is_predecessor => self.install_piece(nonce, header, piece, outputs),
            _ => {}
        }
    }

    /// What the process is in the configuration that it knows.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Our id in that configuration.
    pub fn seat(&self) -> Option<ReplicaId> {
        self.seat
    }

    /// The newest configuration that was heard of.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }
}
