//! The called side.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    time::Duration,
};

use catena_pki::{Door, Peer, Role};
use catena_proto::internal::v1::inspection_server::InspectionServer;
use catena_replicated::{Envelope, ToOrigin};
use catena_shard::Origin;
use catena_slots::ShardId;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};
use tower_service::Service as _;

use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, Options, SEND_BUFFER_BYTES,
    STREAM_WINDOW_BYTES, STREAMS_MAX,
    answers::Answers,
    codec::{FromWire, Messages, Read, Silence, Write},
    inspect::{self, Inspecting},
};
use crate::carry::{Accept, Accepted};

/// The method for origins.
pub(super) const LINK: &str = "/catena.internal.v1.Link/Open";

/// The method for replicas.
pub(super) const REPLICATE: &str = "/catena.internal.v1.Chain/Replicate";

/// How long connections get to end by themselves when the server does.
const GRACE: Duration = Duration::from_secs(1);

/// How long the server waits when the system gives it no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the services Link, Chain and Inspection on `listener` until `shutdown`, and hands what arrives to `accept`. With TLS, gateways
/// may be origins as gateways are, and backends as shards are; only backends may open streams of chains, and only the
/// control plane may inspect. At the end its streams
/// are ended, and its connections get at most a second to tell that to the other side. Dropped, it ends all at once.
///
/// All of it runs on the runtime that it is called in.
pub async fn serve(
    listener: TcpListener,
    accept: impl Accept,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let ending = CancellationToken::new();
    // When this future is dropped, tasks of streams end as well.
    let _guard = ending.clone().drop_guard();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let host = Host {
                        accept: accept.clone(),
                        ending: ending.clone(),
                        peer: Peer::Stranger,
                    };
                    connections.spawn(host.connection(stream, options.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    ending.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    // Those that have not ended by then are dropped.
    let _ = timeout(GRACE, all).await;
}

/// What calls are answered with.
#[derive(Clone)]
struct Host<A> {
    accept: A,
    ending: CancellationToken,
    /// Who is at the other end.
    peer: Peer,
}

impl<A: Accept> Host<A> {
    async fn connection(mut self, stream: TcpStream, options: Options) {
        // Without it, the connection is slower, and nothing else.
        let _ = stream.set_nodelay(true);
        let accepting = options.security.accept(stream, Door::Shards);
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = self.ending.cancelled() => return,
        };
        let Some((stream, peer)) = accepted else {
            return;
        };
        self.peer = peer;
        let host = self.clone();
        let service = service_fn(move |request| {
            let host = host.clone();
            async move { Ok::<_, Infallible>(host.answer(request).await) }
        });
        let connection = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        // How it ended is told by the ends of its streams.
        tokio::select! {
            _ = &mut connection => return,
            () = self.ending.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            LINK => call::<FromWire, ToOrigin, A>(self, request).await,
            REPLICATE if !self.peer.is(Role::Backend) => self.denied("backend"),
            REPLICATE => call::<Envelope, Silence, A>(self, request).await,
            path if path.starts_with(inspect::SERVICE) && !self.peer.is(Role::ControlPlane) => {
                self.denied("replica of the control plane")
            }
            path if path.starts_with(inspect::SERVICE) => {
                let inspecting = InspectionServer::new(Inspecting(self.accept));
                let Ok(response) = { inspecting }.call(request).await;
                response
            }
            path => Status::unimplemented(path.to_owned()).into_http(),
        }
    }

    fn denied(&self, role: &str) -> Response<Body> {
        let problem = format!("{} is no {role}", self.peer);
        Status::permission_denied(problem).into_http()
    }
}

async fn call<R, W, A>(host: Host<A>, request: Request<Incoming>) -> Response<Body>
where
    R: Arriving<A>,
    W: Write,
    Host<A>: StreamingService<R, Response = W, Future: Send, ResponseStream: Send>,
    A: Accept,
{
    Grpc::new(Messages::<W, R>::new())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .streaming(host, request)
        .await
}

/// What arrives on streams of one kind.
trait Arriving<A>: Read {
    /// What the host is handed.
    type Inner: Send + 'static;
    /// What it answers.
    type Answer: Write;

    /// The shard that is meant; the first message of a stream names it.
    fn shard(&self) -> Option<ShardId>;

    /// Whether it may come from there.
    fn may_come_from(&self, peer: &Peer) -> bool;

    fn into_inner(self) -> Self::Inner;

    /// Both ends of the stream at the host; `None` for a shard that is not there.
    fn accept(host: &A, shard: ShardId) -> Option<Ends<Self::Inner, Self::Answer>>;
}

/// Where messages go, and where answers come from, if there are any.
type Ends<T, W> = (mpsc::Sender<T>, Option<mpsc::Receiver<W>>);

impl<A: Accept> Arriving<A> for FromWire {
    type Inner = catena_replicated::FromOrigin;
    type Answer = ToOrigin;

    fn shard(&self) -> Option<ShardId> {
        self.0
    }

    fn may_come_from(&self, peer: &Peer) -> bool {
        match &self.1 {
            catena_replicated::FromOrigin::Open { origin, .. } => peer.is(match origin {
                Origin::Gateway { .. } => Role::Gateway,
                Origin::Shard { .. } => Role::Backend,
            }),
            // Only an Open says who it is.
            _ => true,
        }
    }

    fn into_inner(self) -> Self::Inner {
        self.1
    }

    fn accept(host: &A, shard: ShardId) -> Option<Ends<Self::Inner, ToOrigin>> {
        let Accepted {
            from_origin,
            to_origin,
        } = host.link(shard)?;
        Some((from_origin, Some(to_origin)))
    }
}

impl<A: Accept> Arriving<A> for Envelope {
    type Inner = Envelope;
    type Answer = Silence;

    fn shard(&self) -> Option<ShardId> {
        Some(self.shard)
    }

    fn may_come_from(&self, peer: &Peer) -> bool {
        peer.is(Role::Backend)
    }

    fn into_inner(self) -> Envelope {
        self
    }

    fn accept(host: &A, shard: ShardId) -> Option<Ends<Envelope, Silence>> {
        Some((host.chain(shard)?, None))
    }
}

impl<A: Accept, R: Arriving<A>> StreamingService<R> for Host<A> {
    type Response = R::Answer;
    type ResponseStream = Answers<R::Answer>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let (opened, answers) = oneshot::channel();
        let (over, end) = oneshot::channel();
        let host = self.clone();
        // Apart from the answers: an origin that does not take them may still say something.
        tokio::spawn(host.stream(request.into_inner(), opened, over));
        ready(Ok(tonic::Response::new(Answers::new(answers, end))))
    }
}

