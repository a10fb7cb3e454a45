//! What a connection may ask of the gateway around it.

use bytes::Bytes;
use catena_link::{Class, Full};
use catena_mqtt::{
    QoS, ReasonCode,
    packet::{self, Connect},
};
use catena_policy::Policy;
use catena_shard::{ClientKey, Message, Op, Time, op::Publish, trace};
use catena_slots::{ShardId, SlotTable};

use crate::{
    Identity,
    output::{HIGH_WATER_BYTES, Output},
};

/// The gateway as the connection sees it. Tests bring their own.
pub trait Outside {
    /// Where sessions, topics and filters live.
    fn slots(&self) -> &SlotTable;

    /// Sends a numbered op and returns its number. Ops to one shard are applied in this order.
    ///
    /// # Errors
    /// [`Full`] for a publish when the link's window has no room `[F-61]`; other ops are always taken.
    fn send(&mut self, shard: ShardId, class: Class, op: Op) -> Result<u64, Full>;

    /// The highest op number of this gateway's link that is committed.
    fn committed_through(&self, shard: ShardId) -> u64;

    /// The last effect of `shard` that was handed to a connection of this gateway, this one or another `[F-53]`.
    fn effects_through(&self, shard: ShardId) -> u64;

    /// Sends a QoS 0 publish past the log `[F-41]` and returns its place in the direct lane's count.
    ///
    /// # Errors
    /// [`Full`] when the lane is congested: the caller parks the message or drops and counts it.
    fn send_direct(&mut self, shard: ShardId, publish: Publish) -> Result<u64, Full>;

    /// How many of the direct lane's publishes the shard has handled, or lost with a broken connection.
    fn direct_through(&self, shard: ShardId) -> u64;

    /// Asks for one [`crate::Input::Progress`] when the link of `shard` next makes progress.
    fn await_progress(&mut self, shard: ShardId);

    /// The shard's time now, as well as the gateway knows it; `None` before the link was first open.
    fn shard_time(&self, shard: ShardId) -> Option<Time>;

    /// Decides who the client is. `Some` at once, or `None` and later [`crate::Input::Authenticated`].
    fn authenticate(&mut self, request: AuthRequest<'_>) -> Option<AuthOutcome>;

    /// Counts something that happened, for metrics and logs.
    fn count(&mut self, event: Event);

    /// A client publishes: the topic is resolved, and nothing is decided yet. The message may be marked here, behind its
    /// properties (`catena_shard::trace`).
    fn publishing(&mut self, _publish: &mut packet::Publish, _client_id: &str, _client: ClientKey) {
    }

    /// A step of a message that this connection made, for its passport. `client_id`: of this connection.
    fn stepped(&mut self, _client_id: &str, _message: &Message, _step: Step) {}

    /// The policy does not allow what the client wants: for the log. It is counted as well, as [`Event::Denied`].
    fn denied(&mut self, denial: Denial<'_>);

    /// Bytes that wait to be written, from which QoS 0 deliveries are dropped `[F-59]`: less while memory is short.
    fn output_max(&self) -> usize {
        HIGH_WATER_BYTES
    }

    /// What will be written to the client.
    fn output(&mut self) -> &mut Output;
}

/// What the client brings to prove who it is.
#[derive(Debug)]
pub enum AuthRequest<'a> {
    /// CONNECT, with everything in it.
    Connect(&'a Connect),
    /// AUTH, in the exchange that CONNECT began or as a re-authentication.
    Continue {
        client_id: &'a str,
        /// As CONNECT was authenticated; `None` before that.
        username: Option<&'a str>,
        method: &'a str,
        data: Option<&'a Bytes>,
        reauthenticate: bool,
    },
}

/// What authentication decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthOutcome {
    /// The client is who it says.
    Accepted {
        identity: Identity,
        /// Authentication data for CONNACK or AUTH.
        data: Option<Bytes>,
    },
    /// The exchange goes on: AUTH 0x18 with this data.
    Continue { data: Option<Bytes> },
    /// Refused: 0x86 bad user name or password, 0x87 not authorized, 0x8C bad authentication method.
    Refused(ReasonCode),
    /// It cannot be decided now. At CONNECT the client is refused with 0x88; a live client is told to go on (AUTH 0x18).
    TryAgain,
}

/// What a client wanted, and the policy does not allow.
#[derive(Debug)]
pub struct Denial<'a> {
    pub policy: &'a Policy,
    pub client_id: &'a str,
    /// `None`: anonymous.
    pub username: Option<&'a str>,
    pub action: Action,
    /// The topic or filter; empty for CONNECT.
    pub topic: &'a str,
}

/// What a connection did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The publish waits: for room on the link, behind a SUBSCRIBE, or for the client's rate `[F-62]`.
    Waits,
    /// It was written to the client. `packet_id`: 0 at QoS 0.
    Delivered {
        packet_id: u16,
        qos: QoS,
    },
    Dropped(Why),
}

/// Why it went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// QoS 0: the client does not read what waits for it `[F-59]`.
    SlowReader,
    /// It expired on its way `[F-54]`.
    Expired,
    /// It is larger than the client takes `[F-54]`.
    TooLarge,
    /// The policy does not let the client receive it.
    NotAllowed,
    /// QoS 0, and its publisher left before there was room for it.
    PublisherLeft,
}

/// What needs to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Connect,
    /// Also of a will.
    Publish,
    Subscribe,
}

/// Events that somebody may want to count or log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The client was told yes.
    Connected { session_present: bool },
    /// The connection ended; the MQTT 5 reason that was sent or received, or 0x80 for a socket that broke.
    Disconnected(ReasonCode),
    /// The client was told no at CONNECT.
    Refused(ReasonCode),
    /// A message was written to the client.
    Sent {
        /// Bytes of its payload.
        payload: usize,
        /// The trace that it is of.
        trace: Option<trace::Context>,
    },
    /// A QoS 0 delivery found no room `[F-59]`.
    DroppedOutgoing,
    /// A QoS 0 publish found no room.
    DroppedIncoming,
    /// A delivery was larger than the client takes, or had expired `[F-54]`.
    Discarded,
    /// A publish was refused.
    PublishRefused(ReasonCode),
    /// There is a policy, and it allowed it.
    Allowed(Action),
    /// The policy did not allow it.
    Denied(Action),
    /// The client publishes faster than it may: its publishes wait.
    Slowed,
    /// What proved who the client is has expired: the connection is closed.
    Expired,
}
