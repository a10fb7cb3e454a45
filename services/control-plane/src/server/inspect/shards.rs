//! The way to the shards: whom to ask, and again when a chain is being repaired.

use std::{sync::Arc, time::Duration};

use catena_chain::Member;
use catena_membership::Cluster;
use catena_shard::{Answer, Command, Query};
use catena_slots::{ShardId, SlotTable};
use catena_transport::{Answered, Directory, Inspect, NotAnswered, Saving};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::follow::Following;

/// How long a shard is asked again before its silence is told: longer than a crash takes to be repaired.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long after a failure it is asked again, unless there is news before.
const AGAIN: Duration = Duration::from_millis(200);
/// When a caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Asks shards. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shards {
    following: Following,
    directory: Directory,
    way: Arc<dyn Inspect>,
}

/// Whom of a chain.
#[derive(Debug, Clone, Copy)]
enum End {
    Head,
    Tail,
}

impl Shards {
    /// `directory` is where `way` looks up addresses; it is kept up to date here.
    pub fn new(following: Following, directory: Directory, way: Arc<dyn Inspect>) -> Shards {
        Shards {
            following,
            directory,
            way,
        }
    }

    /// The cluster as this replica knows it.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.following.told.borrow().clone()
    }

    /// Which shard has what.
    pub fn slots(&self) -> Result<SlotTable, Status> {
        let cluster = self.cluster();
        let layout = cluster.layout.as_ref();
        let slots = layout.map(|layout| layout.slots.clone());
        slots.ok_or_else(|| unavailable(None, "the cluster is not laid out yet"))
    }

    /// Asks the tail of a shard.
    pub async fn query(&self, shard: ShardId, query: Query) -> Result<Answered, Status> {
        let ask = |to| self.way.query(shard, to, query.clone());
        Ok(self.ask(shard, End::Tail, ask).await?.0)
    }

    /// Asks the tail of a shard for all that lasts.
    pub async fn save(&self, shard: ShardId) -> Result<Saving, Status> {
        let ask = |to| self.way.save(shard, to);
        Ok(self.ask(shard, End::Tail, ask).await?.0)
    }

    /// Lets the head of a shard do something: whether it did. What was sent more than once counts as done.
    pub async fn command(&self, shard: ShardId, command: Command) -> Result<bool, Status> {
        let ask = |to| self.way.command(shard, to, command.clone());
        let (done, is_again) = self.ask(shard, End::Head, ask).await?;
        Ok(done || is_again)
    }

    /// The answer, and whether something may have been done before.
    async fn ask<T, F>(
        &self,
        shard: ShardId,
        end: End,
        ask: impl Fn(Member) -> F,
    ) -> Result<(T, bool), Status>
    where
        F: Future<Output = Result<T, NotAnswered>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut told = self.following.told.clone();
        let mut is_again = false;
        loop {
            let cluster = told.borrow_and_update().clone();
            self.directory.replace(cluster.addresses.clone());
            let chain = cluster.chains.get(&shard);
            let member = chain.and_then(|chain| match end {
                End::Head => chain.head(),
                End::Tail => chain.tail(),
            });
            let why = match member {
                None => "it has no chain yet".to_owned(),
                Some(member) => match ask(member).await {
                    Ok(answer) => return Ok((answer, is_again)),
                    Err(why) => {
                        is_again |= !matches!(why, NotAnswered::NotServing | NotAnswered::Full);
                        why.to_string()
                    }
                },
            };
            if Instant::now() >= deadline {
                return Err(unavailable(Some(shard), &why));
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                changed = told.changed() => if changed.is_err() {
                    return Err(super::super::is_ending());
                },
            }
        }
    }
}

/// A shard cannot be asked at the moment.
fn unavailable(shard: Option<ShardId>, why: &str) -> Status {
    let message = match shard {
        Some(shard) => format!("shard {shard} does not answer ({why}); see `catena status`"),
        None => why.to_owned(),
    };
    let mut details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    if let Some(shard) = shard {
        let of = [("shard".to_owned(), shard.0.to_string())];
        details.set_error_info("SHARD_UNAVAILABLE", "catena.dev", of);
    }
    Status::with_error_details(Code::Unavailable, message, details)
}

/// A shard has answered something else than what it was asked.
pub fn confused(shard: ShardId, answer: &Answer) -> Status {
    let answer = format!("{answer:?}");
    let name = answer.split(['(', ' ']).next().unwrap_or_default();
    Status::internal(format!(
        "shard {shard} has answered with {name}, which nobody asked for"
    ))
}
