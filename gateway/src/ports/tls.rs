//! TLS of a port: what it shows, and what it asks clients for.

use std::{io, sync::Arc};

use catena_authentication::offered_certificates;
use catena_resources::listener::Protocol;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::ResolvesServerCert,
    version::{TLS12, TLS13},
};

/// TLS 1.2 and 1.3 with the certificate of `served`. Sessions resume, by tickets that only this configuration reads: one
/// that begins to ask for certificates is another. Whether a client's certificate is trusted is for X509 to decide when
/// CONNECT has come: then the client hears it in MQTT's words, and another method may decide instead.
///
/// # Errors
/// When the library refuses, or the system has no randomness.
pub(crate) fn config(
    served: Arc<dyn ResolvesServerCert>,
    asks_for_certificate: bool,
    protocol: Protocol,
) -> io::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?;
    let builder = if asks_for_certificate {
        builder.with_client_cert_verifier(offered_certificates())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(served);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    // One is enough for who comes back; a second would be made and sent for nothing.
    config.send_tls13_tickets = 1;
    if protocol == Protocol::WebSockets {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(config)
}
