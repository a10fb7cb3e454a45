//! Messages with more readers than one entry may serve: they go on by Ticks, topic by topic in order `[F-60]`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{
    deliver::Publication,
    id::Time,
    index::Matches,
    job::Job,
    retained::Retained,
    shard::{Shard, WORK_PER_APPLY_MAX},
    store::MessageId,
};

/// One message that is still to reach some of its readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FanOut {
    message: MessageId,
    expires_at: Time,
    sequence: u64,
    matches: Arc<Matches>,
    /// What the topic had retained before.
    retained: Option<Retained>,
    /// How many of the matches have been served.
    done: usize,
}

/// Messages under way, by topic, in the order of their publishing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FanOuts {
    topics: BTreeMap<ByteString, VecDeque<FanOut>>,
}

impl FanOuts {
    /// Whether an earlier message of this topic has not reached everyone: later ones wait behind it `[F-58]`.
    pub fn is_under_way(&self, topic: &str) -> bool {
        !self.topics.is_empty() && self.topics.contains_key(topic)
    }
}

impl Shard {
    /// Puts a message behind the earlier ones of its topic. Returns whether anyone matches.
    pub(crate) fn fan_out_later(
        &mut self,
        publication: Publication,
        matches: Arc<Matches>,
    ) -> bool {
        let Publication {
            message,
            expires_at,
            sequence,
            retained,
            ..
        } = publication;
        let stored = self.store.insert(&message, expires_at, &mut self.account);
        let topic = self.store.message(stored).topic.clone();
        let waiting = self.fan_outs.topics.entry(topic.clone()).or_default();
        if waiting.is_empty() {
            self.jobs.push_back(Job::FanOut(topic));
        }
        waiting.push_back(FanOut {
            message: stored,
            expires_at,
            sequence,
            matches,
            retained,
            done: 0,
        });
        true
    }

    /// Goes on with the messages of a topic. Returns whether all have reached everyone.
    pub(crate) fn fan_out(&mut self, topic: &ByteString) -> bool {
        while self.work > 0 {
            let Some(waiting) = self.fan_outs.topics.get_mut(topic) else {
                return true;
            };
            let Some(mut fan_out) = waiting.pop_front() else {
                self.fan_outs.topics.remove(topic);
                return true;
            };
            let size = fan_out.matches.readers.len() + fan_out.matches.groups.len();
            let step = (self.work.min(WORK_PER_APPLY_MAX) as usize).min(size - fan_out.done);
            let range = fan_out.done..fan_out.done + step;
            fan_out.done += step;
            self.work = self.work.saturating_sub(1);
            let stored = self.store.share(fan_out.message, &mut self.account);
            let publication = Publication {
                message: self.store.message(stored).clone(),
                expires_at: fan_out.expires_at,
                sequence: fan_out.sequence,
                stored: Some(stored),
                retained: fan_out.retained,
            };
            if let Some(retained) = fan_out.retained {
                self.store.share(retained.message, &mut self.account);
            }
            let matches = fan_out.matches.clone();
            if fan_out.done < size {
                if let Some(waiting) = self.fan_outs.topics.get_mut(topic) {
                    waiting.push_front(fan_out);
                }
            } else {
                self.store.release(fan_out.message, &mut self.account);
                if let Some(retained) = fan_out.retained {
                    self.store.release(retained.message, &mut self.account);
                }
            }
            self.spread(publication, &matches, range);
        }
        false
    }
}
