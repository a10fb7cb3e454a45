//! The calling side.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use catena_chain::Member;
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use futures_core::Stream;
use http::uri::PathAndQuery;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Request, Status, Streaming};

use super::{
    Options, QUEUE_MAX,
    codec::{Messages, Read, Silence, ToShard, Write},
    connections::{Connections, explain},
    server::{LINK, REPLICATE},
};
use crate::{
    carry::{Broken, ChainStream, Dial, DialError, Reach, Transport},
    directory::Directory,
    queue::Queue,
};

/// Reaches the replicas of shards over gRPC. Made once per thread, inside its runtime; its clones share connections.
#[derive(Debug, Clone)]
pub struct GrpcDial {
    caller: Caller,
}

impl GrpcDial {
    /// Finds replicas by `directory`.
    pub fn new(directory: Directory, options: Options) -> GrpcDial {
        GrpcDial {
            caller: Caller::new(directory, options),
        }
    }
}

impl Dial for GrpcDial {
    type Transport = GrpcTransport;

    async fn dial(&self, shard: ShardId, to: Member) -> Result<GrpcTransport, DialError> {
        let (out, answers) = self.caller.call(shard, to, LINK).await?;
        Ok(GrpcTransport {
            shard,
            out,
            answers,
        })
    }
}

/// Reaches the neighbours of a replica over gRPC. Made once per thread, inside its runtime; its clones share connections,
/// which are others than those of a [`GrpcDial`].
#[derive(Debug, Clone)]
pub struct GrpcReach {
    caller: Caller,
}

impl GrpcReach {
    /// Finds replicas by `directory`.
    pub fn new(directory: Directory, options: Options) -> GrpcReach {
        GrpcReach {
            caller: Caller::new(directory, options),
        }
    }
}

impl Reach for GrpcReach {
    type Stream = GrpcStream;

    async fn reach(&self, shard: ShardId, to: Member) -> Result<GrpcStream, DialError> {
        let (out, answers) = self.caller.call(shard, to, REPLICATE).await?;
        Ok(GrpcStream { out, answers })
    }
}

/// Opens streams.
#[derive(Debug, Clone)]
struct Caller {
    directory: Directory,
    connections: Connections,
}

impl Caller {
    fn new(directory: Directory, options: Options) -> Caller {
        Caller {
            directory,
            connections: Connections::new(options),
        }
    }

    /// A stream of `W`s to the method `path` of the process that holds `to`, and its answers. The process has answered
    /// when it is there.
    async fn call<W: Write, R: Read>(
        &self,
        shard: ShardId,
        to: Member,
        path: &'static str,
    ) -> Result<(Queue<W>, Streaming<R>), DialError> {
        let address = self.directory.address(shard, to.incarnation);
        let address = address.ok_or(DialError::Unknown)?;
        match self.open(&address, path).await {
            // The connection broke before, and nobody had noticed.
            Err((_, true)) => {
                self.connections.renew(&address);
                self.open(&address, path).await
            }
            opened => opened,
        }
        .map_err(|(error, _)| error)
    }

    /// Opens a stream. An error comes with whether another connection may help.
    async fn open<W: Write, R: Read>(
        &self,
        address: &str,
        path: &'static str,
    ) -> Result<(Queue<W>, Streaming<R>), (DialError, bool)> {
        let failed = |error: String| DialError::Failed(format!("{address}: {error}"));
        let connection = self.connections.to(address).await;
        let (mut grpc, was_there) = connection.map_err(|error| (error, false))?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let call = async {
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(Box::new(error)))?;
            let request = Request::new(Outgoing(receiver));
            let path = PathAndQuery::from_static(path);
            grpc.streaming(request, path, Messages::<W, R>::new()).await
        };
        let answer = timeout(self.connections.options().connect_timeout, call).await;
        let answers = answer
            .map_err(|_| (failed("no answer".to_owned()), false))?
            .map_err(|status| (failed(explain(&status)), was_there))?;
        Ok((Queue::new(sender), answers.into_inner()))
    }
}

/// What waits to be sent.
struct Outgoing<T>(mpsc::Receiver<T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

/// See [`GrpcDial`].
#[derive(Debug)]
pub struct GrpcTransport {
    shard: ShardId,
    out: Queue<ToShard>,
    answers: Streaming<ToOrigin>,
}

impl Transport for GrpcTransport {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.out.poll_ready(cx)
    }

    fn send(&mut self, message: FromOrigin) -> Result<(), Broken> {
        self.out.send(ToShard(self.shard, message))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ToOrigin, Broken>> {
        poll_answer(&mut self.answers, cx)
    }
}

/// See [`GrpcReach`].
#[derive(Debug)]
pub struct GrpcStream {
    out: Queue<Envelope>,
    answers: Streaming<Silence>,
}

impl ChainStream for GrpcStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.out.poll_ready(cx)
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), Broken> {
        self.out.send(envelope)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        loop {
            if let Err(broken) = ready!(poll_answer(&mut self.answers, cx)) {
                return Poll::Ready(broken);
            }
        }
    }
}

fn poll_answer<R>(answers: &mut Streaming<R>, cx: &mut Context<'_>) -> Poll<Result<R, Broken>> {
    Poll::Ready(match ready!(Pin::new(answers).poll_next(cx)) {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(status)) => Err(Broken(explain(&status))),
        None => Err(Broken("the replica has closed it".to_owned())),
    })
}
