//! Who gets in and what they may do: real brokers with TLS, authentication and authorization, and real clients that should and
//! should not.
//!
//! Each test has a broker of its own: a directory of secrets and manifests, which it may change while the broker runs.

mod automatic;
mod certificates;
mod custom;
mod denials;
mod expiry;
mod explained;
mod https;
mod issuer;
mod live_ports;
mod mosquitto;
mod passwords;
mod policy;
mod renewal;
mod service_accounts;
mod taken_away;
mod tokens;
mod verify;
mod websockets;
mod world;
