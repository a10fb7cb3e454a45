//! `make cluster`: a whole cluster on this machine, to play with and to break. Scripts drive it by `--json`.

use std::{
    collections::HashMap,
    io::{self, BufRead, Write},
    net::TcpListener,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use catena_tests::{
    broker::binary,
    cluster::{Cluster, Command, HELP, Plan, Role, remove_directories},
};
use clap::Parser;
use serde_json::json;

/// How often to look for new lines in the logs.
const LOOK: Duration = Duration::from_millis(200);

/// Start a whole cluster on this machine: etcd, control planes, backends, gateways
#[derive(Debug, Parser)]
struct Arguments {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 2)]
    control_planes: usize,
    /// Backends; those beyond `partitions * redundancy` are spares
    #[arg(long, default_value_t = 3)]
    backends: usize,
    /// Gateways
    #[arg(long, default_value_t = 2)]
    gateways: usize,
    /// Groups of shards that live on the same backends
    #[arg(long, default_value_t = 1)]
    partitions: u16,
    /// Shards of each partition
    #[arg(long, default_value_t = 2)]
    workers: u16,
    /// Replicas of each shard
    #[arg(long, default_value_t = 2)]
    redundancy: usize,
    /// Milliseconds of silence after which a process counts as lost
    #[arg(long, default_value_t = 3_000)]
    failure_timeout_ms: u64,
    /// Where the gateways listen for MQTT on 127.0.0.1; 0: the system chooses
    #[arg(long, value_delimiter = ',', default_value = "1883,1884")]
    ports: Vec<u16>,
    /// Threads of each backend
    #[arg(long)]
    threads: Option<u16>,
    /// Threads of each gateway
    #[arg(long)]
    gateway_workers: Option<u16>,
    /// Processors to run on, as `taskset -c` takes them
    #[arg(long)]
    cores: Option<String>,
    /// Whether the processes speak TLS with each other, by a CA that is made for them
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    internal_tls: bool,
    /// For scripts: one JSON object a line, first what runs where, then an answer to each command
    #[arg(long)]
    json: bool,
}

enum Event {
    Command(String),
    /// Nobody will say anything any more.
    EndOfInput,
    Signal,
    Look,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.taken_port() {
        eprintln!(
            "error: port {port} of 127.0.0.1 is taken, perhaps by another broker. Stop that one (`ss -ltnp` shows it), \
             or choose other ports: make cluster ARGS=\"--ports 2883,2884\""
        );
        return ExitCode::FAILURE;
    }
    let (events, received) = mpsc::channel();
    watch_signals(events.clone());
    if !arguments.json {
        eprintln!("starting: this takes some seconds");
    }
    let mut cluster = Cluster::start(arguments.plan());
    if arguments.json {
        say(&introduction(&cluster));
    } else {
        greet(&cluster);
    }
    read_commands(events.clone());
    thread::spawn(move || {
        while events.send(Event::Look).is_ok() {
            thread::sleep(LOOK);
        }
    });
    let mut logs = Logs::new(&cluster);
    for event in received {
        match event {
            Event::Look if !arguments.json => logs.show(&cluster),
            Event::Look => {}
            // At a terminal this is Ctrl-D; without one there is nobody to type.
            Event::EndOfInput if arguments.json => break,
            Event::EndOfInput => {}
            Event::Signal => break,
            Event::Command(line) => {
                let outcome = line.parse().and_then(|command| {
                    let done = cluster.obey(&command)?;
                    Ok((command, done))
                });
                if matches!(outcome, Ok((Command::Quit, _))) {
                    break;
                }
                match (arguments.json, outcome) {
                    (true, Ok((_, done))) => say(&json!({"ok": true, "done": done})),
                    (true, Err(error)) => say(&json!({"ok": false, "error": error})),
                    (false, Ok((_, done))) if done.text.is_empty() => {
                        let who = done.name.unwrap_or_default();
                        println!("{line}: done {who} ({:.1} s)", done.seconds);
                    }
                    (false, Ok((_, done))) => println!("{}", done.text),
                    (false, Err(error)) => println!("{error}"),
                }
                if !arguments.json {
                    logs.show(&cluster);
                }
            }
        }
    }
    if !arguments.json {
        eprintln!("stopping");
    }
    cluster.stop();
    ExitCode::SUCCESS
}

