//! The control plane with simulated nodes and gateways, over real connections: on the embedded store, and on a real etcd.

mod access;
mod gateways;
mod inspecting;
mod leaders;
mod node;
mod nodes;
mod resources;
#[path = "../store/server.rs"]
#[allow(dead_code, reason = "the tests of the stores use more of it")]
mod server;
mod services;
mod tls;
mod world;
