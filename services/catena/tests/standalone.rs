//! The broker as a process: how it starts, what it says, how it ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// CONNECT of MQTT 5, with a clean start, keep alive off and no client id; and the first byte of CONNACK.
const CONNECT: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];
const CONNACK: u8 = 0x20;

struct Broker {
    process: Child,
    address: SocketAddr,
}

impl Broker {
    /// Starts `command` on a free port, and waits until it listens.
    fn start(mut command: Command) -> Broker {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            let address = line.strip_prefix("listening on ")?.split(' ').next()?;
            address.parse().ok()
        });
        // Read on, so that the broker can write.
        thread::spawn(move || lines.for_each(drop));
        Broker {
            process,
            address: address.expect("it says where it listens"),
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &process])
                .status()
                .unwrap()
                .success()
        );
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the broker does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client that the broker accepts; `None` when the socket is closed instead.
    fn connect(&self) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(CONNECT);
        let mut header = [0; 2];
        stream.read_exact(&mut header).ok()?;
        assert_eq!(header[0], CONNACK);
        stream.read_exact(&mut vec![0; header[1].into()]).ok()?;
        Some(stream)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn catena(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catena"));
    command.args(arguments).env("CATENA_IN_MEMORY", "true");
    command
}

/// What a broker says that does not start.
fn refusal(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = catena(arguments).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

// Clients that are cut off without a word wait for their keep alive before they go elsewhere [F-26].
#[test]
fn a_signal_sends_clients_away_and_ends_the_broker() {
    let mut broker = Broker::start(catena(&[
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "2",
        "--workers",
        "2",
    ]));
    let clients: Vec<TcpStream> = (0..5).map(|_| broker.connect().unwrap()).collect();
    broker.signal("-TERM");
    for mut client in clients {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        // DISCONNECT, server shutting down.
        assert!(matches!(rest[..], [0xE0, _, 0x8B, ..]), "{rest:02x?}");
    }
    assert_eq!(broker.wait().code(), Some(0));
}

// Whoever sends the signal again does not want to wait for a client that reads nothing.
#[test]
fn a_second_signal_ends_the_broker_at_once() {
    let mut broker = Broker::start(catena(&["standalone", "--listen", "127.0.0.1:0"]));
    let mut client = broker.connect().unwrap();
    // Answers that nobody reads: there is something left to be written, for as long as the client lives.
    let pings = [0xC0, 0].repeat(64 * 1024);
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while client.write_all(&pings).is_ok() {}
    broker.signal("-INT");
    thread::sleep(Duration::from_millis(300));
    assert!(
        broker.process.try_wait().unwrap().is_none(),
        "it waits for its client"
    );
    broker.signal("-INT");
    assert_eq!(broker.wait().code(), Some(1));
}

#[test]
fn what_keeps_it_from_starting_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(&["--listen", &address]);
    assert!(
        said.contains(&address) && said.contains("another program uses port"),
        "{said}"
    );

    let file = std::env::temp_dir().join(format!("catena-standalone-{}.toml", std::process::id()));
    std::fs::write(&file, "[clients]\nmax_keep_alive_second = 5\n").unwrap();
    let said = refusal(&["--config", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    assert!(
        said.contains("did you mean `clients.max_keep_alive_seconds`?"),
        "{said}"
    );
}

// With all files taken a broker that goes on accepting spins, and one that stops is dead to the clients it has.
#[test]
fn more_clients_than_files_are_turned_away_and_the_others_served() {
    let mut shell = Command::new("sh");
    let start =
        r#"ulimit -n 300; exec "$0" --in-memory --listen 127.0.0.1:0 --workers 1 --shards 1"#;
    shell.args(["-c", start, env!("CARGO_BIN_EXE_catena")]);
    let broker = Broker::start(shell);
    let mut clients: Vec<TcpStream> = Vec::new();
    let refused = (0..80)
        .filter(|_| {
            broker
                .connect()
                .map(|client| clients.push(client))
                .is_none()
        })
        .count();
    assert_eq!(
        (clients.len(), refused),
        (44, 36),
        "300 files, less 256 for other things"
    );
    let first = &mut clients[0];
    first.write_all(&[0xC0, 0]).unwrap();
    first.read_exact(&mut [0; 2]).unwrap();
    clients.truncate(40);
    let deadline = Instant::now() + PATIENCE;
    while broker.connect().is_none() {
        assert!(Instant::now() < deadline, "no room after clients have left");
    }
}
