//! Who may use the admin port: nobody from elsewhere without TLS and credentials; from this machine everybody, unless
//! credentials are asked for here too.
//!
//! A [`Guard`] holds what the files say, and reads them again when they change. Connections are accepted in [`accept`];
//! each call passes the [`gate`], which knows the caller, decides by his role, and leaves the audit's line.

pub mod accept;
mod addresses;
mod files;
pub mod gate;
mod limiter;
mod tokens;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use self::{files::Contents, tokens::Tokens};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The admin port, and what protects it.
#[derive(Debug, Clone)]
pub struct Access {
    /// Port 0: the system chooses.
    pub listen: SocketAddr,
    /// PEM files of our certificate, with its chain, and of its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// PEM file of who signs administrators' certificates: their organisational unit is their role.
    pub client_ca: Option<PathBuf>,
    /// A line `ROLE: HASH NAME` for each token.
    pub tokens: Option<PathBuf>,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read.
    Viewer,
    /// May read and change.
    Admin,
}

/// Why the admin port does not open.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "{0} can be reached from other machines: the admin API needs a certificate there (--admin-tls-cert, --admin-tls-key), and \
         to know administrators by their certificates (--admin-client-ca) or tokens (--admin-tokens); or let it listen on \
         127.0.0.1"
    )]
    Open(SocketAddr),
    #[error(
        "administrators' certificates (--admin-client-ca) need one of ours: say which, with --admin-tls-cert and --admin-tls-key"
    )]
    NoCertificate,
    #[error("{file}: {problem}")]
    File { file: String, problem: String },
}

impl Role {
    fn parse(word: &str) -> Option<Role> {
        match word {
            "viewer" => Some(Role::Viewer),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

impl Access {
    /// A port of this machine, for everybody on it.
    pub fn local(listen: SocketAddr) -> Access {
        Access {
            listen,
            tls: None,
            client_ca: None,
            tokens: None,
        }
    }

    /// Whether callers need credentials.
    pub fn is_guarded(&self) -> bool {
        self.client_ca.is_some() || self.tokens.is_some()
    }

    /// Whether it may open.
    ///
    /// # Errors
    /// [`AccessError::Open`] and [`AccessError::NoCertificate`] say what is missing.
    pub fn check(&self) -> Result<(), AccessError> {
        let is_safe = self.tls.is_some() && self.is_guarded();
        if !is_safe && !self.listen.ip().is_loopback() {
            return Err(AccessError::Open(self.listen));
        }
        if self.client_ca.is_some() && self.tls.is_none() {
            return Err(AccessError::NoCertificate);
        }
        Ok(())
    }
}

/// What the files say now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: Access,
    now: RwLock<Now>,
}

#[derive(Debug, Clone)]
struct Now {
    contents: Contents,
    tls: Option<Arc<rustls::ServerConfig>>,
    tokens: Option<Arc<Tokens>>,
}

impl Guard {
    /// Reads the files.
    ///
    /// # Errors
    /// What [`Access::check`] says, and a file that is of no use.
    pub fn new(access: Access) -> Result<Guard, AccessError> {
        access.check()?;
        let now = Now::of(Contents::read(&access)?, &access)?;
        let now = RwLock::new(now);
        Ok(Guard(Arc::new(Inner { access, now })))
    }

    /// Reads the files again whenever they have changed, for ever. What is of no use then changes nothing.
    pub async fn keep(self) {
        let mut last_problem = None;
        loop {
            tokio::time::sleep(LOOK).await;
            // Small files of this machine.
            let problem = match self.look() {
                Ok(false) => continue,
                Ok(true) => {
                    info!("the admin port's certificates and tokens were read again");
                    None
                }
                Err(problem) => Some(problem.to_string()),
            };
            if let Some(problem) = &problem
                && last_problem.as_ref() != Some(problem)
            {
                warn!(%problem, "the admin port goes on with the certificates and tokens that it had");
            }
            last_problem = problem;
        }
    }

    fn look(&self) -> Result<bool, AccessError> {
        let contents = Contents::read(&self.0.access)?;
        if contents == self.now().contents {
            return Ok(false);
        }
        let now = Now::of(contents, &self.0.access)?;
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(true)
    }

    fn now(&self) -> Now {
        let now = self.0.now.read().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    fn acceptor(&self) -> Option<TlsAcceptor> {
        self.now().tls.map(TlsAcceptor::from)
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        self.now().tokens
    }

    fn is_guarded(&self) -> bool {
        self.0.access.is_guarded()
    }
}

impl Now {
    fn of(contents: Contents, access: &Access) -> Result<Now, AccessError> {
        let tls = contents.server(access)?.map(Arc::new);
        let tokens = contents.tokens(access)?.map(Arc::new);
        Ok(Now {
            contents,
            tls,
            tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(listen: &str) -> Access {
        Access::local(listen.parse().unwrap())
    }

    // Whoever opens the port to the network by mistake would let everybody change everything.
    #[test]
    fn a_port_that_others_reach_needs_a_certificate_and_credentials() {
        assert!(access("127.0.0.1:9700").check().is_ok());
        assert!(access("[::1]:9700").check().is_ok());
        for open in ["0.0.0.0:9700", "[::]:9700", "192.0.2.1:9700"] {
            let mut access = access(open);
            let said = access.check().unwrap_err().to_string();
            assert!(
                said.contains("--admin-tls-cert") && said.contains(open),
                "{said}"
            );
            access.tls = Some(("a.pem".into(), "a.key".into()));
            assert!(access.check().is_err(), "a certificate of ours asks nobody");
            access.tokens = Some("tokens".into());
            assert!(access.check().is_ok());
            access.tls = None;
            assert!(
                access.check().is_err(),
                "tokens without TLS are for all to read"
            );
        }
        let mut access = access("127.0.0.1:9700");
        access.client_ca = Some("ca.pem".into());
        assert!(access.check().is_err());
    }
}