impl<A: Accept> Host<A> {
    /// Carries what arrives on a stream until either side ends it, and then says why.
    async fn stream<R: Arriving<A>>(
        self,
        arriving: Streaming<R>,
        opened: oneshot::Sender<mpsc::Receiver<R::Answer>>,
        mut over: oneshot::Sender<Status>,
    ) {
        let end = tokio::select! {
            end = carry::<A, R>(&self, arriving, opened) => end,
            () = over.closed() => return,
            () = self.ending.cancelled() => Err(Status::unavailable("the server ends")),
        };
        if let Err(status) = end {
            // Nobody is left to hear of it otherwise.
            let _ = over.send(status);
        }
    }
}

/// `Ok` when either side has closed the stream.
async fn carry<A: Accept, R: Arriving<A>>(
    at: &Host<A>,
    mut arriving: Streaming<R>,
    opened: oneshot::Sender<mpsc::Receiver<R::Answer>>,
) -> Result<(), Status> {
    let Some(first) = arriving.message().await? else {
        return Ok(());
    };
    let shard = first
        .shard()
        .ok_or_else(|| Status::invalid_argument("the first message is no Open"))?;
    may_come_from(&first, &at.peer)?;
    let (host, answers) = R::accept(&at.accept, shard)
        .ok_or_else(|| Status::not_found(format!("shard {shard} is not here")))?;
    // For a stream without answers this keeps them from ending.
    let _silent = match answers {
        Some(answers) => {
            let _ = opened.send(answers);
            None
        }
        None => Some(opened),
    };
    let mut next = first;
    loop {
        if next.shard().is_some_and(|named| named != shard) {
            return Err(Status::invalid_argument("another shard"));
        }
        may_come_from(&next, &at.peer)?;
        if host.send(next.into_inner()).await.is_err() {
            return Ok(());
        }
        next = tokio::select! {
            message = arriving.message() => match message? {
                Some(message) => message,
                None => return Ok(()),
            },
            () = host.closed() => return Ok(()),
        };
    }
}

fn may_come_from<A: Accept, R: Arriving<A>>(message: &R, peer: &Peer) -> Result<(), Status> {
    if message.may_come_from(peer) {
        return Ok(());
    }
    let problem = format!("{peer} may not be who it says");
    Err(Status::permission_denied(problem))
}
