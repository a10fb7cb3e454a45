//! TLS between services: both sides show who they are, and what they may do depends on it.
//!
//! [`Security`] says how a process speaks, [`Security::connect`] and [`Security::accept`] make a [`Stream`] of a TCP
//! connection. Certificates and trust are read anew for each connection; sessions are not resumed, so that nobody
//! comes back on the strength of a certificate that has expired.

use std::{
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, ServerConfig, client::Resumption,
    crypto::aws_lc_rs::default_provider, pki_types::ServerName, server::NoServerSessionStorage,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tracing::warn;

use crate::{
    identity::{Identity, Role},
    seldom::Seldom,
    served::Served,
    trust::{ByFingerprint, Members, Trust},
};

/// How long a client may take to say who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients that may be at it at once; the others are turned away, and come again.
const HANDSHAKES_MAX: usize = 512;
/// Bytes that wait to be encrypted: as much as a connection of a chain writes at once, so that batches stay together.
const BUFFER_BYTES: usize = 512 * 1024;
/// Who is turned away is told of once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Nobody looks at the name: see [`Members`].
const SERVER_NAME: &str = "catena";
const ALPN: &[u8] = b"h2";

/// How a process speaks to others of its cluster.
#[derive(Debug, Clone)]
pub enum Security {
    /// In plain text, to whoever is there.
    Plain,
    /// TLS, and both sides show certificates.
    Mutual(Internal),
    /// TLS to a control plane whose CA is known by its fingerprint; to get a certificate, and nothing else.
    Joining(Joining),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Nobody was asked: traffic is plain.
    Anyone,
    /// Somebody without a certificate.
    Stranger,
    Member(Identity),
}

impl Peer {
    /// Whether it may play this role.
    pub fn is(&self, role: Role) -> bool {
        match self {
            Peer::Anyone => true,
            Peer::Stranger => false,
            Peer::Member(identity) => identity.role == role,
        }
    }

    /// Whether it may play this role under this name.
    pub fn is_named(&self, role: Role, name: &str) -> bool {
        match self {
            Peer::Member(identity) => identity.role == role && identity.name == name,
            _ => self.is(role),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Anyone => f.write_str("anyone"),
            Peer::Stranger => f.write_str("somebody without a certificate"),
            Peer::Member(identity) => identity.fmt(f),
        }
    }
}

/// Whom a port lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// All members: the port of a backend.
    Shards,
    /// All members, and strangers who want to join: the port of a control plane.
    ControlPlane,
}

/// A process's certificate, and whom it trusts. Cheap to clone; both may change while it runs.
#[derive(Debug, Clone)]
pub struct Internal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: Identity,
    served: Arc<Served>,
    trust: Arc<Trust>,
    to_backend: Arc<ClientConfig>,
    to_control_plane: Arc<ClientConfig>,
    shards: Arc<ServerConfig>,
    control_plane: Arc<ServerConfig>,
    handshakes: Semaphore,
    turned_away: Seldom,
}

/// See [`Security::Joining`].
#[derive(Debug, Clone)]
pub struct Joining(Arc<ClientConfig>);

