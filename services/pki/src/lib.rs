//! The cluster's own certificates: a CA, what it issues, and TLS that is renewed while it runs.
//!
//! What a port or a process shows is a [`Served`]: its certificate and key can be exchanged while it runs, and
//! connections that are open stay as they are. Something keeps it fresh: [`follow`] from files or a secret,
//! [`Automatic`] through a [`Signer`] that stands before a [`Ca`].

#![forbid(unsafe_code)]

mod automatic;
mod ca;
mod certified;
mod follow;
mod key;
mod renewal;
mod served;
mod when;
mod write;

pub use automatic::{Automatic, Held, Issued, Signer, Wishes};
pub use ca::{CA_SECRET, Ca, CaError, Subject};
pub use certified::{Certified, Unusable, certified_key, certified_key_at};
pub use follow::{Following, Pair, State, follow, follow_files};
pub use key::{KeyError, generate, request};
pub use served::Served;

pub use catena_resources::certificate::{KeyAlgorithm, RotationPolicy};
