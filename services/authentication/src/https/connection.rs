//! One connection to a server.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

use crate::limits::{ANSWER_BYTES_MAX, READY_TIME};

/// A connection to a server. Closed when it is dropped, whatever it is waiting for.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// When it was last used.
    pub used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl Connection {
    /// Connects, with TLS.
    pub async fn open(
        host: &str,
        port: u16,
        name: &ServerName<'static>,
        tls: Arc<ClientConfig>,
    ) -> Result<Connection, Error> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(tls)
            .connect(name.clone(), stream)
            .await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // What goes wrong is told to who waits for the answer.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            driver,
            used: Instant::now(),
        })
    }

    /// Whether another request may go over it.
    pub fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request and takes all of the answer.
    pub async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = read(answer.into_body()).await?;
        self.used = Instant::now();
        // The driver has yet to see that the answer is over. Where that takes its time, the connection is not used again.
        let _ = timeout(READY_TIME, self.sender.ready()).await;
        Ok(Answer { status, body })
    }
}

/// All of a body, as long as it is not too large.
async fn read(mut body: Incoming) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if all.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}
