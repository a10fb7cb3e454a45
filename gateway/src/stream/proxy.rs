//! The PROXY protocol, versions 1 and 2: a load balancer in front says who connects.
//!
//! The first byte tells a header from everything else that may begin a connection here, and its beginning tells its
//! length. So never more than the header is taken from the socket, however it is cut.

use std::{io, net::SocketAddr};

use catena_resources::listener::ProxyProtocol;
use ppp::{v1, v2};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::limits::PROXY_HEADER_BYTES;

/// The first byte of version 1. Neither MQTT, nor TLS, nor `GET` begins with it.
const FIRST_V1: u8 = b'P';
/// The first byte of version 2; the same holds.
const FIRST_V2: u8 = b'\r';
/// The longest header of version 1, with its end.
const V1_BYTES: usize = 107;
/// What comes before the addresses in version 2; the last two bytes are the length of the rest.
const V2_FIXED_BYTES: usize = 16;

/// A connection that does not begin as it has to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no PROXY header, and this port requires one")]
    Missing,
    #[error("a PROXY header of more than {PROXY_HEADER_BYTES} bytes")]
    TooLong,
    #[error("not a PROXY header: {0}")]
    Malformed(String),
    #[error("the socket ended within the PROXY header: {0}")]
    Broken(#[from] io::Error),
}

/// Takes the header, if there is one. Gives the address that it tells, or else `peer`: a proxy that speaks for itself (a
/// health check) or that does not know tells none.
pub(crate) async fn take(
    stream: &mut TcpStream,
    wanted: ProxyProtocol,
    peer: SocketAddr,
) -> Result<SocketAddr, Error> {
    let mut first = [0];
    match wanted {
        ProxyProtocol::Disabled => return Ok(peer),
        ProxyProtocol::Optional | ProxyProtocol::Required => {
            if stream.peek(&mut first).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
    match (first[0], wanted) {
        (FIRST_V1, _) => take_v1(stream, peer).await,
        (FIRST_V2, _) => take_v2(stream, peer).await,
        (_, ProxyProtocol::Required) => Err(Error::Missing),
        _ => Ok(peer),
    }
}

async fn take_v1(stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Error> {
    let mut header = [0; V1_BYTES];
    let mut length = 0;
    while !header[..length].ends_with(b"\r\n") {
        if length == V1_BYTES {
            return Err(Error::Malformed("no end of line in 107 bytes".to_owned()));
        }
        // The line is short and comes once in a connection's life: byte by byte, nothing behind it is touched.
        header[length] = stream.read_u8().await?;
        length += 1;
    }
    let header = v1::Header::try_from(&header[..length]);
    let header = header.map_err(|error| Error::Malformed(error.to_string()))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(told) => (told.source_address, told.source_port).into(),
        v1::Addresses::Tcp6(told) => (told.source_address, told.source_port).into(),
        v1::Addresses::Unknown => peer,
    })
}

async fn take_v2(stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Error> {
    let mut header = vec![0; V2_FIXED_BYTES];
    stream.read_exact(&mut header).await?;
    if !header.starts_with(v2::PROTOCOL_PREFIX) {
        return Err(Error::Malformed(
            "not the signature of version 2".to_owned(),
        ));
    }
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if V2_FIXED_BYTES + rest > PROXY_HEADER_BYTES {
        return Err(Error::TooLong);
    }
    header.resize(V2_FIXED_BYTES + rest, 0);
    stream.read_exact(&mut header[V2_FIXED_BYTES..]).await?;
    let header = v2::Header::try_from(&header[..]);
    let header = header.map_err(|error| Error::Malformed(error.to_string()))?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => peer,
        (_, v2::Addresses::IPv4(told)) => (told.source_address, told.source_port).into(),
        (_, v2::Addresses::IPv6(told)) => (told.source_address, told.source_port).into(),
        _ => peer,
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const V4: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x0a\x01\x02\x03\x7f\0\0\x01\x11\x22\x07\x5b\x04\0\0";
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    /// What is told when `bytes` come in pieces, and whether what follows is all there.
    async fn told(bytes: &[u8], piece: usize, wanted: ProxyProtocol) -> Result<String, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, peer) = listener.accept().await.unwrap();
        let write = async {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.write_all(b"\x10rest").await.unwrap();
            client.shutdown().await.unwrap();
        };
        let take = async {
            let address = take(&mut server, wanted, peer).await?;
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"\x10rest", "nothing behind the header is taken");
            Ok(if address == peer {
                "itself".to_owned()
            } else {
                address.to_string()
            })
        };
        tokio::join!(take, write).0
    }

    // A client behind a load balancer would have the address of the load balancer, or its CONNECT would lose its head.
    #[tokio::test(flavor = "current_thread")]
    async fn headers_tell_the_client_however_they_are_cut() {
        use ProxyProtocol::{Optional, Required};
        let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 1883\r\n";
        let v1_6 = b"PROXY TCP6 2001:db8::1 ::1 4711 1883\r\n";
        for piece in [1, 5, 1_000] {
            for wanted in [Optional, Required] {
                assert_eq!(told(v1, piece, wanted).await.unwrap(), "192.0.2.1:4711");
                assert_eq!(
                    told(v1_6, piece, wanted).await.unwrap(),
                    "[2001:db8::1]:4711"
                );
                assert_eq!(told(V4, piece, wanted).await.unwrap(), "10.1.2.3:4386");
                assert_eq!(told(LOCAL, piece, wanted).await.unwrap(), "itself");
                let unknown = b"PROXY UNKNOWN\r\n";
                assert_eq!(told(unknown, piece, wanted).await.unwrap(), "itself");
            }
            assert_eq!(told(b"", piece, Optional).await.unwrap(), "itself");
        }
    }

    // Who is let through without a header on such a port could say to be anybody behind the next one.
    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_header_is_refused() {
        use ProxyProtocol::{Optional, Required};
        assert!(matches!(told(b"", 1, Required).await, Err(Error::Missing)));
        let refused: [&[u8]; 5] = [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 70000 1883\r\n",
            b"POST / HTTP/1.1\r\n",
            &[b'P'; 200],
            b"\r\n\r\nnot the signature",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c123456789012",
        ];
        for bytes in refused {
            let outcome = told(bytes, 7, Optional).await;
            assert!(matches!(outcome, Err(Error::Malformed(_))), "{outcome:?}");
        }
        let long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff1234567890123456";
        assert!(matches!(
            told(long, 100, Optional).await,
            Err(Error::TooLong)
        ));
    }
}
