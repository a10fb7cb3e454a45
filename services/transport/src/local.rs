//! Connections within one process: channels, without bytes in between.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll, ready},
};

use catena_chain::{Incarnation, Member};
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_shard::{Command, Query};
use catena_slots::ShardId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::ReusableBoxFuture;

use crate::{
    carry::{Accept, Accepted, Broken, ChainStream, Dial, DialError, Reach, Transport},
    inspect::{Answered, Asked, Inspect, NotAnswered},
    queue::Queue,
    saving::{self, Saving},
};

/// The hosts of replicas in this process, by incarnation: a standalone broker has one, tests have several.
#[derive(Debug)]
pub struct Local<A> {
    hosts: Arc<RwLock<BTreeMap<Incarnation, A>>>,
}

impl<A> Clone for Local<A> {
    fn clone(&self) -> Self {
        Local {
            hosts: self.hosts.clone(),
        }
    }
}

impl<A> Default for Local<A> {
    fn default() -> Self {
        Local {
            hosts: Arc::default(),
        }
    }
}

impl<A: Accept> Local<A> {
    /// The replicas of `incarnation` are found at `host` from now on.
    pub fn add(&self, incarnation: Incarnation, host: A) {
        self.hosts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(incarnation, host);
    }

    /// Nobody listens as `incarnation` any more. Connections that exist are left alone.
    pub fn remove(&self, incarnation: Incarnation) {
        self.hosts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&incarnation);
    }

    fn host(&self, incarnation: Incarnation) -> Result<A, DialError> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.get(&incarnation).cloned();
        host.ok_or_else(|| DialError::Refused(format!("{incarnation:?} is not here")))
    }
}

impl<A: Accept> Dial for Local<A> {
    type Transport = LocalTransport;

    async fn dial(&self, shard: ShardId, to: Member) -> Result<LocalTransport, DialError> {
        let accepted = self.host(to.incarnation)?.link(shard);
        let Accepted {
            from_origin,
            to_origin,
        } = accepted.ok_or_else(|| not_here(shard))?;
        Ok(LocalTransport {
            out: Queue::new(from_origin),
            answers: to_origin,
        })
    }
}

impl<A: Accept> Reach for Local<A> {
    type Stream = LocalStream;

    async fn reach(&self, shard: ShardId, to: Member) -> Result<LocalStream, DialError> {
        let accepted = self.host(to.incarnation)?.chain(shard);
        let sender = accepted.ok_or_else(|| not_here(shard))?;
        Ok(LocalStream {
            closed: ReusableBoxFuture::new(closed(sender.clone())),
            out: Queue::new(sender),
        })
    }
}

#[tonic::async_trait]
impl<A: Accept + fmt::Debug> Inspect for Local<A> {
    async fn query(
        &self,
        shard: ShardId,
        to: Member,
        query: Query,
    ) -> Result<Answered, NotAnswered> {
        let (answer, answered) = oneshot::channel();
        self.ask(shard, to, Asked::Query { query, answer })?;
        answered.await.unwrap_or(Err(NotAnswered::Gone))
    }

    async fn save(&self, shard: ShardId, to: Member) -> Result<Saving, NotAnswered> {
        let (answer, answered) = oneshot::channel();
        self.ask(shard, to, Asked::Save { answer })?;
        let frozen = answered.await.unwrap_or(Err(NotAnswered::Gone))?;
        saving::begin(frozen)
    }

    async fn command(
        &self,
        shard: ShardId,
        to: Member,
        command: Command,
    ) -> Result<bool, NotAnswered> {
        let (answer, answered) = oneshot::channel();
        self.ask(shard, to, Asked::Command { command, answer })?;
        answered.await.unwrap_or(Err(NotAnswered::Gone))
    }
}

impl<A: Accept> Local<A> {
    fn ask(&self, shard: ShardId, to: Member, asked: Asked) -> Result<(), NotAnswered> {
        let host = self.host(to.incarnation);
        let host = host.map_err(|away| NotAnswered::NotReached(away.to_string()))?;
        match host.ask(shard, asked) {
            true => Ok(()),
            false => Err(NotAnswered::Full),
        }
    }
}

fn not_here(shard: ShardId) -> DialError {
    DialError::Failed(format!("shard {shard} is not here"))
}

/// See [`Local`].
#[derive(Debug)]
pub struct LocalTransport {
    out: Queue<FromOrigin>,
    answers: mpsc::Receiver<ToOrigin>,
}

impl Transport for LocalTransport {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.out.poll_ready(cx)
    }

    fn send(&mut self, message: FromOrigin) -> Result<(), Broken> {
        self.out.send(message)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ToOrigin, Broken>> {
        let message = ready!(self.answers.poll_recv(cx));
        Poll::Ready(message.ok_or_else(|| Broken("the replica has closed it".to_owned())))
    }
}

/// See [`Local`].
#[derive(Debug)]
pub struct LocalStream {
    out: Queue<Envelope>,
    closed: ReusableBoxFuture<'static, ()>,
}

async fn closed(sender: mpsc::Sender<Envelope>) {
    sender.closed().await;
}

impl ChainStream for LocalStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.out.poll_ready(cx)
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), Broken> {
        self.out.send(envelope)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        ready!(self.closed.poll(cx));
        Poll::Ready(Broken("the replica has closed it".to_owned()))
    }
}
