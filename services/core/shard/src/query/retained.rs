//! Retained messages.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use catena_mqtt::{Filter, QoS};

use super::{ANSWER_BYTES_MAX, STEPS_MAX, rows};
use crate::{
    hidden,
    id::Time,
    message::Message,
    retained::{self, Step, TopicKey},
    shard::Shard,
};

/// Some of the retained messages that a filter matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetainedList {
    pub messages: Vec<Summary>,
    /// Go on after this topic, which need not have matched; `None` at the end.
    pub next: Option<ByteString>,
}

/// A retained message without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub topic: ByteString,
    pub qos: QoS,
    pub payload_bytes: u64,
    /// [`Time::NEVER`] without an expiry.
    pub expires_at: Time,
    /// Of the entry that stored it: another message of the topic has another one.
    pub sequence: u64,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    pub summary: Summary,
    /// The front of the payload, as much of it as was asked for.
    pub payload: Bytes,
    /// As MQTT 5 encodes them, without expiry; empty where they take more than the most of an answer.
    pub properties: Bytes,
}

impl Shard {
    /// A message that has not expired, with its topic's place.
    fn summary(&self, retained: retained::Retained) -> Option<(Summary, &Arc<Message>)> {
        let expires_at = self.store.expires_at(retained.message);
        let message = self.store.message(retained.message);
        let summary = Summary {
            topic: message.topic.clone(),
            qos: message.qos,
            payload_bytes: message.payload.len() as u64,
            expires_at,
            sequence: retained.sequence,
        };
        (expires_at > self.now).then_some((summary, message))
    }

    pub(super) fn list_retained(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: u32,
    ) -> RetainedList {
        let mut found = RetainedList::default();
        let mut place = after.map(TopicKey::of);
        let (mut steps, mut bytes) = (STEPS_MAX, 0);
        loop {
            let is_full = found.messages.len() >= rows(limit) || bytes >= ANSWER_BYTES_MAX;
            if is_full || steps == 0 {
                found.next = place.map(|place| place.topic().into());
                return found;
            }
            match self
                .retained
                .next_match(filter.filter(), place.as_ref(), &mut steps)
            {
                Step::End => return found,
                Step::Tired(at) => {
                    found.next = Some(at.topic().into());
                    return found;
                }
                Step::Found(at, retained) => {
                    steps = steps.saturating_sub(1);
                    let shown = self.summary(retained);
                    let is_reached = |(summary, _): &(Summary, _)| {
                        !hidden::hides(filter.filter(), &summary.topic)
                    };
                    if let Some((summary, _)) = shown.filter(is_reached) {
                        bytes += 64 + summary.topic.len();
                        found.messages.push(summary);
                    }
                    place = Some(at);
                }
            }
        }
    }

    pub(super) fn show_retained(&self, topic: &str, payload_bytes_max: usize) -> Option<Retained> {
        let (summary, message) = self.summary(self.retained.get(topic)?)?;
        let shown = message.payload.len().min(payload_bytes_max);
        Some(Retained {
            summary,
            payload: message.payload.slice(..shown),
            properties: match message.properties.len() {
                0..=ANSWER_BYTES_MAX => message
                    .properties
                    .slice_ref(crate::trace::without(&message.properties)),
                _ => Bytes::new(),
            },
        })
    }
}
