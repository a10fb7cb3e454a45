//! A socket with TLS or without, that waits as long as the socket beneath it does: blocking while a connection is opened, and
//! never under load.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use rustls::ClientConnection;

/// The socket.
#[derive(Debug)]
pub enum Socket<S> {
    /// As it is.
    Tcp(S),
    /// Encrypted.
    Tls(Box<ClientConnection>, S),
}

impl Socket<TcpStream> {
    /// The same, for an event loop.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn watched(self) -> io::Result<Socket<mio::net::TcpStream>> {
        let watched = |socket: TcpStream| {
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(mio::net::TcpStream::from_std(socket))
        };
        Ok(match self {
            Socket::Tcp(socket) => Socket::Tcp(watched(socket)?),
            Socket::Tls(tls, socket) => Socket::Tls(tls, watched(socket)?),
        })
    }
}

impl<S> Socket<S> {
    /// What the system knows.
    pub fn inner(&mut self) -> &mut S {
        match self {
            Socket::Tcp(socket) | Socket::Tls(_, socket) => socket,
        }
    }

    /// Whether more may have been read from the system than was asked for.
    pub fn reads_ahead(&self) -> bool {
        matches!(self, Socket::Tls(..))
    }
}

/// Sends what TLS has ready, as far as the socket takes it.
fn send(tls: &mut ClientConnection, socket: &mut impl Write) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

/// The same, where it does no harm that some of it waits.
fn send_some(tls: &mut ClientConnection, socket: &mut impl Write) -> io::Result<()> {
    match send(tls, socket) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        sent => sent,
    }
}

impl<S: Read + Write> Read for Socket<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (tls, socket) = match self {
            Socket::Tcp(socket) => return socket.read(buffer),
            Socket::Tls(tls, socket) => (tls, socket),
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A server need not say at the level of TLS that it closes.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            tls.read_tls(socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            send_some(tls, socket)?;
        }
    }
}

impl<S: Read + Write> Write for Socket<S> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (tls, socket) = match self {
            Socket::Tcp(socket) => return socket.write(bytes),
            Socket::Tls(tls, socket) => (tls, socket),
        };
        loop {
            let length = tls.writer().write(bytes)?;
            send_some(tls, socket)?;
            if length > 0 || bytes.is_empty() {
                return Ok(length);
            }
            // TLS holds back as much as it may, unless some of it has left just now.
            if tls.wants_write() {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }

    /// With [`ErrorKind::WouldBlock`] some of it waits in TLS for the socket.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.flush(),
            Socket::Tls(tls, socket) => send(tls, socket),
        }
    }
}
