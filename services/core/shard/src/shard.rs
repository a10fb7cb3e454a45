//! The state and the dispatch of entries. No op is decided here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, Weak},
};

use catena_link::{Admission, Outbox};
use catena_slots::{ShardId, SlotTable};
use serde::{Deserialize, Serialize};

use crate::{
    account::Account,
    effect::Effect,
    entry::{Entry, Input, Settings},
    fan_out::FanOuts,
    group::Groups,
    home::{HomeId, Homes},
    id::{Origin, Time},
    index::Index,
    job::Job,
    links::{self, LinkId, Links},
    op::Op,
    queue::QueueId,
    reader::Readers,
    restore::Restoring,
    retained::RetainedMessages,
    segment::Segment,
    stats::Stats,
    store::Store,
    switches::Switches,
    timer::Timers,
    watch::Watching,
};

/// Units of work that one entry may do; the rest goes on by Ticks `[F-60]`.
pub const WORK_PER_APPLY_MAX: u32 = 1_000;

/// The origins whose outbox grew: a buffer that the driver empties and reuses.
#[derive(Debug, Default)]
pub struct Effects {
    origins: Vec<Origin>,
}

impl Effects {
    /// The origins whose outbox grew since the last call, each once, in the order of their first effect.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Origin> {
        self.origins.drain(..)
    }

    fn mark(&mut self, origin: Origin) {
        if self.origins.last() != Some(&origin) && !self.origins.contains(&origin) {
            self.origins.push(origin);
        }
    }
}

/// Which gateways live `[C-43]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gateways {
    pub version: u64,
    pub live: BTreeSet<u64>,
}

/// One shard's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) generation: u32,
    /// Of the last entry.
    pub(crate) now: Time,
    /// Counts entries.
    pub(crate) sequence: u64,
    pub(crate) settings: Settings,
    pub(crate) gateways: Gateways,
    pub(crate) links: Links,
    pub(crate) homes: Homes,
    /// Sessions ever begun in this generation.
    pub(crate) sessions_begun: u64,
    pub(crate) readers: Readers,
    pub(crate) groups: Groups,
    pub(crate) store: Store,
    pub(crate) retained: RetainedMessages,
    /// Cursors that are not at their end, over all readers.
    pub(crate) cursors: u64,
    pub(crate) timers: Timers,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) fan_outs: FanOuts,
    pub(crate) account: Account,
    /// Queues with more than a part's worth in memory.
    pub(crate) long_queues: BTreeSet<QueueId>,
    /// The one of them that was parted last.
    pub(crate) spilled_last: Option<QueueId>,
    /// Bytes of queues' parts.
    pub(crate) spilled_bytes: u64,
    /// Parts of queues stay in memory: the head's host has no room for more.
    pub(crate) spill_paused: bool,
    /// A job that parts queues is under way.
    pub(crate) spill_has_job: bool,
    /// What was to be dropped after a start from disk, of entries through this one, was or is being dropped `[C-59]`.
    pub(crate) dropped_through: u64,
    /// Wills on their way to other shards, by shard and number.
    pub(crate) wills_in_flight: BTreeMap<(ShardId, u64), HomeId>,
    /// What a backup brings.
    pub(crate) restoring: Restoring,
    /// Those that the host was not told of.
    #[serde(skip)]
    pub(crate) segments: Mutex<Vec<Weak<Segment>>>,
    #[serde(skip)]
    pub(crate) index: Index,
    /// What is left of the work that this entry may do.
    #[serde(skip)]
    pub(crate) work: u32,
    #[serde(skip)]
    pub(crate) grown: Effects,
    #[serde(skip)]
    pub(crate) stats: Stats,
    #[serde(skip)]
    pub(crate) switches: Switches,
    #[serde(skip)]
    pub(crate) watching: Watching,
}

impl Shard {
    /// An empty shard. `generation` counts how often it started empty, from 1 `[C-2]`.
    pub fn new(id: ShardId, generation: u32) -> Shard {
        let one = SlotTable::even(1, 0).expect("one shard is a valid count");
        let settings = Settings {
            version: 0,
            ..Settings::new(ShardId(0), one)
        };
        Shard {
            id,
            generation,
            now: Time::default(),
            sequence: 0,
            settings,
            gateways: Gateways::default(),
            links: Links::default(),
            homes: Homes::default(),
            sessions_begun: 0,
            readers: Readers::default(),
            groups: Groups::default(),
            store: Store::default(),
            retained: RetainedMessages::default(),
            cursors: 0,
            timers: Timers::default(),
            jobs: VecDeque::new(),
            fan_outs: FanOuts::default(),
            account: Account::default(),
            long_queues: BTreeSet::new(),
            spilled_last: None,
            spilled_bytes: 0,
            spill_paused: false,
            spill_has_job: false,
            dropped_through: 0,
            segments: Mutex::default(),
            wills_in_flight: BTreeMap::new(),
            restoring: Restoring::default(),
            index: Index::default(),
            work: 0,
            grown: Effects::default(),
            stats: Stats::default(),
            switches: Switches::default(),
            watching: Watching::default(),
        }
    }

