//! Our own certification authority: it signs for keys, and decides what it says of them.

mod files;
mod issue;

use std::time::{Duration, SystemTime};

use catena_resources::certificate::KeyAlgorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

pub use self::{
    files::CA_SECRET,
    issue::{Subject, key_id},
};
use crate::{
    certified::{self, Unusable},
    key, when,
};

/// How long a CA is good for.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Clocks may differ by so much: what is issued is valid a little earlier.
pub(crate) const SKEW: Duration = Duration::from_secs(300);
/// CAs that are trusted at once: the present one, and those that are being replaced.
const TRUST_MAX: usize = 4;

/// What is wrong with a CA, or with what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("there is no CA in {0}: make one with `catena ca create`")]
    Missing(String),
    #[error(
        "there is a CA in {0} already: `catena ca show` shows it, `catena ca rotate` replaces it"
    )]
    Exists(String),
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("tls.crt of the CA: {0}")]
    Certificate(Unusable),
    #[error("tls.crt of the CA is no certificate of a CA")]
    NoCa,
    #[error("tls.key of the CA: {0}")]
    Key(String),
    #[error("tls.key is not the key of tls.crt")]
    Mismatch,
    #[error("ca.crt of the CA: {0}")]
    Trust(Unusable),
    #[error(
        "{TRUST_MAX} CAs are trusted already: `catena ca rotate --finish` ends the trust in those that were replaced"
    )]
    TooManyTrusted,
    #[error("the request for a certificate cannot be used: {0}")]
    Request(String),
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    #[error("the CA has expired on {0}: replace it with `catena ca rotate`")]
    Expired(String),
    #[error("nothing can be signed: {0}")]
    Sign(String),
}

/// A CA with its key.
pub struct Ca {
    /// Its own certificate, then those that older ones signed for it.
    chain: Vec<CertificateDer<'static>>,
    /// Whom to trust: itself, and those that it replaces.
    trust: Vec<CertificateDer<'static>>,
    key_pem: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
    until: SystemTime,
}

impl Ca {
    /// A new CA for a cluster, with a key of the kind Ec256, good for ten years.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn create(cluster: &str, now: SystemTime) -> Result<Ca, CaError> {
        let pair = key::pair(KeyAlgorithm::Ec256).map_err(CaError::Sign)?;
        let own = params(cluster, now)?.self_signed(&pair);
        let own = own.map_err(|error| CaError::Sign(error.to_string()))?;
        let chain = vec![own.der().clone()];
        Ca::of(chain.clone(), chain, pair.serialize_pem().into())
    }

    /// A CA that takes the place of this one. Whoever trusts this one trusts what the new one issues, because this one
    /// has signed for it; whoever trusts the new one goes on to trust what this one has issued.
    ///
    /// # Errors
    /// When the system gives no randomness, and when too many were replaced at once.
    pub fn successor(&self, cluster: &str, now: SystemTime) -> Result<Ca, CaError> {
        if self.trust.len() >= TRUST_MAX {
            return Err(CaError::TooManyTrusted);
        }
        let sign = |error: rcgen::Error| CaError::Sign(error.to_string());
        let pair = key::pair(KeyAlgorithm::Ec256).map_err(CaError::Sign)?;
        let mut params = params(cluster, now)?;
        let own = params.self_signed(&pair).map_err(sign)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.serial_number = Some(serial()?);
        params.not_after = params.not_after.min(self.until.into());
        let by_us = params.signed_by(&pair, &self.issuer).map_err(sign)?;
        let mut chain = vec![own.der().clone(), by_us.der().clone()];
        chain.extend(self.chain.iter().skip(1).cloned());
        let mut trust = vec![own.der().clone()];
        trust.extend(self.trust.iter().cloned());
        Ca::of(chain, trust, pair.serialize_pem().into())
    }

    /// The same without trust in those that it has replaced.
    ///
    /// # Errors
    /// None that the CA did not have before.
    pub fn alone(&self) -> Result<Ca, CaError> {
        let own = vec![self.chain[0].clone()];
        Ca::of(own.clone(), own, self.key_pem.clone())
    }

    /// From its secret: `chain` and `trust` have a certificate each at least.
    fn of(
        chain: Vec<CertificateDer<'static>>,
        trust: Vec<CertificateDer<'static>>,
        key_pem: Zeroizing<String>,
    ) -> Result<Ca, CaError> {
        let own = chain.first().ok_or(CaError::NoCa)?;
        let pair = KeyPair::from_pem(&key_pem).map_err(|error| CaError::Key(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(own).map_err(|_| CaError::NoCa)?;
        if !parsed.is_ca() {
            return Err(CaError::NoCa);
        }
        let public = parsed.public_key().subject_public_key.data.as_ref();
        if public != pair.public_key_raw() {
            return Err(CaError::Mismatch);
        }
        if trust.len() > TRUST_MAX {
            return Err(CaError::TooManyTrusted);
        }
        let (_, until) = certified::validity(own).map_err(CaError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(own, pair).map_err(|_| CaError::NoCa)?;
        Ok(Ca {
            chain,
            trust,
            key_pem,
            issuer,
            until,
        })
    }

    /// All whom to trust, itself first.
    pub fn trust(&self) -> &[CertificateDer<'static>] {
        &self.trust
    }

    /// The same as PEM.
    pub fn trust_pem(&self) -> String {
        pem_of(&self.trust)
    }

    /// Until when it can issue.
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// Fingerprint and end, as text, of each CA that is trusted.
    pub fn trusted(&self) -> Vec<([u8; 32], String)> {
        let all = self.trust.iter().map(|certificate| {
            let until = certified::validity(certificate).map(|(_, until)| when::written(until));
            (fingerprint(certificate), until.unwrap_or_default())
        });
        all.collect()
    }

    /// What it is recognized by: SHA-256 of its own certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.chain[0])
    }

    /// What only who has the key knows, for what is signed beside certificates.
    pub(crate) fn secret(&self) -> &[u8] {
        self.issuer.key().serialized_der()
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca")
            .field("trust", &self.trust.len())
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Certificates as PEM.
pub(crate) fn pem_of(certificates: &[CertificateDer<'_>]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let blocks: Vec<pem::Pem> = certificates
        .iter()
        .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
        .collect();
    pem::encode_many_config(&blocks, config)
}

/// What a CA says of itself.
fn params(cluster: &str, now: SystemTime) -> Result<CertificateParams, CaError> {
    let serial = serial()?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Catena");
    // Those of one cluster are told apart by the number.
    let number: String = serial
        .to_bytes()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    name.push(DnType::CommonName, format!("CA of {cluster}, {number}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(serial);
    params.not_before = (now - SKEW).into();
    params.not_after = (now + LIFE).into();
    // One below it, for the certificate that signs for its successor.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
}

/// A number that no other certificate has, by chance.
fn serial() -> Result<rcgen::SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| CaError::Sign("the system gives no randomness".to_owned()))?;
    // Positive, and never shorter than it looks.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(rcgen::SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn an_hour_of(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }
}
