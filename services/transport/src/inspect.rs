//! The seam for administrators: questions to the replicas of shards, and commands.

use std::{fmt, sync::Arc};

use catena_chain::Member;
use catena_shard::{Answer, Command, Query};
use catena_slots::ShardId;
use tokio::sync::oneshot;

use crate::saving::Saving;

/// What a replica is asked, and where the answer goes. Dropped, it is answered by [`NotAnswered::Gone`].
#[derive(Debug)]
pub enum Asked {
    /// A question to the tail.
    Query {
        query: Query,
        answer: oneshot::Sender<Result<Answered, NotAnswered>>,
    },
    /// To the tail: all that lasts, as it is now.
    Save {
        answer: oneshot::Sender<Result<Frozen, NotAnswered>>,
    },
    /// A change, to the head.
    Command {
        command: Command,
        answer: oneshot::Sender<Result<bool, NotAnswered>>,
    },
}

/// A shard's state, for a backup.
#[derive(Debug)]
pub struct Frozen {
    pub state: catena_shard::Frozen,
    /// As long as it is there, the replica gives no other one.
    pub held: Arc<()>,
}

/// An answer, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// How often the shard has started empty.
    pub generation: u32,
    /// Milliseconds of shard time.
    pub now: u64,
    pub answer: Answer,
}

/// Why there is no answer. All of it may be over soon: ask again, by a newer configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// The process is not reached, or says that it cannot.
    #[error("{0}")]
    NotReached(String),
    /// The replica has another role now, or none.
    #[error("the replica has another role now")]
    NotServing,
    /// The replica was asked too much at once.
    #[error("the shard is asked too much at once")]
    Full,
    /// The process or the replica went away meanwhile. A command may have been done.
    #[error("the replica went away before it had answered")]
    Gone,
}

/// What the control plane has to ask shards.
#[tonic::async_trait]
pub trait Inspect: fmt::Debug + Send + Sync {
    /// Asks the replica `to`, the tail of `shard`.
    ///
    /// # Errors
    /// [`NotAnswered`].
    async fn query(
        &self,
        shard: ShardId,
        to: Member,
        query: Query,
    ) -> Result<Answered, NotAnswered>;

    /// Asks the replica `to`, the tail of `shard`, for all that lasts, as it is at one moment.
    ///
    /// # Errors
    /// [`NotAnswered`], with `Full` also when somebody else is being told.
    async fn save(&self, shard: ShardId, to: Member) -> Result<Saving, NotAnswered>;

    /// Lets the replica `to`, the head of `shard`, do something. Answers once that is committed: whether it did anything.
    ///
    /// # Errors
    /// [`NotAnswered`]. A command may be sent again: it does nothing the second time.
    async fn command(
        &self,
        shard: ShardId,
        to: Member,
        command: Command,
    ) -> Result<bool, NotAnswered>;
}
