//! What each call to the admin port passes: who calls, whether he may, and the audit's line.
//!
//! Reads are by the name of the method: `Get`, `List`, `Watch`, `Explain`. What is not known to read counts as a change.
//! A handler says what a call is about with [`about`]; a read is noted when it does, because it shows what clients said.

use std::{
    convert::Infallible,
    fmt::Display,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use tonic::{
    Request, Status,
    body::Body,
    codegen::{Service, http},
};
use tower_layer::Layer;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Guard, Role, accept::Peer, limiter::Limiter};

/// How methods begin that change nothing.
const READS: &[&str] = &["Get", "List", "Watch", "Explain"];
/// Whom everybody may ask whether we are well.
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";
/// Longest part of a line that a caller chooses.
const WORDS_MAX: usize = 512;
/// Who calls where nobody is asked for credentials.
const ANYBODY: &str = "anybody on this machine";

/// Who calls, for handlers that want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub role: Role,
}

impl Caller {
    /// Who calls. Without a gate, which says it, a caller is one who may only read.
    pub fn of<T>(request: &Request<T>) -> Caller {
        let known = request.extensions().get::<Caller>();
        known.cloned().unwrap_or(Caller {
            name: String::new(),
            role: Role::Viewer,
        })
    }
}

/// What a call is about, as its handler says.
#[derive(Debug, Clone, Default)]
struct Subject(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    about: String,
    is_dry_run: bool,
}

/// Says what a call is about, for the audit: names of what is changed or shown, and no secrets.
pub fn about<T>(request: &Request<T>, what: impl Display) {
    if let Some(subject) = request.extensions().get::<Subject>() {
        let mut words = subject.lock();
        if words.about.len() > WORDS_MAX {
            return;
        }
        if !words.about.is_empty() {
            words.about.push_str(", ");
        }
        words.about.push_str(&what.to_string());
    }
}

/// Says that a call changes nothing and is to tell what it would change.
pub fn dry_run<T>(request: &Request<T>) {
    if let Some(subject) = request.extensions().get::<Subject>() {
        subject.lock().is_dry_run = true;
    }
}

impl Subject {
    fn lock(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Words {
    /// What the audit says of the call; `None`: nothing.
    fn event(&self, is_read: bool) -> Option<&'static str> {
        match (is_read, self.is_dry_run) {
            (true, _) if self.about.is_empty() => None,
            (true, _) => Some("was looked at"),
            (false, true) => Some("a dry run was asked for"),
            (false, false) => Some("a change was asked for"),
        }
    }
}

/// Puts a gate in front of the services.
#[derive(Debug, Clone)]
pub struct Gates {
    guard: Guard,
    refusals: Arc<Limiter>,
}

impl Gates {
    pub fn new(guard: Guard) -> Gates {
        Gates {
            guard,
            refusals: Arc::default(),
        }
    }
}

impl<S> Layer<S> for Gates {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            gates: self.clone(),
            inner,
        }
    }
}

/// One gate.
#[derive(Debug, Clone)]
pub struct Gate<S> {
    gates: Gates,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let from = request.extensions().get::<Peer>().map(|peer| peer.address);
        let caller = match self.gates.admit(&request, &path) {
            Ok(caller) => caller,
            Err((name, refused)) => {
                self.gates.refused(&name, from, &path, &refused);
                return Box::pin(async move { Ok(refused.into_http()) });
            }
        };
        if !path.starts_with(HEALTH)
            && let Some(peer) = request.extensions().get::<Peer>()
        {
            peer.admitted.set();
        }
        let subject = Subject::default();
        request.extensions_mut().insert(subject.clone());
        request.extensions_mut().insert(caller.clone());
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answer = answering.await;
            if let Ok(answer) = &answer {
                note(&caller, from, &path, &subject, answer);
            }
            answer
        })
    }
}

impl Gates {
    /// Who calls, if he may: otherwise who he is as far as that is known, and why not.
    fn admit(&self, request: &http::Request<Body>, path: &str) -> Result<Caller, (String, Status)> {
        let anybody = |role| Caller {
            name: ANYBODY.to_owned(),
            role,
        };
        if path.starts_with(HEALTH) {
            return Ok(anybody(Role::Viewer));
        }
        if !self.guard.is_guarded() {
            return Ok(anybody(Role::Admin));
        }
        let caller = self.caller(request)?;
        if caller.role < needed(path) {
            let said = format!(
                "{} has the role {}, which may only read",
                caller.name,
                caller.role.word()
            );
            return Err((caller.name, Status::permission_denied(said)));
        }
        Ok(caller)
    }

    /// By his token, if he sends one; otherwise by his certificate.
    fn caller(&self, request: &http::Request<Body>) -> Result<Caller, (String, Status)> {
        let nobody = |said: &str| (String::new(), Status::unauthenticated(said.to_owned()));
        if let Some(header) = request.headers().get(http::header::AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|text| text.split_once(' '));
            let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let Some((_, token)) = token else {
                return Err(nobody("authorization: must be Bearer and a token"));
            };
            let tokens = self.guard.tokens();
            let found = tokens.and_then(|tokens| tokens.find(token.trim()));
            let (name, role) = found.ok_or_else(|| nobody("the token is not known"))?;
            return Ok(Caller { name, role });
        }
        let peer = request.extensions().get::<Peer>();
        let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) else {
            return Err(nobody(
                "credentials are needed: a token (--admin-token-file), or a certificate (--admin-cert, --admin-key)",
            ));
        };
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Err(nobody("the certificate cannot be read"));
        };
        let subject = certificate.subject();
        let name = subject.iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        let units = subject.iter_organizational_unit();
        let roles = units.filter_map(|unit| Role::parse(unit.as_str().ok()?));
        match roles.max() {
            Some(role) => Ok(Caller {
                name: name.to_owned(),
                role,
            }),
            None => {
                let said = format!(
                    "the certificate of {name:?} names no role: its organisational unit (OU) must be admin or viewer"
                );
                Err((name.to_owned(), Status::permission_denied(said)))
            }
        }
    }

    fn refused(&self, who: &str, from: Option<SocketAddr>, path: &str, refused: &Status) {
        if let Some(left_out) = self.refusals.may(Instant::now()) {
            warn!(
                target: "audit", who = shortened(who), from = %shown(from), action = shortened(action(path)),
                outcome = refused.message(), left_out, "refused"
            );
        }
    }
}

