//! An HTTPS server that answers as it is told, with a thread for each connection: a decider, or a Kubernetes API.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::Value;

use crate::world::Ca;

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `POST`, or another.
    pub method: String,
    pub target: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("it sends JSON")
    }
}

/// Status and body.
pub type Answer = (u16, String);

type Answers = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// The server. Dropped, it is gone, with its connections.
pub struct Https {
    pub port: u16,
    seen: Arc<Mutex<Vec<Asked>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    is_over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Https {
    /// One whose certificate is of `ca`, and which demands one of `clients` if it is said.
    pub fn start(
        ca: &Ca,
        clients: Option<&Ca>,
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Https {
        Https::start_at(0, ca, clients, answers)
    }

    /// The same at a port that another had before.
    pub fn start_at(
        port: u16,
        ca: &Ca,
        clients: Option<&Ca>,
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Https {
        let config = config(ca, clients);
        let listener = TcpListener::bind(("localhost", port)).expect("the port is free");
        let mut server = Https {
            port: listener.local_addr().expect("it is bound").port(),
            seen: Arc::default(),
            open: Arc::default(),
            is_over: Arc::default(),
            listening: None,
        };
        let (seen, open, is_over) = (
            server.seen.clone(),
            server.open.clone(),
            server.is_over.clone(),
        );
        let answers: Answers = Arc::new(answers);
        let listening = thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let ours = socket.try_clone().expect("a socket");
                open.lock().expect("no panic holds it").push(ours);
                let (config, seen, answers) = (config.clone(), seen.clone(), answers.clone());
                thread::spawn(move || serve(socket, config, &seen, &answers));
            }
        });
        server.listening = Some(listening);
        server
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(("localhost", self.port));
        // Then its port is free.
        let _ = self.listening.take().map(JoinHandle::join);
        for socket in self.open.lock().expect("no panic holds it").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn config(ca: &Ca, clients: Option<&Ca>) -> Arc<ServerConfig> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let (chain, key) = ca.issue("localhost", 1);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&clients.pem())).expect("a CA");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("it has a CA"))
        }
    };
    let config = builder.with_single_cert(vec![certificate(&chain)], key);
    Arc::new(config.expect("they belong together"))
}

/// One request after another, until the other end has enough.
fn serve(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<Asked>>,
    answers: &Answers,
) {
    let tls = ServerConnection::new(config).expect("a server");
    let mut stream = BufReader::new(StreamOwned::new(tls, socket));
    while let Some(asked) = read(&mut stream) {
        let (status, body) = answers(&asked);
        seen.lock().expect("no panic holds it").push(asked);
        let answer = format!(
            "HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = stream.get_mut();
        if stream.write_all(answer.as_bytes()).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

/// `None`: there is no more, or it is no request.
fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let mut line = || {
        let mut line = String::new();
        let length = stream.read_line(&mut line).ok()?;
        (length > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map(|length| length.parse());
    let mut body = vec![0; length.unwrap_or(Ok(0)).ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        target,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
