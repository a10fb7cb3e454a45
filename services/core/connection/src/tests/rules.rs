//! Policies for tests.

use std::sync::Arc;

use catena_policy::Policy;
use catena_resources::{
    BrokerAuthorization,
    authorization::{
        AuthorizationPolicies, BrokerMethod, BrokerResource, PolicyUpdate, Principals, Rule,
    },
};

use super::fake::Bench;
use crate::{Input, Settings};

fn resource(method: BrokerMethod, topics: &[&str]) -> Option<BrokerResource> {
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    (!topics.is_empty() || method == BrokerMethod::Connect).then_some(BrokerResource {
        method,
        client_ids: Vec::new(),
        topics,
    })
}

fn policy(rules: Vec<Rule>, policy_update: PolicyUpdate) -> Arc<Policy> {
    let authorization_policies = AuthorizationPolicies {
        rules,
        policy_update,
        ..AuthorizationPolicies::default()
    };
    let spec = BrokerAuthorization {
        authorization_policies,
    };
    Arc::new(Policy::compile("rules", &spec))
}

fn rule(principals: Principals, publish: &[&str], subscribe: &[&str]) -> Rule {
    let resources = [
        resource(BrokerMethod::Connect, &[]),
        resource(BrokerMethod::Publish, publish),
        resource(BrokerMethod::Subscribe, subscribe),
    ];
    Rule {
        principals,
        broker_resources: resources.into_iter().flatten().collect(),
        state_store_resources: Vec::new(),
    }
}

fn everybody() -> Principals {
    Principals {
        client_ids: vec!["*".to_owned()],
        ..Principals::default()
    }
}

/// Everybody may connect, and publish and subscribe to these.
pub fn allow(publish: &[&str], subscribe: &[&str]) -> Arc<Policy> {
    let rules = vec![rule(everybody(), publish, subscribe)];
    policy(rules, PolicyUpdate::Reevaluate)
}

/// The same, and all are disconnected when it comes.
pub fn allow_after_disconnect(publish: &[&str], subscribe: &[&str]) -> Arc<Policy> {
    let rules = vec![rule(everybody(), publish, subscribe)];
    policy(rules, PolicyUpdate::Disconnect)
}

/// Clients with the attribute `role: worker` may do everything.
pub fn allow_workers() -> Arc<Policy> {
    let principals = Principals {
        attributes: vec![[("role".to_owned(), "worker".to_owned())].into()],
        ..Principals::default()
    };
    let rules = vec![rule(principals, &["#"], &["#"])];
    policy(rules, PolicyUpdate::Reevaluate)
}

/// Nobody may do anything.
pub fn deny_all() -> Arc<Policy> {
    policy(Vec::new(), PolicyUpdate::Reevaluate)
}

impl Bench {
    /// A connection by a port with a policy.
    pub fn strict(shards: usize, policy: Arc<Policy>) -> Bench {
        let mut bench = Bench::new(shards, Settings::default());
        bench.input(Input::Policy(Some(policy)));
        bench
    }
}
