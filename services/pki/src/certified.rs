//! A certificate and its key, fit to be shown.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::when;

/// Certificates of one chain.
const CHAIN_MAX: usize = 16;

/// A chain and the key of its first certificate: they belong together, and were valid when they were read.
#[derive(Clone)]
pub struct Certified {
    key: Arc<CertifiedKey>,
    from: SystemTime,
    until: SystemTime,
}

/// Why a chain and a key cannot be shown. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("there is no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the chain has more than {CHAIN_MAX} certificates")]
    TooLong,
    #[error(
        "there is no private key: it must be PEM without a passphrase, with -----BEGIN PRIVATE KEY-----"
    )]
    NoKey,
    #[error("the private key cannot be used: {0}")]
    Key(String),
    #[error(
        "the private key is not that of the certificate: take the key that it was issued for, and put the server's own \
         certificate first in the chain"
    )]
    Mismatch,
    #[error("the certificate has expired on {}: renew it", when::written(*.0))]
    Expired(SystemTime),
    #[error("the certificate is not valid before {}: look at the clocks", when::written(*.0))]
    NotYet(SystemTime),
}

/// Reads a chain, the server's own certificate first, and its key, both PEM.
///
/// # Errors
/// [`Unusable`], also for a certificate that is not valid now.
pub fn certified_key(pem_chain: &[u8], pem_key: &[u8]) -> Result<Certified, Unusable> {
    certified_key_at(pem_chain, pem_key, SystemTime::now())
}

/// The same, at a given time.
///
/// # Errors
/// [`Unusable`], also for a certificate that is not valid `now`.
pub fn certified_key_at(
    pem_chain: &[u8],
    pem_key: &[u8],
    now: SystemTime,
) -> Result<Certified, Unusable> {
    let chain = certificates(pem_chain)?;
    let key = PrivateKeyDer::from_pem_slice(pem_key).map_err(|_| Unusable::NoKey)?;
    let key = default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| Unusable::Key(error.to_string()))?;
    let (from, until) = validity(&chain[0])?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Unusable::Mismatch,
        other => Unusable::Certificate(other.to_string()),
    })?;
    if now > until {
        return Err(Unusable::Expired(until));
    }
    if now < from {
        return Err(Unusable::NotYet(from));
    }
    let key = Arc::new(key);
    Ok(Certified { key, from, until })
}

/// The certificates of a PEM text; at least one.
///
/// # Errors
/// [`Unusable`] for none, too many, and what is no PEM.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if chain.len() == CHAIN_MAX {
            return Err(Unusable::TooLong);
        }
        chain.push(certificate.map_err(|error| Unusable::Certificate(error.to_string()))?);
    }
    if chain.is_empty() {
        return Err(Unusable::NoCertificate);
    }
    Ok(chain)
}

/// From when until when a certificate is valid.
pub(crate) fn validity(
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), Unusable> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| Unusable::Certificate(error.to_string()))?;
    let validity = parsed.validity();
    Ok((
        when::at(validity.not_before.timestamp()),
        when::at(validity.not_after.timestamp()),
    ))
}

impl Certified {
    /// What rustls signs with.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The chain, the own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Since when it is valid.
    pub fn from(&self) -> SystemTime {
        self.from
    }

    /// Until when it is valid.
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// How long it is still valid; nothing once it has expired.
    pub fn left(&self, now: SystemTime) -> Duration {
        self.until.duration_since(now).unwrap_or_default()
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified")
            .field("chain", &self.key.cert.len())
            .field("until", &when::written(self.until))
            .finish_non_exhaustive()
    }
}
