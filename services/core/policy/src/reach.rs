//! Which rules are about a client.

use catena_resources::{Attributes, authorization::Principals};
use hashbrown::HashMap;

use crate::Principal;

/// A rule's place in the list.
pub(crate) type RuleId = u32;

/// A set of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach(Box<[u64]>);

impl Reach {
    fn new(rules: usize) -> Reach {
        Reach(vec![0; rules.div_ceil(64)].into_boxed_slice())
    }

    fn add(&mut self, rules: &[RuleId]) {
        for rule in rules {
            self.0[*rule as usize / 64] |= 1 << (rule % 64);
        }
    }

    /// Whether `rule` is in it.
    pub fn has(&self, rule: RuleId) -> bool {
        self.0[rule as usize / 64] & (1 << (rule % 64)) != 0
    }

    /// Whether one of `rules` is in it.
    pub fn has_any(&self, rules: &[RuleId]) -> bool {
        rules.iter().any(|rule| self.has(*rule))
    }
}

/// The principals of all rules, by what they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    rules: usize,
    everybody: Vec<RuleId>,
    client_ids: HashMap<String, Vec<RuleId>>,
    usernames: HashMap<String, Vec<RuleId>>,
    /// By the first pair of each entry: its name, then its value.
    attributes: HashMap<String, HashMap<String, Vec<Pairs>>>,
}

/// The rest of an entry of attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pairs {
    rule: RuleId,
    others: Vec<(String, String)>,
}

impl Index {
    /// Adds the next rule.
    pub fn add(&mut self, principals: &Principals) {
        let rule = self.rules as RuleId;
        self.rules += 1;
        for id in &principals.client_ids {
            if id == ANY {
                self.everybody.push(rule);
            } else {
                self.client_ids
                    .entry_ref(id.as_str())
                    .or_default()
                    .push(rule);
            }
        }
        for name in &principals.usernames {
            if name == ANY {
                self.everybody.push(rule);
            } else {
                self.usernames
                    .entry_ref(name.as_str())
                    .or_default()
                    .push(rule);
            }
        }
        for entry in &principals.attributes {
            // An entry without pairs is about nobody.
            let mut pairs = entry
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()));
            if let Some((name, value)) = pairs.next() {
                let others = pairs.collect();
                let values = self.attributes.entry(name).or_default();
                values
                    .entry(value)
                    .or_default()
                    .push(Pairs { rule, others });
            }
        }
    }

    /// The rules that are about `principal`.
    pub fn reach(&self, principal: &Principal) -> Reach {
        let mut reach = Reach::new(self.rules);
        reach.add(&self.everybody);
        if let Some(rules) = self.client_ids.get(&*principal.client_id) {
            reach.add(rules);
        }
        if let Some(username) = &principal.username
            && let Some(rules) = self.usernames.get(&**username)
        {
            reach.add(rules);
        }
        if self.attributes.is_empty() {
            return reach;
        }
        let known = &*principal.attributes;
        for (name, value) in known {
            let entries = self
                .attributes
                .get(name)
                .and_then(|values| values.get(value));
            for entry in entries.into_iter().flatten() {
                if entry
                    .others
                    .iter()
                    .all(|(name, value)| known.get(name) == Some(value))
                {
                    reach.add(&[entry.rule]);
                }
            }
        }
        reach
    }
}

/// Alone in a list, it names everybody.
pub(crate) const ANY: &str = "*";

/// Whether a client with the attributes `known` is one that an entry names.
pub(crate) fn has_all(known: &Attributes, entry: &Attributes) -> bool {
    !entry.is_empty()
        && entry
            .iter()
            .all(|(name, value)| known.get(name) == Some(value))
}