    /// Applies one entry. The result depends on (self, entry) alone; time is `entry.at`, stamped by the head.
    /// A refused op is an effect that says so, never an `Err`: every replica must refuse alike.
    pub fn apply(&mut self, entry: &Entry<'_>, effects: &mut Effects) {
        self.now = self.now.max(entry.at);
        self.sequence += 1;
        self.work = WORK_PER_APPLY_MAX;
        std::mem::swap(&mut self.grown, effects);
        match entry.input {
            Input::Op {
                origin,
                number,
                acked_through,
                op,
            } => {
                self.apply_op(origin, number, acked_through, op);
            }
            Input::LinkOpen { origin, first } => {
                if self.is_known(&origin) {
                    self.links.begin(origin, first);
                }
            }
            Input::Acked { origin, through } => {
                if let Some(link) = self.links.find(&origin) {
                    self.acknowledge(link, through);
                }
            }
            Input::Gateways { version, live } => self.set_gateways(version, live),
            Input::PeerAck {
                shard,
                generation,
                through,
            } => self.peer_ack(shard, generation, through),
            Input::Command(command) => self.command(command),
            Input::Configure(settings) => self.configure(settings),
            Input::Tick => self.tick(),
        }
        std::mem::swap(&mut self.grown, effects);
    }

    fn apply_op(&mut self, origin: Origin, number: u64, acked_through: u64, op: &Op) {
        let link = match self.links.find(&origin) {
            Some(link) => link,
            None if self.is_known(&origin) => self.links.open(origin, 1),
            None => return,
        };
        self.acknowledge(link, acked_through);
        let Some(row) = self.links.get_mut(link) else {
            return;
        };
        if row.inbound.admit(number) != Admission::Apply {
            return;
        }
        match op {
            Op::Noop => {}
            Op::Connect(connect) => self.connect(link, connect),
            Op::Disconnect(disconnect) | Op::Kicked(disconnect) => self.disconnect(disconnect),
            Op::Attach(attach) => self.attach(link, attach),
            Op::Detach(detach) => self.detach(detach),
            Op::Subscribe(subscribe) => self.subscribe(link, subscribe),
            Op::Unsubscribe(unsubscribe) => self.unsubscribe(link, unsubscribe),
            Op::Replay(replay) => self.replay(replay),
            Op::Publish(publish) => self.publish(link, publish),
            Op::Release(release) => self.release(link, release),
            Op::Ack(ack) => self.ack(ack),
            Op::Credit(credit) => self.credit(credit),
            Op::Touched(touched) => self.touched(touched),
            Op::EndSession(end) => self.end_session_here(end),
            Op::PublishWill(will) => self.publish_peer_will(will),
        }
    }

    /// Whether ops of `origin` may be taken: a gateway that lives, a shard in its latest generation.
    fn is_known(&self, origin: &Origin) -> bool {
        match origin {
            Origin::Gateway { incarnation, .. } => self.gateways.live.contains(incarnation),
            Origin::Shard { shard, generation } => {
                self.settings.generations.get(shard.index()) == Some(generation)
            }
        }
    }

    /// Adds an effect to the outbox of a link; nothing happens when the link is gone.
    pub(crate) fn emit(&mut self, link: LinkId, effect: Effect) -> u64 {
        let Some(row) = self.links.get_mut(link) else {
            return 0;
        };
        let weight = links::weight(&effect);
        self.account.add(u64::from(weight));
        let number = row.outbox.push(weight, effect);
        if row.outbox.bytes() >= links::congested_bytes(self.settings.buffer_bytes) {
            row.is_congested = true;
        }
        self.grown.mark(row.origin);
        number
    }

    /// Adds an op for another shard to the link to it, and returns its number.
    pub(crate) fn emit_to_shard(&mut self, shard: ShardId, op: Op) -> u64 {
        let generation = self
            .settings
            .generations
            .get(shard.index())
            .copied()
            .unwrap_or(1);
        let link = self.links.open(Origin::Shard { shard, generation }, 1);
        self.emit(link, Effect::Peer(Box::new(op)))
    }

    /// An origin has taken our effects through `through`.
    pub(crate) fn acknowledge(&mut self, link: LinkId, through: u64) {
        let Some(row) = self.links.get_mut(link) else {
            return;
        };
        let freed = row.outbox.acknowledge(through);
        self.account.remove(freed);
        if row.is_congested
            && row.outbox.bytes() < links::congested_bytes(self.settings.buffer_bytes) / 2
        {
            row.is_congested = false;
            if !row.starved.is_empty() && !row.has_job {
                row.has_job = true;
                self.jobs.push_back(Job::Relieve(link));
            }
        }
    }

    /// What `origin` is owed; `None` before its first op and after its end.
    pub fn outbox(&self, origin: &Origin) -> Option<&Outbox<Effect>> {
        Some(&self.links.get(self.links.find(origin)?)?.outbox)
    }

    /// The highest op number of `origin` that was applied; 0 before the first.
    pub fn applied_through(&self, origin: &Origin) -> u64 {
        let link = self
            .links
            .find(origin)
            .and_then(|link| self.links.get(link));
        link.map_or(0, |link| link.inbound.applied_through())
    }

    /// The origins that have a link.
    pub fn origins(&self) -> impl Iterator<Item = Origin> {
        self.links.iter().map(|(_, link)| link.origin)
    }

    /// When the next timer is due: a Tick at or after it makes it fire.
    pub fn next_timer(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Whether work was put off that a Tick would go on with `[F-60]`.
    pub fn has_deferred_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Which shard it is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How often it had started empty.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The time of the last entry.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Counts of what happened and what is held; no part of the state.
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.account.bytes(),
            stored_messages: self.store.len() as u64,
            retained_messages: self.retained.len() as u64,
            retained_bytes: self.retained.bytes(),
            links: self.links.iter().count() as u64,
            links_congested: self
                .links
                .iter()
                .filter(|(_, link)| link.is_congested)
                .count() as u64,
            jobs: self.jobs.len() as u64,
            spilled_bytes: self.spilled_bytes,
            ..self.stats
        }
    }

    /// Forgets what is only remembered for speed: effects must not change by it `[F-67]`.
    pub fn chill(&mut self) {
        self.index.chill();
    }
}
