//! A reader's place in the retained messages that a SUBSCRIBE still owes it `[F-34]`.

use std::{collections::BTreeSet, sync::Arc};

use catena_mqtt::{Filter, QoS};
use serde::{Deserialize, Serialize};

use crate::{hidden::hides, retained::TopicKey};

/// The most retained messages that one step of a cursor sends.
pub(crate) const STEP_MESSAGES_MAX: u32 = 64;

/// A walk over the retained messages of one filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub filter: Filter,
    pub qos: QoS,
    pub no_local: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The last topic that was passed.
    pub passed: Option<TopicKey>,
    /// The SUBSCRIBE's entry: what was stored later came as a live message.
    pub as_of: u64,
    /// Topics ahead whose retained message a live publish has pulled to its front.
    pub sent_early: BTreeSet<TopicKey>,
}

impl Cursor {
    /// Whether the retained message of `topic`, stored by entry `sequence`, is still to be sent.
    pub fn owes(&self, topic: &str, sequence: u64) -> bool {
        if sequence > self.as_of
            || !self.filter.matches(topic)
            || hides(self.filter.filter(), topic)
        {
            return false;
        }
        let key = TopicKey::of(topic);
        self.passed.as_ref().is_none_or(|passed| key > *passed) && !self.sent_early.contains(&key)
    }
}
