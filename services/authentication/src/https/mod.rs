//! Servers that are asked, over HTTPS and nothing else.
//!
//! Every call ends within [`CALL_TIME`], and a server has at most [`CONNECTIONS_MAX`] connections of ours and [`WAITING_MAX`] calls
//! that wait for one. So a server that hangs costs a bounded number of sockets and bounded memory, however many clients come.
//! One that is known to be away is not asked for a second at a time.

mod breaker;
mod connection;
mod endpoint;
pub mod tls;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use rustls::ClientConfig;
use tokio::{
    sync::Semaphore,
    time::{Instant as Moment, timeout_at},
};
use tracing::{info, warn};

use crate::{
    limits::{CALL_TIME, CONNECTIONS_MAX, IDLE_TIME, WAITING_MAX},
    renewed::Made,
};

use breaker::Breaker;
use connection::Connection;
use tls::Material;

pub use connection::Answer;
pub use endpoint::Endpoint;

/// A server that is asked.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    /// What the TLS was made of.
    material: Option<Material>,
    /// One for each call that has a connection.
    turns: Semaphore,
    /// One for each call.
    places: Semaphore,
    /// Connections that nobody uses. With those in use they are never more than there are turns, because a new one is only made
    /// where there is none.
    idle: Mutex<Vec<Connection>>,
    breaker: Mutex<Breaker>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server did not answer, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// Too many calls wait for it already.
    #[error("too many calls wait for {0} already")]
    Busy(String),
}

impl Server {
    pub fn new(endpoint: Endpoint, tls: Arc<ClientConfig>) -> Server {
        Server {
            endpoint,
            tls,
            material: None,
            turns: Semaphore::new(CONNECTIONS_MAX),
            places: Semaphore::new(CONNECTIONS_MAX + WAITING_MAX),
            idle: Mutex::default(),
            breaker: Mutex::default(),
        }
    }

    /// The server at `url`, or `last` where nothing of its TLS has changed: its connections stay.
    ///
    /// # Errors
    /// What of it is broken or missing.
    pub fn renewed(
        last: Option<&Arc<Server>>,
        url: &str,
        material: Material,
    ) -> Result<Made<Server>, String> {
        if let Some(last) = last.filter(|last| last.material.as_ref() == Some(&material)) {
            let value = last.clone();
            return Ok(Made {
                value,
                problem: None,
            });
        }
        let mut server = Server::new(Endpoint::parse(url)?, material.config()?);
        server.material = Some(material);
        Ok(Made::whole(server))
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and takes the whole answer, within [`CALL_TIME`]. The request names the path; the host is added.
    ///
    /// # Errors
    /// At once where the server is known to be away, or too many wait.
    pub async fn call(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let deadline = Moment::now() + CALL_TIME;
        let busy = || Failure::Busy(self.endpoint.to_string());
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        if !lock(&self.breaker).admits(Instant::now(), CALL_TIME) {
            return Err(self.away());
        }
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.endpoint.host_header());
        let called = timeout_at(deadline, self.call_in_turn(&request)).await;
        let called =
            called.unwrap_or_else(|_| Err(format!("no answer within {} s", CALL_TIME.as_secs())));
        match called {
            Ok(Some(answer)) => {
                if lock(&self.breaker).answered() {
                    info!(server = %self.endpoint, "answers again");
                }
                Ok(answer)
            }
            Ok(None) => Err(self.away()),
            Err(why) => {
                if lock(&self.breaker).failed(Instant::now()) {
                    warn!(server = %self.endpoint, why, "does not answer");
                }
                Err(Failure::Unreachable(format!("{}: {why}", self.endpoint)))
            }
        }
    }

    /// `None`: while this waited for its turn, others found that the server is away.
    async fn call_in_turn(&self, request: &Request<Full<Bytes>>) -> Result<Option<Answer>, String> {
        let waits = self.turns.available_permits() == 0;
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        if waits && lock(&self.breaker).is_open(Instant::now()) {
            return Ok(None);
        }
        if let Some(mut connection) = self.idle_one() {
            // The server may have closed it just now. Asking it again does no harm: nothing is changed by it.
            if let Ok(answer) = connection.call(request.clone()).await {
                self.keep(connection);
                return Ok(Some(answer));
            }
        }
        let Endpoint {
            host, port, name, ..
        } = &self.endpoint;
        let opened = Connection::open(host, *port, name, self.tls.clone()).await;
        let mut connection = opened.map_err(|error| error.to_string())?;
        let answer = connection
            .call(request.clone())
            .await
            .map_err(|error| error.to_string())?;
        self.keep(connection);
        Ok(Some(answer))
    }

    fn idle_one(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| connection.is_open() && connection.used.elapsed() < IDLE_TIME);
        idle.pop()
    }

    fn keep(&self, connection: Connection) {
        if connection.is_open() {
            lock(&self.idle).push(connection);
        }
    }

    fn away(&self) -> Failure {
        Failure::Unreachable(format!("{} has not answered lately", self.endpoint))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
