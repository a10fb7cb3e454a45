//! The port at which the process says how it is: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes, and `/leavez` for
//! whoever is about to end it.
//!
//! Whoever reaches the port may ask. What it tells are numbers and names of shards, never topics, clients or payloads. It is
//! served by the process's main thread, beside and not on those that carry messages.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tracing::{debug, error, info, warn};

use crate::{
    Health, Registry,
    limits::{CONNECTION_MAX, CONNECTIONS_MAX, PORT_RETRY},
    process, prometheus,
};

/// How long a connection may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Clone)]
pub struct Served {
    registry: Registry,
    health: Health,
    hostname: Arc<str>,
}

impl Served {
    /// What `registry` and `health` say.
    pub fn new(registry: Registry, health: Health) -> Served {
        Served {
            registry,
            health,
            hostname: process::hostname().into(),
        }
    }

    /// Serves at `listener`, for ever.
    pub async fn run(self, listener: TcpListener) {
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    debug!(%error, "the port of metrics gives no socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(seat) = seats.clone().try_acquire_owned() else {
                continue;
            };
            let served = self.clone();
            tokio::spawn(async move {
                // Whoever asks in intervals may stay for some of them, and comes again then.
                let _ = tokio::time::timeout(CONNECTION_MAX, served.connection(socket)).await;
                drop(seat);
            });
        }
    }

    async fn connection(&self, socket: TcpStream) {
        let answer = |request| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(socket), service_fn(answer))
            .await;
        if let Err(error) = served {
            debug!(%error, "a connection to the port of metrics");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "ask by GET\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let metrics = prometheus::text(&self.registry.collect(), &self.hostname);
                response(StatusCode::OK, prometheus::CONTENT_TYPE, metrics)
            }
            "/healthz" => text(StatusCode::OK, "live\n"),
            "/readyz" => match self.health.ready() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(missing) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready\n{missing}\n"),
                ),
            },
            "/leavez" => match self.health.may_leave() {
                Ok(()) => text(StatusCode::OK, "may leave\n"),
                Err(needed) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("needed\n{needed}\n"),
                ),
            },
            "/" => text(StatusCode::OK, "/metrics\n/healthz\n/readyz\n/leavez\n"),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz, /readyz and /leavez\n",
            ),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A port that is named for this process. Nothing else is tried: it is there or the process does not start.
///
/// # Errors
/// As the system says it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves at whatever address `wanted` says, `None` being nowhere, and follows it. An address that cannot be had is tried again
/// in intervals: the process goes on without.
pub async fn follow(served: Served, mut wanted: watch::Receiver<Option<SocketAddr>>) -> Infallible {
    let mut told = None;
    loop {
        let address = *wanted.borrow_and_update();
        let attempt = async {
            let Some(address) = address else {
                return std::future::pending().await;
            };
            match bind(address).await {
                Ok(listener) => {
                    info!(%address, "metrics and health are served");
                    served.clone().run(listener).await;
                }
                Err(source) => {
                    if told != Some(address) {
                        told = Some(address);
                        tell(address, &source);
                    }
                    tokio::time::sleep(PORT_RETRY).await;
                }
            }
        };
        tokio::select! {
            () = attempt => {}
            changed = wanted.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}

fn tell(address: SocketAddr, source: &io::Error) {
    let advice = "give each process on a host a port of its own: --metrics-address ADDR:PORT, or --metrics-address off";
    if source.kind() == io::ErrorKind::AddrInUse {
        warn!(%address, advice, "no metrics and no health: another process has their port");
    } else {
        error!(%address, %source, advice, "no metrics and no health: their port cannot be opened");
    }
}
