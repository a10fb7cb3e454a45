//! What a client may do: rules compiled once, asked often.
//!
//! A [`Policy`] is one BrokerAuthorization. A connection asks it through its own [`Access`], which knows who the client
//! is and remembers what was decided. Start reading at [`policy`], then [`access`]; what patterns mean stands in `topic`
//! and `glob`.

#![forbid(unsafe_code)]

pub mod access;
pub mod cache;
pub mod explain;
pub mod policy;

mod glob;
mod principal;
mod reach;
mod store;
mod template;
mod topic;
mod trie;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use catena_resources::Attributes;
pub use explain::{Action, Explanation};
pub use policy::Policy;
pub use principal::Principal;
pub use store::KeyAccess;
