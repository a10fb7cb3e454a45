//! A BrokerAuthorization, ready to be asked.

use catena_mqtt::Filter;
use catena_resources::{
    BrokerAuthorization,
    authorization::{BrokerMethod, BrokerResource, Cache, PolicyUpdate, Rule},
};
use hashbrown::HashMap;

use crate::{
    Principal,
    glob::Glob,
    reach::{self, Reach, RuleId},
    store::{KeyAccess, Keys},
    template::{Values, Variables},
    topic::TopicPattern,
    trie::Trie,
};

/// What the clients of a port may do. What no rule allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    name: String,
    /// As it is written, to explain decisions by.
    pub(crate) spec: BrokerAuthorization,
    pub(crate) variables: Variables,
    principals: reach::Index,
    connect: ClientIds,
    publish: Trie,
    subscribe: Trie,
    keys: Keys,
}

/// What rules say of Connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ClientIds {
    any: Vec<RuleId>,
    literals: HashMap<Vec<u8>, Vec<RuleId>>,
    patterns: Vec<(Glob, RuleId)>,
}

impl Policy {
    /// Makes a policy of a BrokerAuthorization, which is called `name`. A pattern that is not valid matches nothing.
    pub fn compile(name: &str, spec: &BrokerAuthorization) -> Policy {
        let mut policy = Policy {
            name: name.to_owned(),
            spec: spec.clone(),
            variables: Variables::default(),
            principals: reach::Index::default(),
            connect: ClientIds::default(),
            publish: Trie::default(),
            subscribe: Trie::default(),
            keys: Keys::default(),
        };
        for (id, rule) in (0..).zip(&spec.authorization_policies.rules) {
            policy.add(id, rule);
        }
        policy
    }

    /// The name of the BrokerAuthorization.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a change to this policy disconnects all clients, rather than those that may do less.
    pub fn disconnects_all(&self) -> bool {
        self.spec.authorization_policies.policy_update == PolicyUpdate::Disconnect
    }

    /// Whether decisions may be remembered.
    pub(crate) fn remembers(&self) -> bool {
        self.spec.authorization_policies.cache == Cache::Enabled
    }

    fn add(&mut self, id: RuleId, rule: &Rule) {
        self.principals.add(&rule.principals);
        for resource in &rule.broker_resources {
            match resource.method {
                BrokerMethod::Connect => self.connect.add(id, resource, &mut self.variables),
                BrokerMethod::Publish | BrokerMethod::Subscribe => self.add_topics(id, resource),
            }
        }
        for resource in &rule.state_store_resources {
            self.keys.add(id, resource, &mut self.variables);
        }
    }

    fn add_topics(&mut self, id: RuleId, resource: &BrokerResource) {
        let is_subscribe = resource.method == BrokerMethod::Subscribe;
        let trie = if is_subscribe {
            &mut self.subscribe
        } else {
            &mut self.publish
        };
        if resource.topics.is_empty() {
            return trie.add_any(id);
        }
        for topic in &resource.topics {
            if let Some(pattern) = parse_topic(topic, resource.method, &mut self.variables) {
                trie.add(&pattern, id);
            }
        }
    }

    pub(crate) fn reach(&self, principal: &Principal) -> Reach {
        self.principals.reach(principal)
    }

    pub(crate) fn grants_connect(&self, reach: &Reach, values: &Values, client_id: &str) -> bool {
        let ids = &self.connect;
        let literal = ids.literals.get(client_id.as_bytes());
        let matches = |(pattern, rule): &(Glob, RuleId)| {
            reach.has(*rule) && pattern.matches(values, client_id.as_bytes())
        };
        reach.has_any(&ids.any)
            || literal.is_some_and(|rules| reach.has_any(rules))
            || ids.patterns.iter().any(matches)
    }

    pub(crate) fn grants_publish(&self, reach: &Reach, values: &Values, topic: &str) -> bool {
        self.publish.grants(reach, values, topic)
    }

    pub(crate) fn grants_subscribe(&self, reach: &Reach, values: &Values, filter: &str) -> bool {
        let Ok(filter) = Filter::parse(filter) else {
            return false;
        };
        self.subscribe.grants(reach, values, filter.filter())
    }

    pub(crate) fn grants_key(
        &self,
        reach: &Reach,
        values: &Values,
        access: KeyAccess,
        key: &[u8],
    ) -> bool {
        self.keys.grants(reach, values, access, key)
    }
}

/// A topic pattern of `method`. In one of Subscribe, `$share/GROUP/` is left out, as it is in what is asked.
pub(crate) fn parse_topic(
    topic: &str,
    method: BrokerMethod,
    variables: &mut Variables,
) -> Option<TopicPattern> {
    let pattern = TopicPattern::parse(topic, variables)?;
    match method {
        BrokerMethod::Subscribe => pattern.without_share(),
        _ => Some(pattern),
    }
}

impl ClientIds {
    fn add(&mut self, id: RuleId, resource: &BrokerResource, variables: &mut Variables) {
        if resource.client_ids.is_empty() {
            return self.any.push(id);
        }
        for pattern in &resource.client_ids {
            let Some(pattern) = Glob::parse_client_id(pattern, variables) else {
                continue;
            };
            if pattern.is_any() {
                self.any.push(id);
            } else if let Some(literal) = pattern.literal() {
                self.literals.entry_ref(literal).or_default().push(id);
            } else {
                self.patterns.push((pattern, id));
            }
        }
    }
}