impl Arguments {
    fn plan(&self) -> Plan {
        Plan {
            control_planes: self.control_planes,
            backends: self.backends,
            gateways: self.gateways,
            partitions: self.partitions,
            workers: self.workers,
            redundancy: self.redundancy,
            failure_timeout_ms: self.failure_timeout_ms,
            threads: self.threads,
            gateway_workers: self.gateway_workers,
            cores: self.cores.clone(),
            ports: self.ports.clone(),
            spec: String::new(),
            disks: Default::default(),
            keeps: false,
            hosts: false,
            on_localhost: true,
            internal_tls: self.internal_tls,
        }
    }

    fn taken_port(&self) -> Option<u16> {
        let wanted = self.ports.iter().take(self.gateways);
        wanted
            .copied()
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err())
    }
}

/// The first Ctrl-C stops the cluster, the second one this process; the others end with it.
fn watch_signals(events: mpsc::Sender<Event>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime of one thread");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be watched");
            let mut end = signal(SignalKind::terminate()).expect("signals can be watched");
            for number in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = end.recv() => {}
                }
                if number > 0 || events.send(Event::Signal).is_err() {
                    remove_directories();
                    std::process::exit(130);
                }
            }
        });
    });
}

fn read_commands(events: mpsc::Sender<Event>) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if events.send(Event::Command(line)).is_err() {
                return;
            }
        }
        // The cluster may be gone already.
        let _ = events.send(Event::EndOfInput);
    });
}

fn introduction(cluster: &Cluster) -> serde_json::Value {
    let processes: HashMap<&str, Option<u32>> = cluster
        .processes()
        .map(|process| (process.name.as_str(), process.pid()))
        .collect();
    json!({
        "brokers": cluster.brokers(),
        "admin": cluster.admin().urls(),
        "processes": processes,
        "directory": cluster.directory(),
    })
}

fn say(line: &serde_json::Value) {
    let mut out = io::stdout().lock();
    // A script that is gone closes our input too.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn greet(cluster: &Cluster) {
    let catena = binary().display();
    let plan = &cluster.plan;
    let brokers = cluster.brokers();
    println!(
        "\nA cluster of {} shards, {} replicas each:\n",
        plan.shards(),
        plan.redundancy
    );
    let gateways = cluster.names(Role::Gateway);
    for (name, address) in gateways.iter().zip(brokers) {
        println!("  {name:<10} MQTT on {address}");
    }
    println!("  admin API on {}", cluster.admin().urls());
    println!("  logs in {}\n", cluster.directory().display());
    let first = brokers.first().expect("a cluster has a gateway").port();
    let last = brokers.last().expect("a cluster has a gateway").port();
    println!("Try, from other terminals:\n");
    println!("  {catena} sub --port {last} -t 'demo/#' -v");
    println!("  {catena} pub --port {first} -t demo/hello -m 'good morning' -q 1");
    println!("  {catena} status {}", cluster.admin().client().join(" "));
    println!(
        "  {catena} verify --broker {} --duration 60",
        cluster.brokers_with_commas()
    );
    println!("\nThen break something, here or by `kill -9 PID`:\n\n{HELP}\n");
    println!("What follows is what the processes log; Ctrl-C stops all and removes their data.\n");
}

/// How far each log was shown.
struct Logs(HashMap<String, usize>);

impl Logs {
    /// From now on.
    fn new(cluster: &Cluster) -> Logs {
        let processes = cluster.processes();
        Logs(
            processes
                .map(|process| (process.name.clone(), process.log().lines().count()))
                .collect(),
        )
    }

    fn show(&mut self, cluster: &Cluster) {
        for process in cluster.processes() {
            let log = process.log();
            // A line that is still being written is shown when it is whole.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let shown = self.0.entry(process.name.clone()).or_default();
            for line in whole.lines().skip(*shown) {
                *shown += 1;
                if matters(&process.name, line) {
                    println!("{:<10} {}", process.name, without_date(line));
                }
            }
        }
    }
}

/// Whether a line is worth showing to somebody who watches the whole cluster.
fn matters(name: &str, line: &str) -> bool {
    match Role::of(name) {
        // It warns of every slow disk.
        Some(Role::Etcd) => line.contains("\"level\":\"error\""),
        _ => [" INFO ", " WARN ", "ERROR"]
            .iter()
            .any(|level| line.contains(level)),
    }
}

/// The line with the time of day alone, to the millisecond.
fn without_date(line: &str) -> String {
    let time = line.split_once('T').and_then(|(_, rest)| {
        let (time, rest) = rest.split_once('Z')?;
        Some(format!("{}{rest}", time.get(..12)?))
    });
    time.unwrap_or_else(|| line.to_owned())
}
