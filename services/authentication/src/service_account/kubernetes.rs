//! The Kubernetes API: where it is, how we know it, and who we are to it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use catena_secrets::Secret;
use http_body_util::Full;
use hyper::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};

use crate::https::{Answer, Endpoint, Failure, Server, tls};

/// How often our own token and the CA are read again: Kubernetes renews them long before they end.
const REREAD: Duration = Duration::from_secs(30);

/// Where every pod has the files of its service account.
const OF_PODS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the Kubernetes API is, and what we come to it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// `https://HOST:PORT`.
    pub endpoint: String,
    /// A file with our own token; read again when it is 30 s old.
    pub token: PathBuf,
    /// A PEM file with the CAs of the API; read again with it.
    pub authorities: PathBuf,
}

impl Kubernetes {
    /// At that URL; what is not said of files is where every pod has them.
    ///
    /// # Errors
    /// A URL that is none, is not `https://`, or has more than a host and a port.
    pub fn at(
        endpoint: String,
        token: Option<PathBuf>,
        authorities: Option<PathBuf>,
    ) -> Result<Kubernetes, String> {
        let place = Endpoint::parse(&endpoint)?;
        if place.path != "/" || place.query.is_some() {
            return Err(format!("{endpoint:?} has a path, which no API has"));
        }
        let of_pods = |name: &str| PathBuf::from(OF_PODS).join(name);
        Ok(Kubernetes {
            endpoint,
            token: token.unwrap_or_else(|| of_pods("token")),
            authorities: authorities.unwrap_or_else(|| of_pods("ca.crt")),
        })
    }

    /// The URL where every pod finds it; `None`: this is no pod.
    pub fn of_this_pod() -> Option<String> {
        let host = env::var("KUBERNETES_SERVICE_HOST").ok()?;
        let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Some(format!("https://{host}:{port}"))
    }
}

/// The API, as it is asked.
#[derive(Debug)]
pub struct Api {
    place: Kubernetes,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    at: Instant,
    token: Secret,
    authorities: Secret,
    server: Arc<Server>,
}

impl Api {
    pub fn new(place: Kubernetes) -> Api {
        let known = Mutex::default();
        Api { place, known }
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Request::get(path).body(Full::default())).await
    }

    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        self.call(Request::post(path).body(Full::new(Bytes::from(body))))
            .await
    }

    async fn call(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, Failure> {
        let mut request = request.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let known = self.known().await.map_err(Failure::Unreachable)?;
        let bearer = [
            b"Bearer ",
            known.token.as_text().unwrap_or_default().as_bytes(),
        ]
        .concat();
        let bearer = HeaderValue::from_bytes(&bearer);
        let mut bearer =
            bearer.map_err(|_| Failure::Unreachable("our own token is broken".to_owned()))?;
        bearer.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        known.server.call(request).await
    }

    async fn known(&self) -> Result<Known, String> {
        let known = self.lock().clone();
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < REREAD) {
            return Ok(known.clone());
        }
        let place = self.place.clone();
        let read = tokio::task::spawn_blocking(move || read(&place)).await;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (token, authorities) = match (read, known) {
            (Ok(read), _) => read,
            (Err(_), Some(known)) => return Ok(known),
            (Err(error), None) => {
                return Err(error.to_string());
            }
        };
        // Another call may have been quicker.
        let mut known = self.lock();
        let server = match known
            .take()
            .filter(|known| known.authorities == authorities)
        {
            Some(known) => known.server,
            None => {
                let tls = tls::config_of(authorities.as_bytes())?;
                Arc::new(Server::new(Endpoint::parse(&self.place.endpoint)?, tls))
            }
        };
        let at = Instant::now();
        Ok(known
            .insert(Known {
                at,
                token,
                authorities,
                server,
            })
            .clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(place: &Kubernetes) -> io::Result<(Secret, Secret)> {
    let file = |path: &Path| {
        let read = fs::read(path).map(Secret::new);
        read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    Ok((file(&place.token)?, file(&place.authorities)?))
}
