//! Session records: the home shard's part of a session `[F-10]` to `[F-25]`.

use std::collections::{BTreeSet, VecDeque};

use bytestring::ByteString;
use catena_slots::ShardId;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    id::{ClientKey, KeyHasher, SessionId, Time},
    links::LinkId,
    message::Will,
    op::Connect,
    reader::Attached,
    slab::Slab,
};

/// How long home waits for `Kicked` before it goes on without, in milliseconds `[F-12]`.
pub const KICK_TIMEOUT_MS: u64 = 1_000;

/// A Connect older than this is refused, in milliseconds `[F-15]`.
pub const CONNECT_AGE_MS_MAX: u64 = 5_000;

/// Takeovers within [`TAKEOVER_SPAN_MS`] after which the reply is held for [`TAKEOVER_DELAY_MS`] `[F-19]`.
pub const TAKEOVERS_MAX: usize = 5;

/// See [`TAKEOVERS_MAX`].
pub const TAKEOVER_SPAN_MS: u64 = 10_000;

/// See [`TAKEOVERS_MAX`].
pub const TAKEOVER_DELAY_MS: u64 = 1_000;

/// A home's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct HomeId(pub u64);

/// Everything that the home shard knows of one client id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Home {
    pub client_id: ByteString,
    pub client: ClientKey,
    pub session: Option<Session>,
    /// A CONNECT that waits for its answer.
    pub pending: Option<Box<Pending>>,
    /// The number of a will's op on the link to its topic's shard, until that is acknowledged `[F-21]`.
    pub will_in_flight: Option<(ShardId, u64)>,
    /// When the session was taken over, lately `[F-19]`.
    pub takeovers: VecDeque<Time>,
}

/// A session record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub id: SessionId,
    pub epoch: u64,
    /// Its owner `[F-4]`.
    pub principal: Option<ByteString>,
    /// Seconds; 0: ends with its connection.
    pub expiry: u32,
    pub attached: Option<Attached>,
    /// The protocol level of the last CONNECT.
    pub protocol: u8,
    /// Since when it is attached, or is not.
    pub since: Time,
    pub will: Option<Will>,
    /// When a delayed will is published.
    pub will_due: Option<Time>,
    /// When a session without a connection ends; [`Time::NEVER`] while it has one.
    pub ends_at: Time,
    /// The other shards that hold something for it, with their generation then `[F-22]`.
    pub touched: BTreeSet<(ShardId, u32)>,
    pub exactly_once: ExactlyOnce,
}

/// Whether deliveries of QoS 2 from this shard have a part in a session. Its client holds the packet id of each until PUBREL, which it
/// does also if we have forgotten it `[C-64]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExactlyOnce {
    #[default]
    Never,
    /// A subscription was granted it, now or once.
    Granted,
    /// Never as far as we know, but we may have forgotten: the session ends when it is asked for.
    Barred,
}

/// A CONNECT that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub connect: Connect,
    pub link: LinkId,
    /// The kicked connection has until then to say that it is done.
    pub kick_until: Option<Time>,
    /// The reply is held until then `[F-19]`.
    pub not_before: Time,
}

/// All session records of the shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Homes {
    rows: Slab<Home>,
    #[serde(skip)]
    by_client: HashMap<ClientKey, HomeId, KeyHasher>,
}

impl Homes {
    pub fn find(&self, client: ClientKey) -> Option<HomeId> {
        self.by_client.get(&client).copied()
    }

    pub fn insert(&mut self, client_id: &ByteString, client: ClientKey) -> HomeId {
        let id = HomeId(self.rows.insert(Home {
            // A slice of what came from the network would pin all of that.
            client_id: ByteString::from(String::from(&**client_id)),
            client,
            session: None,
            pending: None,
            will_in_flight: None,
            takeovers: VecDeque::new(),
        }));
        self.by_client.insert(client, id);
        id
    }

    pub fn remove(&mut self, id: HomeId) -> Option<Home> {
        let home = self.rows.remove(id.0)?;
        self.by_client.remove(&home.client);
        Some(home)
    }

    pub fn get(&self, id: HomeId) -> Option<&Home> {
        self.rows.get(id.0)
    }

    pub fn get_mut(&mut self, id: HomeId) -> Option<&mut Home> {
        self.rows.get_mut(id.0)
    }

    /// The ids at `place` and some places behind it; `None` at the end.
    pub fn ids_at(&self, place: u32, count: u32) -> Option<Vec<HomeId>> {
        Some(
            self.rows
                .keys_at(place, count)?
                .into_iter()
                .map(HomeId)
                .collect(),
        )
    }

    pub fn iter(&self) -> impl Iterator<Item = (HomeId, &Home)> {
        self.rows
            .iter()
            .map(|(number, home)| (HomeId(number), home))
    }

    /// Finds clients again after a restore.
    pub fn reindex(&mut self) {
        self.by_client = self.iter().map(|(id, home)| (home.client, id)).collect();
    }
}