impl Internal {
    /// Speaks as `me`: what `served` shows must say so. Trusts `trust` to say who others are.
    ///
    /// # Errors
    /// None that depends on the arguments.
    pub fn new(
        me: Identity,
        served: Arc<Served>,
        trust: Arc<Trust>,
    ) -> Result<Internal, rustls::Error> {
        let provider = Arc::new(default_provider());
        let members = |roles, strangers| {
            Arc::new(Members {
                trust: trust.clone(),
                cluster: me.cluster.clone(),
                roles,
                strangers,
                algorithms: provider.signature_verification_algorithms,
            })
        };
        let client = |roles| {
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(members(roles, false))
                .with_client_cert_resolver(served.clone());
            config.resumption = Resumption::disabled();
            config.alpn_protocols = vec![ALPN.to_vec()];
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        let server = |roles, strangers| {
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(members(roles, strangers))
                .with_cert_resolver(served.clone());
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config.alpn_protocols = vec![ALPN.to_vec()];
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        Ok(Internal(Arc::new(Inner {
            to_backend: client(&[Role::Backend])?,
            to_control_plane: client(&[Role::ControlPlane])?,
            shards: server(&Role::ALL, false)?,
            control_plane: server(&Role::ALL, true)?,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            turned_away: Seldom::new(TOLD_EVERY),
            me,
            served,
            trust,
        })))
    }

    /// Who we are.
    pub fn me(&self) -> &Identity {
        &self.0.me
    }

    /// What we show.
    pub fn served(&self) -> &Arc<Served> {
        &self.0.served
    }

    /// Whom we trust.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.0.trust
    }

    async fn accept(&self, tcp: TcpStream, door: Door) -> Result<(Stream, Peer), Refusal> {
        let Ok(_place) = self.0.handshakes.try_acquire() else {
            return Err(Refusal::Told("too many connect at once".to_owned()));
        };
        if self.0.served.current().is_none() {
            let problem = "this process has no certificate yet".to_owned();
            return Err(Refusal::Told(problem));
        }
        let config = match door {
            Door::Shards => &self.0.shards,
            Door::ControlPlane => &self.0.control_plane,
        };
        let accepting = TlsAcceptor::from(config.clone()).accept(tcp);
        let accepted = timeout(HANDSHAKE_TIMEOUT, accepting).await;
        let mut tls = accepted
            .map_err(|_| Refusal::Told("it does not say who it is".to_owned()))?
            .map_err(|error| explain(&error))?;
        let (_, connection) = tls.get_mut();
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let peer = match shown.map(|certificate| Identity::of(certificate)) {
            None => Peer::Stranger,
            Some(Ok(identity)) => Peer::Member(identity),
            Some(Err(error)) => return Err(Refusal::Told(error.to_string())),
        };
        Ok((Stream::Tls(Box::new(TlsStream::Server(tls))), peer))
    }
}

impl Joining {
    /// To the control plane of `cluster`, whose CA has this fingerprint.
    ///
    /// # Errors
    /// None that depends on the arguments.
    pub fn new(cluster: String, fingerprint: [u8; 32]) -> Result<Joining, rustls::Error> {
        let provider = Arc::new(default_provider());
        let verifier = ByFingerprint {
            fingerprint,
            cluster,
            algorithms: provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Joining(Arc::new(config)))
    }
}

impl Security {
    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Security::Plain)
    }

    /// Speaks to a process of this role at the other end of `tcp`. That it refuses us shows only when something is read.
    ///
    /// # Errors
    /// What is wrong with the other side, for people.
    pub async fn connect(&self, tcp: TcpStream, to: Role) -> io::Result<Stream> {
        let config = match self {
            Security::Plain => return Ok(Stream::Plain(tcp)),
            Security::Mutual(internal) => {
                if internal.0.served.current().is_none() {
                    return Err(io::Error::other("this process has no certificate yet"));
                }
                match to {
                    Role::ControlPlane => &internal.0.to_control_plane,
                    Role::Backend | Role::Gateway => &internal.0.to_backend,
                }
            }
            Security::Joining(Joining(config)) => config,
        };
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(config.clone()).connect(name, tcp);
        let connected = timeout(HANDSHAKE_TIMEOUT, connecting).await;
        let mut tls = connected
            .map_err(|_| io::Error::new(ErrorKind::TimedOut, "it does not speak TLS"))?
            .map_err(|error| match explain(&error) {
                Refusal::Told(problem) => io::Error::new(error.kind(), problem),
                Refusal::Untold => error,
            })?;
        tls.get_mut().1.set_buffer_limit(Some(BUFFER_BYTES));
        Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
    }

    /// Finds out who has connected. `None`: he is turned away, and the log says so once in a while. Takes as long as the
    /// client does, up to five seconds: not to be waited for before the next one is taken.
    pub async fn accept(&self, tcp: TcpStream, door: Door) -> Option<(Stream, Peer)> {
        let internal = match self {
            Security::Plain => return Some((Stream::Plain(tcp), Peer::Anyone)),
            Security::Mutual(internal) => internal,
            Security::Joining(_) => return None,
        };
        let from = tcp.peer_addr();
        match internal.accept(tcp, door).await {
            Ok(accepted) => Some(accepted),
            Err(Refusal::Untold) => None,
            Err(Refusal::Told(reason)) => {
                if let Some(left_out) = internal.0.turned_away.ask(Instant::now()) {
                    let from = from.map(|from| from.to_string()).unwrap_or_default();
                    warn!(
                        from,
                        reason, left_out, "a connection is refused: see docs/internal-traffic.md"
                    );
                }
                None
            }
        }
    }
}

/// Why somebody is turned away.
enum Refusal {
    /// He only looked whether somebody is there.
    Untold,
    Told(String),
}

fn explain(error: &io::Error) -> Refusal {
    use rustls::Error;
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>());
    let Some(tls) = tls else {
        return match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Refusal::Untold
            }
            _ => Refusal::Told(error.to_string()),
        };
    };
    Refusal::Told(match tls {
        Error::InvalidMessage(_) => {
            "it does not speak TLS: was it started with --internal-tls off?".to_owned()
        }
        Error::NoCertificatesPresented => {
            "it shows no certificate: it needs one of this cluster, or a join token".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired: it needs a new one, or a join token".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate was issued by a CA that is not this cluster's".to_owned()
        }
        Error::AlertReceived(alert) => format!("it does not accept our certificate: {alert:?}"),
        other => other.to_string(),
    })
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Makes connections to processes of one role, for HTTP clients that are told where by a URI. Its scheme is not looked at.
#[derive(Debug, Clone)]
pub struct Connector {
    security: Security,
    to: Role,
}

impl Connector {
    pub fn new(security: Security, to: Role) -> Connector {
        Connector { security, to }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { security, to } = self.clone();
        Box::pin(async move {
            let address = uri.authority().map(|authority| authority.as_str());
            let tcp = TcpStream::connect(address.unwrap_or_default()).await?;
            tcp.set_nodelay(true)?;
            security.connect(tcp, to).await.map(TokioIo::new)
        })
    }
}
