//! What a connection is told.

use std::sync::Arc;

use catena_mqtt::{DecodeError, Packet, ReasonCode};
use catena_policy::Policy;
use catena_shard::{
    Message, Time,
    effect::{
        AlsoAttach, Attached, Connected, Kick, Published, Pubrel, Recorded, Released, Subscribed,
        Target, Unsubscribed,
    },
};
use catena_slots::ShardId;

use crate::outside::AuthOutcome;

/// Milliseconds of the gateway's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(pub u64);

impl Now {
    /// This moment and `milliseconds` later.
    pub fn plus_millis(self, milliseconds: u64) -> Now {
        Now(self.0.saturating_add(milliseconds))
    }
}

/// Something that happened to the connection.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent a packet.
    Packet(Packet),
    /// The client sent bytes that are no packet; nothing after them can be read.
    Malformed(DecodeError),
    /// The socket is closed or broken. Nothing can be written any more.
    Closed,
    /// What was written has left (the output is below [`crate::output::LOW_WATER_BYTES`]).
    Drained,
    /// [`crate::Connection::deadline`] has come.
    Time,
    /// The gateway is draining: tell the client to go elsewhere `[F-26]`.
    Drain(ReasonCode),
    /// An answer that [`crate::Outside::authenticate`] left open.
    Authenticated(Box<AuthOutcome>),
    /// The policy of the client's port has changed, or the port has another `[F-90]`. The same `Arc` once more is no change;
    /// another one is, whatever it says.
    Policy(Option<Arc<Policy>>),
    /// The link of a shard made progress after [`crate::Outside::await_progress`]: ops were committed, the direct lane was
    /// acknowledged, or the window has room.
    Progress(ShardId),
    /// An effect of a shard.
    Effect(ShardId, Effect<'a>),
}

/// A shard's effect, as far as it concerns one connection.
#[derive(Debug)]
pub enum Effect<'a> {
    Connected(Box<Connected>),
    Attached(Box<Attached>),
    Subscribed(Box<Subscribed>),
    Unsubscribed(Box<Unsubscribed>),
    Published(Published),
    Released(Released),
    Recorded(Recorded),
    Deliver(Delivery<'a>),
    Pubrel(Pubrel),
    Kick(Kick),
    AlsoAttach(AlsoAttach),
}

/// A message for this client.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub message: &'a Arc<Message>,
    /// Shard time when the message expires.
    pub expires_at: Time,
    /// Shard time when the batch left the shard: expiry counts from here `[F-80]`.
    pub shard_now: Time,
    pub target: &'a Target,
}
