//! Retained messages by topic, and the walk over those that a filter matches `[F-34]` `[F-66]`.

use std::{collections::BTreeMap, ops::Bound};

use catena_mqtt::topic;
use serde::{Deserialize, Serialize};

use crate::store::MessageId;

/// A topic with its levels parted by U+0000, which no topic may hold: so the topics below one stand together,
/// right behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TopicKey(Box<str>);

impl TopicKey {
    pub fn of(topic: &str) -> TopicKey {
        TopicKey(topic.replace('/', "\0").into())
    }

    /// The topic again.
    pub fn topic(&self) -> String {
        self.0.replace('\0', "/")
    }

    fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('\0')
    }
}

/// One retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub message: MessageId,
    /// The entry that stored it.
    pub sequence: u64,
}

/// All retained messages of the shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetainedMessages {
    topics: BTreeMap<TopicKey, Retained>,
    bytes: u64,
}

/// What a walk came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A match, and its place.
    Found(TopicKey, Retained),
    /// Nothing matches after the place that was asked for.
    End,
    /// The budget is used up at this place; go on after it.
    Tired(TopicKey),
}

impl RetainedMessages {
    /// Stores `message` for `topic`; returns the one that it replaces with its weight given back.
    pub fn set(&mut self, topic: &str, retained: Retained, weight: u64) -> Option<Retained> {
        self.bytes += weight;
        self.topics.insert(TopicKey::of(topic), retained)
    }

    /// Forgets the message of `topic`.
    pub fn clear(&mut self, topic: &str) -> Option<Retained> {
        self.topics.remove(&TopicKey::of(topic))
    }

    /// A message that was replaced or cleared weighed this much.
    pub fn give_back(&mut self, weight: u64) {
        self.bytes = self.bytes.saturating_sub(weight);
    }

    pub fn get(&self, topic: &str) -> Option<Retained> {
        self.topics.get(&TopicKey::of(topic)).copied()
    }

    /// All of them, in the order of their topics.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicKey, &Retained)> {
        self.topics.iter()
    }

    /// The first topic that has one.
    pub fn first_topic(&self) -> Option<String> {
        self.topics.first_key_value().map(|(key, _)| key.topic())
    }

    /// The topic behind `place`, in order; the first with none.
    pub fn next(&self, place: Option<&TopicKey>) -> Option<(TopicKey, Retained)> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.topics.range::<TopicKey, _>((from, Bound::Unbounded));
        behind
            .next()
            .map(|(key, retained)| (key.clone(), *retained))
    }

    pub fn len(&self) -> usize {
        self.topics.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first topic after `place` that `filter` matches, in at most `budget` steps; takes from the budget what
    /// it used. Levels that cannot match are jumped over.
    pub fn next_match(&self, filter: &str, place: Option<&TopicKey>, budget: &mut u32) -> Step {
        let mut from = match place {
            Some(place) => Bound::Excluded(place.clone()),
            None => Bound::Unbounded,
        };
        loop {
            let Some((key, retained)) = self.topics.range((from, Bound::Unbounded)).next() else {
                return Step::End;
            };
            match compare(filter, key) {
                Fit::Match => return Step::Found(key.clone(), *retained),
                Fit::Past => return Step::End,
                _ if *budget == 0 => return Step::Tired(key.clone()),
                Fit::GoOn => from = Bound::Excluded(key.clone()),
                Fit::JumpTo(next) => from = Bound::Included(next),
            }
            *budget -= 1;
        }
    }
}

enum Fit {
    Match,
    /// Not this one; the next may.
    GoOn,
    /// Nothing before this place can match.
    JumpTo(TopicKey),
    /// Nothing from here on can match.
    Past,
}

