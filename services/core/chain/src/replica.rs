//! A process's part in one shard: what it holds, what it is told, and what it does then.
//!
//! [`Replica::step`] takes one input and writes what is to be done into a buffer. Each input is handled by the file
//! whose subject it is; then `settle` forwards, commits, acknowledges and emits what that made possible.

use std::{collections::BTreeMap, sync::Arc};

use catena_slots::ShardId;

use crate::{
    clock::{Clock, Now},
    command::{CommandId, Commands, NotTaken},
    commit::Cut,
    configuration::{Configuration, Epoch, Generation, Incarnation, Member, ReplicaId},
    digest,
    direct::Turns,
    disk::{Disk, Keep, Store, StoreId},
    entry::{Entry, Index, Payload, Stamp},
    hello::{Downstream, Upstream},
    install::Install,
    join::Join,
    link::Links,
    log::{Log, Position},
    machine::Machine,
    message::{
        Alarm, ConnectionId, Envelope, FromOrigin, Message, News, PeerProgress, Report, ToOrigin,
    },
    peer::Peers,
    role::Role,
    snapshot::{Decoded, Decoding, Encoding, EncodingId, Piece},
    status::Transfers,
    switches::{Rule, Switches},
};

/// What a replica is told at its start.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The time after which a silent neighbour is reported, in microseconds.
    pub timeout_micros: u64,
    /// Entries that a learner may be behind when its tail goes into sync.
    pub learner_lag_max: u64,
    /// Bytes of entries that a tail keeps for its learner, if [`Machine::learner_bytes_max`] has room for them.
    pub learner_bytes_max: usize,
    /// Bytes of a snapshot that travel in one message, at most.
    pub snapshot_piece_bytes: usize,
    /// Shard time between two Ticks in the log, in milliseconds `[F-60]`.
    pub tick_ms: u64,
    /// Whether entries count only once they are durable here ([`Output::Keep`], [`Input::Durable`]) `[C-62]`; until
    /// [`Input::Keeps`] says something else.
    pub keeps: bool,
    pub switches: Switches,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeout_micros: 3_000_000,
            learner_lag_max: 64,
            learner_bytes_max: usize::MAX,
            snapshot_piece_bytes: 256 * 1024,
            tick_ms: 100,
            keeps: false,
            switches: Switches::default(),
        }
    }
}

/// What happens to a replica.
#[derive(Debug)]
pub enum Input<M: Machine> {
    /// A configuration of any shard, decided in the store, whoever carries it `[C-11]`.
    Configuration(Configuration),
    /// From another replica of this shard.
    Message(Envelope<M>),
    /// The connection to a neighbour broke, or is there again: what was on its way may be lost.
    Reconnected(Member),
    /// An origin says something on a connection to us.
    FromOrigin {
        connection: ConnectionId,
        message: FromOrigin<M>,
    },
    /// A connection of an origin to us broke.
    OriginLost { connection: ConnectionId },
    /// Another shard answers on a connection that we asked for.
    FromPeer {
        connection: ConnectionId,
        message: ToOrigin<M>,
    },
    /// A connection that we asked for broke.
    PeerLost { connection: ConnectionId },
    /// The cluster's settings.
    Settings(M::Settings),
    /// The gateways that live.
    Gateways { version: u64, live: Arc<[u64]> },
    /// An administrator asks for something; answered by [`Output::Commanded`].
    Command { id: CommandId, command: M::Command },
    /// Whether the control plane hears us.
    ControlPlane { is_reachable: bool },
    /// Of [`Output::Encode`], while [`Replica::wants_piece`].
    Encoded { encoding: EncodingId, piece: Piece },
    /// The thread of [`Output::Decode`] has taken a piece of so many bytes.
    Read { nonce: u64, bytes: usize },
    /// Answers [`Output::Decode`].
    Decoded(Decoded<M>),
    /// Whether anything is to be kept from now on `[C-65]` `[C-66]`.
    Keeps { is_wanted: bool },
    /// Entries of this store are durable through this one, and so is all before them; and the state is complete on the disk, unless
    /// it is to wait for [`Keep::Complete`] `[C-61]`.
    Durable { store: StoreId, through: Index },
    /// Nothing more becomes durable in this store `[C-64]`.
    DiskFailed { store: StoreId },
    /// Answers [`Keep::Forget`].
    Forgotten { store: StoreId },
    /// Time goes on; at least ten times in a time-out.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output<M: Machine> {
    /// To another replica of this shard. It may be lost with its connection.
    Send { to: Member, envelope: Envelope<M> },
    /// An origin's connection may be owed effects: ask [`Replica::owed`] while it has room.
    Owed { connection: ConnectionId },
    /// To an origin, on its connection.
    Reply {
        connection: ConnectionId,
        message: ToOrigin<M>,
    },
    /// An origin's connection ends after what was sent on it.
    Close { connection: ConnectionId },
    /// A connection to a replica of another shard is wanted.
    Connect {
        connection: ConnectionId,
        shard: ShardId,
        to: Member,
    },
    /// On such a connection.
    SendToPeer {
        connection: ConnectionId,
        message: FromOrigin<M>,
    },
    /// Such a connection is not wanted any more.
    Disconnect { connection: ConnectionId },
    /// Answers [`Input::Command`]: whether it did anything, which is committed then.
    Commanded {
        id: CommandId,
        outcome: Result<bool, NotTaken>,
    },
    /// To be run on another thread, a piece at a time ([`Input::Encoded`]).
    Encode(Encoding<M>),
    /// To be run on another thread, with the pieces that come.
    Decode(Decoding),
    /// A piece for it.
    Arrived { nonce: u64, piece: Piece },
    /// To be done on the disk.
    Keep(Keep<M>),
    /// To the control plane.
    Report(Report),
    /// Loudly, to log and metrics.
    Alarm(Alarm),
}

