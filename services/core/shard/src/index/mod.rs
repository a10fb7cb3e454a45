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
