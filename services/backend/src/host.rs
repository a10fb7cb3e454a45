//! One replica of one shard with all its connections, as a future that never ends by itself.
//!
//! A turn: take what has arrived up to a bound, hand each input to the replica, settle once, and do what comes out.
//! Nothing in it waits for a connection: an origin that is slow finds its effects in its outbox later.

mod inquiry;
mod intake;
mod keeping;
mod outputs;
mod room;
mod snapshots;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use catena_chain::{Beginning, Epoch, Incarnation, Member, Now, Options, message::ConnectionId};
use catena_membership::Cluster;
use catena_replicated::{Envelope, FromOrigin, Input, Output, Replica, ToOrigin};
use catena_resources::broker::SyncMode;
use catena_shard::Command;
use catena_slots::ShardId;
use catena_storage::Sync;
use catena_telemetry::traces::sampler::Tracing;
use catena_transport::{Asked, Dial, Reach};
use tokio::{
    sync::mpsc,
    task::coop::unconstrained,
    time::{Instant, Sleep},
};
use tracing::warn;

use self::{inquiry::Inquiries, keeping::Keeping, snapshots::Snapshots};
use crate::{
    chronicle::Chronicle,
    limits::{ORIGINS_MAX, STREAMS_MAX, TICKS_PER_TIMEOUT},
    neighbour::Neighbour,
    origin::Connection,
    passports::Passports,
    peer::Peer,
    pulse::Beat,
    ready::{Key, Ready},
    spill::Spill,
    storage::ToKeep,
    stream::Stream,
    tracer::Tracer,
    voice::Voice,
};

/// So much later than it was due may a timer of the shard fire.
const TICK_SLACK: Duration = Duration::from_millis(5);

/// When a shard that has not heard what its host says is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// What a host is told from outside of its connections.
#[derive(Debug)]
pub(crate) enum News {
    Cluster(Arc<Cluster>),
    /// Whether anything is kept from now on.
    ToKeep(ToKeep),
    /// Whether the control plane hears us.
    ControlPlane {
        is_reachable: bool,
    },
    /// A connection of an origin.
    Origin {
        connection: ConnectionId,
        from: mpsc::Receiver<FromOrigin>,
        to: mpsc::Sender<ToOrigin>,
    },
    /// An administrator wants something.
    Asked(Asked),
    /// A stream of another replica.
    Stream(mpsc::Receiver<Envelope>),
}

/// What a host is made of.
pub(crate) struct Parts<D, R> {
    pub shard: ShardId,
    pub me: Incarnation,
    pub timeout: Duration,
    pub spill: Spill,
    pub news: mpsc::Receiver<News>,
    pub beat: Arc<Beat>,
    pub tracing: Tracing,
    pub voice: Arc<dyn Voice>,
    pub to_keep: ToKeep,
    pub dial: D,
    pub reach: R,
}

/// One shard, hosted.
pub(crate) struct Host<D: Dial, R: Reach> {
    shard: ShardId,
    replica: Replica,
    started: Instant,
    /// The time of this turn.
    at: Instant,
    now: Now,
    ready: Ready,
    /// Whose turn it is.
    keys: VecDeque<Key>,
    /// Connections that are not read from while what they brought past the log is under way.
    busy: Vec<ConnectionId>,
    news: mpsc::Receiver<News>,
    origins: HashMap<ConnectionId, Connection>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    neighbours: BTreeMap<Member, Neighbour<R>>,
    peers: HashMap<ConnectionId, Peer<D>>,
    outputs: Vec<Output>,
    /// Inputs that came about while outputs were done.
    later: Vec<Input>,
    /// Those that are made or read beside the shard.
    snapshots: Snapshots,
    /// Work on another thread was begun in this turn, and is to be listened to.
    is_offloading: bool,
    inquiries: Inquiries,
    /// `None`: there is no data directory.
    keeping: Option<Keeping>,
    /// When entries are to count that are kept.
    sync: Sync,
    /// Entries that were on the disk at the start: what they brought, and the settings do not keep, is still to be dropped.
    kept_through: Option<(u64, Option<Instant>)>,
    /// How many members a chain is to have.
    redundancy: usize,
    to_send: ToSend,
    told: Told,
    /// Where parts of long queues go.
    spill: Spill,
    /// What the shard was told last of whether they may, and when.
    spill_told: Option<(bool, Instant)>,
    /// Whether the replica has had an input since it settled.
    is_touched: bool,
    tick_every: Duration,
    tick_at: Instant,
    sleep: Pin<Box<Sleep>>,
    is_alarm_set: bool,
    chronicle: Chronicle,
    beat: Arc<Beat>,
    tracer: Tracer,
    passports: Passports,
    voice: Arc<dyn Voice>,
    dial: D,
    reach: R,
}

/// Who may have something to send; some more than once.
#[derive(Debug, Default)]
struct ToSend {
    origins: Vec<ConnectionId>,
    neighbours: Vec<Member>,
    peers: Vec<ConnectionId>,
}

