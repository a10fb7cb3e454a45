//! Backups of a running cluster, and their way back.
//!
//! [`save`] takes what shards tell and makes the file of it, [`restore`] takes the file and puts things into shards, by commands that go through
//! their logs. Neither holds more than a few batches.

mod restore;
mod save;

use std::sync::Arc;

use catena_proto::admin::v1 as proto;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{Context, inspect::Shards, membership::Answers};
use crate::access::gate::{Caller, about};

/// Answers that wait for a slow caller.
const OUTGOING_MAX: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    context: Context,
    shards: Shards,
    /// One backup or restore at a time goes through this replica.
    turn: Arc<Semaphore>,
}

impl Service {
    pub fn new(context: Context, shards: Shards) -> Service {
        Service {
            context,
            shards,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn take_turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Status> {
        let turn = self.turn.clone().try_acquire_owned();
        turn.map_err(|_| {
            Status::resource_exhausted("a backup is being made or restored: wait until it is done")
        })
    }
}

#[tonic::async_trait]
impl proto::backups_server::Backups for Service {
    type CreateBackupStream = Answers<proto::CreateBackupResponse>;

    async fn create_backup(
        &self,
        request: Request<proto::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        about(&request, "all that lasts");
        let who = Caller::of(&request).name;
        let turn = self.take_turn()?;
        let begun = save::begin(&self.context, &self.shards).await?;
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        tokio::spawn(async move {
            let _turn = turn;
            match save::run(begun, &out).await {
                Ok(Some(total)) => info!(
                    who,
                    bytes = total.bytes,
                    sessions = total.sessions,
                    retained = total.retained,
                    messages = total.messages,
                    "a backup was made"
                ),
                Ok(None) => warn!(who, "whoever asked for a backup went away before its end"),
                Err(failed) => {
                    warn!(who, reason = failed.message(), "a backup came to nothing");
                    let _ = out.send(Err(failed)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    type RestoreBackupStream = Answers<proto::RestoreBackupResponse>;

    async fn restore_backup(
        &self,
        request: Request<Streaming<proto::RestoreBackupRequest>>,
    ) -> Result<Response<Self::RestoreBackupStream>, Status> {
        about(&request, "all that lasts");
        let who = Caller::of(&request).name;
        let turn = self.take_turn()?;
        let mut parts = request.into_inner();
        let begun = restore::begin(&self.shards, &mut parts).await?;
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        tokio::spawn(async move {
            let _turn = turn;
            match restore::run(begun, parts, &out).await {
                Ok(total) => info!(
                    who,
                    sessions = total.sessions,
                    retained = total.retained,
                    messages = total.messages,
                    "a backup was restored"
                ),
                Err(failed) => {
                    warn!(
                        who,
                        reason = failed.message(),
                        "a restore ended half-way: begin it again with --replace"
                    );
                    let _ = out.send(Err(failed)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}
