//! The way to the broker: TCP, TLS, WebSockets over either.

use std::{io, sync::Arc};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

use super::tls::{self, Tls};

/// Bytes on their way through a WebSocket.
const PIPE_BYTES: usize = 64 * 1024;

/// Where the broker is, and how it is reached.
#[derive(Debug, Clone)]
pub struct Way {
    pub host: String,
    pub port: u16,
    pub tls: Option<Arc<ClientConfig>>,
    /// The path of the WebSocket, if it is one.
    pub path: Option<String>,
}

/// What MQTT is spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for T {}

impl Way {
    /// Reads `host`, which may be a URL: `mqtt://`, `mqtts://`, `ws://` or `wss://`.
    ///
    /// # Errors
    /// A URL that makes no sense, and what is wrong with files of `tls`.
    pub fn read(host: &str, port: Option<u16>, tls: &Tls) -> anyhow::Result<Way> {
        let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
        let (is_web, is_secure) = match scheme {
            "" | "mqtt" => (false, tls.is_wanted()),
            "mqtts" => (false, true),
            "ws" if tls.is_wanted() => bail!("{host} is not encrypted: say wss:// for TLS"),
            "ws" => (true, false),
            "wss" => (true, true),
            other => bail!("{other}:// is unknown: it may be mqtt, mqtts, ws or wss"),
        };
        let (place, path) = match rest.find('/') {
            Some(at) if is_web => (&rest[..at], &rest[at..]),
            Some(at) if rest[at..].len() > 1 => bail!("{host}: only a WebSocket has a path"),
            Some(at) => (&rest[..at], ""),
            None => (rest, "/mqtt"),
        };
        let (name, in_url) = if scheme.is_empty() {
            (place, None)
        } else {
            split_port(place)?
        };
        let usual = match (is_web, is_secure) {
            (false, false) => 1883,
            (false, true) => 8883,
            (true, false) => 80,
            (true, true) => 443,
        };
        Ok(Way {
            host: name.trim_matches(['[', ']']).to_owned(),
            port: in_url.or(port).unwrap_or(usual),
            tls: if is_secure { Some(tls.config()?) } else { None },
            path: is_web.then(|| path.to_owned()),
        })
    }

    /// Makes MQTT's stream of a connection.
    ///
    /// # Errors
    /// When the other end does not speak what it should.
    pub async fn enter(&self, socket: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else {
            return match &self.path {
                None => Ok(Box::new(socket)),
                Some(path) => self.upgrade(socket, "ws", path).await,
            };
        };
        let name = tls::server_name(&self.host).map_err(io::Error::other)?;
        let socket = TlsConnector::from(tls.clone())
            .connect(name, socket)
            .await?;
        match &self.path {
            None => Ok(Box::new(socket)),
            Some(path) => self.upgrade(socket, "wss", path).await,
        }
    }

    async fn upgrade<S>(&self, socket: S, scheme: &str, path: &str) -> io::Result<Box<dyn Stream>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let url = format!("{scheme}://{}:{}{path}", self.host, self.port);
        let mut request = url.into_client_request().map_err(io::Error::other)?;
        let mqtt = HeaderValue::from_static("mqtt");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, mqtt);
        let (socket, _) = client_async(request, socket)
            .await
            .map_err(io::Error::other)?;
        let (ours, theirs) = duplex(PIPE_BYTES);
        tokio::spawn(pump(socket, theirs));
        Ok(Box::new(ours))
    }
}

/// `host:port`, where the port may be left out and the host may be an IPv6 address in brackets.
fn split_port(place: &str) -> anyhow::Result<(&str, Option<u16>)> {
    let after_address = place.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = place[after_address..].find(':') else {
        return Ok((place, None));
    };
    let (name, port) = place.split_at(after_address + colon);
    let port = port[1..].parse();
    Ok((
        name,
        Some(port.with_context(|| format!("the port of {place}"))?),
    ))
}

/// Moves bytes between a WebSocket and a stream until either ends.
async fn pump<S>(mut socket: WebSocketStream<S>, mut stream: DuplexStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; PIPE_BYTES];
    loop {
        tokio::select! {
            message = socket.next() => {
                let bytes = match message {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    // The library answers what there is to answer.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    _ => return,
                };
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            count = stream.read(&mut buffer) => match count {
                Ok(count) if count > 0 => {
                    let bytes = buffer[..count].to_vec();
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        return;
                    }
                }
                _ => {
                    let _ = socket.close(None).await;
                    return;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str, port: Option<u16>, tls: &Tls) -> (String, u16, bool, Option<String>) {
        let way = Way::read(host, port, tls).unwrap();
        (way.host, way.port, way.tls.is_some(), way.path)
    }

    // A client that goes elsewhere than it was told, or unencrypted, tells its password to whoever listens.
    #[test]
    fn urls_say_where_and_how() {
        let none = Tls::default();
        let tls = Tls::anybody();
        let plain = |host, port| read(host, port, &none);
        let host = |text: &str| text.to_owned();
        assert_eq!(plain("b", None), (host("b"), 1883, false, None));
        assert_eq!(plain("b", Some(9)), (host("b"), 9, false, None));
        assert_eq!(read("b", None, &tls), (host("b"), 8883, true, None));
        assert_eq!(read("mqtts://b", None, &tls), (host("b"), 8883, true, None));
        let path = Some(host("/mqtt"));
        assert_eq!(
            plain("ws://b:81", None),
            (host("b"), 81, false, path.clone())
        );
        assert_eq!(
            read("wss://[::1]/x", None, &tls),
            (host("::1"), 443, true, Some(host("/x")))
        );
        assert_eq!(plain("::1", None), (host("::1"), 1883, false, None));
        let refused = |host| Way::read(host, None, &tls).is_err();
        assert!(refused("http://b") && refused("ws://b") && refused("mqtt://b/x"));
        assert!(refused("wss://b:high"));
    }
}
