//! What a client speaks over: TCP, or TLS with or without a certificate of its own.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

/// The name that the certificates of tests are for.
const NAME: &str = "localhost";

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// TLS for a client that trusts `ca` alone, and shows a certificate and its key if it has them: PEM files. Sessions are never
/// resumed, so that each connection sees the certificate that is served now.
///
/// # Panics
/// When a file is not what it should be.
pub fn tls(ca: &Path, own: Option<(&Path, &Path)>) -> Arc<ClientConfig> {
    let certificates = |file: &Path| {
        let read = CertificateDer::pem_file_iter(file).expect("the file is there");
        read.map(|certificate| certificate.expect("a certificate in PEM"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca) {
        roots.add(certificate).expect("a CA");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).expect("a key in PEM");
            let chain = certificates(chain).collect();
            builder
                .with_client_auth_cert(chain, key)
                .expect("they belong together")
        }
    };
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

impl Stream {
    /// Connects by TCP.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn dial(address: SocketAddr) -> Stream {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Stream::Tcp(stream)
    }

    /// Connects by TLS, and goes through the handshake.
    ///
    /// # Errors
    /// When nobody listens, or the handshake fails.
    pub fn dial_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Stream> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(crate::client::PATIENCE))?;
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// The certificate that the server showed, in DER. `None` without TLS.
    pub fn served(&self) -> Option<Vec<u8>> {
        let Stream::Tls(stream) = self else {
            return None;
        };
        let shown = stream.conn.peer_certificates()?.first()?;
        Some(shown.to_vec())
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Tcp(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    pub(crate) fn cut(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(buffer),
            Stream::Tls(stream) => match stream.read(buffer) {
                // A server need not say at the level of TLS that it closes.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
