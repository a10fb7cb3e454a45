//! A real etcd on a free port, with its data in a directory that goes with it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

pub struct Server {
    child: Child,
    directory: TempDir,
    client_port: u16,
    peer_port: u16,
    scheme: &'static str,
    arguments: Vec<String>,
}

/// PEM files: who signed, and one pair that serves both sides.
pub struct Certificates {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Server {
        let arguments = arguments.iter().map(|argument| argument.to_string());
        Server::launch("http", arguments.collect()).await
    }

    pub async fn start_tls(files: &Certificates) -> Server {
        let path = |file: &Path| file.display().to_string();
        let arguments = vec![
            "--client-cert-auth".to_owned(),
            format!("--trusted-ca-file={}", path(&files.ca)),
            format!("--cert-file={}", path(&files.certificate)),
            format!("--key-file={}", path(&files.key)),
        ];
        Server::launch("https", arguments).await
    }

    async fn launch(scheme: &'static str, arguments: Vec<String>) -> Server {
        // A port that was free may be taken when etcd asks for it; then it ends, and another is tried.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let (client_port, peer_port) = free_ports();
            let child = spawn(&directory, scheme, client_port, peer_port, &arguments);
            let mut server = Server {
                child,
                directory,
                client_port,
                peer_port,
                scheme,
                arguments: arguments.clone(),
            };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("etcd does not start");
    }

    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// As by kill -9.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// On the same ports and data.
    pub async fn restart(&mut self) {
        self.child = spawn(
            &self.directory,
            self.scheme,
            self.client_port,
            self.peer_port,
            &self.arguments,
        );
        assert!(self.is_ready().await, "etcd does not start again");
    }

    /// Waits until it listens, or has ended.
    async fn is_ready(&mut self) -> bool {
        for _ in 0..600 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let address = ("127.0.0.1", self.client_port);
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

fn spawn(
    directory: &TempDir,
    scheme: &str,
    client_port: u16,
    peer_port: u16,
    arguments: &[String],
) -> Child {
    let client = format!("{scheme}://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    Command::new("etcd")
        .args(["--name=test", "--logger=zap"])
        .arg(format!(
            "--data-dir={}",
            directory.path().join("data").display()
        ))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=test={peer}"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("etcd is installed: tests/setup/etcd.sh")
}

fn free_ports() -> (u16, u16) {
    let (one, other) = (listener(), listener());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    (port(&one), port(&other))
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A certificate authority, and a certificate of localhost that it signed.
pub fn certificates(directory: &Path) -> Certificates {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca_params = CertificateParams::new(vec![]).unwrap();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issuer = Issuer::new(ca_params, ca_key);
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    Certificates {
        ca: write("ca.pem", ca.pem()),
        certificate: write("certificate.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}