/// What a replica holds of the shard.
#[derive(Debug)]
pub(crate) struct State<M: Machine> {
    pub generation: Generation,
    pub machine: M,
    pub log: Log<M>,
    pub digest: u64,
    pub commit: Index,
    pub clock: Clock,
    /// Kept by a tail alone.
    pub cut: Cut<M::Origin>,
    pub last_tick: Stamp,
    pub last_checkpoint: Index,
    /// `None`: nothing is kept.
    pub store: Option<Store>,
}

impl<M: Machine> State<M> {
    pub fn new(generation: Generation, machine: M, end: Position, clock: Clock) -> State<M> {
        State {
            generation,
            machine,
            log: Log::after(end),
            digest: end.digest,
            commit: end.index,
            clock,
            cut: Cut::default(),
            last_tick: Stamp::default(),
            last_checkpoint: end.index,
            store: None,
        }
    }

    /// Applies an entry, and tells whose outboxes grew and whether a checkpoint says that we differ. The log is left
    /// as it is.
    pub fn apply(&mut self, entry: &Entry<M>, now: Now) -> (Vec<M::Origin>, bool) {
        let mut touched = Vec::new();
        let mut has_diverged = false;
        match &entry.payload {
            Payload::Checkpoint { digest } => {
                self.last_checkpoint = entry.index;
                has_diverged = *digest != self.digest;
            }
            payload => self.machine.apply(entry.at, payload, &mut touched),
        }
        self.clock.follow(entry.at, now);
        let newest = touched
            .iter()
            .filter_map(|origin| self.machine.outbox(origin))
            .filter_map(|outbox| outbox.after(outbox.last().saturating_sub(1)).1.next());
        self.digest = digest::after::<M>(self.digest, entry, newest);
        (touched, has_diverged)
    }
}

/// One process's part in one shard.
#[derive(Debug)]
pub struct Replica<M: Machine> {
    pub(crate) shard: ShardId,
    pub(crate) me: Incarnation,
    pub(crate) options: Options,
    pub(crate) now: Now,
    pub(crate) configuration: Option<Configuration>,
    /// Our id in it, if it names us.
    pub(crate) seat: Option<ReplicaId>,
    pub(crate) role: Role,
    pub(crate) state: Option<State<M>>,
    /// The id whose state was dropped: it never begins anew `[C-1]`.
    pub(crate) dropped: Option<ReplicaId>,
    pub(crate) up: Upstream,
    pub(crate) down: Downstream,
    pub(crate) join: Join,
    pub(crate) last_encoding: EncodingId,
    pub(crate) install: Install,
    pub(crate) disk: Disk<M>,
    pub(crate) links: Links<M>,
    pub(crate) commands: Commands,
    pub(crate) peers: Peers,
    /// How far other shards have committed our ops, as far as it was heard of `[C-42]`.
    pub(crate) progress: BTreeMap<ShardId, PeerProgress>,
    pub(crate) settings: Option<M::Settings>,
    pub(crate) gateways: Option<(u64, Arc<[u64]>)>,
    pub(crate) is_control_plane_reachable: bool,
    pub(crate) diverged_at: Option<Index>,
    pub(crate) direct_dropped: u64,
    pub(crate) direct_turns: Turns,
    pub(crate) transfers: Transfers,
    pub(crate) next_report: u64,
}