/// The versions that the replica was told.
#[derive(Debug, Default)]
struct Told {
    epochs: BTreeMap<ShardId, Epoch>,
    settings: u64,
    gateways: u64,
}

impl<D: Dial, R: Reach> Host<D, R> {
    pub fn new(parts: Parts<D, R>) -> Host<D, R> {
        let options = Options {
            timeout_micros: parts.timeout.as_micros() as u64,
            keeps: parts.to_keep.storage.is_some() && parts.to_keep.is_wanted,
            ..Options::default()
        };
        let started = Instant::now();
        let tick_every = parts.timeout / TICKS_PER_TIMEOUT;
        let mut replica = Replica::new(parts.shard, parts.me, options);
        let mut kept_through = None;
        let keeping = parts.to_keep.storage.map(|storage| {
            let found = storage.take(parts.shard).map(|recovered| {
                kept_through = Some((recovered.kept.machine().shard().sequence(), None));
                replica.keep(recovered.kept);
                recovered.state
            });
            Keeping::new(parts.shard, storage, Sync::Always, found)
        });
        Host {
            shard: parts.shard,
            replica,
            started,
            at: started,
            now: Now::default(),
            ready: Ready::default(),
            keys: VecDeque::new(),
            busy: Vec::new(),
            news: parts.news,
            origins: HashMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            neighbours: BTreeMap::new(),
            peers: HashMap::new(),
            outputs: Vec::new(),
            later: Vec::new(),
            snapshots: Snapshots::new(),
            is_offloading: false,
            inquiries: Inquiries::default(),
            keeping,
            sync: Sync::Always,
            kept_through,
            redundancy: usize::MAX,
            to_send: ToSend::default(),
            told: Told::default(),
            spill: parts.spill,
            spill_told: None,
            is_touched: false,
            tick_every,
            tick_at: started + tick_every,
            sleep: Box::pin(tokio::time::sleep_until(started + tick_every)),
            is_alarm_set: false,
            chronicle: Chronicle::new(parts.shard),
            beat: parts.beat,
            passports: Passports::new(parts.shard, parts.tracing.passports.clone()),
            tracer: Tracer::new(parts.shard, parts.tracing),
            voice: parts.voice,
            dial: parts.dial,
            reach: parts.reach,
        }
    }

