//! What is counted, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use catena_mqtt::ReasonCode;
use catena_resources::authentication::Method;

use crate::verdict::Opinion;

/// What all authenticators of the process have decided.
#[derive(Debug, Default)]
pub struct Counters {
    pub x509: MethodCounters,
    pub service_account_token: MethodCounters,
    pub custom: MethodCounters,
    pub password: MethodCounters,
    pub jwt: MethodCounters,
    /// Refused because no method was for what the client brought.
    pub irrelevant: AtomicU64,
}

/// What one method has decided.
#[derive(Debug, Default)]
pub struct MethodCounters {
    /// Clients that were accepted.
    pub successes: AtomicU64,
    /// Clients of which it could not be decided: too many at once, nobody to ask, an error on our side.
    pub failures: AtomicU64,
    /// Clients that were refused.
    pub denials: AtomicU64,
    /// Requests to servers that were not answered, or not as agreed. The client may have been decided on by another method.
    pub unreachable: AtomicU64,
}

impl Counters {
    /// Those of one method.
    pub fn of(&self, method: Method) -> &MethodCounters {
        match method {
            Method::X509 => &self.x509,
            Method::ServiceAccountToken => &self.service_account_token,
            Method::Custom => &self.custom,
            Method::Password => &self.password,
            Method::Jwt => &self.jwt,
        }
    }

    pub(crate) fn count(&self, method: Method, opinion: &Opinion) {
        let counters = self.of(method);
        if let Opinion::Failed {
            reason: ReasonCode::ServerUnavailable,
            ..
        } = opinion
        {
            counters.unreachable.fetch_add(1, Ordering::Relaxed);
        }
        let counter = match opinion {
            Opinion::NotRelevant => return,
            Opinion::Unreachable(_) => &counters.unreachable,
            Opinion::Accepted(_) => &counters.successes,
            Opinion::Denied { .. } => &counters.denials,
            Opinion::Failed { .. } => &counters.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
