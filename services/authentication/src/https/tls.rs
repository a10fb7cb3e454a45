//! How we know a server, and how it knows us.

use std::{collections::BTreeMap, sync::Arc};

use catena_secrets::{Secret, Secrets};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// What the TLS of calls to a server is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The CAs of the server, file by file, and the secret that they are in; `None`: those of the system.
    authorities: Option<(String, BTreeMap<String, Secret>)>,
    /// Our certificate and its key, and the secret that they are in.
    own: Option<(String, BTreeMap<String, Secret>)>,
}

impl Material {
    /// Of the secret with the CAs of the server, if they are not those of the system, and of the secret with our certificate, if
    /// the server wants one.
    pub fn of(secrets: &Secrets, authorities: Option<&str>, own: Option<&str>) -> Material {
        let all = |name: &str| (name.to_owned(), secrets.all(name));
        Material {
            authorities: authorities.map(all),
            own: own.map(all),
        }
    }

    /// # Errors
    /// What of it is missing or broken.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let roots = match &self.authorities {
            Some((name, files)) => {
                let mut roots = RootCertStore::empty();
                for (key, secret) in files {
                    add(&mut roots, secret.as_bytes())
                        .map_err(|why| format!("{name}/{key}: {why}"))?;
                }
                if roots.is_empty() {
                    return Err(format!(
                        "there is no secret {name:?} with the CAs of the server, or it is empty"
                    ));
                }
                roots
            }
            None => of_the_system(),
        };
        if roots.is_empty() {
            return Err(
                "this system has no CAs: name a secret with those of the server".to_owned(),
            );
        }
        let own = self
            .own
            .as_ref()
            .map(|(name, files)| key_pair(name, files))
            .transpose()?;
        with(roots, own)
    }
}

/// The TLS of calls to a server whose CAs are these.
///
/// # Errors
/// What is broken.
pub fn config_of(authorities: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    add(&mut roots, authorities)?;
    with(roots, None)
}

type KeyPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn with(roots: RootCertStore, own: Option<KeyPair>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("our certificate: {error}"))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Adds the certificates of a PEM file.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Single certificates that cannot be read are no reason to trust none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn key_pair(name: &str, files: &BTreeMap<String, Secret>) -> Result<KeyPair, String> {
    let file = |key: &str| {
        files
            .get(key)
            .ok_or_else(|| format!("there is no {key} in secret {name:?}"))
    };
    let chain =
        CertificateDer::pem_slice_iter(file("tls.crt")?.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("tls.crt of secret {name:?}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("tls.crt of secret {name:?} has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(file("tls.key")?.as_bytes());
    let key = key.map_err(|error| format!("tls.key of secret {name:?}: {error}"))?;
    Ok((chain, key))
}
