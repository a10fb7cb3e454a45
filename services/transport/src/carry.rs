//! The seams: what origins, replicas and servers see of a connection.

use std::{
    future::Future,
    task::{Context, Poll},
};

use catena_chain::Member;
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use tokio::sync::mpsc;

use crate::inspect::Asked;

/// A connection is over, and why. Nothing that was sent on it is known to have arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke: {0}")]
pub struct Broken(pub String);

/// No connection came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there: the process is gone, and may be accused.
    #[error("nobody listens: {0}")]
    Refused(String),
    /// It did not work, and that says nothing about the process.
    #[error("cannot connect: {0}")]
    Failed(String),
    /// No address is known for this incarnation.
    #[error("no address is known")]
    Unknown,
}

/// What an origin has to reach the replicas of shards.
pub trait Dial: Clone + 'static {
    /// See [`Transport`].
    type Transport: Transport + 'static;

    /// A connection for one lane to the replica `to` of `shard`; nothing was said on it yet.
    ///
    /// # Errors
    /// See [`DialError`].
    fn dial(
        &self,
        shard: ShardId,
        to: Member,
    ) -> impl Future<Output = Result<Self::Transport, DialError>>;
}

/// A connection of an origin, for one lane. Messages arrive in order or not at all. Dropped, it is closed.
pub trait Transport {
    /// Whether there is room for one message: to be asked before each [`Transport::send`].
    ///
    /// # Errors
    /// [`Broken`], for ever.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Sends one message. The first one of a connection is an Open.
    ///
    /// # Errors
    /// [`Broken`], also when there is no room.
    fn send(&mut self, message: FromOrigin) -> Result<(), Broken>;

    /// The next message from the replica.
    ///
    /// # Errors
    /// [`Broken`], for ever, once the messages before the break were taken.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ToOrigin, Broken>>;
}

/// What a replica has to reach its neighbours.
pub trait Reach: Clone + 'static {
    /// See [`ChainStream`].
    type Stream: ChainStream + 'static;

    /// A stream to the replica `to` of the same `shard`.
    ///
    /// # Errors
    /// See [`DialError`].
    fn reach(
        &self,
        shard: ShardId,
        to: Member,
    ) -> impl Future<Output = Result<Self::Stream, DialError>>;
}

/// A one-way stream from a replica to another. Envelopes arrive in order or not at all. Dropped, it is closed.
pub trait ChainStream {
    /// Whether there is room for one envelope: to be asked before each [`ChainStream::send`].
    ///
    /// # Errors
    /// [`Broken`], for ever.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Sends one envelope.
    ///
    /// # Errors
    /// [`Broken`], also when there is no room.
    fn send(&mut self, envelope: Envelope) -> Result<(), Broken>;

    /// Ready when the stream is over, also while nothing is sent on it. Not to be asked again then.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;
}

/// What a server hands over: the process that hosts replicas. It is called on the thread of the server.
pub trait Accept: Clone + Send + Sync + 'static {
    /// A connection of an origin to `shard`; its first message is an Open. `None`: the shard is not here.
    fn link(&self, shard: ShardId) -> Option<Accepted>;

    /// A question or a command of an administrator. Whether it is taken: else the shard is not here, or asked too much.
    fn ask(&self, shard: ShardId, asked: Asked) -> bool;

    /// Where the envelopes of one stream to `shard` go. `None`: the shard is not here.
    fn chain(&self, shard: ShardId) -> Option<mpsc::Sender<Envelope>>;
}

/// A connection of an origin as the replica's side has made it. Either channel closed ends the connection, and the end of
/// the connection closes both.
#[derive(Debug)]
pub struct Accepted {
    /// What the origin says.
    pub from_origin: mpsc::Sender<FromOrigin>,
    /// What it is answered.
    pub to_origin: mpsc::Receiver<ToOrigin>,
}
