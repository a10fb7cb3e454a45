//! Which store, and how to reach it.

use std::{fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ClusterName, Error};

/// How long a request may take, when the configuration does not say.
const REQUEST_TIMEOUT_MS: u64 = 2_000;

/// The configuration of a control plane's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Config {
    Etcd(Etcd),
    Embedded(Embedded),
}

/// etcd, which several control planes may share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// `http://` or `https://` addresses of its members.
    pub endpoints: Vec<String>,
    /// All keys begin with `/catena/v1/CLUSTER/`.
    pub cluster: ClusterName,
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default)]
    pub credentials: Option<Credentials>,
    #[serde(default = "request_timeout_ms")]
    pub request_timeout_ms: u64,
}

/// Files in PEM. They are read when the store is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who signed the servers' certificates.
    pub ca_file: PathBuf,
    /// Ours, for servers that ask for one; with `key_file`.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The name in the servers' certificates, when it is not that of the endpoint.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// A user of etcd. The password is in a file, so that the configuration holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub user: String,
    /// Its end of line does not count.
    pub password_file: PathBuf,
}

/// A file on this machine's disk, for one control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub file: PathBuf,
}

fn request_timeout_ms() -> u64 {
    REQUEST_TIMEOUT_MS
}

impl Etcd {
    /// etcd at `endpoints`, without TLS and credentials.
    pub fn new(endpoints: Vec<String>, cluster: ClusterName) -> Etcd {
        Etcd {
            endpoints,
            cluster,
            tls: None,
            credentials: None,
            request_timeout_ms: REQUEST_TIMEOUT_MS,
        }
    }

    /// How long one request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// Finds what can be known to be wrong before anything is opened.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |problem: &str| Err(Error::Invalid(problem.to_owned()));
        if self.endpoints.is_empty() {
            return wrong("endpoints: there is none");
        }
        let scheme = if self.tls.is_some() {
            "https://"
        } else {
            "http://"
        };
        if let Some(endpoint) = self
            .endpoints
            .iter()
            .find(|endpoint| !endpoint.starts_with(scheme))
        {
            return wrong(&format!(
                "endpoints: {endpoint} does not begin with {scheme}"
            ));
        }
        if self.request_timeout_ms == 0 {
            return wrong("request_timeout_ms: must be above 0");
        }
        match &self.tls {
            Some(tls) if tls.certificate_file.is_some() != tls.key_file.is_some() => {
                wrong("tls: certificate_file and key_file belong together")
            }
            _ => Ok(()),
        }
    }
}

impl Credentials {
    /// Reads the password.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the file.
    pub fn password(&self) -> Result<String, Error> {
        let text = read(&self.password_file)?;
        let text = String::from_utf8(text)
            .map_err(|_| Error::Invalid(format!("{}: not UTF-8", self.password_file.display())))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Reads a file that the configuration names.
///
/// # Errors
/// [`Error::Invalid`] names the file.
pub fn read(file: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| Error::Invalid(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd() -> Etcd {
        let cluster = ClusterName::new("edge").unwrap();
        Etcd::new(vec!["http://127.0.0.1:2379".to_owned()], cluster)
    }

    fn tls() -> Tls {
        Tls {
            ca_file: "ca.pem".into(),
            certificate_file: None,
            key_file: None,
            server_name: None,
        }
    }

    // Found when a node dies at night, a missing key file is found too late.
    #[test]
    fn a_configuration_that_cannot_work_is_refused_with_the_field() {
        let problem = |config: Etcd| config.check().map_err(|error| error.to_string());
        assert!(etcd().check().is_ok());
        let none = Etcd {
            endpoints: vec![],
            ..etcd()
        };
        assert!(problem(none).unwrap_err().contains("endpoints"));
        let plain = Etcd {
            tls: Some(tls()),
            ..etcd()
        };
        assert!(problem(plain).unwrap_err().contains("https://"));
        let half = Etcd {
            endpoints: vec!["https://etcd:2379".to_owned()],
            tls: Some(Tls {
                key_file: Some("key.pem".into()),
                ..tls()
            }),
            ..etcd()
        };
        assert!(problem(half).unwrap_err().contains("certificate_file"));
        let instant = Etcd {
            request_timeout_ms: 0,
            ..etcd()
        };
        assert!(problem(instant).unwrap_err().contains("request_timeout_ms"));
    }
}
