//! Effects: the outputs of a shard, numbered in the outbox of the gateway or shard that they go to.

use std::sync::Arc;

use catena_mqtt::{Filter, QoS, ReasonCode};
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    id::{ConnId, SessionId, Time},
    message::Message,
    op::{Op, SubscriptionOptions},
};

/// An output for one origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    // To gateways:
    Connected(Box<Connected>),
    Attached(Box<Attached>),
    Subscribed(Box<Subscribed>),
    Unsubscribed(Box<Unsubscribed>),
    Published(Published),
    Released(Released),
    Recorded(Recorded),
    Deliver(Deliver),
    Pubrel(Pubrel),
    Kick(Kick),
    AlsoAttach(AlsoAttach),
    /// To another shard: an op of the link to it `[C-42]`.
    Peer(Box<Op>),
}

/// Answers `Op::Connect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    pub conn: ConnId,
    /// The session, or the reason to refuse the client with (0x87 another principal `[F-4]`, 0x97 full, 0x88 too old
    /// `[F-15]`, 0x8E another connection overtook it).
    pub outcome: Result<Accepted, ReasonCode>,
}

/// A session that a connection was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub session: SessionId,
    pub epoch: u64,
    pub session_present: bool,
    /// The session's other shards: attach to each `[F-11]`.
    pub shards: Vec<ShardId>,
    /// What the home shard itself holds.
    pub held: Held,
}

/// What a shard holds of a session that attaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Packet ids of QoS 2 publishes from the client that wait for PUBREL `[F-42]`.
    pub inbound: Vec<u16>,
    /// The session's subscriptions here, as they were granted `[F-90]`.
    pub filters: Vec<(Filter, SubscriptionOptions)>,
}

/// Answers `Op::Attach`. The deliveries that were in flight follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub conn: ConnId,
    pub held: Held,
}

/// Answers `Op::Subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    pub conn: ConnId,
    pub token: u32,
    /// One per subscription, in order.
    pub results: Vec<SubscribeResult>,
}

/// What became of one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeResult {
    /// 0x00, 0x01, 0x02 or a refusal.
    pub reason: ReasonCode,
    /// Whether the filter was subscribed to here before.
    pub existed: bool,
}

/// Answers `Op::Unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribed {
    pub conn: ConnId,
    pub token: u32,
    /// One per filter, in order: whether it was subscribed to here.
    pub existed: Vec<bool>,
}

/// Answers `Op::Publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub conn: ConnId,
    pub token: u32,
    /// 0x00, 0x10 (nobody subscribed) or a refusal (0x97).
    pub reason: ReasonCode,
}

/// Answers `Op::Release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    pub conn: ConnId,
    pub packet_id: u16,
    /// Whether the shard knew the id.
    pub found: bool,
}

/// Answers `AckKind::Received`: the PUBREC is kept; PUBREL may be sent `[F-56]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub conn: ConnId,
    pub packet_id: u16,
}

/// One message for all its readers on a gateway `[F-55]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    pub message: Arc<Message>,
    /// In shard time; [`Time::NEVER`] without an expiry `[F-80]`.
    pub expires_at: Time,
    pub targets: SmallVec<[Target; 1]>,
}

/// One reader of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub conn: ConnId,
    /// Tracked by the shard: the id to write and to acknowledge `[F-51]`; an ephemeral session's gateway writes
    /// one of its own for it. 0: untracked, and the gateway's from here on `[F-50]`.
    pub packet_id: u16,
    /// The lower of the message's and the subscription's.
    pub qos: QoS,
    /// The RETAIN flag to write.
    pub retain: bool,
    /// It may have been written before `[F-53]`.
    pub dup: bool,
    /// Untracked, but counted against the reader's window: never dropped for a full output, and given back by
    /// `Op::Credit` once written. True for untracked ones above QoS 0 and for retained ones of any QoS that
    /// answer a SUBSCRIBE `[F-34]`.
    pub counted: bool,
    /// It belongs to a shared subscription: waits at most 100 ms in the gateway `[F-71]`.
    pub shared: bool,
    /// The Subscription Identifiers of all filters that matched, ascending; `None` for none.
    pub subscription_ids: Option<Arc<[u32]>>,
}

/// Resumes an outbound QoS 2 delivery that was at PUBREL; stands in its place among the resent ones `[F-51]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pubrel {
    pub conn: ConnId,
    pub packet_id: u16,
}

/// The connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kick {
    pub conn: ConnId,
    /// Its epoch.
    pub epoch: u64,
    /// What to tell the client: 0x8E session taken over (the gateway answers `Op::Kicked` `[F-12]`), 0x83 the
    /// session was lost `[F-25]`, 0x98 an administrator `[F-26]`.
    pub reason: ReasonCode,
}

/// A shard came to hold something of the session after its connection had been told of the others `[F-22]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlsoAttach {
    pub conn: ConnId,
    pub shard: ShardId,
}
