//! Which readers and groups a topic reaches: exact filters by topic, wildcards in a trie, and a bounded cache.
//!
//! Derived state: it can be built anew from the readers' subscriptions, and the cache never shows in an effect `[F-67]`.

mod cache;
mod trie;

use std::{cell::RefCell, sync::Arc};

use bytestring::ByteString;
use catena_mqtt::Filter;
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use crate::{group::GroupId, op::SubscriptionOptions, reader::ReaderId};
use cache::Cache;
use trie::{Entries, Trie};

/// One reader that a topic reaches, with the options of each filter by which it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Match {
    pub reader: ReaderId,
    pub filters: SmallVec<[SubscriptionOptions; 1]>,
}

/// Everything that a topic reaches.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Matches {
    /// Ascending by reader number.
    pub readers: Vec<Match>,
    /// Ascending.
    pub groups: Vec<GroupId>,
}

/// The subscription index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: hashbrown::HashMap<ByteString, Entries>,
    wildcards: Trie,
    cache: RefCell<Cache>,
}

impl Index {
    /// Adds or replaces the subscription of a reader.
    pub fn subscribe(&mut self, filter: &Filter, reader: ReaderId, options: SubscriptionOptions) {
        self.entries_mut(filter).subscribe(reader, options);
        self.forget(filter);
    }

    /// Takes a reader's subscription away.
    pub fn unsubscribe(&mut self, filter: &Filter, reader: ReaderId) {
        self.with_entries(filter, |entries| entries.unsubscribe(reader));
        self.forget(filter);
    }

    /// Adds a shared group.
    pub fn add_group(&mut self, filter: &Filter, group: GroupId) {
        self.entries_mut(filter).add_group(group);
        self.forget(filter);
    }

    /// Takes a shared group away.
    pub fn remove_group(&mut self, filter: &Filter, group: GroupId) {
        self.with_entries(filter, |entries| entries.remove_group(group));
        self.forget(filter);
    }

    /// What `topic` reaches, from the cache or found anew.
    pub fn matches(&self, topic: &ByteString) -> Arc<Matches> {
        let mut cache = self.cache.borrow_mut();
        if let Some(matches) = cache.get(topic) {
            return matches;
        }
        let matches = Arc::new(self.find(topic));
        cache.insert(topic, matches.clone());
        matches
    }

    fn find(&self, topic: &str) -> Matches {
        let mut found = Matches::default();
        let mut collect = |entries: &Entries| {
            let one = |(reader, options): (ReaderId, SubscriptionOptions)| Match {
                reader,
                filters: smallvec![options],
            };
            found.readers.extend(entries.readers().map(one));
            found.groups.extend(entries.groups());
        };
        if let Some(entries) = self.exact.get(topic) {
            collect(entries);
        }
        self.wildcards.find(topic, &mut collect);
        // Stable, so that the filters of one reader stay in the order of the walk.
        found.readers.sort_by_key(|m| m.reader);
        found.readers.dedup_by(|later, earlier| {
            let same = later.reader == earlier.reader;
            if same {
                earlier.filters.append(&mut later.filters);
            }
            same
        });
        found.groups.sort_unstable();
        found
    }

    fn entries_mut(&mut self, filter: &Filter) -> &mut Entries {
        if filter.has_wildcards() {
            self.wildcards.entries_mut(filter.filter())
        } else {
            self.exact.entry(filter.filter_string()).or_default()
        }
    }

    fn with_entries(&mut self, filter: &Filter, change: impl FnOnce(&mut Entries)) {
        if filter.has_wildcards() {
            self.wildcards.change(filter.filter(), change);
        } else if let Some(entries) = self.exact.get_mut(filter.filter()) {
            change(entries);
            if entries.is_empty() {
                self.exact.remove(filter.filter());
            }
        }
    }

    fn forget(&mut self, filter: &Filter) {
        let cache = self.cache.get_mut();
        if filter.has_wildcards() {
            cache.forget_matching(filter.filter());
        } else {
            cache.forget(filter.filter());
        }
    }

