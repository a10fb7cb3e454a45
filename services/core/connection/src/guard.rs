//! What the connection may do: who the client is, under which policy.

use std::sync::Arc;

use catena_policy::Policy;

use crate::{Connection, Identity, Outside, input::Now};

/// Of a client that is known by name, or comes by a port that has a policy.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    pub identity: Identity,
    pub policy: Option<Arc<Policy>>,
}

impl Guard {
    /// The guard of a new connection.
    pub fn new(policy: Option<Arc<Policy>>) -> Option<Box<Guard>> {
        let identity = Identity::default();
        policy.map(|policy| {
            Box::new(Guard {
                identity,
                policy: Some(policy),
            })
        })
    }
}

impl Connection {
    /// Authentication has said who the client is.
    pub(crate) fn identify(&mut self, identity: Identity) {
        if identity != Identity::default() {
            self.guard.get_or_insert_default().identity = identity;
        }
    }

    /// The policy of the port has changed.
    pub(crate) fn on_policy<O: Outside>(
        &mut self,
        policy: Option<Arc<Policy>>,
        _now: Now,
        _outside: &mut O,
    ) {
        match &mut self.guard {
            Some(guard) => guard.policy = policy,
            None => self.guard = Guard::new(policy),
        }
    }
}
