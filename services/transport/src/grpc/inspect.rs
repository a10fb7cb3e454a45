//! Questions and commands of administrators, as calls of the service Inspection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use catena_chain::Member;
use catena_proto::internal::v1::{
    self as proto, inspection_client::InspectionClient, inspection_server::Inspection,
    save_response::Said,
};
use catena_shard::{Command, Query};
use catena_slots::ShardId;
use futures_core::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    Options,
    connections::{Connection, Connections, explain},
};
use crate::{
    carry::{Accept, DialError},
    directory::Directory,
    inspect::{Answered, Asked, Inspect, NotAnswered},
    saving::{self, Saving},
    wire::{self, Malformed, Wire},
};

/// The front of the methods' names.
pub(super) const SERVICE: &str = "/catena.internal.v1.Inspection/";

/// Asks the replicas of shards over gRPC. Its clones share connections.
#[derive(Debug, Clone)]
pub struct GrpcInspect {
    directory: Directory,
    connections: Connections,
}

impl GrpcInspect {
    /// Finds replicas by `directory`.
    pub fn new(directory: Directory, options: Options) -> GrpcInspect {
        GrpcInspect {
            directory,
            connections: Connections::new(options),
        }
    }

    /// Calls the process that has `to`, over another connection if the one that there was has broken.
    async fn call<T, F>(
        &self,
        shard: ShardId,
        to: Member,
        call: impl Fn(InspectionClient<Connection>) -> F,
    ) -> Result<T, NotAnswered>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let unknown = || NotAnswered::NotReached("the address of its node is not known".to_owned());
        let address = self.directory.address(shard, to.incarnation);
        let address = address.ok_or_else(unknown)?;
        loop {
            let (connection, origin, was_there) =
                self.connections.connection(&address).await.map_err(away)?;
            // An answer comes within the time that a silent process takes to be lost.
            let patience = self.connections.options().connect_timeout * 2;
            let client = InspectionClient::with_origin(connection, origin)
                .max_decoding_message_size(super::MESSAGE_BYTES_MAX);
            match timeout(patience, call(client)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if was_there && is_broken(&status) => {
                    self.connections.renew(&address);
                }
                Ok(Err(status)) => return Err(refused(&address, &status)),
                Err(_) => {
                    self.connections.renew(&address);
                    return Err(NotAnswered::NotReached(format!("{address}: no answer")));
                }
            }
        }
    }
}

fn away(error: DialError) -> NotAnswered {
    NotAnswered::NotReached(error.to_string())
}

/// Whether the connection is to blame, and not who answers on it.
fn is_broken(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unknown | Code::Internal | Code::Cancelled
    )
}

fn refused(address: &str, status: &Status) -> NotAnswered {
    match status.code() {
        Code::Unavailable if status.message() == NotAnswered::NotServing.to_string() => {
            NotAnswered::NotServing
        }
        Code::ResourceExhausted => NotAnswered::Full,
        Code::Aborted => NotAnswered::Gone,
        _ => NotAnswered::NotReached(format!("{address}: {}", explain(status))),
    }
}

fn malformed(malformed: Malformed) -> NotAnswered {
    NotAnswered::NotReached(format!("the answer is not understood: {malformed}"))
}

#[tonic::async_trait]
impl Inspect for GrpcInspect {
    async fn query(
        &self,
        shard: ShardId,
        to: Member,
        query: Query,
    ) -> Result<Answered, NotAnswered> {
        let request = proto::QueryRequest {
            shard: shard.0.into(),
            query: Some(query.to_proto()),
        };
        let answer = self
            .call(shard, to, |mut client| {
                let request = request.clone();
                async move { client.query(request).await }
            })
            .await?;
        let missing = Malformed { what: "answer" };
        let told = answer.answer.ok_or_else(|| malformed(missing))?;
        Ok(Answered {
            generation: answer.generation,
            now: answer.now,
            answer: Wire::from_proto(told).map_err(malformed)?,
        })
    }

    async fn save(&self, shard: ShardId, to: Member) -> Result<Saving, NotAnswered> {
        let request = proto::SaveRequest {
            shard: shard.0.into(),
        };
        let mut told = self
            .call(
                shard,
                to,
                |mut client| async move { client.save(request).await },
            )
            .await?;
        let begin = match next(&mut told).await? {
            Said::Begin(begin) => begin,
            _ => return Err(malformed(Malformed { what: "begin" })),
        };
        let (things, saved) = mpsc::channel(saving::BATCHES);
        tokio::spawn(async move {
            loop {
                let part = match next(&mut told).await {
                    Ok(Said::Saved(saved)) => wire::all(saved.things).map_err(malformed),
                    Ok(Said::End(_)) => return,
                    Ok(Said::Begin(_)) => Err(malformed(Malformed { what: "things" })),
                    Err(why) => Err(why),
                };
                let is_over = part.is_err();
                if things.send(part).await.is_err() || is_over {
                    return;
                }
            }
        });
        Ok(Saving {
            generation: begin.generation,
            now: begin.now,
            saved,
        })
    }

