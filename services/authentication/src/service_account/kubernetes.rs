//! The Kubernetes API: where it is, how we know it, and who we are to it.

use std::{
    env, fs, io,
    path::PathBuf,
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

/// Where the Kubernetes API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// `https://HOST:PORT`.
    pub endpoint: String,
    /// A directory with our own `token` and the API's `ca.crt`.
    pub directory: PathBuf,
}

impl Kubernetes {
    /// Where every pod finds it; `None`: this is no pod.
    pub fn in_cluster() -> Option<Kubernetes> {
        let host = env::var("KUBERNETES_SERVICE_HOST").ok()?;
        let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Some(Kubernetes {
            endpoint: format!("https://{host}:{port}"),
            directory: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"),
        })
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
                return Err(format!("{}: {error}", self.place.directory.display()));
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
    let file = |name: &str| fs::read(place.directory.join(name)).map(Secret::new);
    Ok((file("token")?, file("ca.crt")?))
}
