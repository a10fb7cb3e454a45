//! Ops: the inputs of a shard, as types. What each does stands in the file of its name.

mod ack;
mod attach;
mod connect;
mod publish;
mod subscribe;

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{Filter, QoS, packet::RetainHandling};
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    id::{ClientKey, ConnId, SessionId, Time, Who},
    message::{Message, Will},
    unkept::Keeps,
};

/// The most filters of one [`Subscribe`] or [`Unsubscribe`] `[F-31]`.
pub const FILTERS_PER_OP_MAX: usize = 256;

/// An input to a shard from a gateway or from another shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Does nothing; takes the place of an op that a closed connection no longer wants `[F-43]`.
    Noop,
    // From gateways, to the home shard:
    Connect(Box<Connect>),
    Disconnect(Disconnect),
    Kicked(Disconnect),
    // From gateways, to any shard:
    Attach(Attach),
    Detach(Detach),
    Subscribe(Box<Subscribe>),
    Unsubscribe(Box<Unsubscribe>),
    Replay(Box<Replay>),
    Publish(Publish),
    Release(Release),
    Ack(Ack),
    Credit(Credit),
    // From other shards:
    Touched(Touched),
    EndSession(EndSession),
    PublishWill(PublishWill),
}

/// A connection as a shard's reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where deliveries go.
    pub conn: ConnId,
    /// Session expiry above 0 at CONNECT: packet ids and in-flight state are kept by the shard `[F-51]`.
    /// Otherwise a delivery is the gateway's once it has it `[F-50]`.
    pub persistent: bool,
    /// The client's Receive Maximum; bounds shared deliveries `[F-71]`.
    pub receive_maximum: u16,
    /// How many deliveries above QoS 0 may be unanswered: for persistent readers the Receive Maximum plus
    /// 16 `[F-52]`, for ephemeral ones what the gateway is ready to hold.
    pub window_messages: u32,
    /// How many bytes of them; one message always fits.
    pub window_bytes: u32,
    /// Why the queue may be one of those that outlive a start from disk `[C-59]`.
    pub keeps: Keeps,
}

/// CONNECT, to the home shard. Attaches its reader there too `[F-10]`. Answer: `Effect::Connected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    pub client_id: ByteString,
    pub clean_start: bool,
    /// Seconds, already bounded by the gateway; 0: ends with the connection; `u32::MAX`: never.
    pub expiry: u32,
    pub will: Option<Will>,
    /// The authenticated username; `None`: anonymous `[F-4]`.
    pub principal: Option<ByteString>,
    /// Shard time when the gateway asked, as well as it knows; an older one than 5 s is refused `[F-15]`.
    pub asked_at: Time,
    /// The protocol level that the client speaks: 3, 4 or 5. Administrators are told.
    pub protocol: u8,
    pub attachment: Attachment,
}

/// A connection of a session comes to one of its other shards `[F-11]`. Answer: `Effect::Attached`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    pub who: Who,
    pub attachment: Attachment,
}

/// The connection leaves this shard. For an ephemeral session: the session ends here `[F-17]`. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    pub who: Who,
    /// Packet ids of tracked deliveries that were never written, in the order of their arrival: they go back to
    /// the front of the queue without DUP `[F-53]`.
    pub unsent: Vec<u16>,
    /// The last effect of this shard that the gateway had handed to its connections: tracked deliveries behind it were
    /// never written either. `u64::MAX`: there are none.
    pub taken: u64,
}

/// The last op of a connection, to the home shard `[F-14]`; as `Op::Kicked`, the answer to `Effect::Kick`
/// `[F-12]`. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    pub who: Who,
    /// Whether the will is published: false only after DISCONNECT 0x00 (3.1.1: any DISCONNECT), or where
    /// the policy no longer allows it `[F-20]`.
    pub will: bool,
    /// A Session Expiry Interval that DISCONNECT brought, in seconds.
    pub expiry: Option<u32>,
}

/// One filter with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub filter: Filter,
    pub options: SubscriptionOptions,
}

/// What SUBSCRIBE says of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// The Subscription Identifier; never `Some(0)`.
    pub id: Option<u32>,
}

/// SUBSCRIBE: those filters of a packet that live on this shard, at most [`FILTERS_PER_OP_MAX`] `[F-31]`.
/// The connection has attached here before. Answer: `Effect::Subscribed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    pub who: Who,
    /// Comes back in the answer.
    pub token: u32,
    pub subscriptions: Vec<Subscription>,
}

/// UNSUBSCRIBE. Answer: `Effect::Unsubscribed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    pub who: Who,
    /// Where the answer goes: the connection may never have attached here.
    pub conn: ConnId,
    pub token: u32,
    pub filters: Vec<Filter>,
}

/// Sends the retained messages of filters that existed here but not on every shard, so that retain handling 1
/// counts the subscription as new `[F-35]`. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub who: Who,
    pub filters: Vec<Filter>,
}

/// PUBLISH of QoS 1 or 2, or retained QoS 0, through the log `[F-40]`. Answer: `Effect::Published`, unless stale.
/// On the direct lane (QoS 0, not retained `[F-41]`) the same type, without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub who: Who,
    /// Where the answer goes.
    pub conn: ConnId,
    /// Comes back in the answer.
    pub token: u32,
    /// QoS 2 of a persistent session: the id that the shard remembers until `Release` `[F-42]`. Else 0.
    pub packet_id: u16,
    pub dup: bool,
    /// The publisher set `$high_priority` (MQTT 5) `[F-63]`.
    pub high_priority: bool,
    pub message: Arc<Message>,
}

/// PUBREL of a persistent session's QoS 2 publish. Answer: `Effect::Released`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub who: Who,
    pub conn: ConnId,
    pub packet_id: u16,
}

/// What became of tracked deliveries; those of one batch travel as one op `[F-55]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub who: Who,
    /// In the order of their arrival.
    pub items: SmallVec<[AckItem; 4]>,
}

/// What became of one tracked delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckItem {
    /// As the shard gave it in the delivery.
    pub packet_id: u16,
    pub kind: AckKind,
}

/// The ways in which a tracked delivery goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AckKind {
    /// PUBACK of any reason, PUBCOMP, or PUBREC with a reason of 0x80 or more: it is over.
    Done,
    /// PUBREC below 0x80: only the PUBREL is left. Answer: `Effect::Recorded`, at which the gateway sends
    /// PUBREL `[F-56]`.
    Received,
    /// Expired, or larger than the client takes: never written, and over `[F-54]`.
    Discarded,
    /// A shared delivery that waited too long in the gateway and was never written: back to the group `[F-71]`.
    Returned,
}

/// A reader can take more untracked deliveries `[F-50]`. No answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub who: Who,
    /// How many counted deliveries (`Target::counted`) left the gateway's hands.
    pub messages: u32,
    /// Their weight as [`Message::weight`] counts it.
    pub bytes: u64,
}

/// A shard made something for a session: to its home shard `[F-22]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    pub who: Who,
    pub shard: ShardId,
    pub generation: u32,
}

/// A session is over: from its home shard to those it touched `[F-23]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    pub client: ClientKey,
    pub session: SessionId,
}

/// A will whose time has come: from the home shard to the topic's. Never refused `[F-20]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishWill {
    pub message: Arc<Message>,
}
