//! The certificate of a port: from a secret, or from the cluster's own CA.

use std::{fmt, sync::Arc, time::SystemTime};

use catena_pki::{Automatic, Following, Pair, Served, State, Subject, Terms, follow, of_port};
use catena_resources::{Resources, listener::TlsMode};
use catena_secrets::Secrets;

use super::wanted::Wanted;

/// A port whose certificate the cluster's own CA is to issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedPort {
    pub listener: String,
    pub port: u16,
    /// What its certificate is to say.
    pub subject: Subject,
    pub terms: Terms,
}

impl fmt::Display for IssuedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of listener {}", self.port, self.listener)
    }
}

/// Who has certificates of ports issued.
pub trait Issues: fmt::Debug + Send + Sync {
    /// Begins to have one issued, and renewed until what is returned is dropped. Called inside a tokio runtime.
    ///
    /// # Errors
    /// Why there can be none, and what to do, for people.
    fn issue(&self, port: &IssuedPort) -> Result<Automatic, String>;
}

/// What certificates are made of.
#[derive(Debug, Clone)]
pub(crate) struct Suppliers {
    pub secrets: Secrets,
    pub issues: Option<Arc<dyn Issues>>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Secret(String),
    Ca(Box<IssuedPort>),
}

impl Origin {
    /// As the resources say it.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(wanted: &Wanted, resources: &Resources) -> Result<Origin, String> {
        let mode = wanted.port.tls.as_ref().map(|tls| tls.mode);
        if mode == Some(TlsMode::Automatic) {
            let mut listeners = resources.listeners();
            let listener = listeners.find(|(name, _)| *name == wanted.listener);
            let number = wanted.port.port;
            let issued = listener.and_then(|(name, listener)| of_port(name, listener, number));
            let (subject, terms) = issued.ok_or("its listener is gone")?;
            return Ok(Origin::Ca(Box::new(IssuedPort {
                listener: wanted.listener.clone(),
                port: number,
                subject,
                terms,
            })));
        }
        let secret = wanted
            .secret()
            .ok_or("no secret is named for its certificate")?;
        Ok(Origin::Secret(secret.to_owned()))
    }
}

/// A certificate that is kept fresh, and perhaps the one that is to take its place.
#[derive(Debug)]
pub(crate) struct Certificate {
    shown: Source,
    /// It is to come from elsewhere now, and what is there cannot be used yet.
    next: Option<Source>,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    kept: Kept,
}

/// What keeps it fresh.
#[derive(Debug)]
enum Kept {
    Following(Following),
    Automatic(Automatic),
    /// Nothing does, and that is why.
    Not(String),
}

impl Certificate {
    /// Begins with what is there.
    pub fn new(origin: Origin, suppliers: &Suppliers) -> Certificate {
        Certificate {
            shown: Source::new(origin, suppliers),
            next: None,
        }
    }

    /// Takes what is at `origin`, once it can be used.
    pub fn look(&mut self, origin: Origin, suppliers: &Suppliers) {
        let named = self.next.as_ref().unwrap_or(&self.shown);
        if named.origin != origin {
            let is_shown = self.shown.origin == origin;
            self.next = (!is_shown).then(|| Source::new(origin, suppliers));
        }
        if let Some(next) = self.next.take_if(|next| next.is_good()) {
            self.shown = next;
        }
    }

    /// What is shown to new connections; `None` until there was a good one.
    pub fn served(&self) -> Option<Arc<Served>> {
        self.shown.is_good().then(|| self.shown.served()).flatten()
    }

    /// Until when what is shown is good.
    pub fn until(&self) -> Option<SystemTime> {
        self.shown.state().until
    }

    pub fn problem(&self) -> Option<String> {
        let source = self.next.as_ref().unwrap_or(&self.shown);
        let problem = source.state().problem?;
        Some(match &source.origin {
            Origin::Secret(secret) => format!("secret {secret}: {problem}"),
            Origin::Ca(_) => format!("no certificate is issued: {problem}"),
        })
    }
}

impl Source {
    fn new(origin: Origin, suppliers: &Suppliers) -> Source {
        let kept = match &origin {
            Origin::Secret(secret) => {
                let (name, secrets) = (secret.clone(), suppliers.secrets.clone());
                let label = format!("secret {secret}");
                Kept::Following(follow(label, move || read(&name, &secrets)))
            }
            Origin::Ca(port) => match &suppliers.issues {
                Some(issues) => match issues.issue(port) {
                    Ok(automatic) => Kept::Automatic(automatic),
                    Err(problem) => Kept::Not(problem),
                },
                None => Kept::Not("there is no CA".to_owned()),
            },
        };
        Source { origin, kept }
    }

    fn state(&self) -> State {
        match &self.kept {
            Kept::Following(following) => following.state().borrow().clone(),
            Kept::Automatic(automatic) => automatic.state().borrow().clone(),
            Kept::Not(problem) => State {
                problem: Some(problem.clone()),
                until: None,
            },
        }
    }

    fn served(&self) -> Option<Arc<Served>> {
        match &self.kept {
            Kept::Following(following) => Some(following.served()),
            Kept::Automatic(automatic) => Some(automatic.served()),
            Kept::Not(_) => None,
        }
    }

    fn is_good(&self) -> bool {
        self.state().until.is_some()
    }
}

fn read(name: &str, secrets: &Secrets) -> Result<Pair, String> {
    let get = |key: &str| {
        let value = secrets.get(name, key);
        value.ok_or_else(|| {
            format!("it has no {key}: put it there (--secrets-dir DIR, DIR/{name}/{key})")
        })
    };
    Ok(Pair {
        chain: get("tls.crt")?.as_bytes().to_vec(),
        key: get("tls.key")?.as_bytes().to_vec().into(),
    })
}