/// How `key` stands to `filter`.
fn compare(filter: &str, key: &TopicKey) -> Fit {
    let mut levels = key.levels();
    let mut depth = 0;
    let mut wildcard_seen = false;
    for wanted in topic::levels(filter) {
        if wanted == "#" {
            return if depth == 0 && key.0.starts_with('$') {
                skip_dollar()
            } else {
                Fit::Match
            };
        }
        let Some(level) = levels.next() else {
            // The key is shorter than the filter; what the filter matches comes behind it.
            return Fit::GoOn;
        };
        if wanted == "+" {
            if depth == 0 && key.0.starts_with('$') {
                return skip_dollar();
            }
            wildcard_seen = true;
        } else {
            match level.cmp(wanted) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Less => return Fit::JumpTo(with_level(key, depth, wanted)),
                // Past the wanted level under this front: only another front can help, if a wildcard allows one.
                std::cmp::Ordering::Greater if !wildcard_seen => return Fit::Past,
                std::cmp::Ordering::Greater => return next_front(key, depth),
            }
        }
        depth += 1;
    }
    match levels.next() {
        None => Fit::Match,
        // Deeper than the filter: jump over everything below.
        Some(_) => next_front(key, depth),
    }
}

/// The topics that begin with `$` stand together; what comes after them begins with the next character.
fn skip_dollar() -> Fit {
    Fit::JumpTo(TopicKey("%".into()))
}

/// The key's first `depth` levels and then `level`.
fn with_level(key: &TopicKey, depth: usize, level: &str) -> TopicKey {
    let front: usize = key.levels().take(depth).map(|l| l.len() + 1).sum();
    TopicKey(format!("{}{level}", &key.0[..front]).into())
}

/// The first place behind everything that shares the key's first `depth` levels.
fn next_front(key: &TopicKey, depth: usize) -> Fit {
    if depth == 0 {
        return Fit::Past;
    }
    let front: usize = key.levels().take(depth).map(|l| l.len() + 1).sum::<usize>() - 1;
    // U+0001 sorts right behind the U+0000 that parts levels.
    Fit::JumpTo(TopicKey(format!("{}\u{1}", &key.0[..front]).into()))
}

#[cfg(test)]
mod tests {
    use catena_mqtt::filter;
    use proptest::prelude::*;

    use super::*;

    fn all(messages: &RetainedMessages, filter: &str, budget_per_call: u32) -> Vec<String> {
        let mut place = None;
        let mut found = vec![];
        for _ in 0..100_000 {
            match messages.next_match(filter, place.as_ref(), &mut budget_per_call.clone()) {
                Step::Found(key, _) => {
                    found.push(key.0.replace('\0', "/"));
                    place = Some(key);
                }
                Step::Tired(key) => place = Some(key),
                Step::End => return found,
            }
        }
        panic!("the walk over {filter} does not end");
    }

    proptest! {
        /// A jump too far would hide retained messages from new subscribers; one too short would repeat them [F-34].
        #[test]
        fn a_walk_finds_what_the_filter_matches(
            topics in proptest::collection::vec("[$ab/\u{1}%]{1,7}", 0..40),
            filter in proptest::collection::vec(prop_oneof!["[$ab]{0,2}".boxed(), Just("+".to_owned()).boxed()], 1..4),
            hash in any::<bool>(),
            budget in 0u32..4,
        ) {
            let mut filter = filter.join("/");
            if hash { filter = if filter.is_empty() { "#".to_owned() } else { format!("{filter}/#") }; }
            prop_assume!(!filter.is_empty());
            let mut messages = RetainedMessages::default();
            for (sequence, topic) in topics.iter().enumerate() {
                messages.set(topic, Retained { message: crate::store::tests::id(0), sequence: sequence as u64 }, 0);
            }
            let mut expected: Vec<String> =
                topics.iter().filter(|topic| filter::matches(&filter, topic)).cloned().collect();
            expected.sort();
            expected.dedup();
            let mut found = all(&messages, &filter, budget);
            let count = found.len();
            found.sort();
            found.dedup();
            prop_assert_eq!(count, found.len(), "nothing twice");
            prop_assert_eq!(found, expected);
        }
    }
}
