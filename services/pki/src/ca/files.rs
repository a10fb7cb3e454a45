//! A CA in the directory of secrets: `catena-ca/tls.crt`, `tls.key`, and `ca.crt`, whom to trust.
//!
//! Every replica of the control plane has the same. What somebody else made there is taken too: a CA of one's own, or an
//! intermediate one, with the roots in `ca.crt`.

use std::{io, path::Path};

use zeroize::Zeroizing;

use super::{Ca, CaError, pem_of};
use crate::{certified::certificates, write};

/// The name of the secret.
pub const CA_SECRET: &str = "catena-ca";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUST: &str = "ca.crt";

impl Ca {
    /// Reads the CA in `secrets`, the directory of secrets.
    ///
    /// # Errors
    /// [`CaError::Missing`], and what is wrong with it.
    pub fn open(secrets: &Path) -> Result<Ca, CaError> {
        let directory = secrets.join(CA_SECRET);
        let chain = required(&directory, CHAIN)?;
        let key = Zeroizing::new(required(&directory, KEY)?);
        let chain = certificates(&chain).map_err(CaError::Certificate)?;
        let trust = match optional(&directory, TRUST)? {
            Some(trust) => certificates(&trust).map_err(CaError::Trust)?,
            None => vec![chain[0].clone()],
        };
        let key = std::str::from_utf8(&key);
        let key = key.map_err(|_| CaError::Key("it must be PEM".to_owned()))?;
        Ca::of(chain, trust, Zeroizing::new(key.to_owned()))
    }

    /// Writes this CA into `secrets`, in place of the one that may be there. Replicas that read meanwhile find that the
    /// files do not fit together, and read again.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, secrets: &Path) -> Result<(), CaError> {
        let directory = secrets.join(CA_SECRET);
        write::directory(&directory).map_err(|source| io(&directory, source))?;
        let put = |name: &str, content: &[u8], private| {
            let path = directory.join(name);
            write::replace(&path, content, private).map_err(|source| io(&path, source))
        };
        put(TRUST, self.trust_pem().as_bytes(), false)?;
        put(KEY, self.key_pem.as_bytes(), true)?;
        put(CHAIN, pem_of(&self.chain).as_bytes(), false)
    }

    /// Reads the CA in `secrets`, or makes one there.
    ///
    /// # Errors
    /// What is wrong with one that is there, and when a file cannot be written.
    pub fn open_or_create(secrets: &Path, cluster: &str) -> Result<Ca, CaError> {
        match Ca::open(secrets) {
            Err(CaError::Missing(_)) => {
                let ca = Ca::create(cluster, std::time::SystemTime::now())?;
                ca.save(secrets)?;
                Ok(ca)
            }
            known => known,
        }
    }
}

fn required(directory: &Path, name: &str) -> Result<Vec<u8>, CaError> {
    optional(directory, name)?.ok_or_else(|| CaError::Missing(directory.display().to_string()))
}

fn optional(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, CaError> {
    let path = directory.join(name);
    match write::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io(&path, source)),
    }
}

fn io(path: &Path, source: io::Error) -> CaError {
    let path = path.display().to_string();
    CaError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    // A CA that cannot be read again has to be replaced with everything that it issued.
    #[test]
    fn what_is_written_is_read_again_and_its_key_is_private() {
        let secrets = tempfile::tempdir().unwrap();
        assert!(matches!(Ca::open(secrets.path()), Err(CaError::Missing(_))));
        let made = Ca::open_or_create(secrets.path(), "test").unwrap();
        let again = Ca::open_or_create(secrets.path(), "test").unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        let successor = again.successor("test", SystemTime::now()).unwrap();
        successor.save(secrets.path()).unwrap();
        let read = Ca::open(secrets.path()).unwrap();
        assert_eq!(read.trust(), successor.trust());
        assert_eq!((read.trust().len(), read.chain.len()), (2, 2));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let key = secrets.path().join("catena-ca/tls.key");
            let mode = std::fs::metadata(key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Ca::open_or_create(one.path(), "test").unwrap();
        Ca::open_or_create(other.path(), "test").unwrap();
        let file = |secrets: &Path, name| secrets.join(CA_SECRET).join(name);
        std::fs::copy(file(other.path(), KEY), file(one.path(), KEY)).unwrap();
        assert!(matches!(Ca::open(one.path()), Err(CaError::Mismatch)));
        std::fs::write(file(one.path(), KEY), "nonsense").unwrap();
        assert!(matches!(Ca::open(one.path()), Err(CaError::Key(_))));
        // Not a CA, but a server.
        let now = SystemTime::now();
        let ca = Ca::open(other.path()).unwrap();
        let key = crate::generate(Default::default()).unwrap();
        let request = crate::request(&key).unwrap();
        let subject = crate::Subject::server(["a"]);
        let chain = ca.issue(&request, &subject, std::time::Duration::from_secs(60), now);
        std::fs::write(file(one.path(), KEY), key.as_bytes()).unwrap();
        std::fs::write(file(one.path(), CHAIN), chain.unwrap()).unwrap();
        assert!(matches!(Ca::open(one.path()), Err(CaError::NoCa)));
    }
}
