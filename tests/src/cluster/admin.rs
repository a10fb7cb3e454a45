//! The admin APIs of a cluster: where they are, and how one gets in.

use std::{fs, net::SocketAddr, path::Path};

/// SHA-256 of [`TOKEN`].
const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const TOKEN: &str = "secret";

/// The admin APIs of all control planes.
#[derive(Debug, Default)]
pub struct Admin {
    /// On addresses of other hosts they need a certificate and know us by a token: this and their files.
    files: Option<Files>,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Files {
    certificate: String,
    key: String,
    tokens: String,
    token: String,
}

impl Admin {
    /// The admin APIs at `addresses`, with what they need in `directory`.
    pub fn new(addresses: Vec<SocketAddr>, directory: &Path) -> Admin {
        let is_local = addresses.iter().all(|address| address.ip().is_loopback());
        let files = (!is_local).then(|| Files::new(&addresses, directory));
        Admin { files, addresses }
    }

    /// Their URLs, with commas.
    pub fn urls(&self) -> String {
        let scheme = if self.files.is_some() {
            "https"
        } else {
            "http"
        };
        let addresses = self.addresses.iter();
        let urls: Vec<String> = addresses.map(|it| format!("{scheme}://{it}")).collect();
        urls.join(",")
    }

    /// What a control plane is told of its own.
    pub fn server(&self, number: usize) -> String {
        let mut words = format!("--admin {}", self.addresses[number]);
        if let Some(files) = &self.files {
            words += &format!(
                " --admin-tls-cert {} --admin-tls-key {} --admin-tokens {}",
                files.certificate, files.key, files.tokens
            );
        }
        words
    }

    /// What a command of administrators is told.
    pub fn client(&self) -> Vec<String> {
        let mut words = vec!["--admin".to_owned(), self.urls()];
        if let Some(files) = &self.files {
            words.extend(["--admin-ca".to_owned(), files.certificate.clone()]);
            words.extend(["--admin-token-file".to_owned(), files.token.clone()]);
        }
        words
    }
}

impl Files {
    fn new(addresses: &[SocketAddr], directory: &Path) -> Files {
        let names: Vec<String> = addresses.iter().map(|it| it.ip().to_string()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("these are addresses");
        let write = |name: &str, text: &str| {
            let file = directory.join(name);
            fs::write(&file, text).expect("the directory is ours");
            file.display().to_string()
        };
        Files {
            certificate: write("admin.crt", &made.cert.pem()),
            key: write("admin.key", &made.signing_key.serialize_pem()),
            tokens: write("admin.tokens", &format!("admin: {HASH} tests\n")),
            token: write("admin.token", TOKEN),
        }
    }
}
