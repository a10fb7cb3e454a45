//! A broker with resources and secrets, and the certificates that go with them.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings, binary},
    client::{Client, Options},
    stream::{Stream, tls},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// How long what was changed may take to be used.
pub const CHANGE: Duration = Duration::from_secs(10);

/// A broker, its secrets and its ports.
pub struct World {
    pub directory: tempfile::TempDir,
    pub ca: Ca,
    pub broker: Option<Broker>,
    /// As many as the manifests name: `PORT0`, `PORT1`, ...
    pub ports: Vec<SocketAddr>,
}

impl World {
    /// Secrets first, then [`World::start`].
    pub fn new() -> World {
        let directory = tempfile::tempdir().expect("the temporary directory can be written");
        let ca = Ca::new("Test CA");
        let world = World {
            directory,
            ca,
            broker: None,
            ports: Vec::new(),
        };
        world.put("client-ca", "ca.crt", &world.ca.pem());
        world.renew_server();
        fs::write(world.path("ca.crt"), world.ca.pem()).expect("it can be written");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a secret, as a whole.
    pub fn put(&self, name: &str, key: &str, value: &str) {
        let secret = self.path("secrets").join(name);
        fs::create_dir_all(&secret).expect("it can be made");
        let new = secret.join("..new");
        fs::write(&new, value).expect("it can be written");
        fs::rename(new, secret.join(key)).expect("it can be renamed");
    }

    /// A new certificate for the broker.
    pub fn renew_server(&self) {
        self.put_pair("server", &self.ca.issue("localhost", 1));
    }

    /// A certificate and its key, as a secret.
    pub fn put_pair(&self, secret: &str, (certificate, key): &(String, String)) {
        self.put(secret, "tls.crt", certificate);
        self.put(secret, "tls.key", key);
    }

    /// A certificate for a client, in files NAME.crt and NAME.key.
    pub fn issue(&self, ca: &Ca, name: &str, serial: u64) {
        self.write_pair(name, &ca.issue(name, serial));
    }

    /// A certificate and its key, in files NAME.crt and NAME.key.
    pub fn write_pair(&self, name: &str, (certificate, key): &(String, String)) {
        fs::write(self.path(&format!("{name}.crt")), certificate).expect("it can be written");
        fs::write(self.path(&format!("{name}.key")), key).expect("it can be written");
    }

    /// A password, as an operator makes it.
    pub fn passwd(&self, user: &str, password: &str) {
        let mut command = Command::new(binary());
        command
            .args([
                "passwd",
                "--secret",
                "users",
                "--stdin",
                user,
                "--secrets-dir",
            ])
            .arg(self.path("secrets"));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the broker's binary runs");
        let mut stdin = process.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, password.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(process.wait().expect("it is ours").success());
    }

    /// Starts the broker with a listener whose ports are `ports` and an authentication whose methods are `methods`, both lists in
    /// YAML. `PORT0` and so on become free ports.
    pub fn start(self, ports: &str, methods: &str) -> World {
        self.start_with(&[listener(ports), authentication("auth", methods)], &[])
    }

    /// Starts the broker with manifests and arguments, and waits until all of its ports are open.
    pub fn start_with(mut self, manifests: &[String], arguments: &[&str]) -> World {
        let manifests = self.place(&manifests.join("---\n"));
        fs::create_dir_all(self.path("resources")).expect("it can be made");
        fs::write(self.path("resources/test.yaml"), manifests).expect("it can be written");
        let mut settings = Settings::shards(1)
            .argument("--admin")
            .argument("127.0.0.1:0");
        for (name, directory) in [
            ("--secrets-dir", "secrets"),
            ("--resources", "resources"),
            ("--data-dir", "data"),
        ] {
            settings = settings
                .argument(name)
                .argument(&self.path(directory).display().to_string());
        }
        for argument in arguments {
            settings = settings.argument(argument);
        }
        let broker = Broker::start(&settings);
        for address in &self.ports {
            let announced = || {
                broker
                    .log()
                    .iter()
                    .any(|line| line.contains(&format!("listening on {address}")))
            };
            assert!(
                within(CHANGE, announced),
                "{address} is not open: {:#?}",
                broker.log()
            );
        }
        self.broker = Some(broker);
        self
    }

    /// Puts free ports for `PORT0` and so on, always the same for each.
    fn place(&mut self, manifests: &str) -> String {
        let name = |number: usize| format!("PORT{number}");
        while manifests.contains(&name(self.ports.len())) {
            self.ports.push(free_port());
        }
        let ports = self.ports.iter().enumerate();
        ports.fold(manifests.to_owned(), |text, (number, address)| {
            text.replace(&name(number), &address.port().to_string())
        })
    }

    /// Applies manifests to the running broker, as an operator does.
    pub fn apply(&mut self, manifests: &[String]) {
        let manifests = self.place(&manifests.join("---\n"));
        let file = self.path("change.yaml");
        fs::write(&file, manifests).expect("it can be written");
        self.admin()
            .say(&["apply", "-f", &file.display().to_string()]);
    }

    pub fn admin(&self) -> Admin {
        Admin::of(self.broker.as_ref().expect("it runs"))
    }

    /// How the listener's ports are: the lines of its status.
    pub fn status(&self) -> String {
        let page = self.admin().say(&["describe", "listener", "test"]);
        let ports = page.lines().skip_while(|line| *line != "ports:").skip(1);
        let ports = ports.take_while(|line| line.starts_with(' '));
        ports.collect::<Vec<_>>().join("\n")
    }

    /// Connects to a port with TLS, with the certificate NAME if there is one.
    pub fn dial_tls(&self, port: usize, name: Option<&str>) -> std::io::Result<Stream> {
        let own = name.map(|name| {
            let file = |kind: &str| self.path(&format!("{name}.{kind}"));
            (file("crt"), file("key"))
        });
        let own = own
            .as_ref()
            .map(|(chain, key)| (chain.as_path(), key.as_path()));
        Stream::dial_tls(self.ports[port], &tls(&self.path("ca.crt"), own))
    }

    pub fn log(&self) -> Vec<String> {
        self.broker.as_ref().map(Broker::log).unwrap_or_default()
    }

    /// `mosquitto_pub` of one message to a port with TLS.
    pub fn mosquitto_pub(&self, port: usize, arguments: &[&str]) -> Output {
        let mut command = Command::new("mosquitto_pub");
        command.args([
            "-h",
            "localhost",
            "-p",
            &self.ports[port].port().to_string(),
            "-t",
            "test",
            "-m",
            "hi",
            "-q",
            "1",
            "--cafile",
        ]);
        command
            .arg(self.path("ca.crt"))
            .args(arguments)
            .current_dir(self.directory.path());
        command
            .stdin(Stdio::null())
            .output()
            .expect("mosquitto_pub is installed")
    }
}

/// The manifest of the listener, with its ports as a list in YAML.
pub fn listener(ports: &str) -> String {
    format!(
        "apiVersion: catena.dev/v1\nkind: BrokerListener\nmetadata: {{name: test}}\nspec:\n  ports:\n    {}\n",
        indented(ports)
    )
}

/// The manifest of an authentication, with its methods as a list in YAML.
pub fn authentication(name: &str, methods: &str) -> String {
    format!(
        "apiVersion: catena.dev/v1\nkind: BrokerAuthentication\nmetadata: {{name: {name}}}\nspec:\n  authenticationMethods:\n    {}\n",
        indented(methods)
    )
}

/// The manifest of an authorization, with its policies in YAML.
pub fn authorization(name: &str, policies: &str) -> String {
    format!(
        "apiVersion: catena.dev/v1\nkind: BrokerAuthorization\nmetadata: {{name: {name}}}\nspec:\n  authorizationPolicies:\n    {}\n",
        indented(policies)
    )
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// What stands in CONNACK: 0 or the reason; below MQTT 5 the return code.
pub fn connack(address: SocketAddr, options: &Options) -> u8 {
    connack_of(options.dial_at(address), options.connect.version)
}

/// The same of a client that has sent CONNECT.
pub fn connack_of(mut client: Client, version: Version) -> u8 {
    let reason = client.expect_connack().reason;
    if version == Version::V5 {
        reason.as_u8()
    } else {
        client.last_bytes()[3]
    }
}

/// A username and a password.
pub fn login(version: Version, username: &str, password: &str) -> Options {
    let mut options = Options::new(version, &catena_tests::broker::unique("client"));
    options.connect.username = Some(username.into());
    options.connect.password = Some(password.as_bytes().to_vec().into());
    options
}

/// Waits for something that will be, and says whether it was.
pub fn within(time: Duration, is: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !is() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

/// The connection is up: it answers a ping.
pub fn is_alive(client: &mut Client) {
    client.ping();
}

/// The connection is closed, by DISCONNECT with this reason or without one.
pub fn is_closed(client: &mut Client, reason: Option<ReasonCode>) {
    assert_eq!(client.expect_close(), reason);
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

/// A certificate authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ca(CertifiedIssuer::self_signed(params, new_key()).expect("it can be signed"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    pub fn issue(&self, name: &str, serial: u64) -> (String, String) {
        self.issue_with(name, serial, |_| {})
    }

    /// The same with something else in it.
    pub fn issue_with(
        &self,
        name: &str,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = new_key();
        let certificate = params.signed_by(&key, &*self.0).expect("it can be signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// A list on which one certificate is revoked.
    pub fn revoke(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2040, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0)
            .expect("it can be signed")
            .pem()
            .expect("it can be written")
    }
}

/// What is in the first certificate of a PEM file.
pub fn der(pem: &str) -> Vec<u8> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    certificate.expect("a certificate in PEM").to_vec()
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

/// A file of the repository.
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .join(path)
}
