//! Session records, on their home shard.

use bytestring::ByteString;
use catena_slots::ShardId;

use super::{ANSWER_BYTES_MAX, Pattern, STEPS_MAX, rows};
use crate::{
    home::{Home, Session as Record},
    id::{ClientKey, Origin, SessionId, Time},
    shard::Shard,
};

/// Which sessions are asked for: those that fit all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of client ids.
    pub pattern: Option<Pattern>,
    /// Whether a client is connected.
    pub connected: Option<bool>,
    /// Incarnations of gateways, one of which the client is connected to; empty: any, or none.
    pub gateways: Vec<u64>,
}

/// Some of the sessions of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// In the order of the shard's table, in which a session stays where it is.
    pub sessions: Vec<Session>,
    /// Where to go on; `None` at the end.
    pub next: Option<u32>,
}

/// A session record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub client_id: ByteString,
    pub client: ClientKey,
    pub id: SessionId,
    /// Counts its connections.
    pub epoch: u64,
    /// Its owner `[F-4]`.
    pub principal: Option<ByteString>,
    /// Seconds; 0: ends with its connection; `u32::MAX`: never.
    pub expiry: u32,
    /// The protocol level of its last CONNECT: 3, 4 or 5.
    pub protocol: u8,
    /// Since when it is connected, or is not.
    pub since: Time,
    pub connection: Option<Connection>,
    /// When it ends if no client comes; [`Time::NEVER`] while one is connected.
    pub ends_at: Time,
    pub will: Option<WillSummary>,
    /// The other shards that hold something for it, ascending.
    pub shards: Vec<ShardId>,
}

/// Where a session's client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The gateway's life.
    pub gateway: u64,
    /// The thread of it.
    pub worker: u16,
}

/// A will that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillSummary {
    pub topic: ByteString,
    /// Seconds after the end of the connection.
    pub delay: u32,
}

impl Session {
    /// Bytes of its names, roughly.
    fn bytes(&self) -> usize {
        let names = [
            &self.principal,
            &self.will.as_ref().map(|w| w.topic.clone()),
        ];
        let names: usize = names.into_iter().flatten().map(|name| name.len()).sum();
        64 + self.client_id.len() + names
    }
}

impl Shard {
    pub(super) fn list_sessions(&self, filter: &SessionFilter, from: u32, limit: u32) -> Sessions {
        let mut found = Sessions::default();
        let (mut steps, mut bytes, mut place) = (0, 0, from);
        while steps < STEPS_MAX && found.sessions.len() < rows(limit) && bytes < ANSWER_BYTES_MAX {
            let Some(ids) = self.homes.ids_at(place, 1) else {
                return found;
            };
            place += 1;
            steps += 1;
            let home = ids.first().and_then(|id| self.homes.get(*id));
            let Some((home, record)) = home.and_then(|home| Some((home, home.session.as_ref()?)))
            else {
                continue;
            };
            if let Some(pattern) = &filter.pattern {
                steps = steps.saturating_add(pattern.steps(&home.client_id));
            }
            if self.fits(filter, home, record) {
                let session = self.describe(home, record);
                bytes += session.bytes();
                found.sessions.push(session);
            }
        }
        found.next = Some(place);
        found
    }

    pub(super) fn show_session(&self, client: ClientKey) -> Option<Session> {
        let home = self.homes.get(self.homes.find(client)?)?;
        Some(self.describe(home, home.session.as_ref()?))
    }

    fn fits(&self, filter: &SessionFilter, home: &Home, record: &Record) -> bool {
        let connection = self.connection_of(record);
        let is_asked = |wanted: bool| wanted == connection.is_some();
        let is_there = |there: Connection| filter.gateways.contains(&there.gateway);
        filter.connected.is_none_or(is_asked)
            && (filter.gateways.is_empty() || connection.is_some_and(is_there))
            && filter
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&home.client_id))
    }

    /// Where the client is; `None` also where its gateway is gone and the record does not show it yet `[F-24]`.
    fn connection_of(&self, record: &Record) -> Option<Connection> {
        match self.links.get(record.attached?.link)?.origin {
            Origin::Gateway {
                incarnation,
                worker,
            } => Some(Connection {
                gateway: incarnation,
                worker,
            }),
            Origin::Shard { .. } => None,
        }
    }

    fn describe(&self, home: &Home, record: &Record) -> Session {
        let mut shards: Vec<ShardId> = record.touched.iter().map(|(shard, _)| *shard).collect();
        shards.dedup();
        Session {
            client_id: home.client_id.clone(),
            client: home.client,
            id: record.id,
            epoch: record.epoch,
            principal: record.principal.clone(),
            expiry: record.expiry,
            protocol: record.protocol,
            since: record.since,
            connection: self.connection_of(record),
            ends_at: record.ends_at,
            will: record.will.as_ref().map(|will| WillSummary {
                topic: will.message.topic.clone(),
                delay: will.delay,
            }),
            shards,
        }
    }
}
