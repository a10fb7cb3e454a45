//! What a link needs of whatever carries it: channels in one process, gRPC between processes.

use std::{
    future::Future,
    task::{Context, Poll},
};

use catena_shard::wire::{FromShard, ToShard};
use catena_slots::ShardId;

/// The transport broke, or the shard closed it. The link opens another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the shard broke: {0}")]
pub struct Broken(pub String);

/// Makes connections to shards.
pub trait Dial: Clone + 'static {
    /// What it makes.
    type Transport: Transport + 'static;

    /// Connects to `shard`.
    fn dial(&self, shard: ShardId) -> impl Future<Output = Result<Self::Transport, Broken>>;
}

/// A connection to a shard: ordered both ways, bounded, and lost as a whole.
pub trait Transport {
    /// Waits for room for one message.
    ///
    /// # Errors
    /// [`Broken`]: there will be none.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Sends a message, after [`Transport::poll_ready`] was ready.
    ///
    /// # Errors
    /// [`Broken`]: it is lost.
    fn send(&mut self, message: ToShard) -> Result<(), Broken>;

    /// Waits for a message.
    ///
    /// # Errors
    /// [`Broken`]: no more will come.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<FromShard, Broken>>;
}
