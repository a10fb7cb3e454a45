//! What is served on the port.

pub mod admin;
pub mod backups;
pub mod certificates;
pub mod door;
pub mod inspect;
pub mod membership;
mod node_stream;
pub mod passports;
pub mod resources;
mod status;

use catena_resources::{Invalid, Problem};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    follow::Following,
    passports::Desk,
    registry::{Refused, Registry},
    resources::Catalogue,
    routes::Routes,
    traffic::Traffic,
};

/// Bytes of problems that a refusal carries: all of it travels in headers, which clients bound.
const PROBLEM_BYTES_MAX: usize = 4 << 10;
/// Bytes of them that stand in its message too.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// What every request may need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub cluster: String,
    pub registry: Registry,
    pub catalogue: Catalogue,
    pub following: Following,
    pub routes: Routes,
    pub traffic: Traffic,
    pub desk: Desk,
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
        Refused::Contended | Refused::Outdated(_) => Status::aborted(said),
        Refused::Invalid(problems) => invalid(Code::InvalidArgument, problems),
        Refused::InUse(problems) => invalid(Code::FailedPrecondition, problems),
        Refused::NoResource(_) => Status::not_found(said),
        Refused::TooMany(_) => Status::resource_exhausted(said),
        Refused::Store(error) if error.is_retryable() => Status::unavailable(said),
        Refused::Store(_) | Refused::Unreadable { .. } => Status::internal(said),
    }
}

/// All that is wrong, as far as it fits: in the message for people, in the details for programs.
fn invalid(code: Code, Invalid(problems): &Invalid) -> Status {
    let mut details = ErrorDetails::new();
    let (mut bytes, mut message) = (0, String::new());
    for (index, problem) in problems.iter().enumerate() {
        let said = problem.to_string();
        bytes += said.len();
        if index > 0 && bytes > PROBLEM_BYTES_MAX {
            let more = format!("and {} more problems", problems.len() - index);
            details.add_bad_request_violation("", more);
            break;
        }
        if bytes <= MESSAGE_BYTES_MAX {
            let separator = if index == 0 { "" } else { "; " };
            message += &format!("{separator}{}", shortened(&said));
        }
        details.add_bad_request_violation(field(problem), shortened(&problem.reason));
    }
    if message.is_empty() {
        message = shortened(&problems.first().map(Problem::to_string).unwrap_or_default());
    }
    Status::with_error_details(code, message, details)
}

fn field(Problem { resource, path, .. }: &Problem) -> String {
    let separator = if resource.is_empty() || path.is_empty() {
        ""
    } else {
        ": "
    };
    shortened(&format!("{resource}{separator}{path}"))
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MESSAGE_BYTES_MAX / 4).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    short
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
