//! What a client brings.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use bytestring::ByteString;
use rustls::pki_types::CertificateDer;

/// What a client brings to prove who it is. Its `Debug` says what is there, not what it is.
#[derive(Clone, Default)]
pub struct Credentials {
    pub client_id: ByteString,
    /// Of CONNECT.
    pub username: Option<ByteString>,
    /// Of CONNECT.
    pub password: Option<Bytes>,
    /// What the client showed in the TLS handshake, which has proved that the client has the key of the first. The client's
    /// own first.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The MQTT 5 authentication method.
    pub method: Option<ByteString>,
    /// The MQTT 5 authentication data, of CONNECT or AUTH.
    pub data: Option<Bytes>,
    /// Where the client is, as well as it is known.
    pub peer: Option<IpAddr>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username.is_some())
            .field("password", &self.password.is_some())
            .field("certificates", &self.certificates.len())
            .field("method", &self.method)
            .field("data", &self.data.is_some())
            .field("peer", &self.peer)
            .finish()
    }
}
