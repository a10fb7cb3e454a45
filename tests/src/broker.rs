//! Real broker processes: started on a free port, stopped when they are dropped or the tests end.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long a broker may take from its start to its first open port.
const START: Duration = Duration::from_secs(20);
/// How long a broker may take from SIGTERM to its end.
const STOP: Duration = Duration::from_secs(15);
/// What a broker prints before the address that it listens on.
const ANNOUNCEMENT: &str = "listening on ";

/// Runs a command in a directory, which is removed with it, and stops it at the end of the input: thus
/// also when the process that holds the other end dies. A broker in a static of a test binary is
/// never dropped.
const LEASH: &str = r#"
directory=$1; shift
cd "$directory"
exec 3<&0
"$@" 3<&- & child=$!
{ read -r _ <&3; kill -TERM $child; } >/dev/null 2>&1 & leash=$!
wait $child; code=$?
kill $leash
cd /
rm -rf "$directory"
exit $code"#;

/// How to start a broker.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    shards: u32,
    config: Option<String>,
    arguments: Vec<String>,
    is_kept: bool,
}

impl Settings {
    /// A standalone broker with `shards` shards, in memory unless `--data-dir` is among the arguments, and defaults for the rest.
    pub fn shards(shards: u32) -> Settings {
        Settings {
            shards,
            ..Settings::default()
        }
    }

    /// Uses `toml` as the configuration file.
    pub fn config(mut self, toml: &str) -> Settings {
        self.config = Some(toml.to_owned());
        self
    }

    /// Keeps everything on disk, as a broker does that is told nothing.
    pub fn kept(mut self) -> Settings {
        self.is_kept = true;
        self
    }

    /// Adds a command line argument.
    pub fn argument(mut self, argument: &str) -> Settings {
        self.arguments.push(argument.to_owned());
        self
    }
}

/// A running broker. Dropping it stops the process and removes its data.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens for MQTT.
    pub address: SocketAddr,
    /// How many shards it has.
    pub shards: u32,
    process: Child,
    /// Closing it stops the process.
    leash: Option<ChildStdin>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// Starts a broker and waits until its port is open.
    ///
    /// # Panics
    /// When it ends, or says nothing of an open port, within 20 s; with what it printed.
    pub fn start(settings: &Settings) -> Broker {
        let directory = new_directory();
        let mut arguments: Vec<String> = ["standalone", "--listen", "127.0.0.1:0", "--shards"]
            .map(str::to_owned)
            .into_iter()
            .chain([settings.shards.to_string()])
            .collect();
        if let Some(toml) = &settings.config {
            let file = directory.join("catena.toml");
            fs::write(&file, toml).expect("the test's directory can be written");
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        arguments.extend(settings.arguments.iter().cloned());
        if settings.is_kept {
            let data = directory.join("data").display().to_string();
            arguments.extend(["--data-dir".to_owned(), data]);
        } else if !settings.arguments.iter().any(|word| word == "--data-dir") {
            arguments.push("--in-memory".to_owned());
        }

        let mut shell = Command::new("sh");
        shell
            .args(["-c", LEASH, "sh"])
            .arg(&directory)
            .arg(binary())
            .args(&arguments)
            .env("HOME", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Settings for another broker are not for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CATENA_") {
                shell.env_remove(name);
            }
        }
        // Brokers of tests run side by side, and would ask for one port; --metrics-address goes before this.
        shell.env("CATENA_METRICS_ADDRESS", "off");
        let mut process = shell.spawn().expect("there is a shell");
        let leash = process.stdin.take();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (announce, announced) = mpsc::channel();
        follow(
            process.stdout.take().expect("piped"),
            &log,
            announce.clone(),
        );
        follow(process.stderr.take().expect("piped"), &log, announce);
        let Ok(address) = announced.recv_timeout(START) else {
            drop(leash);
            panic!(
                "no open port; the broker said: {:#?}",
                log.lock().expect("no panic holds it")
            );
        };
        Broker {
            address,
            shards: settings.shards,
            process,
            leash,
            log,
        }
    }

    /// The broker with `shards` shards that all tests of this process share. It has the default
    /// settings, so tests keep to client ids and topics of their own: [`unique`]. With one shard it keeps everything on disk, with
    /// more it has all in memory: what clients see must be the same.
    pub fn shared(shards: u32) -> Arc<Broker> {
        /// `None` for one that did not start: no other will.
        type Shared = HashMap<u32, Option<Arc<Broker>>>;
        static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
        let mut shared = match SHARED.get_or_init(Mutex::default).lock() {
            Ok(shared) => shared,
            Err(poisoned) => poisoned.into_inner(),
        };
        if !shared.contains_key(&shards) {
            shared.insert(shards, None);
            let settings = Settings::shards(shards);
            let broker = Broker::start(&match shards {
                1 => settings.kept(),
                _ => settings,
            });
            shared.insert(shards, Some(Arc::new(broker)));
        }
        shared[&shards]
            .clone()
            .expect("the broker started: see the first test that failed")
    }

    /// What the broker printed so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.leash.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A name that no other test uses: for client ids, topic levels and share names.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Makes two tests of each named function, one for a broker with one shard and one with four.
///
/// The function takes the `&Broker`; the tests are `NAME::shards_1` and `NAME::shards_4`.
#[macro_export]
macro_rules! on_shards {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn shards_1() {
                super::$name(&$crate::broker::Broker::shared(1));
            }

            #[test]
            fn shards_4() {
                super::$name(&$crate::broker::Broker::shared(4));
            }
        })+
    };
}

/// The broker's binary: `CATENA_BIN`, or the workspace's debug build brought up to date once.
///
/// # Panics
/// When it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CATENA_BIN") {
            return PathBuf::from(path);
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("tests/ has a parent");
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace.join("target"), |target| workspace.join(target));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "catena"])
            .current_dir(workspace)
            .status()
            .expect("there is a cargo");
        assert!(built.success(), "the broker does not build");
        target.join("debug").join("catena")
    })
}

/// The binary of the version before, where an upgrade from it is to be seen: `CATENA_BIN_BEFORE`. Clusters begin with it, and processes that
/// are rolled go on with [`binary`].
pub fn binary_before() -> Option<PathBuf> {
    std::env::var_os("CATENA_BIN_BEFORE").map(PathBuf::from)
}

fn new_directory() -> PathBuf {
    let name = format!("catena-test-{}-{}", std::process::id(), unique("broker"));
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("the temporary directory can be written");
    directory
}

/// Keeps what the broker prints, and tells the address that it announces.
fn follow(
    output: impl Read + Send + 'static,
    log: &Arc<Mutex<Vec<String>>>,
    announce: mpsc::Sender<SocketAddr>,
) {
    let log = Arc::clone(log);
    let echo = std::env::var_os("CATENA_TEST_LOG").is_some();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if echo {
                eprintln!("{line}");
            }
            if let Some(address) = announced_address(&line) {
                let _ = announce.send(address);
            }
            log.lock().expect("no panic holds it").push(line);
        }
    });
}

/// The address of a line that says where a process listens.
pub fn announced_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}
