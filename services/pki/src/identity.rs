//! Who a process is: its role and name, in its certificate as `catena://CLUSTER/ROLE/NAME`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

use crate::ca::Subject;

const SCHEME: &str = "catena://";
/// Longest name of a cluster or a process, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Gateway,
    Backend,
    ControlPlane,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Gateway, Role::Backend, Role::ControlPlane];
}

/// A process of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub cluster: String,
    pub role: Role,
    pub name: String,
}

/// No identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error(
        "the certificate names no process: it needs one URI like catena://CLUSTER/backend/NAME among its names"
    )]
    Nobody,
    #[error("{0:?} is no role: gateway, backend or control-plane")]
    Role(String),
    #[error(
        "{0:?} is no name of a process or cluster: visible ASCII without / ? # %, 1 to 255 characters"
    )]
    Name(String),
}

impl Role {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Backend => "backend",
            Role::ControlPlane => "control-plane",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Role, NoIdentity> {
        [Role::Gateway, Role::Backend, Role::ControlPlane]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| NoIdentity::Role(text.to_owned()))
    }
}

impl Identity {
    /// Of a process.
    ///
    /// # Errors
    /// [`NoIdentity::Name`].
    pub fn new(
        cluster: impl Into<String>,
        role: Role,
        name: impl Into<String>,
    ) -> Result<Identity, NoIdentity> {
        let (cluster, name) = (cluster.into(), name.into());
        for text in [&cluster, &name] {
            let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#%".contains(&byte);
            if !(1..=NAME_BYTES_MAX).contains(&text.len()) || !text.bytes().all(fits) {
                return Err(NoIdentity::Name(text.clone()));
            }
        }
        Ok(Identity {
            cluster,
            role,
            name,
        })
    }

    /// Whose certificate (DER) this is.
    ///
    /// # Errors
    /// [`NoIdentity`], also for one that names several.
    pub fn of(certificate: &[u8]) -> Result<Identity, NoIdentity> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| NoIdentity::Unreadable)?;
        let names = parsed.subject_alternative_name();
        let names = names.map_err(|_| NoIdentity::Unreadable)?;
        let names = names.map(|names| names.value.general_names.as_slice());
        let mut uris = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(NoIdentity::Nobody);
        };
        let mut parts = uri.splitn(3, '/');
        let (Some(cluster), Some(role), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoIdentity::Nobody);
        };
        Identity::new(cluster, role.parse()?, name)
    }

    /// What a certificate is to say. The name is in the URI alone: some clients take the common name for a host's where a
    /// certificate has no DNS name, and no process may stand for a host. With a space in it, it is none.
    pub fn subject(&self) -> Subject {
        Subject {
            common_name: format!("catena {}", self.role.as_str()),
            uri: Some(self.to_string()),
            ..Subject::default()
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            cluster,
            role,
            name,
        } = self;
        write!(f, "{SCHEME}{cluster}/{role}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{Ca, certified_key};

    fn read(subject: &Subject) -> Result<Identity, NoIdentity> {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let key = crate::generate(Default::default()).unwrap();
        let request = crate::request(&key).unwrap();
        let hour = Duration::from_secs(3_600);
        let chain = ca.issue(&request, subject, hour, now).unwrap();
        let shown = certified_key(chain.as_bytes(), key.as_bytes()).unwrap();
        Identity::of(&shown.chain()[0])
    }

    // Whoever reads another role or cluster out of a certificate than was written lets the wrong one in.
    #[test]
    fn who_it_is_survives_the_certificate() {
        let backend = Identity::new("prod", Role::Backend, "backend-0.rack:1").unwrap();
        assert_eq!(read(&backend.subject()), Ok(backend));
        let uri = |uri: &str| Subject {
            uri: Some(uri.to_owned()),
            ..Subject::default()
        };
        assert_eq!(read(&Subject::server(["a"])), Err(NoIdentity::Nobody));
        assert_eq!(read(&uri("https://a/b/c")), Err(NoIdentity::Nobody));
        assert_eq!(read(&uri("catena://a/backend")), Err(NoIdentity::Nobody));
        assert_eq!(
            read(&uri("catena://a/admin/b")),
            Err(NoIdentity::Role("admin".to_owned()))
        );
        for name in ["", "x/y", "x%2f", "x y", &"x".repeat(256)] {
            assert!(
                Identity::new("prod", Role::Gateway, name).is_err(),
                "{name:?}"
            );
        }
    }
}
