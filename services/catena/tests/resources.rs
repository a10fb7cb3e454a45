//! The commands of administrators, against a standalone broker: what they print, and with which exit code.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

const AUTHENTICATION: &str = "apiVersion: catena.dev/v1
kind: BrokerAuthentication
metadata: {name: passwords}
spec:
  authenticationMethods:
  - method: Password
    passwordSettings: {secretRef: users}
";

struct Broker {
    process: Child,
    admin: String,
    directory: PathBuf,
}

/// What a command did.
#[derive(Debug)]
struct Did {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Broker {
    /// Starts a broker, with a directory of its own in which `files` are.
    fn start(arguments: &[&str], files: &[(&str, &str)]) -> Broker {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("catena-resources-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let (process, admin) = run(arguments, &directory);
        Broker {
            process,
            admin,
            directory,
        }
    }

    /// The same broker, in a new process.
    fn restart(&mut self, arguments: &[&str]) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (self.process, self.admin) = run(arguments, &self.directory);
    }

    fn file(&self, name: &str, text: &str) -> String {
        let file = self.directory.join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn catena(&self, words: &[&str]) -> Did {
        self.catena_with(words, "", &[])
    }

    fn catena_with(&self, words: &[&str], input: &str, environment: &[(&str, &str)]) -> Did {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catena"));
        command.args(words).env("CATENA_ADMIN", &self.admin);
        command.envs(environment.iter().copied());
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
        // It may not want to read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Did {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run(arguments: &[&str], directory: &Path) -> (Child, String) {
    let common = "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --shards 1 --workers 1";
    let is_kept = arguments.contains(&"--data-dir");
    let mut process = Command::new(env!("CARGO_BIN_EXE_catena"))
        .args(common.split(' '))
        .args(arguments)
        .env("CATENA_IN_MEMORY", (!is_kept).to_string())
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let admin = lines.find_map(|line| {
        let line = line.unwrap();
        line.strip_prefix("admin API on ").map(str::to_owned)
    });
    // Read on, so that the broker can write.
    thread::spawn(move || lines.for_each(drop));
    (process, admin.expect("it says where its admin API is"))
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn listener(name: &str, port: u16, authentication: &str) -> String {
    format!(
        "apiVersion: catena.dev/v1\nkind: BrokerListener\nmetadata: {{name: {name}}}\n\
         spec:\n  ports:\n  - port: {port}\n    authenticationRef: {authentication}\n"
    )
}

// This is the daily work of who looks after a broker.
#[test]
fn resources_are_applied_shown_compared_and_deleted() {
    let broker = Broker::start(&[], &[]);
    let both = format!(
        "{AUTHENTICATION}---\n{}",
        listener("plant", 51_883, "passwords")
    );
    let file = broker.file("both.yaml", &both);
    let did = broker.catena(&["diff", "-f", &file]);
    assert_eq!(did.code, Some(1), "{did:?}");
    assert!(did.out.contains("+++ file/BrokerListener/plant"), "{did:?}");

    let did = broker.catena(&["apply", "-f", &file, "--dry-run"]);
    assert_eq!(did.code, Some(0), "{did:?}");
    assert!(
        did.out.contains("BrokerListener/plant created (dry run)"),
        "{did:?}"
    );
    let did = broker.catena(&["get", "authn"]);
    assert!(did.out.is_empty(), "{did:?}");

    let did = broker.catena_with(&["apply", "-f", "-"], &both, &[]);
    assert_eq!(
        did.out, "BrokerAuthentication/passwords created\nBrokerListener/plant created\n",
        "{did:?}"
    );
    let did = broker.catena(&["apply", "-f", &file]);
    assert!(
        did.out.contains("BrokerListener/plant unchanged"),
        "{did:?}"
    );
    assert_eq!(broker.catena(&["diff", "-f", &file]).code, Some(0));

    let did = broker.catena(&["get", "Listeners", "plant"]);
    assert!(
        did.out.starts_with("NAME") && did.out.contains("authn=passwords"),
        "{did:?}"
    );
    let did = broker.catena(&["describe", "authn/passwords"]);
    assert!(
        did.out.contains("referred to by:\n  BrokerListener/plant"),
        "{did:?}"
    );
    let did = broker.catena(&["get", "all", "-o", "json"]);
    let all: serde_json::Value = serde_json::from_str(&did.out).unwrap();
    assert!(all.as_array().unwrap().len() >= 3, "{did:?}");

    // What is shown applies again as it is.
    let yaml = broker.catena(&["get", "all", "-o", "yaml"]).out;
    let did = broker.catena_with(&["apply", "-f", "-"], &yaml, &[]);
    assert_eq!(did.code, Some(0), "{did:?}");
    assert!(
        !did.out.contains("configured") && !did.out.contains("created"),
        "{did:?}"
    );

    let did = broker.catena(&["delete", "authn", "passwords"]);
    assert_eq!(did.code, Some(1), "{did:?}");
    assert!(
        did.err.contains("BrokerListener/plant refers to it"),
        "{did:?}"
    );
    let did = broker.catena(&["delete", "-f", &file]);
    assert!(did.out.contains("BrokerListener/plant deleted"), "{did:?}");
    let did = broker.catena(&["get", "listener", "plant"]);
    assert_eq!((did.code, did.out.as_str()), (Some(1), ""), "{did:?}");
    assert!(
        did.err.contains("there is no BrokerListener/plant"),
        "{did:?}"
    );
}

// Whoever has to look for the mistake needs the file and the field, and all mistakes at once.
#[test]
fn what_is_wrong_is_named_with_its_file_and_field() {
    let broker = Broker::start(&[], &[]);
    let directory = broker.directory.join("config");
    fs::create_dir(&directory).unwrap();
    fs::write(
        directory.join("a.yaml"),
        listener("plant", 51_883, "nobody"),
    )
    .unwrap();
    fs::write(directory.join("b.yaml"), listener("other", 51_883, "none")).unwrap();
    let directory = directory.display().to_string();
    let did = broker.catena(&["apply", "-f", &directory]);
    assert_eq!(did.code, Some(1), "{did:?}");
    for named in [
        "a.yaml: BrokerListener/plant: spec.ports[0].authenticationRef",
        "b.yaml",
    ] {
        assert!(did.err.contains(named), "{named}: {did:?}");
    }
    let wrong = broker.file(
        "wrong.yaml",
        &AUTHENTICATION.replace("secretRef", "secretReff"),
    );
    let did = broker.catena(&["apply", "-f", &wrong]);
    assert!(
        did.err.contains("wrong.yaml") && did.err.contains("secretRef"),
        "{did:?}"
    );
    assert_eq!(broker.catena(&["diff", "-f", &wrong]).code, Some(2));
    let did = broker.catena(&["get", "pods"]);
    assert!(did.err.contains("listener"), "{did:?}");
    let did = broker.catena_with(
        &["get", "all"],
        "",
        &[("CATENA_ADMIN", "http://127.0.0.1:1")],
    );
    assert_eq!(did.code, Some(1), "{did:?}");
    assert!(did.err.contains("--admin"), "{did:?}");
}

// An editor whose work is thrown away for a mistake is used once.
#[test]
fn an_edit_is_applied_and_what_is_wrong_comes_back() {
    let broker = Broker::start(&[], &[]);
    let file = broker.file("authn.yaml", AUTHENTICATION);
    assert_eq!(broker.catena(&["apply", "-f", &file]).code, Some(0));
    let edit = |script: &str| {
        let editor = broker.file("editor.sh", &format!("#!/bin/sh\n{script}\n"));
        let editor = format!("sh {editor}");
        broker.catena_with(&["edit", "authn", "passwords"], "", &[("VISUAL", &editor)])
    };
    let did = edit("true");
    assert!(did.out.contains("nothing is applied"), "{did:?}");
    let did = edit("sed -i s/users/others/ $1");
    assert_eq!(
        did.out, "BrokerAuthentication/passwords configured\n",
        "{did:?}"
    );
    // The first time it spoils the file, the second time it finds the problem in it and mends it.
    let did = edit(
        "if grep -q '^#! ' $1; then sed -i s/methodd/method/ $1; else sed -i 's/method:/methodd:/;s/others/third/' $1; fi",
    );
    assert_eq!(did.code, Some(0), "{did:?}");
    let did = broker.catena(&["get", "authn/passwords", "-o", "yaml"]);
    assert!(did.out.contains("third"), "{did:?}");
    let did =
        edit("sed -i s/third// $1; grep -q '^#! ' $1 && exit 0; sed -i 's/method:/methodd:/' $1");
    assert_eq!(did.code, Some(1), "{did:?}");
    assert!(did.err.contains("nothing is applied"), "{did:?}");
}

// What was applied must outlive a restart, and what is said at the start be what counts.
#[test]
fn the_stored_broker_stays_but_for_what_is_said_at_the_start() {
    let here = ["--data-dir", "data"];
    let mut broker = Broker::start(&here, &[]);
    let file = broker.file(
        "broker.yaml",
        "{apiVersion: catena.dev/v1, kind: Broker, metadata: {name: default}, spec: {memoryProfile: Low, \
         cardinality: {backendChain: {partitions: 1, workers: 1, redundancyFactor: 1}}, \
         advanced: {clients: {maxKeepAliveSeconds: 77}}}}",
    );
    let did = broker.catena(&["apply", "-f", &file]);
    assert_eq!(did.code, Some(0), "{did:?}");
    broker.restart(&here);
    let spec = |broker: &Broker| -> serde_json::Value {
        let did = broker.catena(&["get", "broker", "default", "-o", "json"]);
        serde_json::from_str::<serde_json::Value>(&did.out).unwrap()["spec"].clone()
    };
    let clients =
        |spec: &serde_json::Value| spec["advanced"]["clients"]["maxKeepAliveSeconds"].clone();
    assert_eq!(spec(&broker)["memoryProfile"], "Low");
    assert_eq!(clients(&spec(&broker)), 77);
    broker.restart(&["--data-dir", "data", "--memory-profile", "tiny"]);
    assert_eq!(spec(&broker)["memoryProfile"], "Tiny");
    assert_eq!(clients(&spec(&broker)), 77, "nothing was said of it");
}

// A directory of manifests is how a broker is set up without hands.
#[test]
fn manifests_are_applied_at_the_start_or_nothing_starts() {
    let broker = Broker::start(&["--resources", "."], &[("authn.yaml", AUTHENTICATION)]);
    let did = broker.catena(&["get", "authn"]);
    assert!(did.out.contains("passwords"), "{did:?}");
    fs::write(
        broker.directory.join("listener.yaml"),
        listener("plant", 51_884, "nobody"),
    )
    .unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_catena"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--in-memory",
            "--admin",
            "127.0.0.1:0",
            "--resources",
        ])
        .arg(&broker.directory)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("listener.yaml: BrokerListener/plant: spec.ports[0].authenticationRef"),
        "{said}"
    );
}
