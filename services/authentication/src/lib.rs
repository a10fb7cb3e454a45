//! Who a client is: certificates, passwords, tokens, and servers that are asked.
//!
//! An [`Authenticator`] is made of one BrokerAuthentication and asked once per CONNECT, and per AUTH of a client that proves
//! itself again. Its methods are tried in order, and the first for which what the client brought is *relevant* decides. Start
//! reading at [`Authenticator::connect`].
//!
//! What decides is in pure modules, which get the time and what was read as arguments; sockets, files and threads are at the
//! edges. What clients and servers send is never logged, but for short texts in which a server says why.

#![forbid(unsafe_code)]

mod authenticator;
mod counters;
mod credentials;
mod custom;
mod https;
mod jwt;
mod limits;
mod means;
mod password;
mod renewed;
mod service_account;
mod token;
mod verdict;
mod x509;

pub use authenticator::Authenticator;
pub use counters::{Counters, MethodCounters};
pub use credentials::Credentials;
pub use limits::*;
pub use means::Means;
pub use password::{hash, salt};
pub use service_account::Kubernetes;
pub use verdict::Verdict;
pub use x509::offered_certificates;
