//! How this replica speaks with gateways, backends and other replicas, and who signs their certificates.

use std::sync::Arc;

use catena_pki::{Authority, Peer, Role, Security};
use catena_resources::Broker;
use tonic::{Request, Status};

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub security: Security,
    /// The cluster's CA, when this replica has it.
    pub authority: Option<Arc<Authority>>,
    /// Whether all members are in this process, on a port of this machine: what the Broker says of traffic does not
    /// concern them.
    pub in_process: bool,
}

impl Traffic {
    /// Plain, among the parts of one process.
    pub fn in_process() -> Traffic {
        Traffic {
            in_process: true,
            ..Traffic::plain()
        }
    }

    /// Plain, between processes.
    pub fn plain() -> Traffic {
        Traffic {
            security: Security::Plain,
            authority: None,
            in_process: false,
        }
    }

    /// Whether somebody may register who speaks like this.
    pub fn allows(&self, broker: &Broker) -> bool {
        self.in_process
            || self.security.is_tls()
            || !broker.advanced.encrypt_internal_traffic.is_on()
    }
}

/// Who asks.
pub fn peer<T>(request: &Request<T>) -> Peer {
    let known = request.extensions().get::<Peer>();
    known.cloned().unwrap_or(Peer::Stranger)
}

/// Who asks, if he has one of these roles.
#[allow(clippy::result_large_err, reason = "tonic's own type")]
pub fn only<T>(request: &Request<T>, roles: &[Role]) -> Result<Peer, Status> {
    let peer = peer(request);
    if roles.iter().any(|role| peer.is(*role)) {
        return Ok(peer);
    }
    Err(denied(&peer, roles))
}

/// That he may not.
pub fn denied(peer: &Peer, roles: &[Role]) -> Status {
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let problem = format!("this is for a {}, and not for {peer}", roles.join(" or a "));
    match peer {
        Peer::Stranger => Status::unauthenticated(problem),
        _ => Status::permission_denied(problem),
    }
}

/// That he goes by the name in his certificate.
#[allow(clippy::result_large_err, reason = "tonic's own type")]
pub fn named(peer: &Peer, role: Role, name: &str) -> Result<(), Status> {
    if peer.is_named(role, name) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "{name:?} is not the name in the certificate of {peer}"
    )))
}

#[cfg(test)]
mod tests {
    use catena_resources::Switch;

    use super::*;

    // A Broker that asks for encryption must not have members that speak in the open.
    #[test]
    fn plain_members_need_a_broker_that_allows_it() {
        let mut broker = Broker::default();
        assert!(!Traffic::plain().allows(&broker));
        assert!(Traffic::in_process().allows(&broker));
        broker.advanced.encrypt_internal_traffic = Switch::Disabled;
        assert!(Traffic::plain().allows(&broker));
    }
}
