//! Filters with wildcards, level by level. Nothing recurses: a filter may have 20,000 levels.

use std::collections::{BTreeMap, BTreeSet};

use catena_mqtt::topic;
use hashbrown::HashMap;

use crate::{
    group::GroupId,
    hidden::literal_levels,
    op::SubscriptionOptions,
    reader::ReaderId,
    slab::{Key, Slab},
};

/// Who subscribed to one filter. Trees, because 100,000 readers of one filter may come and go.
#[derive(Debug, Default)]
pub(super) struct Entries {
    readers: BTreeMap<ReaderId, SubscriptionOptions>,
    groups: BTreeSet<GroupId>,
}

impl Entries {
    pub fn subscribe(&mut self, reader: ReaderId, options: SubscriptionOptions) {
        self.readers.insert(reader, options);
    }

    pub fn unsubscribe(&mut self, reader: ReaderId) {
        self.readers.remove(&reader);
    }

    pub fn add_group(&mut self, group: GroupId) {
        self.groups.insert(group);
    }

    pub fn remove_group(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }

    /// Ascending.
    pub fn readers(&self) -> impl Iterator<Item = (ReaderId, SubscriptionOptions)> {
        self.readers
            .iter()
            .map(|(reader, options)| (*reader, *options))
    }

    /// Ascending.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.groups.is_empty()
    }
}

/// One level of filters.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Key>,
    plus: Option<Key>,
    /// Filters that end in `#` below this level.
    hash: Entries,
    /// Filters that end at this level.
    here: Entries,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.hash.is_empty()
            && self.here.is_empty()
    }
}

/// The trie; its root has the number 0.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Slab<Node>,
}

const ROOT: Key = 0;

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.insert(Node::default());
        Trie { nodes }
    }
}

impl Trie {
    /// The entries of `filter`, made if there are none.
    pub fn entries_mut(&mut self, filter: &str) -> &mut Entries {
        let mut at = ROOT;
        for level in topic::levels(filter) {
            if level == "#" {
                return &mut self.node_mut(at).hash;
            }
            let next = self.child(at, level);
            at = match next {
                Some(next) => next,
                None => {
                    let next = self.nodes.insert(Node::default());
                    let node = self.node_mut(at);
                    if level == "+" {
                        node.plus = Some(next);
                    } else {
                        node.children.insert(level.into(), next);
                    }
                    next
                }
            };
        }
        &mut self.node_mut(at).here
    }

    /// Changes the entries of `filter`, if there are any, and forgets levels that are left empty.
    pub fn change(&mut self, filter: &str, change: impl FnOnce(&mut Entries)) {
        let mut path = vec![];
        let mut at = ROOT;
        let mut below_hash = false;
        for level in topic::levels(filter) {
            if level == "#" {
                below_hash = true;
                break;
            }
            let Some(next) = self.child(at, level) else {
                return;
            };
            path.push((at, level));
            at = next;
        }
        let node = self.node_mut(at);
        change(if below_hash {
            &mut node.hash
        } else {
            &mut node.here
        });
        while let Some((parent, level)) = path.pop() {
            if !self.node(at).is_empty() {
                return;
            }
            self.nodes.remove(at);
            let parent_node = self.node_mut(parent);
            if level == "+" {
                parent_node.plus = None;
            } else {
                parent_node.children.remove(level);
            }
            at = parent;
        }
    }

    /// Shows `collect` the entries of every filter that matches `topic`.
    pub fn find(&self, topic: &str, collect: &mut impl FnMut(&Entries)) {
        let literal = literal_levels(topic);
        let mut reached = vec![ROOT];
        for (depth, level) in topic::levels(topic).enumerate() {
            let wildcards_match = depth >= literal;
            let mut next = Vec::with_capacity(reached.len() + 1);
            for &at in &reached {
                let node = self.node(at);
                if wildcards_match && !node.hash.is_empty() {
                    collect(&node.hash);
                }
                next.extend(node.children.get(level).copied());
                next.extend(node.plus.filter(|_| wildcards_match));
            }
            if next.is_empty() {
                return;
            }
            reached = next;
        }
        for &at in &reached {
            let node = self.node(at);
            collect(&node.here);
            // `a/#` matches `a` too.
            collect(&node.hash);
        }
    }

    /// Whether no filter is left, nor any level.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.node(ROOT).is_empty()
    }

    fn child(&self, at: Key, level: &str) -> Option<Key> {
        let node = self.node(at);
        if level == "+" {
            node.plus
        } else {
            node.children.get(level).copied()
        }
    }

    fn node(&self, number: Key) -> &Node {
        self.nodes
            .get(number)
            .expect("a child's number leads to a node")
    }

    fn node_mut(&mut self, number: Key) -> &mut Node {
        self.nodes
            .get_mut(number)
            .expect("a child's number leads to a node")
    }
}
