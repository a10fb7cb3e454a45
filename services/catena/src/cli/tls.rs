//! TLS of the clients of the command line: whom they trust, and what they show.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use clap::Args;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};

/// How to encrypt.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// Encrypt, and trust the authorities of this machine
    #[arg(long)]
    pub tls: bool,

    /// Encrypt, and trust the certificates in this PEM file alone
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,

    /// The certificate to show, with its chain, as PEM; needs --key
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its key, as PEM without a passphrase
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Encrypt, and believe any certificate: for tests, since nobody knows then who is at the other end
    #[arg(long)]
    pub insecure: bool,
}

impl Tls {
    /// Whether to encrypt.
    pub fn is_wanted(&self) -> bool {
        self.tls || self.insecure || self.cafile.is_some() || self.cert.is_some()
    }

    /// For tests that hand over no file.
    #[cfg(test)]
    pub fn anybody() -> Tls {
        Tls {
            insecure: true,
            ..Tls::default()
        }
    }

    /// What a handshake needs.
    ///
    /// # Errors
    /// Files that cannot be read, or are not what they should be.
    pub fn config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let builder = if self.insecure {
            let anybody = Arc::new(Anybody(algorithms));
            builder
                .dangerous()
                .with_custom_certificate_verifier(anybody)
        } else {
            builder.with_root_certificates(self.trusted()?)
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let of_file =
                    || format!("--key {}: no PEM key without a passphrase", key.display());
                let key = PrivateKeyDer::from_pem_file(key).with_context(of_file)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .context("--cert and --key do not belong together")?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn trusted(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.cafile {
            Some(file) => {
                for certificate in certificates(file)? {
                    let of_file = || format!("--cafile {}", file.display());
                    roots.add(certificate).with_context(of_file)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    bail!(
                        "this machine has no certificates of authorities: name those to trust by --cafile"
                    );
                }
            }
        }
        Ok(roots)
    }
}

fn certificates(file: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let of_file = || format!("cannot read PEM certificates from {}", file.display());
    let read = CertificateDer::pem_file_iter(file).with_context(of_file)?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().with_context(of_file)?;
    if certificates.is_empty() {
        bail!("{} has no PEM certificate", file.display());
    }
    Ok(certificates)
}

/// What a server's certificate is to be good for.
///
/// # Errors
/// A host that no certificate could name.
pub fn server_name(host: &str) -> anyhow::Result<ServerName<'static>> {
    let name = ServerName::try_from(host.to_owned());
    name.with_context(|| format!("no certificate can be for {host}"))
}

/// Believes any certificate whose key the server has.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
