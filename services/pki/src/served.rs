//! What a port or a process shows: a certificate that can be exchanged while it runs.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::certified::Certified;

/// The certificate and key that new connections are shown; those that are open keep what they began with. Without one, a
/// server refuses every handshake and a client shows nothing.
#[derive(Debug, Default)]
pub struct Served {
    current: RwLock<Option<Certified>>,
}

impl Served {
    /// Shows nothing yet.
    pub fn new() -> Arc<Served> {
        Arc::default()
    }

    /// Shows this from now on.
    pub fn set(&self, certified: Certified) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(certified);
    }

    /// What is shown now.
    pub fn current(&self) -> Option<Certified> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn key(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|certified| certified.key().clone())
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

impl ResolvesClientCert for Served {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        self.key().is_some()
    }
}
