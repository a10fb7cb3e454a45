//! The gateway: listeners, client connections, and links to shards.
//!
//! A gateway has *workers*, one per thread; a connection lives on one worker and never leaves it. A worker has one link
//! to each shard and is an origin of its own. What a client may do is decided by `catena-connection`, which is pure;
//! here are its sockets, its timers and its way to the shards. The gateway keeps nothing that it could not lose.
//! Start reading at [`gateway`], then [`worker`].

pub mod config;
pub mod counters;
pub mod gateway;
pub mod gauges;
pub mod limits;
pub mod listener;
pub mod ports;
pub mod traffic;
pub mod worker;

mod authenticate;
mod backoff;
mod buffers;
mod client;
mod clients;
mod cut;
mod denials;
mod entrance;
mod link;
mod memory;
mod openings;
mod passports;
mod proofs;
mod room;
mod router;
mod stream;
mod timers;
mod tracer;

pub use config::Config;
pub use gateway::Gateway;
