//! Readers: what a shard knows of one client - whose ops it takes, what it subscribed to, what it is still owed.

use std::collections::{BTreeMap, VecDeque};

use catena_mqtt::Filter;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    cursor::Cursor,
    effect::Held,
    group::GroupId,
    id::{ClientKey, ConnId, Time, Who},
    inflight::Inflight,
    links::LinkId,
    op::SubscriptionOptions,
    queue::Queue,
    slab::Slab,
    unkept::Keeps,
};

/// A reader's number. A message goes to its readers in ascending order of it `[F-67]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ReaderId(pub u64);

/// Where a reader's deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attached {
    pub link: LinkId,
    pub conn: ConnId,
}

/// One client on this shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reader {
    /// The highest session and epoch seen `[F-3]`.
    pub who: Who,
    pub seen_at: Time,
    /// The home shard knows that something is held here `[F-22]`.
    pub told_home: bool,
    pub persistent: bool,
    pub attached: Option<Attached>,
    pub window: Window,
    pub subscriptions: BTreeMap<Filter, SubscriptionOptions>,
    pub queue: Queue,
    pub inflight: Inflight,
    pub cursors: VecDeque<Cursor>,
    /// QoS 2 publishes of the client that wait for PUBREL, each with the epoch that brought it `[F-42]`.
    pub inbound: BTreeMap<u16, u64>,
    /// Why its queue may be one of those that outlive a start from disk `[C-59]`.
    pub keeps: Keeps,
    /// Groups that it is a member of.
    pub groups: Vec<GroupId>,
    /// A shared delivery came back unsent: passed over until its next acknowledgement `[F-71]`.
    pub passed_over: bool,
    /// A timer will look whether it still holds anything.
    pub has_timer: bool,
    /// A job that goes on with this reader is under way `[F-60]`.
    pub has_job: bool,
}

/// How much a reader may have unanswered, and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub messages_max: u32,
    pub bytes_max: u32,
    pub receive_maximum: u16,
    pub messages: u32,
    pub bytes: u64,
}

impl Window {
    /// Whether a message of `bytes` fits; one always does `[F-52]`.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.messages < self.messages_max
            && (self.messages == 0 || self.bytes + bytes as u64 <= u64::from(self.bytes_max))
    }

    /// Whether a shared delivery fits: no prefetch there `[F-71]`.
    pub fn has_shared_room(&self, bytes: usize) -> bool {
        self.has_room(bytes) && self.messages < u32::from(self.receive_maximum)
    }

    pub fn take(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    pub fn give_back(&mut self, messages: u32, bytes: u64) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Reader {
    pub fn new(who: Who, seen_at: Time) -> Reader {
        Reader {
            who,
            seen_at,
            told_home: false,
            persistent: false,
            attached: None,
            window: Window::default(),
            subscriptions: BTreeMap::new(),
            queue: Queue::default(),
            inflight: Inflight::default(),
            cursors: VecDeque::new(),
            inbound: BTreeMap::new(),
            keeps: Keeps::default(),
            groups: Vec::new(),
            passed_over: false,
            has_timer: false,
            has_job: false,
        }
    }

    /// What a connection that attaches is told.
    pub fn held(&self) -> Held {
        let filters = self.subscriptions.iter();
        Held {
            inbound: self.inbound.keys().copied().collect(),
            filters: filters.map(|(f, options)| (f.clone(), *options)).collect(),
        }
    }

    /// Whether the shard holds anything of the session beyond who it is.
    pub fn holds_anything(&self) -> bool {
        self.attached.is_some()
            || !self.subscriptions.is_empty()
            || !self.inbound.is_empty()
            || !self.queue.is_empty()
            || !self.inflight.is_empty()
    }
}

/// All readers of the shard, by number and by client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Readers {
    rows: Slab<Reader>,
    #[serde(skip)]
    by_client: HashMap<ClientKey, ReaderId, crate::id::KeyHasher>,
}

impl Readers {
    pub fn insert(&mut self, reader: Reader) -> ReaderId {
        let client = reader.who.client;
        let id = ReaderId(self.rows.insert(reader));
        self.by_client.insert(client, id);
        id
    }

    pub fn find(&self, client: ClientKey) -> Option<ReaderId> {
        self.by_client.get(&client).copied()
    }

    pub fn get(&self, id: ReaderId) -> Option<&Reader> {
        self.rows.get(id.0)
    }

    pub fn get_mut(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.rows.get_mut(id.0)
    }

    pub fn remove(&mut self, id: ReaderId) -> Option<Reader> {
        let reader = self.rows.remove(id.0)?;
        self.by_client.remove(&reader.who.client);
        Some(reader)
    }

    /// The ids at `place` and some places behind it; `None` at the end.
    pub fn ids_at(&self, place: u32, count: u32) -> Option<Vec<ReaderId>> {
        Some(
            self.rows
                .keys_at(place, count)?
                .into_iter()
                .map(ReaderId)
                .collect(),
        )
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReaderId, &Reader)> {
        self.rows
            .iter()
            .map(|(number, reader)| (ReaderId(number), reader))
    }

    /// Finds clients again after a restore.
    pub fn reindex(&mut self) {
        self.by_client = self
            .iter()
            .map(|(id, reader)| (reader.who.client, id))
            .collect();
    }
}
