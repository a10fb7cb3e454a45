//! Whom certificates are trusted from, and what has been revoked. Pure: the time comes in.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use catena_secrets::Secret;
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime,
        pem::{PemObject as _, SectionKind},
    },
};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, KeyUsage,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::x509::distinguished_name::DistinguishedName;

/// CAs and revocation lists, file by file: a broken one leaves what it was before.
#[derive(Debug, Default)]
pub struct Trust {
    files: BTreeMap<String, Arc<File>>,
}

#[derive(Debug)]
struct File {
    /// What it was read from.
    secret: Secret,
    authorities: Vec<Authority>,
    revoked: Vec<CertRevocationList<'static>>,
}

#[derive(Debug)]
struct Authority {
    anchor: TrustAnchor<'static>,
    /// Seconds since 1970.
    good: Validity,
}

/// When a certificate is good, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: i64,
    until: i64,
}

/// A certificate chain that is trusted.
#[derive(Debug)]
pub struct Verified {
    /// The client's own name first, that of the CA last.
    pub subjects: Vec<DistinguishedName>,
    /// When the first of the certificates is no longer good.
    pub expires: SystemTime,
}

impl Trust {
    /// Of PEM files with CAs and revocation lists. A file that cannot be read is as it was in `last`; the problems say why.
    pub fn read(files: &BTreeMap<String, Secret>, last: Option<&Trust>) -> (Trust, Vec<String>) {
        let mut trust = Trust::default();
        let mut problems = Vec::new();
        for (name, secret) in files {
            let known = last.and_then(|last| last.files.get(name));
            let file = match known.filter(|known| known.secret == *secret) {
                Some(known) => Ok(Some(known.clone())),
                None => read(secret).map(|file| file.map(Arc::new)),
            };
            let file = file.unwrap_or_else(|problem| {
                problems.push(format!("{name}: {problem}"));
                known.cloned()
            });
            trust.files.extend(file.map(|file| (name.clone(), file)));
        }
        (trust, problems)
    }

    /// Whether there is any CA.
    pub fn is_empty(&self) -> bool {
        self.files.values().all(|file| file.authorities.is_empty())
    }

    /// Verifies what a client showed, its own certificate first.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Verified, String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        // webpki does not ask whether a CA itself has expired.
        let authorities = self.files.values().flat_map(|file| &file.authorities);
        let good: Vec<_> = authorities
            .filter(|authority| (authority.good.from..=authority.good.until).contains(&seconds))
            .collect();
        let anchors: Vec<_> = good
            .iter()
            .map(|authority| authority.anchor.clone())
            .collect();
        let revoked: Vec<_> = self.files.values().flat_map(|file| &file.revoked).collect();
        // A CA without a list revokes nothing; a list that should have been renewed is better than none.
        let revocation = RevocationOptionsBuilder::new(&revoked).ok();
        let revocation = revocation.map(|options| {
            options
                .with_status_policy(UnknownStatusPolicy::Allow)
                .build()
        });

        let leaf = EndEntityCert::try_from(leaf).map_err(|error| say(&error))?;
        let algorithms = default_provider().signature_verification_algorithms;
        let time = UnixTime::since_unix_epoch(since);
        let path = leaf.verify_for_usage(
            algorithms.all,
            &anchors,
            intermediates,
            time,
            KeyUsage::client_auth(),
            revocation,
            None,
        );
        let path = path.map_err(|error| say(&error))?;

        let certificates =
            || std::iter::once(&**path.end_entity()).chain(path.intermediate_certificates());
        let mut subjects = Vec::new();
        for certificate in certificates() {
            subjects.push(
                DistinguishedName::from_der(certificate.subject()).ok_or("a broken subject")?,
            );
        }
        subjects.extend(DistinguishedName::from_der(&path.anchor().subject));
        let mut expires = good
            .iter()
            .filter(|authority| authority.anchor == *path.anchor())
            .map(|authority| authority.good.until)
            .max()
            .unwrap_or(seconds);
        for certificate in certificates() {
            expires = expires.min(validity(&certificate.der())?.until);
        }
        let seconds = u64::try_from(expires).unwrap_or_default();
        let expires = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
        Ok(Verified {
            subjects,
            expires: expires.unwrap_or(now),
        })
    }
}

/// A file's CAs and revocation lists; other sections mean nothing here. `None`: it has none, and other sections.
fn read(secret: &Secret) -> Result<Option<File>, String> {
    let mut authorities = Vec::new();
    let mut revoked = Vec::new();
    let mut any = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(secret.as_bytes()) {
        let (kind, der) = section.map_err(|error| format!("broken PEM: {error}"))?;
        any = true;
        match kind {
            SectionKind::Certificate => authorities.push(authority(der)?),
            SectionKind::Crl => revoked.push(list(&der)?),
            _ => {}
        }
    }
    if !any {
        return Err("there is nothing in PEM format in it".to_owned());
    }
    if authorities.is_empty() && revoked.is_empty() {
        return Ok(None);
    }
    Ok(Some(File {
        secret: secret.clone(),
        authorities,
        revoked,
    }))
}

fn authority(der: Vec<u8>) -> Result<Authority, String> {
    let certificate = CertificateDer::from(der);
    let anchor = anchor_from_trusted_cert(&certificate)
        .map_err(|error| format!("a broken certificate: {}", say(&error)))?;
    Ok(Authority {
        anchor: anchor.to_owned(),
        good: validity(&certificate)?,
    })
}

fn list(der: &[u8]) -> Result<CertRevocationList<'static>, String> {
    let der = CertificateRevocationListDer::from(der);
    let list = BorrowedCertRevocationList::from_der(&der).and_then(|list| list.to_owned());
    let list = list.map_err(|error| format!("a broken revocation list: {}", say(&error)))?;
    Ok(CertRevocationList::Owned(list))
}

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| "a broken certificate")?;
    let validity = certificate.validity();
    Ok(Validity {
        from: validity.not_before.timestamp(),
        until: validity.not_after.timestamp(),
    })
}

/// In words, where an operator or a client's maker meets it often.
fn say(error: &Error) -> String {
    match error {
        Error::CertExpired { .. } => "the certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "the certificate is not valid yet".to_owned(),
        Error::CertRevoked => "the certificate has been revoked".to_owned(),
        Error::InvalidSignatureForPublicKey => {
            "the trusted CA of that name has not issued it".to_owned()
        }
        Error::UnknownIssuer => "no trusted CA has issued it".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => {
            "the certificate is not for clients (extended key usage)".to_owned()
        }
        other => other.to_string(),
    }
}
