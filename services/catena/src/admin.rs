//! Options of the admin API's port, for whoever serves it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::bail;
use catena_control_plane::access::Access;
use clap::Args;
use serde::Deserialize;

const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9700);

/// Where administrators come, and how they are known.
///
/// On this machine nobody is asked for credentials, unless they are set. Elsewhere it needs a certificate, and a CA of
/// administrators' certificates or tokens.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[command(next_help_heading = "Where administrators come, and how they are known")]
#[serde(default, deny_unknown_fields)]
pub struct AdminPort {
    /// Where the admin API listens, for `catena apply`, `catena status` and the like [default: 127.0.0.1:9700]
    #[arg(long, value_name = "ADDR:PORT", env = "CATENA_ADMIN_LISTEN")]
    pub admin: Option<SocketAddr>,

    /// PEM file of its certificate, with the chain; read again when it changes
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_TLS_CERT")]
    pub admin_tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's key
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_TLS_KEY")]
    pub admin_tls_key: Option<PathBuf>,

    /// PEM file of who signs administrators' certificates; the organisational unit (OU) in them, admin or viewer, says
    /// what they may do
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_CLIENT_CA")]
    pub admin_client_ca: Option<PathBuf>,

    /// File of the tokens that let in: a line `ROLE: HASH NAME` for each, with admin or viewer for the role, and the
    /// SHA-256 of the token in hexadecimal digits
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_TOKENS")]
    pub admin_tokens: Option<PathBuf>,
}

impl AdminPort {
    /// What is not said here, as `other` says it.
    pub fn or(self, other: AdminPort) -> AdminPort {
        AdminPort {
            admin: self.admin.or(other.admin),
            admin_tls_cert: self.admin_tls_cert.or(other.admin_tls_cert),
            admin_tls_key: self.admin_tls_key.or(other.admin_tls_key),
            admin_client_ca: self.admin_client_ca.or(other.admin_client_ca),
            admin_tokens: self.admin_tokens.or(other.admin_tokens),
        }
    }

    /// The port with its protection.
    ///
    /// # Errors
    /// Options that do not go together, or would let everybody in.
    pub fn access(self) -> anyhow::Result<Access> {
        let tls = match (self.admin_tls_cert, self.admin_tls_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => bail!(
                "--admin-tls-cert and --admin-tls-key go together: a certificate needs its key"
            ),
        };
        let access = Access {
            listen: self.admin.unwrap_or(ADMIN),
            tls,
            client_ca: self.admin_client_ca,
            tokens: self.admin_tokens,
        };
        access.check()?;
        Ok(access)
    }
}
