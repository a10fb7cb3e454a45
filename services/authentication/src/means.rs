//! What all authenticators of a process share.

use catena_secrets::Secrets;

use crate::{
    counters::Counters,
    password::Passwords,
    service_account::{Api, Kubernetes},
};

/// What all authenticators of a process share: secrets, threads for hashes, and what was counted.
#[derive(Debug)]
pub struct Means {
    pub(crate) secrets: Secrets,
    pub(crate) passwords: Passwords,
    pub(crate) kubernetes: Option<Api>,
    counters: Counters,
}

impl Means {
    /// Made once in a process. `kubernetes` is who reviews service account tokens, if anybody.
    pub fn new(secrets: Secrets, kubernetes: Option<Kubernetes>) -> Means {
        Means {
            secrets,
            passwords: Passwords::new(),
            kubernetes: kubernetes.map(Api::new),
            counters: Counters::default(),
        }
    }

    /// What has been decided since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