    /// Runs the shard until nobody can tell it anything any more.
    pub async fn run(mut self) {
        // A turn has bounds of its own.
        unconstrained(poll_fn(|cx| self.turn(cx))).await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.take(cx.waker(), &mut self.keys);
        self.read_clock();
        self.passports.turns(&self.replica);
        for input in std::mem::take(&mut self.later) {
            self.handle(input);
        }
        loop {
            match self.news.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(news)) => self.take_news(news),
            }
        }
        self.hear_disk(cx);
        if self.tick_at <= self.at {
            self.tick();
        }
        self.answer_inquiries();
        self.keys.extend(self.busy.drain(..).map(Key::Origin));
        self.take();
        self.tend_snapshots(cx);
        if std::mem::take(&mut self.is_touched) || self.replica.has_more() {
            self.replica.settle(&mut self.outputs);
        }
        if self.chronicle.look(&self.replica) {
            self.look_around();
        }
        self.put_away();
        self.drop_unkept();
        self.perform();
        self.send();
        self.beat.turned(&self.replica);
        self.tracer.turned(&self.replica);
        self.passports.turned(&self.replica);
        let is_due = self.set_alarm(cx) || std::mem::take(&mut self.is_offloading);
        let is_more = !self.keys.is_empty() || !self.later.is_empty() || !self.busy.is_empty();
        let is_more = is_more || self.replica.has_more();
        if is_due || is_more || self.inquiries.wait() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn handle(&mut self, input: Input) {
        self.is_touched = true;
        self.replica.handle(self.now, input, &mut self.outputs);
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Cluster(cluster) => self.take_cluster(&cluster),
            News::ToKeep(to_keep) => self.take_to_keep(to_keep),
            News::ControlPlane { is_reachable } => {
                self.handle(Input::ControlPlane { is_reachable })
            }
            News::Origin {
                connection,
                from,
                to,
            } => {
                if self.origins.len() >= ORIGINS_MAX {
                    warn!(shard = %self.shard, "refused a link: there are too many");
                    return;
                }
                let key = Key::Origin(connection);
                let open = Connection::new(self.ready.waker(key), from, to);
                self.origins.insert(connection, open);
                self.keys.push_back(key);
            }
            News::Asked(asked) => self.inquire(asked),
            News::Stream(envelopes) => {
                if self.streams.len() >= STREAMS_MAX {
                    warn!(shard = %self.shard, "refused a stream: there are too many");
                    return;
                }
                self.next_stream += 1;
                let key = Key::Stream(self.next_stream);
                let stream = Stream::new(self.ready.waker(key), envelopes);
                self.streams.insert(self.next_stream, stream);
                self.keys.push_back(key);
            }
        }
    }

    /// Tells the replica what is new.
    fn take_cluster(&mut self, cluster: &Cluster) {
        if let Some(persistence) = &cluster.broker.persistence {
            self.sync = match persistence.sync {
                SyncMode::Always => Sync::Always,
                SyncMode::Interval => Sync::Interval,
            };
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.follow(self.sync);
        }
        let chain = &cluster.broker.cardinality.backend_chain;
        self.redundancy = usize::from(chain.redundancy_factor);
        if cluster.gateways_version > self.told.gateways {
            self.told.gateways = cluster.gateways_version;
            self.handle(Input::Gateways {
                version: cluster.gateways_version,
                live: cluster.gateways.clone(),
            });
        }
        self.spill.set_max(cluster.spill_bytes());
        if cluster.settings_version > self.told.settings
            && let Some(settings) = cluster.shard_settings(self.shard)
        {
            self.told.settings = cluster.settings_version;
            self.handle(Input::Settings(settings));
        }
        for (shard, configuration) in &cluster.chains {
            let known = self.told.epochs.entry(*shard).or_default();
            if configuration.epoch > *known {
                *known = configuration.epoch;
                self.handle(Input::Configuration(configuration.clone()));
            }
        }
    }

    /// Parts of long queues leave memory; and the head's shard hears whether they have a place to go.
    fn put_away(&mut self) {
        let Some(machine) = self.replica.machine() else {
            return;
        };
        let shard = machine.shard();
        for segment in shard.take_segments() {
            self.spill.put_away(segment);
        }
        let is_paused = shard.is_spill_paused();
        let pause = self.spill.is_pressed(is_paused);
        if pause == is_paused || !self.replica.role().is_head {
            self.spill_told = None;
            return;
        }
        let is_new = |(told, at): (bool, Instant)| told != pause || self.at >= at + TOLD_AGAIN;
        if self.spill_told.is_none_or(is_new) {
            self.spill_told = Some((pause, self.at));
            self.tell_shard(Command::PauseSpill(pause));
        }
    }

    /// A founder that goes on from its disk tells the shard so, when the settings are those of now `[C-59]`.
    fn drop_unkept(&mut self) {
        let (Some((through, told)), Some(configuration), Some(machine)) = (
            self.kept_through,
            self.replica.configuration(),
            self.replica.machine(),
        ) else {
            return;
        };
        let shard = machine.shard();
        let is_founder = self.replica.seat() == Some(configuration.founder);
        let is_from_disk = is_founder && configuration.began != Beginning::Empty;
        let are_settings_new =
            self.told.settings > 0 && shard.settings_version() >= self.told.settings;
        let command = Command::DropUnkept { through };
        if !is_from_disk || (are_settings_new && !shard.would_act(&command)) {
            // It is done; or the replica began in another way, and what the disk held is of no use any more.
            self.kept_through = None;
        } else if are_settings_new
            && self.replica.role().is_head
            && told.is_none_or(|at| self.at >= at + TOLD_AGAIN)
        {
            self.kept_through = Some((through, Some(self.at)));
            self.tell_shard(command);
        }
    }

    /// After a new configuration: whom we are to stay in touch with.
    fn look_around(&mut self) {
        self.tend_asides();
        for (member, neighbour) in &mut self.neighbours {
            let is_near = is_near(&self.replica, *member);
            if is_near != neighbour.is_near() {
                neighbour.set_near(is_near);
                self.to_send.neighbours.push(*member);
            }
        }
    }

    fn tick(&mut self) {
        self.handle(Input::Tick);
        let kept = self.keeping.as_ref().and_then(Keeping::on_disk);
        self.beat.ticked(&self.replica, kept);
        self.tend_disk();
        self.look_for_room();
        self.tick_at = self.at + self.tick_every;
        self.neighbours.retain(|_, neighbour| !neighbour.is_over());
        self.origins.retain(|_, connection| connection.tick());
    }

    fn tick_within(&mut self, wait: Duration) {
        // A little later is soon enough, and saves setting the timer in each turn.
        if self.at + wait + TICK_SLACK < self.tick_at {
            self.tick_at = self.at + wait;
        }
    }

    /// Wakes this task when the next tick is due; whether that is now.
    fn set_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        match self.replica.tick_due_in(self.now) {
            Some(0) => self.tick_at = self.at,
            Some(micros) => self.tick_within(Duration::from_micros(micros)),
            None => {}
        }
        if self.tick_at <= self.at {
            return true;
        }
        if self.sleep.deadline() != self.tick_at {
            self.sleep.as_mut().reset(self.tick_at);
        } else if self.is_alarm_set {
            return false;
        }
        self.is_alarm_set = true;
        self.sleep.as_mut().poll(cx).is_ready()
    }

    fn read_clock(&mut self) {
        self.at = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        self.now = Now {
            monotonic: (self.at - self.started).as_micros() as u64,
            wall: wall.map_or(0, |passed| passed.as_micros() as u64),
        };
    }
}

/// Whether `member` is before or behind us.
fn is_near(replica: &Replica, member: Member) -> bool {
    let role = replica.role();
    role.predecessor == Some(member) || role.successor == Some(member)
}
