//! How the broker is reached, blocking: TCP, TLS, WebSockets over either.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bytes::{Buf, Bytes};
use rustls::{ClientConfig, ClientConnection, client::Resumption, pki_types::ServerName};
use tokio_tungstenite::tungstenite::{
    Message, WebSocket,
    client::{IntoClientRequest, client},
    http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
};

use super::{handshake::ANSWER_SECONDS_MAX, socket::Socket};
use crate::cli::{
    tls::{self, Tls},
    way::Way,
};

/// What MQTT is spoken over.
pub trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// Where the broker is, and how to get there.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where it listens.
    pub address: SocketAddr,
    /// A whole handshake for each connection: no session is resumed.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Of the WebSocket.
    url: Option<String>,
}

impl Reach {
    /// Reads a host, which may be a URL.
    ///
    /// # Errors
    /// A URL that makes no sense, a host that is not known, and what is wrong with files of `tls`.
    pub fn read(host: &str, port: Option<u16>, tls: &Tls) -> anyhow::Result<Reach> {
        let way = Way::read(host, port, tls)?;
        let mut addresses = (way.host.as_str(), way.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve --host {host}"))?;
        let address = addresses.next();
        let scheme = if way.tls.is_some() { "wss" } else { "ws" };
        let (name, port) = (&way.host, way.port);
        Ok(Reach {
            address: address.with_context(|| format!("--host {host} has no address"))?,
            url: way
                .path
                .map(|path| format!("{scheme}://{name}:{port}{path}")),
            tls: match way.tls {
                None => None,
                Some(config) => {
                    let mut config = ClientConfig::clone(&config);
                    config.resumption = Resumption::disabled();
                    Some((Arc::new(config), tls::server_name(name)?))
                }
            },
        })
    }

    /// Whether it is by WebSocket.
    pub fn is_web(&self) -> bool {
        self.url.is_some()
    }

    fn dial(&self) -> anyhow::Result<TcpStream> {
        let within = Duration::from_secs(ANSWER_SECONDS_MAX);
        let stream = TcpStream::connect_timeout(&self.address, within).with_context(|| {
            format!("cannot connect to {}: is the broker running?", self.address)
        })?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(within))?;
        Ok(stream)
    }

    /// Connects the socket, with TLS if it was asked for.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn socket(&self) -> anyhow::Result<Socket<TcpStream>> {
        let socket = self.dial()?;
        let Some((config, name)) = &self.tls else {
            return Ok(Socket::Tcp(socket));
        };
        let tls = ClientConnection::new(config.clone(), name.clone())?;
        Ok(Socket::Tls(Box::new(tls), socket))
    }

    /// Connects as it was asked for.
    ///
    /// # Errors
    /// When nobody listens, or something else does.
    pub fn open(&self) -> anyhow::Result<Box<dyn Duplex>> {
        let stream = self.socket()?;
        let Some(url) = &self.url else {
            return Ok(Box::new(stream));
        };
        let mut request = url.into_client_request()?;
        let mqtt = HeaderValue::from_static("mqtt");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, mqtt);
        let (socket, _) =
            client(request, stream).map_err(|error| anyhow::anyhow!("no WebSocket: {error}"))?;
        let rest = Bytes::new();
        Ok(Box::new(Web { socket, rest }))
    }
}

/// A WebSocket as a stream of bytes.
struct Web<S> {
    socket: WebSocket<S>,
    /// Of the last message.
    rest: Bytes,
}

impl<S: Read + Write> Read for Web<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use tokio_tungstenite::tungstenite::Error;
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.rest = bytes,
                // The library answers what there is to answer.
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(_) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(0),
                Err(Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest
            .split_to(length)
            .copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl<S: Read + Write> Write for Web<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        self.socket.send(message).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}