    async fn command(
        &self,
        shard: ShardId,
        to: Member,
        command: Command,
    ) -> Result<bool, NotAnswered> {
        let request = proto::CommandRequest {
            shard: shard.0.into(),
            command: Some(command.to_proto()),
        };
        let answer = self
            .call(shard, to, |mut client| {
                let request = request.clone();
                async move { client.command(request).await }
            })
            .await?;
        Ok(answer.done)
    }
}

/// What comes next of a shard that is saved.
async fn next(told: &mut Streaming<proto::SaveResponse>) -> Result<Said, NotAnswered> {
    let part = told.message().await.map_err(|status| {
        let said = format!("the shard stopped telling: {}", explain(&status));
        NotAnswered::NotReached(said)
    })?;
    // Without its end it was cut.
    let part = part.ok_or(NotAnswered::Gone)?;
    part.said.ok_or(malformed(Malformed { what: "things" }))
}

/// The called side.
#[derive(Debug, Clone)]
pub(super) struct Inspecting<A>(pub A);

impl<A: Accept> Inspecting<A> {
    async fn ask<T>(
        &self,
        shard: u32,
        asked: Asked,
        answer: oneshot::Receiver<Result<T, NotAnswered>>,
    ) -> Result<T, Status> {
        let shard = wire::shard(shard).map_err(|wrong| invalid(&wrong))?;
        if !self.0.ask(shard, asked) {
            return Err(Status::resource_exhausted(NotAnswered::Full.to_string()));
        }
        let answer = answer.await.unwrap_or(Err(NotAnswered::Gone));
        answer.map_err(|why| match &why {
            NotAnswered::NotReached(_) | NotAnswered::NotServing => {
                Status::unavailable(why.to_string())
            }
            NotAnswered::Full => Status::resource_exhausted(why.to_string()),
            NotAnswered::Gone => Status::aborted(why.to_string()),
        })
    }
}

fn invalid(malformed: &Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

#[tonic::async_trait]
impl<A: Accept> Inspection for Inspecting<A> {
    async fn query(
        &self,
        request: Request<proto::QueryRequest>,
    ) -> Result<Response<proto::QueryResponse>, Status> {
        let request = request.into_inner();
        let missing = Malformed { what: "query" };
        let query = request.query.ok_or(missing).and_then(Wire::from_proto);
        let query = query.map_err(|wrong| invalid(&wrong))?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked::Query { query, answer };
        let answered = self.ask(request.shard, asked, answered).await?;
        Ok(Response::new(proto::QueryResponse {
            generation: answered.generation,
            now: answered.now,
            answer: Some(answered.answer.to_proto()),
        }))
    }

    type SaveStream = Pin<Box<dyn Stream<Item = Result<proto::SaveResponse, Status>> + Send>>;

    async fn save(
        &self,
        request: Request<proto::SaveRequest>,
    ) -> Result<Response<Self::SaveStream>, Status> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked::Save { answer };
        let frozen = self
            .ask(request.into_inner().shard, asked, answered)
            .await?;
        let saving = saving::begin(frozen).map_err(|why| Status::internal(why.to_string()))?;
        Ok(Response::new(Box::pin(Telling {
            saving,
            stage: Stage::Begin,
        })))
    }

    async fn command(
        &self,
        request: Request<proto::CommandRequest>,
    ) -> Result<Response<proto::CommandResponse>, Status> {
        let request = request.into_inner();
        let missing = Malformed { what: "command" };
        let command = request.command.ok_or(missing).and_then(Wire::from_proto);
        let command = command.map_err(|wrong| invalid(&wrong))?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked::Command { command, answer };
        let done = self.ask(request.shard, asked, answered).await?;
        Ok(Response::new(proto::CommandResponse { done }))
    }
}

/// What a shard tells of itself, as a stream.
#[derive(Debug)]
struct Telling {
    saving: Saving,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Things,
    Over,
}

impl Stream for Telling {
    type Item = Result<proto::SaveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let said = match self.stage {
            Stage::Begin => {
                self.stage = Stage::Things;
                Said::Begin(proto::save_response::Begin {
                    generation: self.saving.generation,
                    now: self.saving.now,
                })
            }
            Stage::Things => match ready!(self.saving.saved.poll_recv(cx)) {
                Some(Ok(things)) => Said::Saved(proto::SavedThings {
                    things: wire::each(&things),
                }),
                Some(Err(why)) => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Some(Err(Status::aborted(why.to_string()))));
                }
                None => {
                    self.stage = Stage::Over;
                    Said::End(proto::save_response::End {})
                }
            },
            Stage::Over => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(proto::SaveResponse { said: Some(said) })))
    }
}
