//! What rules say of keys of the state store.

use base64::{Engine, prelude::BASE64_STANDARD};
use catena_resources::authorization::{KeyType, StateStoreMethod, StateStoreResource};
use hashbrown::HashMap;

use crate::{
    glob::Glob,
    reach::{Reach, RuleId},
    template::{Values, Variables},
};

/// What is done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAccess {
    Read,
    Write,
}

/// All keys that rules name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    literals: HashMap<Vec<u8>, Vec<(StateStoreMethod, RuleId)>>,
    patterns: Vec<(Glob, StateStoreMethod, RuleId)>,
}

/// One key as a rule writes it.
pub(crate) enum Key {
    Literal(Vec<u8>),
    Pattern(Glob),
}

impl Key {
    /// `None` if it is not valid: it matches nothing.
    pub fn parse(key: &str, key_type: KeyType, variables: &mut Variables) -> Option<Key> {
        match key_type {
            KeyType::String => Some(Key::Literal(key.as_bytes().to_vec())),
            KeyType::Binary => BASE64_STANDARD.decode(key).ok().map(Key::Literal),
            KeyType::Pattern => {
                let glob = Glob::parse_key(key, variables)?;
                let literal = glob.literal().map(<[u8]>::to_vec);
                Some(literal.map_or(Key::Pattern(glob), Key::Literal))
            }
        }
    }
}

impl Keys {
    pub fn add(&mut self, id: RuleId, resource: &StateStoreResource, variables: &mut Variables) {
        for key in &resource.keys {
            match Key::parse(key, resource.key_type, variables) {
                Some(Key::Literal(key)) => {
                    self.literals
                        .entry(key)
                        .or_default()
                        .push((resource.method, id));
                }
                Some(Key::Pattern(glob)) => self.patterns.push((glob, resource.method, id)),
                None => {}
            }
        }
    }

    pub fn grants(&self, reach: &Reach, values: &Values, access: KeyAccess, key: &[u8]) -> bool {
        let is_granted =
            |method: StateStoreMethod, rule: RuleId| allows(method, access) && reach.has(rule);
        let literal = self.literals.get(key).into_iter().flatten();
        literal
            .into_iter()
            .any(|(method, rule)| is_granted(*method, *rule))
            || self
                .patterns
                .iter()
                .any(|(glob, method, rule)| is_granted(*method, *rule) && glob.matches(values, key))
    }
}

/// Whether `method` allows `access`.
pub(crate) fn allows(method: StateStoreMethod, access: KeyAccess) -> bool {
    match method {
        StateStoreMethod::ReadWrite => true,
        StateStoreMethod::Read => access == KeyAccess::Read,
        StateStoreMethod::Write => access == KeyAccess::Write,
    }
}
