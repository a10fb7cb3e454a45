//! The cluster's CA as a replica of the control plane has it: read again when its secret changes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    automatic::{Issued, Signer},
    ca::{Ca, CaError, Subject},
    follow::Task,
    token::hex,
};

/// How often the secret is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A problem is told after so many looks in a row: files may be half written.
const LOOKS: u32 = 3;

/// The CA now, and what comes after it.
#[derive(Debug)]
pub struct Authority {
    current: Arc<RwLock<Arc<Ca>>>,
    changed: watch::Receiver<u64>,
    _task: Task,
}

impl Authority {
    /// Reads the CA in `secrets`, the directory of secrets, and follows it from then on. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`CaError::Missing`], and what is wrong with it.
    pub fn open(secrets: &Path) -> Result<Authority, CaError> {
        let current = Arc::new(RwLock::new(Arc::new(Ca::open(secrets)?)));
        let (told, changed) = watch::channel(0);
        let task = tokio::spawn(watch_secret(secrets.to_owned(), current.clone(), told));
        Ok(Authority {
            current,
            changed,
            _task: Task(task),
        })
    }

    /// The CA.
    pub fn ca(&self) -> Arc<Ca> {
        now(&self.current)
    }

    /// Changes with the CA, and with whom it trusts.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

fn now(current: &RwLock<Arc<Ca>>) -> Arc<Ca> {
    let current = current.read().unwrap_or_else(PoisonError::into_inner);
    current.clone()
}

async fn watch_secret(secrets: PathBuf, current: Arc<RwLock<Arc<Ca>>>, told: watch::Sender<u64>) {
    let mut bad = 0_u32;
    loop {
        tokio::time::sleep(LOOK).await;
        let from = secrets.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Ca::open(&from)).await else {
            continue;
        };
        match read {
            Ok(ca) => {
                bad = 0;
                let known = now(&current);
                if ca.fingerprint() != known.fingerprint() || ca.trust() != known.trust() {
                    let fingerprint = hex(&ca.fingerprint());
                    info!(
                        fingerprint,
                        trusted = ca.trust().len(),
                        "the CA has changed"
                    );
                    let new = Arc::new(ca);
                    *current.write().unwrap_or_else(PoisonError::into_inner) = new;
                    told.send_modify(|changes| *changes += 1);
                }
            }
            Err(problem) => {
                bad = bad.saturating_add(1);
                if bad == LOOKS {
                    warn!(%problem, "the CA cannot be read: the last one that could stays");
                }
            }
        }
    }
}

/// Signs within the process that has the CA.
#[derive(Debug)]
pub struct OwnSigner {
    authority: Arc<Authority>,
    subject: Subject,
    duration: watch::Receiver<Duration>,
    shows_ca: bool,
}

impl OwnSigner {
    /// For `subject`, valid for as long as `duration` says.
    pub fn new(
        authority: Arc<Authority>,
        subject: Subject,
        duration: watch::Receiver<Duration>,
    ) -> OwnSigner {
        OwnSigner {
            authority,
            subject,
            duration,
            shows_ca: false,
        }
    }

    /// Puts all CAs that are trusted behind the chain: for those who know only a fingerprint.
    pub fn showing_ca(mut self) -> OwnSigner {
        self.shows_ca = true;
        self
    }
}

impl Signer for OwnSigner {
    async fn sign(&mut self, request: Vec<u8>) -> Result<Issued, String> {
        let ca = self.authority.ca();
        let duration = *self.duration.borrow();
        let issued = ca.issue(&request, &self.subject, duration, SystemTime::now());
        let mut chain = issued.map_err(|error| error.to_string())?;
        if self.shows_ca {
            chain.push_str(&ca.trust_pem());
        }
        Ok(Issued {
            chain,
            trust: ca.trust_pem(),
            wishes: None,
        })
    }
}