/// The line of a call that changes something, or would have, or that shows what clients said.
fn note(
    caller: &Caller,
    from: Option<SocketAddr>,
    path: &str,
    subject: &Subject,
    answer: &http::Response<Body>,
) {
    let words = subject.lock();
    let Some(event) = words.event(is_read(path)) else {
        return;
    };
    // Refusals of handlers carry their status.
    let refused = answer.extensions().get::<Status>();
    let outcome = match refused {
        None => "done".to_owned(),
        Some(refused) => shortened(&format!("{:?}: {}", refused.code(), refused.message())),
    };
    info!(
        target: "audit", who = shortened(&caller.name), role = caller.role.word(), from = %shown(from),
        action = action(path), what = shortened(&words.about), outcome, "{event}"
    );
}

fn shown(from: Option<SocketAddr>) -> String {
    from.map_or_else(|| "?".to_owned(), |from| from.to_string())
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

/// `Cluster/DrainNode` of `/catena.admin.v1.Cluster/DrainNode`.
fn action(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    path.strip_prefix("catena.admin.v1.").unwrap_or(path)
}

fn is_read(path: &str) -> bool {
    if path.starts_with(HEALTH) || path.starts_with(REFLECTION) {
        return true;
    }
    let method = path.rsplit('/').next().unwrap_or_default();
    READS.iter().any(|read| method.starts_with(read))
}

fn needed(path: &str) -> Role {
    if is_read(path) {
        Role::Viewer
    } else {
        Role::Admin
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Access, accept::Admitted},
        *,
    };

    /// Answers every call.
    #[derive(Clone)]
    struct Service200;

    impl Service<http::Request<Body>> for Service200 {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            std::future::ready(Ok(http::Response::new(Body::empty())))
        }
    }

    /// Whether the connection may stay after a call of `path`.
    async fn may_stay(guard: &Guard, path: &str, token: &str) -> bool {
        let admitted = Admitted::default();
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            certificate: None,
            admitted: admitted.clone(),
        };
        let request = http::Request::builder()
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .extension(peer)
            .body(Body::empty())
            .unwrap();
        let mut gate = Gates::new(guard.clone()).layer(Service200);
        gate.call(request).await.unwrap();
        admitted.is_set()
    }

    // A stranger who asks for health, or guesses tokens, would keep its place among the connections for ever.
    #[tokio::test]
    async fn only_an_admitted_call_lets_the_connection_stay() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = directory.path().join("tokens");
        // SHA-256 of `look`.
        let hash = "3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8";
        std::fs::write(&tokens, format!("viewer: {hash} bob\n")).unwrap();
        let access = Access {
            tokens: Some(tokens),
            ..Access::local(([127, 0, 0, 1], 0).into())
        };
        let guard = Guard::new(access).unwrap();
        let (read, change) = (
            "/catena.admin.v1.Cluster/GetStatus",
            "/catena.admin.v1.Cluster/DrainNode",
        );
        assert!(may_stay(&guard, read, "look").await);
        assert!(!may_stay(&guard, change, "look").await);
        assert!(!may_stay(&guard, read, "guess").await);
        assert!(!may_stay(&guard, "/grpc.health.v1.Health/Watch", "look").await);
    }

    // The audit would say that an administrator changed what he only tried, or nothing of who read the messages of clients.
    #[test]
    fn the_audit_says_what_was_asked_for() {
        let (mut request, subject) = (Request::new(()), Subject::default());
        request.extensions_mut().insert(subject.clone());
        let event = |is_read| subject.lock().event(is_read);
        assert_eq!(event(true), None);
        assert_eq!(event(false), Some("a change was asked for"));
        about(&request, "the topic t");
        assert_eq!(event(true), Some("was looked at"));
        dry_run(&request);
        assert_eq!(event(false), Some("a dry run was asked for"));
        about(&request, "x".repeat(2 * WORDS_MAX));
        about(&request, "more");
        assert!(subject.lock().about.starts_with("the topic t, xx"));
        assert!(!subject.lock().about.ends_with("more"));
    }

    // A new method that changes something must not be open to those who may only look.
    #[test]
    fn what_is_not_known_to_read_needs_the_role_admin() {
        for read in [
            "/catena.admin.v1.Cluster/GetStatus",
            "/catena.admin.v1.Resources/WatchResources",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(needed(read), Role::Viewer, "{read}");
        }
        for change in [
            "/catena.admin.v1.Cluster/DrainNode",
            "/catena.admin.v1.Resources/ApplyResources",
            "/catena.admin.v1.Resources/Forget",
            "/",
            "",
        ] {
            assert_eq!(needed(change), Role::Admin, "{change}");
        }
        assert_eq!(action("/catena.admin.v1.Cluster/Adopt"), "Cluster/Adopt");
    }
}
