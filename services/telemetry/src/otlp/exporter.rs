//! The way to a collector: gRPC, or protobuf over HTTP.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, buf::Chain};
use catena_resources::broker::OtlpProtocol;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header, http::uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{
    Status,
    client::Grpc,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::ProstDecoder;

use super::{Target, spans};
use crate::limits::PUSH_TIMEOUT;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where spans are taken by gRPC.
const TRACES_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What keeps a request from being taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no address of a collector: use http://HOST:PORT or https://HOST:PORT")]
    Address(String),
    #[error("the header {0:?} cannot be sent")]
    Header(String),
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(#[from] Status),
    #[error("no answer within {} s", PUSH_TIMEOUT.as_secs())]
    Silent,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP status {0}")]
    Status(u16),
}

/// What HTTP carries.
type Body = Full<Chain<Bytes, Bytes>>;

/// The way, made when it is first needed.
pub struct Exporter {
    target: Target,
    channel: Option<Channel>,
    /// The connection of HTTP, between two requests.
    connection: Option<Connection>,
}

impl Exporter {
    pub fn new(target: Target) -> Exporter {
        Exporter {
            target,
            channel: None,
            connection: None,
        }
    }

    pub async fn metrics(&mut self, request: ExportMetricsServiceRequest) -> Result<(), Error> {
        match self.target.protocol {
            OtlpProtocol::Grpc => {
                let request = self.request(request)?;
                let mut client = MetricsServiceClient::new(self.channel()?);
                client.export(request).await?;
                Ok(())
            }
            OtlpProtocol::Http => {
                let request = spans::Request::whole(request.encode_to_vec());
                self.post("/v1/metrics", request).await
            }
        }
    }

    pub async fn spans(&mut self, request: spans::Request) -> Result<(), Error> {
        match self.target.protocol {
            OtlpProtocol::Grpc => {
                let request = self.request(request)?;
                let mut client = Grpc::new(self.channel()?);
                client.ready().await?;
                let path = PathAndQuery::from_static(TRACES_METHOD);
                client.unary(request, path, Encoded).await?;
                Ok(())
            }
            OtlpProtocol::Http => self.post("/v1/traces", request).await,
        }
    }

    fn request<T>(&self, message: T) -> Result<tonic::Request<T>, Error> {
        let mut request = tonic::Request::new(message);
        for (key, value) in &self.target.headers {
            let wrong = || Error::Header(key.clone());
            let name = AsciiMetadataKey::from_bytes(key.to_ascii_lowercase().as_bytes());
            let value = AsciiMetadataValue::try_from(value.as_str());
            request
                .metadata_mut()
                .insert(name.map_err(|_| wrong())?, value.map_err(|_| wrong())?);
        }
        Ok(request)
    }

    fn channel(&mut self) -> Result<Channel, Error> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let endpoint = &self.target.endpoint;
        let address = || Error::Address(endpoint.clone());
        let mut way = Endpoint::from_shared(endpoint.clone())
            .map_err(|_| address())?
            .connect_timeout(PUSH_TIMEOUT)
            .timeout(PUSH_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(30));
        if endpoint.starts_with("https://") {
            way = way.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let channel = way.connect_lazy();
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    async fn post(&mut self, path: &str, body: spans::Request) -> Result<(), Error> {
        let posted = tokio::time::timeout(PUSH_TIMEOUT, self.try_post(path, body));
        posted.await.map_err(|_| Error::Silent)?
    }

    async fn try_post(&mut self, path: &str, body: spans::Request) -> Result<(), Error> {
        // It is put back when it has answered: one that a collector has left meanwhile is no reason to tell of it.
        if let Some(mut connection) = self.connection.take()
            && let Ok(status) = connection.send(self.posted(path, body.clone())?).await
        {
            return self.answered(status, connection);
        }
        let mut connection = self.connect().await?;
        let status = connection.send(self.posted(path, body)?).await?;
        self.answered(status, connection)
    }

    fn answered(&mut self, status: StatusCode, connection: Connection) -> Result<(), Error> {
        self.connection = Some(connection);
        match status.is_success() {
            true => Ok(()),
            false => Err(Error::Status(status.as_u16())),
        }
    }

    fn uri(&self) -> Result<Uri, Error> {
        let endpoint = &self.target.endpoint;
        let uri: Option<Uri> = endpoint.parse().ok();
        uri.filter(|uri| uri.authority().is_some())
            .ok_or_else(|| Error::Address(endpoint.clone()))
    }

    fn posted(&self, path: &str, body: spans::Request) -> Result<Request<Body>, Error> {
        let uri = self.uri()?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let base = uri.path().trim_end_matches('/');
        let mut request = Request::post(format!("{base}{path}"))
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf");
        for (key, value) in &self.target.headers {
            request = request.header(key, value);
        }
        let request = request.body(Full::new(body.bytes()));
        request.map_err(|error| Error::Header(error.to_string()))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let uri = self.uri()?;
        let host = uri.host().unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, port)).await?;
        if !is_tls {
            return Connection::over(socket).await;
        }
        let name = rustls_pki_types::ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Error::Address(self.target.endpoint.clone()))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls()?));
        Connection::over(connector.connect(name, socket).await?).await
    }
}

