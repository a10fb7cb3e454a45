//! What comes before MQTT: the PROXY header, the TLS handshake, the request for a WebSocket.
//!
//! Each connection does this on its worker, with the time that it has for CONNECT, and never in the loop that accepts.

use std::{io, net::SocketAddr};

use catena_resources::listener::Protocol;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Stream, proxy, upgrade};
use crate::{
    entrance::{Entrance, Rules},
    limits::CERTIFICATES_MAX,
};

/// A connection on which MQTT may begin.
#[derive(Debug)]
pub(crate) struct Opened {
    pub stream: Stream,
    /// Who connects, as the PROXY header says, or else the socket.
    pub peer: SocketAddr,
    /// What the client showed in the TLS handshake, its own first: it has the key to it, and nothing more is known.
    pub certificates: Box<[CertificateDer<'static>]>,
}

/// A connection that does not come so far.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("the client shows more than {CERTIFICATES_MAX} certificates")]
    Certificates,
    #[error(transparent)]
    Upgrade(#[from] upgrade::Error),
}

/// Opens the connection on `socket`. To be dropped when it takes too long.
pub(crate) async fn open(
    mut socket: TcpStream,
    peer: SocketAddr,
    entrance: &Entrance,
    rules: &Rules,
) -> Result<Opened, Error> {
    let peer = proxy::take(&mut socket, entrance.proxy, peer).await?;
    let origins = &rules.origins;
    let Some(tls) = rules.tls.clone() else {
        let stream = match entrance.protocol {
            Protocol::Mqtt => Stream::Tcp(socket),
            Protocol::WebSockets => {
                Stream::WebSocket(Box::new(upgrade::upgrade(socket, origins).await?))
            }
        };
        return Ok(Opened {
            stream,
            peer,
            certificates: Box::default(),
        });
    };
    let accepting = TlsAcceptor::from(tls).accept(socket);
    let tls = accepting.await.map_err(Error::Tls)?;
    let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
    if shown.len() > CERTIFICATES_MAX {
        return Err(Error::Certificates);
    }
    let certificates = shown.to_vec().into_boxed_slice();
    let stream = match entrance.protocol {
        Protocol::Mqtt => Stream::Tls(Box::new(tls)),
        Protocol::WebSockets => {
            Stream::SecureWebSocket(Box::new(upgrade::upgrade(tls, origins).await?))
        }
    };
    Ok(Opened {
        stream,
        peer,
        certificates,
    })
}

#[cfg(test)]
mod tests {
    use catena_pki::{Served, certified_key};
    use catena_resources::listener::ProxyProtocol;
    use std::sync::Arc;

    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::ports::tls;

    struct Certificate {
        chain: String,
        key: String,
    }

    fn certificate() -> Certificate {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Certificate {
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn server(served: &Arc<Served>, asks: bool, protocol: Protocol) -> Arc<ServerConfig> {
        Arc::new(tls::config(served.clone(), asks, protocol).unwrap())
    }

    fn served(certificate: &Certificate) -> Arc<Served> {
        let served = Served::new();
        served
            .set(certified_key(certificate.chain.as_bytes(), certificate.key.as_bytes()).unwrap());
        served
    }

    /// A client that trusts one certificate, and shows it where it is asked to.
    fn client(certificate: &Certificate, shows: bool) -> ClientConfig {
        let trusted = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        if !shows {
            return builder.with_no_client_auth();
        }
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(vec![trusted], key).unwrap()
    }

    async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        (client, server, peer)
    }

    fn rules(config: &Arc<ServerConfig>) -> Rules {
        Rules {
            tls: Some(config.clone()),
            ..Rules::default()
        }
    }

    fn entrance(protocol: Protocol) -> Entrance {
        let proxy = ProxyProtocol::Disabled;
        Entrance::new("test".to_owned(), protocol, proxy, Rules::default())
    }

    // What goes through TLS must come out as it was, in both directions, and a certificate that is shown must be known.
    #[tokio::test(flavor = "current_thread")]
    async fn a_client_comes_in_over_tls_with_its_certificate_or_without() {
        let certificate = certificate();
        let served = served(&certificate);
        for (asks, shows, seen) in [(true, true, 1), (true, false, 0), (false, true, 0)] {
            let (socket, accepted, peer) = pair().await;
            let connector = TlsConnector::from(Arc::new(client(&certificate, shows)));
            let name = ServerName::try_from("localhost").unwrap();
            let rules = rules(&server(&served, asks, Protocol::Mqtt));
            let entrance = entrance(Protocol::Mqtt);
            let (connected, opened) = tokio::join!(
                connector.connect(name, socket),
                open(accepted, peer, &entrance, &rules)
            );
            let (mut connected, mut opened) = (connected.unwrap(), opened.unwrap());
            assert_eq!(opened.certificates.len(), seen);
            let sent: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
            let (mut there, mut back) = (vec![0; sent.len()], vec![0; sent.len()]);
            let ours = async {
                opened.stream.read_exact(&mut there).await.unwrap();
                opened.stream.write_all(&there).await.unwrap();
                opened.stream.flush().await.unwrap();
                assert!(!opened.stream.owes());
            };
            let (mut reading, mut writing) = tokio::io::split(&mut connected);
            let write = async {
                writing.write_all(&sent).await.unwrap();
                writing.flush().await.unwrap();
            };
            let read = reading.read_exact(&mut back);
            let ((), (), read) = tokio::join!(ours, write, read);
            read.unwrap();
            assert!(back == sent, "what came back is something else");
        }
    }

    // A port that shows its old certificate for as long as it runs would have to be restarted before that ends.
    #[tokio::test(flavor = "current_thread")]
    async fn a_new_certificate_is_shown_to_who_comes_then() {
        let (first, second) = (certificate(), certificate());
        let served = served(&first);
        let rules = rules(&server(&served, false, Protocol::Mqtt));
        for (shown, trusted, is_believed) in [
            (&first, &first, true),
            (&second, &first, false),
            (&second, &second, true),
        ] {
            served.set(certified_key(shown.chain.as_bytes(), shown.key.as_bytes()).unwrap());
            let (socket, accepted, peer) = pair().await;
            let connector = TlsConnector::from(Arc::new(client(trusted, false)));
            let name = ServerName::try_from("localhost").unwrap();
            let entrance = entrance(Protocol::Mqtt);
            let (connected, opened) = tokio::join!(
                connector.connect(name, socket),
                open(accepted, peer, &entrance, &rules)
            );
            assert_eq!(connected.is_ok(), is_believed);
            assert_eq!(opened.is_ok(), is_believed);
        }
    }

    // Bytes from the network never break the process, and never become a connection.
    #[tokio::test(flavor = "current_thread")]
    async fn garbage_instead_of_a_handshake_is_refused() {
        let served = served(&certificate());
        let garbage: [&[u8]; 4] = [
            b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0",
            b"GET / HTTP/1.1\r\n\r\n",
            &[0; 64],
            &[0xFF; 20_000],
        ];
        for protocol in [Protocol::Mqtt, Protocol::WebSockets] {
            for bytes in garbage {
                let (mut socket, accepted, peer) = pair().await;
                let config = server(&served, false, protocol);
                let entrance = entrance(protocol);
                let write = async {
                    // The other end may close before all is written.
                    let _ = socket.write_all(bytes).await;
                    let _ = socket.shutdown().await;
                };
                let rules = rules(&config);
                let opening = open(accepted, peer, &entrance, &rules);
                let (opened, ()) = tokio::join!(opening, write);
                assert!(matches!(opened, Err(Error::Tls(_))), "{opened:?}");
            }
        }
    }
}
