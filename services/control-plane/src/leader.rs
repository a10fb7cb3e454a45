//! The leader's loop: it hears of everyone, asks the chain manager what is next, and writes that.
//!
//! Whoever holds the election's lease runs it, beside the renewal of the lease. Every write compares the leader key, so that one
//! that lost it without knowing changes nothing `[C-15]`.

mod adopt;
mod hearing;
mod probe;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use catena_chain::Incarnation;
use catena_slots::ShardId;
use catena_topology::{Alarm, Chain, Liveness, NodeName, Observed, Rule, Sight, alarms, next};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{debug, error, info, warn};

use crate::{
    keys,
    record::json,
    registry::put,
    store::{Compare, Error, Outcome, Revision, Store, Transaction},
    view::View,
    words,
    write::{self, Described},
};
pub use hearing::{Answer, Heard, Said};

/// The longest pause between two looks.
const LOOK_MAX: Duration = Duration::from_millis(50);
/// Looks in a failure time-out, at least: a third of it without one gives everyone grace `[C-15]`.
const LOOKS_PER_TIMEOUT: u32 = 12;
/// News that are taken before the next look.
const NEWS_MAX: usize = 512;
/// Steps in a row, before news are taken again.
const STEPS_MAX: usize = 64;
/// A process without a record that was silent for so many time-outs is forgotten.
const STRANGER_TIMEOUTS: u64 = 4;
/// How long the view may take to show what was written.
const ECHO: Duration = Duration::from_secs(1);

/// What the leader is told.
#[derive(Debug)]
pub enum Input {
    /// A node's message; answered when it is taken.
    Said(Box<Said>),
    /// A node's stream ended.
    Silent(Incarnation),
    /// These processes refuse someone's connections.
    Accused(Vec<Incarnation>),
    /// A probe was refused.
    Refused(NodeName, Incarnation),
    /// A probe has ended.
    Probed(NodeName),
    /// Asked for what only the leader knows.
    Look(oneshot::Sender<Seen>),
    /// An administrator adopts what the nodes have `[C-16]`.
    Adopt(oneshot::Sender<Result<Vec<ShardId>, String>>),
}

/// What only the leader knows, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By the clock of [`Heard::at_ms`].
    pub now_ms: u64,
    pub view: Arc<View>,
    pub observed: Observed,
    pub alarms: Vec<Alarm>,
    pub heard: BTreeMap<NodeName, Heard>,
}

/// One leader's memory: it begins empty, and everyone has a time-out of grace.
#[derive(Debug)]
pub struct Leader {
    store: Arc<dyn Store>,
    /// That we are still the leader.
    compare: Compare,
    views: watch::Receiver<Arc<View>>,
    inputs: mpsc::Receiver<Input>,
    /// Where probes tell what came of them.
    back: mpsc::Sender<Input>,
    started: Instant,
    timeout: Duration,
    liveness: Liveness,
    heard: BTreeMap<NodeName, Heard>,
    observed: Observed,
    alarms: Vec<Alarm>,
    diverged: hearing::Divergence,
    probing: BTreeSet<NodeName>,
    probes: JoinSet<()>,
    store_is_away: bool,
}

impl Leader {
    /// A leader that begins now. `back` sends to `inputs`.
    pub fn new(
        store: Arc<dyn Store>,
        compare: Compare,
        views: watch::Receiver<Arc<View>>,
        inputs: mpsc::Receiver<Input>,
        back: mpsc::Sender<Input>,
    ) -> Leader {
        let timeout = timeout(&views.borrow());
        Leader {
            store,
            compare,
            views,
            inputs,
            back,
            started: Instant::now(),
            timeout,
            liveness: Liveness::new(millis(timeout), 0),
            heard: BTreeMap::new(),
            observed: Observed::default(),
            alarms: Vec::new(),
            diverged: hearing::Divergence::default(),
            probing: BTreeSet::new(),
            probes: JoinSet::new(),
            store_is_away: false,
        }
    }

