//! The cluster's own certificates: a CA, what it issues, and TLS that is renewed while it runs.
//!
//! What a port or a process shows is a [`Served`]: its certificate and key can be exchanged while it runs, and
//! connections that are open stay as they are. Something keeps it fresh: [`follow`] from files or a secret,
//! [`Automatic`] through a [`Signer`] that stands before a [`Ca`].
//!
//! Services of one cluster speak [`Internal`] TLS with each other: an [`Identity`] is in each certificate, and a [`Token`]
//! gets a process its first.

#![forbid(unsafe_code)]

mod authority;
mod automatic;
mod ca;
mod certified;
mod follow;
mod identity;
mod internal;
mod keeping;
mod key;
mod renewal;
mod seldom;
mod served;
mod terms;
mod token;
mod trust;
mod when;
mod write;

pub use authority::{Authority, OwnSigner};
pub use automatic::{Automatic, Held, Issued, Signer, Wishes};
pub use ca::{CA_SECRET, Ca, CaError, Subject, key_id};
pub use certified::{Certified, Unusable, certified_key, certified_key_at};
pub use follow::{Following, Pair, State, follow, follow_files};
pub use identity::{Identity, NoIdentity, Role};
pub use internal::{Connector, Door, Internal, Joining, Peer, Security, Stream};
pub use keeping::{Keeping, Stored, member_files};
pub use key::{KeyError, generate, request};
pub use served::Served;
pub use terms::{Terms, of_port};
pub use token::{BadToken, Token, hex};
pub use trust::Trust;

pub use catena_resources::certificate::{KeyAlgorithm, RotationPolicy};
