//! What the end-to-end tests share: real broker processes and a client that works at packet level.
//!
//! Tests talk to a broker over its sockets alone, as any client would. Start reading at
//! [`broker::Broker`], then [`client::Client`] and, for wrong bytes, [`wire`].

pub mod broker;
pub mod client;
pub mod wire;
