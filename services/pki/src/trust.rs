//! Whom a process trusts, and how it looks at others' certificates.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{
    ca,
    certified::{Unusable, certificates},
    identity::{Identity, Role},
};

/// The CAs that a process trusts now. They may change while it runs; connections that are open stay.
pub struct Trust {
    current: RwLock<Arc<Roots>>,
}

struct Roots {
    pem: String,
    store: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Trusts the CAs of a PEM text.
    ///
    /// # Errors
    /// [`Unusable`] for a text without CAs.
    pub fn new(pem: &str) -> Result<Arc<Trust>, Unusable> {
        Ok(Arc::new(Trust {
            current: RwLock::new(Roots::new(pem)?),
        }))
    }

    /// Trusts these from now on, and no others. Answers whether that is anything new.
    ///
    /// # Errors
    /// [`Unusable`]; then everything stays as it is.
    pub fn set(&self, pem: &str) -> Result<bool, Unusable> {
        if self.roots().pem == pem {
            return Ok(false);
        }
        let roots = Roots::new(pem)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = roots;
        Ok(true)
    }

    /// The text that was given last.
    pub fn pem(&self) -> String {
        self.roots().pem.clone()
    }

    fn roots(&self) -> Arc<Roots> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Roots {
    fn new(pem: &str) -> Result<Arc<Roots>, Unusable> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(pem.as_bytes())? {
            let added = store.add(certificate);
            added.map_err(|error| Unusable::Certificate(error.to_string()))?;
        }
        let store = Arc::new(store);
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider).build();
        let clients = clients.map_err(|error| Unusable::Certificate(error.to_string()))?;
        Ok(Arc::new(Roots {
            pem: pem.to_owned(),
            store,
            clients,
        }))
    }
}

/// Lets in those of one cluster with certain roles.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) trust: Arc<Trust>,
    pub(crate) cluster: String,
    pub(crate) roles: &'static [Role],
    /// Whether a client without a certificate is let in; what it may do is up to the service.
    pub(crate) strangers: bool,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl Members {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let identity = Identity::of(certificate).map_err(other)?;
        if identity.cluster != self.cluster {
            return Err(other(Wrong(format!(
                "{identity} is of another cluster than {}",
                self.cluster
            ))));
        }
        if !self.roles.contains(&identity.role) {
            let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
            return Err(other(Wrong(format!(
                "{identity} is no {}",
                roles.join(" or ")
            ))));
        }
        Ok(())
    }
}

/// A certificate of someone else.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let error = OtherError(Arc::new(error));
    Error::InvalidCertificate(CertificateError::Other(error))
}

impl ServerCertVerifier for Members {
    /// By role, and not by address: processes move, and their addresses are told by the control plane anyway.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.trust.roots();
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots.store,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(old_tls())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Members {
    fn client_auth_mandatory(&self) -> bool {
        !self.strangers
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let roots = self.trust.roots();
        let verified = (roots.clients).verify_client_cert(end_entity, intermediates, now)?;
        self.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(old_tls())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn old_tls() -> Error {
    Error::General("only TLS 1.3 is spoken between services".to_owned())
}

/// Who joins knows the cluster's CA by its fingerprint alone: the control plane shows the CA behind its own certificate.
#[derive(Debug)]
pub(crate) struct ByFingerprint {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) cluster: String,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let named = |certificate: &&CertificateDer<'_>| {
            ca::fingerprint(certificate.as_ref()) == self.fingerprint
        };
        let Some(root) = intermediates.iter().find(named) else {
            return Err(other(Wrong(
                "the control plane does not show the CA that the join token names: the token is of another cluster, or \
                 the CA was replaced since; make a new one with `catena ca token`"
                    .to_owned(),
            )));
        };
        let pem = ca::pem_of(std::slice::from_ref(root));
        let trust = Trust::new(&pem).map_err(other)?;
        Members {
            trust,
            cluster: self.cluster.clone(),
            roles: &[Role::ControlPlane],
            strangers: false,
            algorithms: self.algorithms,
        }
        .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(old_tls())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