/// How spans go over gRPC: they are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = spans::Request;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Encoded;
    type Decoder = ProstDecoder<ExportTraceServiceResponse>;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

impl Encoder for Encoded {
    type Item = spans::Request;
    type Error = Status;

    fn encode(&mut self, request: spans::Request, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = request.bytes();
        out.reserve(bytes.remaining());
        out.put(bytes);
        Ok(())
    }
}

/// Who is believed to be a collector: whom the system believes.
fn tls() -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    // One that cannot be read is not believed.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection of HTTP to a collector. It is closed when this is dropped.
struct Connection {
    sender: http1::SendRequest<Body>,
    driven: JoinHandle<()>,
}

impl Connection {
    async fn over<S>(stream: S) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ended, the next request tells.
        let driven = tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Connection { sender, driven })
    }

    async fn send(&mut self, request: Request<Body>) -> Result<StatusCode, Error> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        // What it says beside is for nobody.
        let _ = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok(status)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driven.abort();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        Registry,
        otlp::{Identity, convert},
    };

    pub fn target(endpoint: String, protocol: OtlpProtocol) -> Target {
        Target {
            endpoint,
            protocol,
            headers: vec![("X-Key".to_owned(), "of-us".to_owned())],
            interval: Duration::from_secs(1),
        }
    }

    /// Reads a request, head and body, and answers it.
    pub async fn answer(socket: &mut TcpStream, status: u16) -> (String, Vec<u8>) {
        let mut got = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let read = socket.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed within {got:?}");
            got.extend_from_slice(&piece[..read]);
            let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if got.len() >= end + 4 + length {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                return (head, got.split_off(end + 4));
            }
        }
    }

    // Half of all collectors are reached in this way alone; what they get must be what they know.
    #[tokio::test]
    async fn metrics_are_posted_as_protobuf_with_the_headers_that_were_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            answer(&mut socket, 200).await
        });
        let endpoint = format!("http://{address}/base/");
        let mut exporter = Exporter::new(target(endpoint, OtlpProtocol::Http));
        let registry = Registry::default();
        let request = convert::metrics(&registry.collect(), &Identity::of("test", "1"));
        exporter.metrics(request.clone()).await.unwrap();
        let (head, body) = server.await.unwrap();
        assert!(head.starts_with("post /base/v1/metrics http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        assert!(head.contains("x-key: of-us"), "{head}");
        assert_eq!(
            ExportMetricsServiceRequest::decode(&*body).unwrap(),
            request
        );
    }

    // A connection for each request would cost more than what it carries; and a collector that closes one now and then, as all
    // do, would be told of as one that is away.
    #[tokio::test]
    async fn a_connection_serves_until_the_collector_leaves_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut socket, _) = listener.accept().await.unwrap();
                answer(&mut socket, 200).await;
                answer(&mut socket, 200).await;
            }
        });
        let mut exporter = Exporter::new(target(endpoint, OtlpProtocol::Http));
        let some = convert::metrics(&Registry::default().collect(), &Identity::of("test", "1"));
        for _ in 0..4 {
            exporter.metrics(some.clone()).await.unwrap();
        }
        server.await.unwrap();
    }

    // A collector that is away must be an error to tell of, and not the end of the task that sends.
    #[tokio::test]
    async fn a_collector_that_is_away_is_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
            let mut exporter = Exporter::new(target(endpoint.clone(), protocol));
            let sent = exporter
                .metrics(ExportMetricsServiceRequest::default())
                .await;
            assert!(sent.is_err());
        }
        let mut exporter = Exporter::new(target("no address".to_owned(), OtlpProtocol::Http));
        let sent = exporter
            .metrics(ExportMetricsServiceRequest::default())
            .await;
        assert!(matches!(sent, Err(Error::Address(_))), "{sent:?}");
    }
}
