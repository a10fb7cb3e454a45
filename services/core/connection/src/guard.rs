//! What the connection may do: who the client is, under which policy.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{Filter, ReasonCode};
use catena_policy::{Access, Policy, Principal};
use catena_slots::ShardId;
use hashbrown::HashSet;

use crate::{
    Connection, Identity, Outside,
    input::Now,
    outside::{Action, Denial, Event},
    timers::Timer,
};

/// Of a client that is known by name, or comes by a port that has a policy.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    pub identity: Identity,
    /// `None`: everything is allowed.
    policy: Option<Arc<Policy>>,
    /// The policy, asked by this client; once authentication has said who it is.
    access: Option<Access>,
    /// Filters that were granted, while there is a policy; see [`crate::subscriptions`].
    pub held: HashSet<Filter>,
    /// More filters are held than are kept: the shards know them.
    pub held_elsewhere: bool,
    /// Filters that were held when the session was resumed, and are no longer granted `[F-90]`.
    pub revoked: Vec<Filter>,
    /// Shards that were asked which filters are held.
    pub asked: Vec<ShardId>,
    /// The will was allowed at CONNECT, and is not any more `[F-20]`.
    is_will_denied: bool,
}

impl Guard {
    /// The guard of a new connection.
    pub fn new(policy: Option<Arc<Policy>>) -> Option<Box<Guard>> {
        policy.map(|policy| {
            Box::new(Guard {
                policy: Some(policy),
                ..Guard::default()
            })
        })
    }

    /// Whether there is a policy.
    pub fn is_strict(&self) -> bool {
        self.access.is_some()
    }

    /// The client as policies know it.
    fn access(&self, client_id: &ByteString) -> Option<Access> {
        let principal = || Principal {
            client_id: client_id.clone(),
            username: self.identity.username.clone(),
            attributes: self.identity.attributes.clone(),
        };
        let policy = self.policy.clone();
        policy.map(|policy| Access::new(policy, principal()))
    }
}

impl Connection {
    /// Authentication has said who the client is.
    pub(crate) fn identify(&mut self, identity: Identity) {
        match identity.expires {
            Some(expires) => self.timers.set(Timer::Expiry, expires),
            None => self.timers.stop(Timer::Expiry),
        }
        if self.guard.is_none() && identity == Identity::default() {
            return;
        }
        let guard = self.guard.get_or_insert_default();
        guard.identity = identity;
        if guard.policy.is_some() {
            guard.access = guard.access(&self.client_id);
        }
    }

    /// The username that was authenticated.
    pub fn username(&self) -> Option<&ByteString> {
        self.guard.as_ref()?.identity.username.as_ref()
    }

    /// Whether the policy, if there is one, allows `action`. `topic` is the topic or filter. A denial is counted and
    /// told.
    pub(crate) fn allows<O: Outside>(
        &mut self,
        action: Action,
        topic: &str,
        outside: &mut O,
    ) -> bool {
        let Some(access) = self.guard.as_mut().and_then(|guard| guard.access.as_mut()) else {
            return true;
        };
        let is_allowed = match action {
            Action::Connect => access.may_connect(),
            Action::Publish => access.may_publish(topic),
            Action::Subscribe => access.may_subscribe(topic),
        };
        if is_allowed {
            outside.count(Event::Allowed(action));
        } else {
            outside.count(Event::Denied(action));
            outside.denied(Denial {
                policy: access.policy(),
                client_id: &access.principal().client_id,
                username: access.principal().username.as_deref(),
                action,
                topic,
            });
        }
        is_allowed
    }

    /// Whether the will, if there is one, is still allowed `[F-20]`.
    pub(crate) fn is_will_allowed(&self) -> bool {
        self.guard
            .as_ref()
            .is_none_or(|guard| !guard.is_will_denied)
    }

    /// The policy of the port has changed `[F-90]`.
    pub(crate) fn on_policy<O: Outside>(
        &mut self,
        policy: Option<Arc<Policy>>,
        now: Now,
        outside: &mut O,
    ) {
        let before = self.guard.as_ref().and_then(|guard| guard.policy.as_ref());
        match (before, &policy) {
            (None, None) => return,
            (Some(before), Some(policy)) if Arc::ptr_eq(before, policy) => return,
            _ => {}
        }
        let was_strict = before.is_some();
        let is_known = self.is_live() || self.is_connecting();
        let guard = self.guard.get_or_insert_default();
        let disconnects_all = policy
            .as_ref()
            .is_some_and(|policy| policy.disconnects_all());
        guard.policy = policy;
        if guard.policy.is_none() {
            guard.access = None;
            guard.is_will_denied = false;
            (guard.held, guard.revoked) = (HashSet::new(), Vec::new());
            (guard.held_elsewhere, guard.asked) = (false, Vec::new());
            return;
        }
        if !is_known {
            // It is asked as soon as authentication has said who the client is; or the client is gone.
            return;
        }
        guard.access = guard.access(&self.client_id);
        if !was_strict {
            guard.held_elsewhere = true;
        }
        if !self.is_still_allowed(outside) {
            let text = "no longer allowed by the authorization policy";
            return self.fail(ReasonCode::NotAuthorized, text, now, outside);
        }
        // One that is not yet told yes comes in under the new policy.
        if disconnects_all && self.is_live() {
            let text = "the authorization policy has changed";
            return self.fail(ReasonCode::AdministrativeAction, text, now, outside);
        }
        self.ask_what_is_held(outside);
    }

    /// Whether the client may go on under a policy that has changed, or as whom it is known now: whether it may connect,
    /// and all of the filters that it is known to hold are granted.
    pub(crate) fn is_still_allowed<O: Outside>(&mut self, outside: &mut O) -> bool {
        if let Some(topic) = self.will_topic.take() {
            let is_denied = !self.allows(Action::Publish, &topic, outside);
            self.will_topic = Some(topic);
            if let Some(guard) = &mut self.guard {
                guard.is_will_denied = is_denied;
            }
        }
        self.allows(Action::Connect, "", outside) && self.may_hold_all(outside)
    }

    /// What proved who the client is has expired: it is closed without a word.
    pub(crate) fn on_expiry_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if !self.is_live() && !self.is_connecting() {
            return;
        }
        outside.count(Event::Expired);
        if self.is_live() {
            outside.count(Event::Disconnected(ReasonCode::NotAuthorized));
        }
        self.close_socket(outside);
        self.leave(true, None, now, outside);
    }
}