    /// Leads until it is dropped.
    pub async fn run(mut self) {
        loop {
            let mut look = tokio::time::interval((self.timeout / LOOKS_PER_TIMEOUT).min(LOOK_MAX));
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let timeout = self.timeout;
            while self.timeout == timeout {
                tokio::select! {
                    _ = look.tick() => {}
                    Some(input) = self.inputs.recv() => {
                        let mut urgent = self.take(input).await;
                        for _ in 1..NEWS_MAX {
                            let Ok(input) = self.inputs.try_recv() else { break };
                            urgent |= self.take(input).await;
                        }
                        if !urgent {
                            continue;
                        }
                    }
                    changed = self.views.changed() => if changed.is_err() { return },
                }
                self.decide().await;
                while self.probes.try_join_next().is_some() {}
            }
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Takes one input; answers whether it may change what is decided.
    async fn take(&mut self, input: Input) -> bool {
        let view = self.views.borrow().clone();
        match input {
            Input::Said(said) => self.hear(&view, *said),
            Input::Silent(incarnation) => {
                if let Some(name) = view.node_of(incarnation) {
                    self.probe(&view, name);
                }
                false
            }
            Input::Accused(accused) => {
                self.accuse(&view, &accused);
                false
            }
            Input::Refused(name, incarnation) => {
                // Those who cannot reach it say so again and again.
                if self.observed.sight(&name, incarnation) != Sight::Lost {
                    info!(
                        node = name.0,
                        incarnation = incarnation.0,
                        "its port refuses connections: it counts as lost"
                    );
                }
                let now_ms = self.now_ms();
                self.liveness.refused(now_ms, &name, incarnation);
                true
            }
            Input::Probed(name) => {
                self.probing.remove(&name);
                false
            }
            Input::Look(answer) => {
                let seen = Seen {
                    now_ms: self.now_ms(),
                    view,
                    observed: self.observed.clone(),
                    alarms: self.alarms.clone(),
                    heard: self.heard.clone(),
                };
                // Who has gone away does not want to know.
                let _ = answer.send(seen);
                false
            }
            Input::Adopt(answer) => {
                let adopted = self.adopt(&view).await;
                let _ = answer.send(adopted);
                true
            }
        }
    }

    fn accuse(&mut self, view: &View, accused: &[Incarnation]) {
        let now_ms = self.now_ms();
        for incarnation in accused {
            if let Some(name) = view.node_of(*incarnation) {
                self.liveness.accused(now_ms, name, &view.topology);
            }
        }
        self.probe_suspects(view);
    }

    fn probe_suspects(&mut self, view: &View) {
        for name in self.liveness.suspects() {
            self.probe(view, &name);
        }
    }

    /// Connects to the node's port, unless that is being done.
    fn probe(&mut self, view: &View, name: &NodeName) {
        let Some(record) = view.nodes.get(name) else {
            return;
        };
        let Some(address) = record.addresses.first() else {
            return;
        };
        if self.probing.insert(name.clone()) {
            debug!(node = name.0, address, "probing");
            self.probes.spawn(probe::run(
                name.clone(),
                record.incarnation,
                address.clone(),
                self.back.clone(),
            ));
        }
    }

    /// Writes what is next, until nothing is.
    async fn decide(&mut self) {
        for _ in 0..STEPS_MAX {
            let view = self.views.borrow_and_update().clone();
            if timeout(&view) != self.timeout {
                self.timeout = timeout(&view);
                info!(timeout = ?self.timeout, "the failure time-out was changed: everyone has grace");
                self.liveness = Liveness::new(millis(self.timeout), self.now_ms());
            }
            self.look(&view);
            self.raise_counter(&view).await;
            let step = match view.wanted() {
                Some(wanted) => next(&view.topology, &self.observed, &wanted),
                None => None,
            };
            let Some(step) = step else { return };
            let (why, _, rules) = step.rule.explained();
            let transaction = match write::transaction(&step, &view, self.compare.clone()) {
                Ok(transaction) => transaction,
                Err(problem) => {
                    error!(%problem, rule = ?step.rule, "a step cannot be written");
                    return;
                }
            };
            match self.store.commit(transaction).await {
                Ok(Outcome::Committed(revision)) => {
                    if std::mem::take(&mut self.store_is_away) {
                        info!("the store takes decisions again");
                    }
                    if step.rule == Rule::StartEmpty {
                        error!(
                            change = %Described(&step.change),
                            "every replica is proved dead: a shard starts empty, and what it held is lost"
                        );
                    }
                    info!(
                        rule = ?step.rule, change = %Described(&step.change), why, rules,
                        revision = revision.0, "reconfigured"
                    );
                    if !self.see(revision).await {
                        return;
                    }
                }
                Ok(Outcome::Conflict) => {
                    debug!(rule = ?step.rule, "decided by what has changed since: deciding anew");
                    // What has changed arrives in a moment, and wakes the loop.
                    return;
                }
                Err(error) => return self.away(&error),
            }
        }
    }

    fn look(&mut self, view: &View) {
        let now_ms = self.now_ms();
        self.liveness.registrations(view.gateways());
        for (shard, diverged) in self
            .diverged
            .ripe(now_ms, millis(self.timeout), &view.topology)
        {
            self.liveness.diverged(shard, diverged);
        }
        self.observed = self.liveness.observe(now_ms, wall_ms(), &view.topology);
        self.look_ahead(view);
        self.probe_suspects(view);
        // Of one whose record is missing what it says may be all that there is `[C-16]`.
        let forgotten_ms = millis(self.timeout) * STRANGER_TIMEOUTS;
        self.heard.retain(|name, heard| {
            view.nodes.contains_key(name) || now_ms - heard.at_ms < forgotten_ms
        });
        let Some(wanted) = view.wanted() else { return };
        let mut now = alarms(&view.topology, &self.observed, &wanted);
        if self.started.elapsed() < self.timeout {
            now.retain(|alarm| self.is_certain(view, alarm));
        }
        for alarm in now.iter().filter(|alarm| !is_among(&self.alarms, alarm)) {
            let words = words::of(alarm);
            warn!(alarm = words.kind, advice = words.advice, "{}", words.text);
        }
        for alarm in self.alarms.iter().filter(|alarm| !is_among(&now, alarm)) {
            let words = words::of(alarm);
            warn!(alarm = words.kind, "over: {}", words.text);
        }
        self.alarms = now;
    }

    /// Whether a leader that has not heard of everybody yet may already say so: those who are merely silent are not missed.
    fn is_certain(&self, view: &View, alarm: &Alarm) -> bool {
        match alarm {
            Alarm::NodesMissing { .. } => false,
            Alarm::ChainWaits { shard } => view.topology.chains.get(shard).is_some_and(|chain| {
                let mut members = chain.configuration.chain.iter();
                members.all(|member| {
                    let standing = self.observed.standing(&view.topology, chain, member.id);
                    // Whose node came back with its disk is about to be found: a restart is no alarm.
                    let mut nodes = view.topology.nodes.values();
                    standing.is_out() && !nodes.any(|node| node.kept_of(chain, *member).is_some())
                })
            }),
            // That half are silent is said by one who has settled alone.
            Alarm::EpochAhead { .. }
            | Alarm::DivergedAgain { .. }
            | Alarm::HalfSilent
            | Alarm::LayoutIsFixed => true,
        }
    }

    /// What a node was told once and the store does not know now counts like what its replicas report `[C-16]`.
    fn look_ahead(&mut self, view: &View) {
        for configuration in self.heard.values().flat_map(|heard| &heard.ahead) {
            let stored = view.topology.chains.get(&configuration.shard);
            if Some(configuration.epoch) > stored.map(Chain::epoch) {
                let highest = self.observed.ahead.entry(configuration.shard).or_default();
                *highest = configuration.epoch.max(*highest);
            }
        }
    }

    /// Nodes with incarnations above all that were allotted registered in a store that was since restored from a backup: theirs
    /// are never to be allotted again `[C-1]` `[C-16]`.
    async fn raise_counter(&mut self, view: &View) {
        let highest = self
            .heard
            .values()
            .map(|heard| heard.heartbeat.incarnation.0);
        let highest = highest.max().unwrap_or(0);
        if view.revision.0 == 0 || highest <= view.incarnations {
            return;
        }
        let key = keys::incarnations();
        let raise = Transaction {
            compare: vec![self.compare.clone(), view.unchanged(key.clone())],
            writes: vec![put(&key, json(&highest))],
        };
        match self.store.commit(raise).await {
            Ok(Outcome::Committed(revision)) => {
                warn!(
                    highest,
                    "nodes have incarnations above all that the store knows"
                );
                self.see(revision).await;
            }
            // The view was too old.
            Ok(Outcome::Conflict) => {}
            Err(error) => self.away(&error),
        }
    }

    /// Waits until the view shows what was written at `revision`.
    async fn see(&mut self, revision: Revision) -> bool {
        let shown = self.views.wait_for(|view| view.revision >= revision);
        matches!(tokio::time::timeout(ECHO, shown).await, Ok(Ok(_)))
    }

    fn away(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.store_is_away, true) {
            warn!(%error, "a decision cannot be written: trying again");
        }
    }
}

/// Whether the same alarm is among `all`, whatever its numbers are by now.
fn is_among(all: &[Alarm], alarm: &Alarm) -> bool {
    let (kind, about) = (words::of(alarm).kind, words::about(alarm));
    all.iter()
        .any(|other| words::of(other).kind == kind && words::about(other) == about)
}

fn timeout(view: &View) -> Duration {
    let broker = view.broker.clone().unwrap_or_default();
    broker.failure_timeout()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}
