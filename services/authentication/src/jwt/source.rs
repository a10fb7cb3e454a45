//! Where the keys of an issuer come from: a secret, or a server that is asked now and then.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use catena_resources::authentication::JwtSettings;
use catena_secrets::Secrets;
use http_body_util::Full;
use hyper::{Request, header::ACCEPT};
use tracing::warn;

use crate::{
    https::{Failure, Server, tls::Material},
    jwt::keys::Keys,
    renewed::{Made, Renewed},
};

/// Keys are asked for again after this time, while the old ones serve.
const FRESH: Duration = Duration::from_secs(600);

/// Keys that could not be asked for again for so long are forgotten: one may have been withdrawn.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// The server is asked no more often than this, whatever keys tokens name.
const APART: Duration = Duration::from_secs(10);

/// And no more often than this where there are no keys yet.
const APART_AT_FIRST: Duration = Duration::from_secs(1);

/// Where the keys of an issuer come from.
#[derive(Debug)]
pub enum Source {
    Secret { name: String, keys: Renewed<Keys> },
    Uri(Box<Remote>),
}

#[derive(Debug)]
pub struct Remote {
    uri: String,
    authorities: Option<String>,
    server: Renewed<Server>,
    cache: Mutex<Cache>,
    /// Held while the server is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

/// What was asked last, and when. Pure: the time comes in.
#[derive(Debug, Default, Clone)]
struct Cache {
    keys: Option<Arc<Keys>>,
    had: Option<Instant>,
    asked: Option<Instant>,
}

/// What is wanted of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Those that there are.
    Any,
    /// Newer ones: these do not have the one that a token names.
    Newer,
}

impl Cache {
    /// The keys, as long as they may serve.
    fn keys(&self, now: Instant) -> Option<Arc<Keys>> {
        let serves = self
            .had
            .is_some_and(|had| now.saturating_duration_since(had) < FORGOTTEN);
        self.keys.clone().filter(|_| serves)
    }

    /// Whether the server should be asked now.
    fn is_due(&self, want: Want, now: Instant) -> bool {
        let since = |moment: Option<Instant>| {
            moment.map_or(Duration::MAX, |moment| {
                now.saturating_duration_since(moment)
            })
        };
        if self.keys(now).is_none() {
            return since(self.asked) >= APART_AT_FIRST;
        }
        since(self.asked) >= APART && (want == Want::Newer || since(self.had) >= FRESH)
    }
}

impl Source {
    pub fn new(resource: &str, settings: &JwtSettings, secrets: &Secrets) -> Source {
        let what = format!("the keys of issuer {:?} of {resource}", settings.issuer);
        match (&settings.jwks_uri, &settings.jwks_secret_ref) {
            (Some(uri), _) => Source::Uri(Box::new(Remote {
                uri: uri.clone(),
                authorities: settings.ca_cert_config_map.clone(),
                server: Renewed::new(what, secrets),
                cache: Mutex::default(),
                asking: tokio::sync::Mutex::default(),
            })),
            (None, name) => Source::Secret {
                name: name.clone().unwrap_or_default(),
                keys: Renewed::new(what, secrets),
            },
        }
    }

    /// The keys as they are now; newer ones only where they can be had.
    ///
    /// # Errors
    /// When there are none.
    pub async fn keys(&self, want: Want, secrets: &Secrets) -> Result<Arc<Keys>, Failure> {
        match self {
            Source::Secret { .. } => self.of_secret(secrets).map_err(Failure::Unreachable),
            Source::Uri(remote) => remote.keys(want, secrets).await,
        }
    }

    /// Why there are no keys, or not those that there should be.
    pub fn problem(&self, secrets: &Secrets) -> Option<String> {
        match self {
            Source::Secret { keys, .. } => {
                let missing = self.of_secret(secrets).err();
                keys.problem().or(missing)
            }
            Source::Uri(remote) => {
                let missing = remote.server(secrets).err();
                remote.server.problem().or(missing)
            }
        }
    }

    fn of_secret(&self, secrets: &Secrets) -> Result<Arc<Keys>, String> {
        let Source::Secret { name, keys } = self else {
            return Err("the keys are not in a secret".to_owned());
        };
        keys.get(|_| {
            let mut keys = Keys::default();
            let files = secrets.all(name);
            if files.is_empty() {
                return Err(format!(
                    "there is no secret {name:?} with a key set, or it is empty"
                ));
            }
            for (key, secret) in files {
                keys.append(
                    Keys::read(secret.as_bytes()).map_err(|why| format!("{name}/{key}: {why}"))?,
                );
            }
            Ok(Made::whole(keys))
        })
    }
}

impl Remote {
    async fn keys(&self, want: Want, secrets: &Secrets) -> Result<Arc<Keys>, Failure> {
        let cache = self.cache().clone();
        let now = Instant::now();
        if !cache.is_due(want, now) {
            return cache.keys(now).ok_or_else(|| self.none());
        }
        let asking = match (cache.keys(now), self.asking.try_lock()) {
            (_, Ok(asking)) => asking,
            // Another one asks already.
            (Some(keys), Err(_)) if want == Want::Any => return Ok(keys),
            _ => self.asking.lock().await,
        };
        if self.cache().is_due(want, Instant::now()) {
            let asked = self.ask(secrets).await;
            let mut cache = self.cache();
            cache.asked = Some(Instant::now());
            match asked {
                Ok(keys) => {
                    cache.had = cache.asked;
                    cache.keys = Some(Arc::new(keys));
                }
                Err(Failure::Busy(why) | Failure::Unreachable(why)) => {
                    warn!(uri = self.uri, why, "no keys")
                }
            }
        }
        drop(asking);
        self.cache().keys(Instant::now()).ok_or_else(|| self.none())
    }

    async fn ask(&self, secrets: &Secrets) -> Result<Keys, Failure> {
        let server = self.server(secrets).map_err(Failure::Unreachable)?;
        let request =
            Request::get(server.endpoint().target(None)).header(ACCEPT, "application/json");
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let answer = server.call(request).await?;
        if answer.status != 200 {
            return Err(Failure::Unreachable(format!(
                "it answered {}",
                answer.status
            )));
        }
        Keys::read(&answer.body).map_err(Failure::Unreachable)
    }

    fn server(&self, secrets: &Secrets) -> Result<Arc<Server>, String> {
        self.server.get(|last| {
            Server::renewed(
                last,
                &self.uri,
                Material::of(secrets, self.authorities.as_deref(), None),
            )
        })
    }

    fn none(&self) -> Failure {
        Failure::Unreachable(format!("there are no keys from {}", self.uri))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of keys that is asked as often as somebody sends a token with a made-up key id; or never again.
    #[test]
    fn the_server_is_asked_now_and_then() {
        let now = Instant::now();
        let mut cache = Cache::default();
        assert!(cache.is_due(Want::Any, now));
        cache.asked = Some(now);
        assert!(!cache.is_due(Want::Any, now), "it has just not answered");
        assert!(cache.is_due(Want::Any, now + APART_AT_FIRST));

        cache.keys = Some(Arc::new(Keys::default()));
        cache.had = Some(now);
        assert!(!cache.is_due(Want::Newer, now));
        assert!(!cache.is_due(Want::Any, now + APART));
        assert!(cache.is_due(Want::Newer, now + APART));
        assert!(cache.is_due(Want::Any, now + FRESH));
        assert!(cache.keys(now + FRESH).is_some(), "they serve meanwhile");
        assert!(cache.keys(now + FORGOTTEN).is_none());
    }
}
