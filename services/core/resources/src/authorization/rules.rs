//! What the schema of an authorization cannot say.

use super::{
    BrokerAuthorization, BrokerMethod, BrokerResource, KeyType, Principals, Rule,
    StateStoreResource,
};
use crate::{
    pattern,
    problem::Problems,
    rules::{Rules, each, each_text, settings},
};

impl Rules for BrokerAuthorization {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let at = format!("{at}.authorizationPolicies.rules");
        each(&self.authorization_policies.rules, &at, problems);
    }
}

impl Rules for Rule {
    fn rules(&self, at: &str, problems: &mut Problems) {
        self.principals.rules(&format!("{at}.principals"), problems);
        let resources = format!("{at}.brokerResources");
        each(&self.broker_resources, &resources, problems);
        let resources = format!("{at}.stateStoreResources");
        each(&self.state_store_resources, &resources, problems);
    }
}

impl Rules for Principals {
    fn rules(&self, at: &str, problems: &mut Problems) {
        for (index, attributes) in self.attributes.iter().enumerate() {
            if attributes.is_empty() {
                problems.rule(
                    &format!("{at}.attributes[{index}]"),
                    "is empty, and would match everybody; clientIds: [\"*\"] says so",
                );
            }
        }
    }
}

impl Rules for BrokerResource {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let (method, ids, topics) = (
            format!("{at}.method"),
            format!("{at}.clientIds"),
            format!("{at}.topics"),
        );
        let connects = self.method == BrokerMethod::Connect;
        for (field, is_there, belongs) in [
            (&ids, !self.client_ids.is_empty(), connects),
            (&topics, !self.topics.is_empty(), !connects),
        ] {
            settings(
                problems,
                (&method, self.method),
                (field, is_there),
                (belongs, false),
            );
        }
        each_text(&self.client_ids, &ids, problems, pattern::client_id);
        each_text(&self.topics, &topics, problems, pattern::topic);
    }
}

impl Rules for StateStoreResource {
    fn rules(&self, at: &str, problems: &mut Problems) {
        keys(self.key_type, &self.keys, at, problems);
    }
}

/// Keys are written as their type says.
pub(crate) fn keys(kind: KeyType, keys: &[String], at: &str, problems: &mut Problems) {
    if !problems.is_replaced(&format!("{at}.keyType")) {
        each_text(keys, &format!("{at}.keys"), problems, |key| {
            pattern::key(kind, key)
        });
    }
}
