//! The files of the admin port: what they hold, and what is made of it.

use std::{fmt, fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use zeroize::Zeroizing;

use super::{Access, AccessError, tokens::Tokens};

/// Larger files are not what they should be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files as they were read. Prints nothing of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Vec<u8>,
    tokens: Vec<u8>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    pub fn read(access: &Access) -> Result<Contents, AccessError> {
        let mut contents = Contents::default();
        if let Some((certificate, key)) = &access.tls {
            contents.certificate = bytes(certificate)?;
            contents.key = Zeroizing::new(bytes(key)?);
        }
        if let Some(file) = &access.client_ca {
            contents.client_ca = bytes(file)?;
        }
        if let Some(file) = &access.tokens {
            contents.tokens = bytes(file)?;
        }
        Ok(contents)
    }

    pub fn tokens(&self, access: &Access) -> Result<Option<Tokens>, AccessError> {
        let Some(file) = &access.tokens else {
            return Ok(None);
        };
        let text =
            std::str::from_utf8(&self.tokens).map_err(|_| wrong(file, "is no text in UTF-8"))?;
        Tokens::parse(text)
            .map(Some)
            .map_err(|problem| wrong(file, problem))
    }

    /// How TLS is spoken. Certificates of administrators are asked for, and needed only where no token comes instead.
    pub fn server(&self, access: &Access) -> Result<Option<ServerConfig>, AccessError> {
        let Some((certificate, key)) = &access.tls else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|problem| wrong(certificate, problem))?;
        let builder = match &access.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(file, &self.client_ca)? {
                    roots.add(root).map_err(|problem| wrong(file, problem))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build();
                builder.with_client_cert_verifier(verifier.map_err(|problem| wrong(file, problem))?)
            }
        };
        let chain = certificates(certificate, &self.certificate)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| wrong(key, "has no private key"))?;
        let mut config = builder
            .with_single_cert(chain, private)
            .map_err(|problem| wrong(certificate, problem))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(config))
    }
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(file, "has no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(wrong(file, "is no PEM file of certificates")),
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, AccessError> {
    let length = fs::metadata(file)
        .map_err(|problem| wrong(file, problem))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(file, format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(file).map_err(|problem| wrong(file, problem))
}

fn wrong(file: &Path, problem: impl fmt::Display) -> AccessError {
    AccessError::File {
        file: file.display().to_string(),
        problem: problem.to_string(),
    }
}