impl<M: Machine> Replica<M> {
    /// The part that the process `me` has in `shard`: none, until a configuration names it.
    pub fn new(shard: ShardId, me: Incarnation, options: Options) -> Replica<M> {
        Replica {
            shard,
            me,
            options,
            now: Now::default(),
            configuration: None,
            seat: None,
            role: Role::default(),
            state: None,
            dropped: None,
            up: Upstream::default(),
            down: Downstream::default(),
            join: Join::default(),
            last_encoding: EncodingId::default(),
            install: Install::default(),
            disk: Disk::new(options.keeps),
            links: Links::default(),
            commands: Commands::default(),
            peers: Peers::default(),
            progress: BTreeMap::new(),
            settings: None,
            gateways: None,
            is_control_plane_reachable: true,
            diverged_at: None,
            direct_dropped: 0,
            direct_turns: Turns::default(),
            transfers: Transfers::default(),
            next_report: 0,
        }
    }

    /// Handles one input at `now` and adds what is to be done to `outputs`.
    pub fn step(&mut self, now: Now, input: Input<M>, outputs: &mut Vec<Output<M>>) {
        self.handle(now, input, outputs);
        self.settle(outputs);
    }

    /// Handles one of several inputs that have come together; [`Replica::settle`] after the last of them.
    pub fn handle(&mut self, now: Now, input: Input<M>, outputs: &mut Vec<Output<M>>) {
        self.now = now;
        match input {
            Input::Configuration(configuration) => self.learn(configuration, outputs),
            Input::Message(envelope) => self.message(envelope, outputs),
            Input::Reconnected(member) => self.reconnected(member, outputs),
            Input::FromOrigin {
                connection,
                message,
            } => self.origin_says(connection, message, outputs),
            Input::OriginLost { connection } => self.links.forget(connection),
            Input::FromPeer {
                connection,
                message,
            } => self.peer_says(connection, message, outputs),
            Input::PeerLost { connection } => self.peers.lost(connection, now),
            Input::Settings(settings) => self.settings = Some(settings),
            Input::Gateways { version, live } => {
                if self.gateways.as_ref().is_none_or(|(old, _)| version > *old) {
                    self.gateways = Some((version, live));
                }
            }
            Input::Command { id, command } => self.command(id, command, outputs),
            Input::ControlPlane { is_reachable } => self.is_control_plane_reachable = is_reachable,
            Input::Encoded { encoding, piece } => self.piece_encoded(encoding, piece, outputs),
            Input::Read { nonce, bytes } => self.piece_read(nonce, bytes, outputs),
            Input::Decoded(decoded) => self.snapshot_decoded(decoded, outputs),
            Input::Keeps { is_wanted } => self.keeps(is_wanted, outputs),
            Input::Durable { store, through } => self.durable(store, through, outputs),
            Input::DiskFailed { store } => self.store_failed(store, outputs),
            Input::Forgotten { store } => self.forgotten(store, outputs),
            Input::Tick => self.tick(outputs),
        }
    }

    /// Does what the last inputs made possible, in the order in which one thing makes the next possible.
    pub fn settle(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.state.is_none() {
            return self.answer_commands(outputs);
        }
        if self.role.is_head {
            self.log_news();
        }
        self.advance_commit();
        self.answer_commands(outputs);
        self.forward(outputs);
        self.hand_over(outputs);
        self.tell_durable(outputs);
        self.acknowledge(outputs);
        self.direct_on();
        if self.role.is_tail {
            self.emit(outputs);
            self.serve_peers(outputs);
        }
        self.forget(outputs);
    }

    fn tick(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.role.is_head {
            self.log_tick();
        }
        self.keep_alive(outputs);
        self.tend_learner_on_tick(outputs);
        self.tend_store(outputs);
        self.report_on_tick(outputs);
    }

    /// Adds an entry to the log, as its head.
    pub(crate) fn append(&mut self, payload: Payload<M>) {
        let (Some(state), Some(configuration)) = (&mut self.state, &self.configuration) else {
            return;
        };
        let entry = Entry {
            index: state.log.last() + 1,
            epoch: configuration.epoch,
            at: state.clock.stamp(self.now),
            payload,
        };
        self.take(Arc::new(entry));
    }

    /// Applies the next entry of the log.
    pub(crate) fn take(&mut self, entry: Arc<Entry<M>>) {
        let Some(state) = &mut self.state else {
            return;
        };
        let (mut touched, has_diverged) = state.apply(&entry, self.now);
        if has_diverged {
            self.diverged_at = self.diverged_at.or(Some(entry.index));
        }
        if self.role.is_tail {
            match &entry.payload {
                Payload::Ops { origin, .. } | Payload::LinkOpen { origin, .. } => {
                    touched.push(*origin);
                }
                // Links may be gone or have moved.
                Payload::Gateways { .. } | Payload::Configure(_) => {
                    touched.extend(state.cut.origins());
                    touched.extend(state.machine.origins());
                    self.links.mark_all();
                }
                _ => {}
            }
            let touched = touched.into_iter();
            state.cut.produced(entry.index, &state.machine, touched);
        }
        if self.options.switches.keep(Rule::C20) {
            assert_eq!(entry.index, state.log.last() + 1, "a log has no gaps");
        }
        state.log.push(entry, state.digest);
    }

