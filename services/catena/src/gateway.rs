//! `catena gateway`: listeners and clients of a cluster; their shards are reached over gRPC.

pub mod ports;
