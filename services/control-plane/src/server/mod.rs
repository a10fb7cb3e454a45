//! What is served on the port.

pub mod admin;
pub mod membership;
mod node_stream;
mod status;

use tonic::Status;

use crate::{follow::Following, registry::Refused, registry::Registry, routes::Routes};

/// What every request may need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub cluster: String,
    pub registry: Registry,
    pub following: Following,
    pub routes: Routes,
    /// Becomes true when the server ends.
    pub ending: tokio::sync::watch::Receiver<bool>,
}

/// The one place where refusals become status codes.
pub fn status(refused: &Refused) -> Status {
    let said = refused.to_string();
    match refused {
        Refused::Name(_) => Status::invalid_argument(said),
        Refused::Replaced(_) | Refused::Precondition(_) => Status::failed_precondition(said),
        Refused::NoNode(_) | Refused::NoGateway(_) => Status::not_found(said),
        Refused::Contended => Status::aborted(said),
        Refused::Store(error) if error.is_retryable() => Status::unavailable(said),
        Refused::Store(_) | Refused::Unreadable { .. } => Status::internal(said),
    }
}

/// Nobody leads, or he cannot be reached.
fn no_leader() -> Status {
    Status::unavailable("the control plane has no leader at the moment")
}

fn is_ending() -> Status {
    Status::unavailable("this replica of the control plane is ending")
}

/// Waits until the server ends.
async fn ended(mut ending: tokio::sync::watch::Receiver<bool>) {
    // When nobody can end it any more it has ended.
    let _ = ending.wait_for(|ending| *ending).await;
}
