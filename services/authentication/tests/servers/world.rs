//! A directory of secrets, a CA, and HTTPS servers that behave as they are told.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use catena_authentication::{Authenticator, Credentials, Kubernetes, Means, Verdict};
use catena_resources::{Attributes, Spec};
use catena_secrets::Secrets;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A directory of secrets, and what is made of it.
pub struct World {
    pub directory: tempfile::TempDir,
    pub secrets: Secrets,
    pub means: Arc<Means>,
}

impl World {
    pub fn new() -> World {
        World::with(|_| None)
    }

    /// With a Kubernetes API.
    pub fn with(kubernetes: impl FnOnce(&World) -> Option<Kubernetes>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(Some(directory.path().join("secrets")));
        let means = Arc::new(Means::new(secrets.clone(), None));
        let mut world = World {
            directory,
            secrets,
            means,
        };
        let kubernetes = kubernetes(&world);
        world.means = Arc::new(Means::new(world.secrets.clone(), kubernetes));
        world
    }

    pub fn put(&self, name: &str, key: &str, value: impl AsRef<[u8]>) {
        self.secrets.put(name, key, value.as_ref()).unwrap();
    }

    /// The authenticator of a resource with these methods, in YAML: a list.
    pub fn authenticator(&self, methods: &str) -> Arc<Authenticator> {
        let methods = methods.replace('\n', "\n    ");
        let manifest = format!(
            "apiVersion: catena.dev/v1\nkind: BrokerAuthentication\nmetadata:\n  name: test\nspec:\n  authenticationMethods:\n    {methods}\n"
        );
        let resources = catena_resources::parse(&manifest).unwrap();
        let Spec::BrokerAuthentication(resource) = &resources[0].spec else {
            panic!("{resources:?}");
        };
        Authenticator::new("test", resource, self.means.clone())
    }
}

pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    pub fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &*self.0).unwrap().pem(), key)
    }
}

/// What a server was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a server does.
#[derive(Debug, Clone)]
pub enum Does {
    Answers(u16, String),
    /// It takes the request and says nothing more.
    Hangs,
    /// A body without end.
    Floods,
    /// A byte of the body now and then.
    Trickles,
}

impl Does {
    pub fn json(status: u16, body: serde_json::Value) -> Does {
        Does::Answers(status, body.to_string())
    }
}

/// An HTTPS server.
pub struct Web {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that were made.
    pub made: Arc<AtomicUsize>,
}

impl Web {
    pub async fn start(ca: &Ca, does: impl Fn(&Seen) -> Does + Send + Sync + 'static) -> Web {
        Web::demanding(ca, None, does).await
    }

    /// One that demands a client certificate of `clients`.
    pub async fn demanding(
        ca: &Ca,
        clients: Option<&Ca>,
        does: impl Fn(&Seen) -> Does + Send + Sync + 'static,
    ) -> Web {
        let (certificate, key) = ca.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from(pem(&certificate))];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from(pem(&clients.pem())))
                    .unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                config.with_client_cert_verifier(verifier)
            }
            None => config.with_no_client_auth(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
        let web = Web {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            made: Arc::default(),
        };
        let does = Arc::new(does);
        let (seen, made) = (web.seen.clone(), web.made.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                made.fetch_add(1, Ordering::SeqCst);
                let (acceptor, does, seen) = (acceptor.clone(), does.clone(), seen.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let service = service_fn(|request| serve(request, &*does, &seen));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    }
                });
            }
        });
        web
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    request: Request<Incoming>,
    does: &(dyn Fn(&Seen) -> Does + Send + Sync),
    seen: &Mutex<Vec<Seen>>,
) -> Result<Response<BoxBody<Bytes, std::convert::Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let asked = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let does = does(&asked);
    seen.lock().unwrap().push(asked);
    let (status, body) = match does {
        Does::Answers(status, body) => (status, Full::new(Bytes::from(body)).boxed()),
        Does::Hangs => std::future::pending().await,
        Does::Floods => (200, Endless(None).boxed()),
        Does::Trickles => (
            200,
            Endless(Some(Box::pin(tokio::time::sleep(Duration::ZERO)))).boxed(),
        ),
    };
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// A body without end: as fast as it is taken, or a byte now and then.
struct Endless(Option<Pin<Box<tokio::time::Sleep>>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 16_384])))));
        };
        std::task::ready!(sleep.as_mut().poll(context));
        let next = tokio::time::Instant::now() + Duration::from_millis(100);
        sleep.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

pub fn pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(text.as_bytes())
        .unwrap()
        .to_vec()
}

pub fn login(username: &str, password: &str) -> Credentials {
    Credentials {
        username: Some(username.into()),
        password: Some(Bytes::copy_from_slice(password.as_bytes())),
        ..Credentials::default()
    }
}

pub fn enhanced(method: &str, data: &str) -> Credentials {
    Credentials {
        method: Some(method.into()),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        ..Credentials::default()
    }
}

pub fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The reason code of a refusal.
pub fn refused(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Refused { reason, .. } => reason.as_u8(),
        other => panic!("not refused: {other:?}"),
    }
}
