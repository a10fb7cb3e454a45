//! What carries links and chains: channels in one process, gRPC between processes.
//!
//! Nobody else knows how bytes travel. An origin dials a replica and gets a [`Transport`]; a replica reaches its
//! neighbours and gets a [`ChainStream`]; a server hands what arrives to what implements [`Accept`]. None of them resumes
//! anything: a connection that breaks is gone, and who used it opens another and says how far it had come.

mod carry;
mod directory;
pub mod grpc;
mod inspect;
mod local;
mod queue;
mod saving;
pub mod wire;

pub use carry::{Accept, Accepted, Broken, ChainStream, Dial, DialError, Reach, Transport};
pub use directory::Directory;
pub use grpc::{GrpcDial, GrpcInspect, GrpcReach, GrpcStream, GrpcTransport, Options, serve};
pub use inspect::{Answered, Asked, Frozen, Inspect, NotAnswered};
pub use local::{Local, LocalStream, LocalTransport};
pub use saving::Saving;
