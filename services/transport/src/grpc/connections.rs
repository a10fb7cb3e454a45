//! HTTP/2 connections of one thread, one per address, made when they are first needed.

use std::{
    collections::HashMap,
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use catena_pki::{Role, Stream};
use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::OnceCell, time::timeout};
use tonic::{body::Body, client::Grpc};
use tower_service::Service;

use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, Options, SEND_BUFFER_BYTES,
    STREAM_WINDOW_BYTES,
};
use crate::carry::DialError;

/// Connections by address. Those that ask for the same address while it is being called wait for the one call.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    options: Options,
    open: Arc<Mutex<HashMap<String, Arc<OnceCell<Connection>>>>>,
}

impl Connections {
    pub(super) fn new(options: Options) -> Connections {
        Connections {
            options,
            open: Arc::default(),
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// What calls the services at `address`, and whether the connection was there before: then nobody knows yet whether
    /// it still is.
    pub(super) async fn to(&self, address: &str) -> Result<(Grpc<Connection>, bool), DialError> {
        let (connection, origin, was_there) = self.connection(address).await?;
        let grpc = Grpc::with_origin(connection, origin)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok((grpc, was_there))
    }

    /// The same, for a generated client, with what its calls begin with.
    pub(super) async fn connection(
        &self,
        address: &str,
    ) -> Result<(Connection, Uri, bool), DialError> {
        let origin = Uri::builder()
            .scheme("http")
            .authority(address)
            .path_and_query("/")
            .build()
            .map_err(|error| DialError::Failed(format!("{address}: {error}")))?;
        let place = self.place(address);
        let was_there = place.initialized();
        let connection = place.get_or_try_init(|| self.connect(address)).await?;
        Ok((connection.clone(), origin, was_there))
    }

    /// Makes another connection for the next call to `address`. Streams of the present one are left alone.
    pub(super) fn renew(&self, address: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(address);
    }

    /// The place of the connection to `address`. Those of connections that are over are cleared away.
    fn place(&self, address: &str) -> Arc<OnceCell<Connection>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, place| match place.get() {
            Some(connection) => !connection.0.is_closed(),
            None => Arc::strong_count(place) > 1,
        });
        open.entry(address.to_owned()).or_default().clone()
    }

    async fn connect(&self, address: &str) -> Result<Connection, DialError> {
        let failed = |error: String| DialError::Failed(format!("{address}: {error}"));
        let stream = timeout(self.options.connect_timeout, TcpStream::connect(address))
            .await
            .map_err(|_| failed("no answer".to_owned()))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    DialError::Refused(format!("{address}: {error}"))
                }
                _ => failed(error.to_string()),
            })?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.to_string()))?;
        let securing = self.options.security.connect(stream, Role::Backend);
        let stream: Stream = timeout(self.options.connect_timeout, securing)
            .await
            .map_err(|_| failed("it does not say who it is".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let handshake = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(self.options.keep_alive_interval)
            .keep_alive_timeout(self.options.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
        // Its streams tell how it ended.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection(sender))
    }
}

/// A connection as tonic wants it.
#[derive(Debug, Clone)]
pub(super) struct Connection(SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Says what went wrong, with what lay behind it.
pub(super) fn explain(status: &tonic::Status) -> String {
    let mut text = format!("{}: {}", status.code(), status.message());
    let mut cause = status.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
