//! What the end-to-end tests share: real broker processes and a client that works at packet level.
//!
//! Tests talk to a broker over its sockets alone, as any client would. Start reading at
//! [`broker::Broker`], then [`client::Client`] and, for wrong bytes, [`wire`]; at [`cluster::Cluster`] for many
//! processes, [`admin::Admin`] for commands, and [`verify::Load`] for what clients see while some of them fail.

pub mod admin;
pub mod broker;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod http;
pub mod stream;
pub mod verify;
pub mod wire;