    /// Empties the cache: for tests that compare a cold one with a warm one.
    pub fn chill(&mut self) {
        self.cache = RefCell::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use catena_mqtt::{QoS, packet::RetainHandling};
    use proptest::prelude::*;

    use super::*;
    use crate::hidden::hides;

    fn options(id: u32) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: Some(id),
        }
    }

    #[derive(Debug, Clone)]
    enum Change {
        Subscribe(u64),
        Unsubscribe(u64),
        AddGroup(u64),
        RemoveGroup(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<(String, Change)>> {
        let level = prop_oneof![
            4 => "[ab$]{0,2}".boxed(),
            2 => Just("+".to_owned()).boxed(),
        ];
        let levels = proptest::collection::vec(level, 1..5);
        let hidden = Just("azedge/dmqtt/selftest/".to_owned());
        let front = prop_oneof![20 => Just(String::new()).boxed(), 1 => hidden.boxed()];
        let filter = (front, levels, prop::bool::weighted(0.3))
            .prop_map(|(front, levels, hash)| {
                let filter = format!("{front}{}", levels.join("/"));
                match hash {
                    true if filter.is_empty() => "#".to_owned(),
                    true => format!("{filter}/#"),
                    false => filter,
                }
            })
            .prop_filter("valid", |filter| Filter::parse(filter.clone()).is_ok());
        let change = (0u8..8, 0u64..4).prop_map(|(kind, number)| match kind {
            0..4 => Change::Subscribe(number),
            4 | 5 => Change::Unsubscribe(number),
            6 => Change::AddGroup(number),
            _ => Change::RemoveGroup(number),
        });
        proptest::collection::vec((filter, change), 0..40)
    }

    proptest! {
        /// A message would miss a subscriber, reach one that left, or differ by what was remembered [F-67].
        #[test]
        fn a_warm_cache_finds_what_a_list_does(
            changes in changes(),
            topics in proptest::collection::vec("[ab$]{0,2}(/[ab$]{0,2}){0,4}", 1..12),
        ) {
            let mut index = Index::default();
            let mut readers = BTreeMap::<(u64, String), u32>::new();
            let mut groups = BTreeMap::<(u64, String), ()>::new();
            let topics: Vec<ByteString> = topics
                .into_iter()
                .filter(|topic| !topic.is_empty())
                .chain(["a".to_owned(), "azedge/dmqtt/selftest/a".to_owned()])
                .map(ByteString::from)
                .collect();
            for (id, (text, change)) in (1..).zip(changes) {
                let filter = Filter::parse(text.clone()).unwrap();
                match change {
                    Change::Subscribe(reader) => {
                        index.subscribe(&filter, ReaderId(reader), options(id));
                        readers.insert((reader, text), id);
                    }
                    Change::Unsubscribe(reader) => {
                        index.unsubscribe(&filter, ReaderId(reader));
                        readers.remove(&(reader, text));
                    }
                    Change::AddGroup(group) => {
                        index.add_group(&filter, GroupId(group));
                        groups.insert((group, text), ());
                    }
                    Change::RemoveGroup(group) => {
                        index.remove_group(&filter, GroupId(group));
                        groups.remove(&(group, text));
                    }
                }
                for topic in &topics {
                    let is_hit = |text: &str| catena_mqtt::filter::matches(text, topic) && !hides(text, topic);
                    let found = index.matches(topic);
                    let mut expected = BTreeMap::<u64, Vec<u32>>::new();
                    for ((reader, _), id) in readers.iter().filter(|((_, text), _)| is_hit(text)) {
                        expected.entry(*reader).or_default().push(*id);
                    }
                    let order: Vec<u64> = found.readers.iter().map(|m| m.reader.0).collect();
                    prop_assert!(order.is_sorted_by(|a, b| a < b), "each once, ascending");
                    let mut got = BTreeMap::new();
                    for m in &found.readers {
                        let mut ids: Vec<u32> = m.filters.iter().filter_map(|options| options.id).collect();
                        ids.sort_unstable();
                        got.insert(m.reader.0, ids);
                    }
                    for ids in expected.values_mut() {
                        ids.sort_unstable();
                    }
                    prop_assert_eq!(got, expected, "readers of {}", topic);
                    let mut expected: Vec<u64> =
                        groups.keys().filter(|(_, text)| is_hit(text)).map(|(group, _)| *group).collect();
                    expected.sort_unstable();
                    let got: Vec<u64> = found.groups.iter().map(|group| group.0).collect();
                    prop_assert_eq!(got, expected, "groups of {}", topic);
                }
            }
            // And nothing is left of what went.
            for ((reader, text), _) in readers {
                index.unsubscribe(&Filter::parse(text).unwrap(), ReaderId(reader));
            }
            for ((group, text), ()) in groups {
                index.remove_group(&Filter::parse(text).unwrap(), GroupId(group));
            }
            prop_assert!(index.exact.is_empty());
            prop_assert!(index.wildcards.is_empty(), "levels are left in the trie");
        }
    }

    /// Topics that are asked for once would fill the memory [F-67].
    #[test]
    fn the_cache_is_bounded() {
        let mut index = Index::default();
        for reader in 0..64 {
            index.subscribe(&Filter::parse("#").unwrap(), ReaderId(reader), options(1));
        }
        for n in 0..40_000 {
            assert_eq!(index.matches(&format!("t/{n}").into()).readers.len(), 64);
        }
        let (topics, matches) = index.cache.borrow().size();
        assert!(topics <= 2 * cache::TOPICS_PER_HALF_MAX, "{topics} topics");
        assert!(
            matches <= 2 * (cache::MATCHES_PER_HALF_MAX + 65),
            "{matches} matches"
        );
    }
}