    /// As the head: what the control plane and other shards have told enters the log `[C-50]` `[C-42]`.
    fn log_news(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let mut payloads = Vec::new();
        if let Some(settings) = &self.settings
            && M::version_of(settings) > state.machine.settings_version()
        {
            payloads.push(Payload::Configure(settings.clone()));
        }
        if let Some((version, live)) = &self.gateways
            && *version > state.machine.gateways_version()
        {
            payloads.push(Payload::Gateways {
                version: *version,
                live: live.clone(),
            });
        }
        payloads.extend(self.unlogged_progress().map(|progress| Payload::PeerAck {
            shard: progress.shard,
            generation: progress.generation,
            through: progress.through,
        }));
        for payload in payloads {
            self.append(payload);
        }
        let due = self
            .state
            .as_ref()
            .filter(|state| state.log.last() >= state.last_checkpoint + digest::CHECKPOINT_ENTRIES);
        if let Some(digest) = due.map(|state| state.digest) {
            self.append(Payload::Checkpoint { digest });
        }
    }

    /// Only Tick fires timers and goes on with deferred work `[C-53]`.
    fn log_tick(&mut self) {
        let Some(state) = &mut self.state else {
            return;
        };
        let time = state.clock.time(self.now);
        let is_due = state.machine.next_timer().is_some_and(|due| due <= time)
            && time.0 >= state.last_tick.0 + self.options.tick_ms;
        if is_due || state.machine.has_deferred_work() {
            state.last_tick = time;
            self.append(Payload::Tick);
        }
    }

    /// Progress of other shards that is not in the log that we hold.
    pub(crate) fn unlogged_progress(&self) -> impl Iterator<Item = PeerProgress> {
        self.progress.values().copied().filter(|progress| {
            let origin = M::origin_of(progress.shard, progress.generation);
            let state = self.state.as_ref();
            let outbox = state.and_then(|state| state.machine.outbox(&origin));
            outbox.is_some_and(|outbox| {
                outbox.first() <= progress.through && progress.through <= outbox.last()
            })
        })
    }

    /// Takes note of how far another shard has committed our ops.
    pub(crate) fn progressed(&mut self, progress: PeerProgress) {
        let known = self.progress.entry(progress.shard).or_insert(progress);
        if (progress.generation, progress.through) > (known.generation, known.through) {
            *known = progress;
        }
    }

    /// Tells the control plane, at most once in a third of the time-out, what keeps us from going on.
    fn report_on_tick(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.now.monotonic < self.next_report {
            return;
        }
        self.next_report = self.now.monotonic + self.options.timeout_micros / 3;
        let is_named = self.role.is_of_chain() || self.has_installed();
        let is_stateless = self.state.is_none() && is_named;
        let stateless = is_stateless.then_some(News::Stateless);
        let diverged = self.diverged_at.map(|index| News::Diverged { index });
        let silent = self.suspect().map(|neighbour| News::Suspect { neighbour });
        let disk = self.disk_news();
        for news in [stateless, diverged, disk, silent].into_iter().flatten() {
            self.report(news, outputs);
        }
        if let Some(index) = self.diverged_at {
            outputs.push(Output::Alarm(Alarm::Diverged { index }));
        }
    }

    pub(crate) fn report(&self, news: News, outputs: &mut Vec<Output<M>>) {
        if let (Some(configuration), Some(from)) = (&self.configuration, self.seat) {
            outputs.push(Output::Report(Report {
                shard: self.shard,
                epoch: configuration.epoch,
                generation: configuration.generation,
                from,
                news,
            }));
        }
    }

    /// The epoch that was adopted last.
    pub(crate) fn epoch(&self) -> Epoch {
        self.configuration.as_ref().map_or(Epoch(0), |c| c.epoch)
    }

    /// Sends a message to another replica.
    pub(crate) fn send(&self, to: Member, message: Message<M>, outputs: &mut Vec<Output<M>>) {
        let Some(configuration) = &self.configuration else {
            return;
        };
        let envelope = Envelope {
            shard: self.shard,
            epoch: configuration.epoch,
            generation: configuration.generation,
            from: Member {
                id: self.seat.unwrap_or_default(),
                incarnation: self.me,
            },
            to: to.id,
            message,
        };
        outputs.push(Output::Send { to, envelope });
    }
}
