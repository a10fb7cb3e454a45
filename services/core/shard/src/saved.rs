//! What a backup holds of shards: things, not states, so that they can be put into a cluster with other shards.
//!
//! A [`Frozen`](crate::Frozen) shard tells its things in one order (`save.rs`), and [`Restore`] puts some of them into a shard, as
//! a command of an administrator (`restore.rs`). Moments are shard time, which is the wall clock's.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{Filter, QoS};
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

use crate::{
    id::{ClientKey, SessionId, Time},
    message::{Message, Will},
    op::Subscription,
    query::Named,
};

/// Things of one [`Restore`] at most: each is a unit of work `[F-60]`.
pub const THINGS_MAX: usize = 500;

/// A message that several things name, by the shard that it was saved of and a number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedId {
    pub shard: ShardId,
    pub number: u64,
}

/// A message of a thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    Whole {
        message: Arc<Message>,
        /// [`Time::NEVER`] where it does not expire.
        expires_at: Time,
    },
    /// [`Saved::Message`] has it, which stands before.
    Shared { id: SharedId, topic: ByteString },
}

impl Body {
    /// The message's topic, which says where it belongs.
    pub fn topic(&self) -> &ByteString {
        match self {
            Body::Whole { message, .. } => &message.topic,
            Body::Shared { topic, .. } => topic,
        }
    }

    /// Bytes that it takes, roughly.
    pub fn weight(&self) -> usize {
        match self {
            Body::Whole { message, .. } => message.weight(),
            Body::Shared { topic, .. } => 64 + topic.len(),
        }
    }
}

/// A message that waits for a session, or is on its way to its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub body: Body,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Vec<u32>,
}

/// A session's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    pub client_id: ByteString,
    pub id: SessionId,
    pub principal: Option<ByteString>,
    /// Seconds, never 0; `u32::MAX`: never.
    pub expiry: u32,
    pub protocol: u8,
    /// Milliseconds that it outlives the restore if no client comes; `None`: for ever.
    pub left: Option<u64>,
}

/// One thing. The order of the list is that in which a shard tells them, client by client where they are of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Saved {
    /// A message that more than one of the things behind it names.
    Message {
        id: SharedId,
        message: Arc<Message>,
        expires_at: Time,
    },
    /// A topic's retained message.
    Retained(Body),
    Session(Box<SavedSession>),
    Subscription {
        of: Named,
        subscription: Subscription,
        /// Retained messages of it were not all sent.
        is_owed: bool,
    },
    /// Sent and not answered. Older than what is queued.
    InFlight {
        of: Named,
        packet_id: u16,
        /// `None`: only the PUBREL is left.
        delivery: Option<Delivery>,
    },
    Queued {
        of: Named,
        delivery: Delivery,
    },
    /// A QoS 2 publish of the client that waits for PUBREL, on `shard` `[F-42]`.
    Inbound {
        of: Named,
        shard: ShardId,
        packet_id: u16,
    },
    /// Waits for any member of a shared subscription.
    Grouped {
        filter: Filter,
        body: Body,
    },
    /// The will of a session that is in the backup.
    Will {
        client_id: ByteString,
        will: Will,
        /// Milliseconds after the restore.
        left: u64,
    },
}

impl Saved {
    /// Whose it is, where it belongs to those things of a session that stand together.
    pub fn client(&self) -> Option<ClientKey> {
        match self {
            Saved::Session(session) => Some(ClientKey::of(&session.client_id)),
            Saved::Subscription { of, .. }
            | Saved::InFlight { of, .. }
            | Saved::Queued { of, .. }
            | Saved::Inbound { of, .. } => Some(of.client),
            Saved::Message { .. }
            | Saved::Retained(_)
            | Saved::Grouped { .. }
            | Saved::Will { .. } => None,
        }
    }

    /// Bytes that it takes, roughly.
    pub fn weight(&self) -> usize {
        64 + match self {
            Saved::Message { message, .. } => message.weight(),
            Saved::Retained(body) | Saved::Grouped { body, .. } => body.weight(),
            Saved::Session(session) => session.client_id.len(),
            Saved::Subscription { subscription, .. } => subscription.filter.full().len(),
            Saved::InFlight { delivery, .. } => {
                delivery.as_ref().map_or(0, |sent| sent.body.weight())
            }
            Saved::Queued { delivery, .. } => delivery.body.weight(),
            Saved::Inbound { .. } => 0,
            Saved::Will { will, .. } => will.message.weight(),
        }
    }
}

/// Some things for a shard. Those of one restore are numbered, so that none is put in twice, however late it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The restore. A later one has a higher number, and ends the one before.
    pub id: u64,
    /// From 1 on.
    pub number: u64,
    /// Of the first: all sessions and retained messages go before anything comes.
    pub is_clearing: bool,
    /// Nothing follows.
    pub is_last: bool,
    /// At most [`THINGS_MAX`].
    pub things: Vec<Saved>,
}
