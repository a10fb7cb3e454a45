//! Who gets in: real brokers with TLS and authentication, and real clients that should and should not.
//!
//! Each test has a broker of its own: a directory of secrets and manifests, which it may change while the broker runs.

mod certificates;
mod passwords;
mod tokens;
mod websockets;
mod world;
