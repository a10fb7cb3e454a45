//! SUBSCRIBE and UNSUBSCRIBE packets that are not answered yet, as data. What is done with them stands in
//! [`crate::subscribe`].

use std::collections::VecDeque;

use bytestring::ByteString;
use catena_mqtt::{Filter, ReasonCode};
use catena_shard::{effect::SubscribeResult, op::SubscriptionOptions};
use catena_slots::ShardId;

/// A packet, in the order of arrival.
#[derive(Debug)]
pub(crate) struct Request {
    pub packet_id: u16,
    pub body: Body,
    /// Reason codes so far, in packet order `[F-31]`.
    pub codes: Vec<ReasonCode>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Subscribe(Vec<(ByteString, SubscriptionOptions)>),
    Unsubscribe(Vec<ByteString>),
}

impl Body {
    pub fn len(&self) -> usize {
        match self {
            Body::Subscribe(filters) => filters.len(),
            Body::Unsubscribe(filters) => filters.len(),
        }
    }
}

/// A filter of the round under way.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// `None`: it is not valid.
    pub filter: Option<Filter>,
    /// The policy does not allow it: no shard is asked.
    pub is_denied: bool,
    pub options: Option<SubscriptionOptions>,
}

impl Wanted {
    pub fn new(filter: &ByteString, options: Option<SubscriptionOptions>) -> Wanted {
        Wanted {
            filter: Filter::parse(filter.clone()).ok(),
            is_denied: false,
            options,
        }
    }
}

/// A shard's share of a round.
#[derive(Debug)]
pub(crate) struct Part {
    pub shard: ShardId,
    /// Places in the round's filters, in the order of the op.
    pub places: Vec<u16>,
    /// In the same order; an Unsubscribe is answered with `existed` alone.
    pub answer: Option<Vec<SubscribeResult>>,
}

/// Up to 256 filters of the front request, asked at all their shards at once `[F-31]`.
#[derive(Debug)]
pub(crate) struct Round {
    pub token: u32,
    pub filters: Vec<Wanted>,
    pub parts: Vec<Part>,
}

/// A Subscribe whose time ran out: what was new is taken back when the answer comes `[F-33]`.
#[derive(Debug)]
pub(crate) struct Late {
    pub shard: ShardId,
    pub token: u32,
    pub filters: Vec<Filter>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// The front one is under way.
    pub queue: VecDeque<Request>,
    pub round: Option<Round>,
    pub received: u32,
    pub completed: u32,
    pub token: u32,
    pub late: Vec<Late>,
}

impl Requests {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// A token that no answer under way carries; never 0, which nobody listens to.
    pub fn next_token(&mut self) -> u32 {
        self.token = self.token.checked_add(1).unwrap_or(1);
        self.token
    }
}
