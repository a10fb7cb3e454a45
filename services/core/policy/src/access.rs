//! What one connection may do.

use std::sync::Arc;

use crate::{
    Policy, Principal,
    cache::{Cache, Kind},
    reach::Reach,
    store::KeyAccess,
    template::Values,
};

/// A policy, asked by one client. Who the client is, is looked up once; topics and filters are remembered, unless the policy
/// says `cache: Disabled`.
#[derive(Debug)]
pub struct Access {
    policy: Arc<Policy>,
    principal: Principal,
    reach: Reach,
    values: Values,
    cache: Option<Cache>,
}

impl Access {
    pub fn new(policy: Arc<Policy>, principal: Principal) -> Access {
        Access {
            reach: policy.reach(&principal),
            values: policy.variables.values(&principal),
            cache: policy.remembers().then(Cache::default),
            policy,
            principal,
        }
    }

    /// The policy that is asked.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether the client may connect.
    pub fn may_connect(&mut self) -> bool {
        let client_id = &self.principal.client_id;
        self.policy
            .grants_connect(&self.reach, &self.values, client_id)
    }

    /// Whether the client may publish to the topic name `topic`, also as its will.
    pub fn may_publish(&mut self, topic: &str) -> bool {
        let (policy, reach, values) = (&self.policy, &self.reach, &self.values);
        Cache::recall(&mut self.cache, Kind::Publish, topic, || {
            policy.grants_publish(reach, values, topic)
        })
    }

    /// Whether the client may subscribe to `filter`, which may be that of a shared subscription.
    pub fn may_subscribe(&mut self, filter: &str) -> bool {
        let (policy, reach, values) = (&self.policy, &self.reach, &self.values);
        Cache::recall(&mut self.cache, Kind::Subscribe, filter, || {
            policy.grants_subscribe(reach, values, filter)
        })
    }

    /// Whether the client may do `access` with `key` of the state store.
    pub fn may_access_key(&mut self, access: KeyAccess, key: &[u8]) -> bool {
        self.policy
            .grants_key(&self.reach, &self.values, access, key)
    }
}
